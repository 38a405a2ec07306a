"""Usage, log-probabilities and text of an answer agree: each counted token has an entry, and the entries make
the text exactly, however the answer ends and however it is asked for.

Sources: OpenAI's reference ("Completions", "Chat": `logprobs`), and llama-server, whose lists hold the end
token with an empty text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.engines.webui.engine import WebuiEngine
from tests.support.api import Api, Body, as_messages
from tests.support.families import FAMILIES
from tests.support.process import ROOT
from tests.support.random_model import USER_DEFINED, write_model, write_sentencepiece_model
from tests.support.scripted_model import Script
from tests.webui_host import install

CONVERSATION = "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
CUT = "\N{REPLACEMENT CHARACTER}"
ENGINES = ("tiny", "Transformers", "llama.cpp", "llama-cpp-python", "ExLlamav3")
LOADERS = {"llama-cpp-python": "2023"}


@pytest.fixture(scope="module", params=ENGINES)
def api(request: pytest.FixtureRequest) -> Iterator[Api]:
    """The same model in each engine that has log-probabilities."""
    if request.param == "tiny":
        yield request.getfixturevalue("tiny")
        return
    with install(LOADERS.get(request.param, "2026"), ROOT / "models" / "openedai-tiny") as host:
        host.load(loader=request.param)
        yield Api(WebuiEngine())


def legacy_bytes(token: str) -> bytes:
    """The bytes of a token as completions write it."""
    if token.startswith("bytes:"):
        return bytes(int(pair, 16) for pair in re.findall(r"\\x([0-9a-f]{2})", token))
    return token.encode()


def completed(api: Api, prompt: Any, **body: Any) -> tuple[Body, int]:
    """The choice of a completion, the same streamed and not, and how many tokens are counted for it."""
    whole = api.complete(prompt, **body)
    streamed = api.folded("completions", prompt=prompt, **body)
    choice = whole["choices"][0]
    for name in ("text", "finish_reason"):
        assert streamed["choices"][0][name] == choice[name]
    for name in ("tokens", "text_offset"):
        assert streamed["choices"][0]["logprobs"][name] == choice["logprobs"][name]
    assert streamed["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]
    data = b"".join(map(legacy_bytes, choice["logprobs"]["tokens"]))
    assert data.decode(errors="replace") == choice["text"]
    assert all(
        len(found) == len(choice["logprobs"]["tokens"]) for found in choice["logprobs"].values()
    )
    plain = {name: value for name, value in body.items() if name != "logprobs"}
    assert api.complete(prompt, **plain)["choices"][0]["text"] == choice["text"]
    return choice, whole["usage"]["completion_tokens"]


def chatted(api: Api, messages: Any, **body: Any) -> tuple[Body, list[Body], Body]:
    """The choice of a chat, its log-probabilities, and its usage; the same streamed and not, with them and
    without."""
    asked = {"messages": as_messages(messages), **body}
    whole = api.chat(messages, logprobs=True, **body)
    streamed = api.folded("chat/completions", logprobs=True, **asked)
    choice, entries = whole["choices"][0], whole["choices"][0]["logprobs"]["content"]
    assert streamed["usage"] | {"prompt_tokens_details": None} == whole["usage"] | {
        "prompt_tokens_details": None
    }
    reported = streamed["choices"][0]["logprobs"]["content"]
    assert [entry["bytes"] for entry in reported] == [entry["bytes"] for entry in entries]
    plain = api.chat(messages, **body)
    for other in (streamed, plain):
        assert _shown(other["choices"][0]) == _shown(choice)
    assert plain["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]
    data = b"".join(bytes(entry["bytes"]) for entry in entries)
    assert data.decode(errors="replace") == (choice["message"]["content"] or "")
    if all(bytes(entry["bytes"]) == entry["token"].encode() for entry in entries):
        assert "".join(entry["token"] for entry in entries) == (choice["message"]["content"] or "")
    return choice, entries, whole["usage"]


def _shown(choice: Body) -> Any:
    """What a client sees, without the ids of calls."""
    message = choice["message"]
    calls = [call["function"] for call in message.get("tool_calls", ())]
    return (
        message["content"],
        message.get("reasoning_content"),
        calls,
        choice["finish_reason"],
    )


def end_of(api: Api) -> int:
    (end,) = api.engine.tokenize("<|im_end|>")
    return end


@pytest.mark.parametrize("alternatives", [0, 2])
def test_a_completion_that_ends_by_itself(api: Api, alternatives: int) -> None:
    """The end token is the last entry. It has no text, and its log-probability is that of the model."""
    free = {"temperature": 0, "max_tokens": 60}
    choice, count = completed(api, CONVERSATION, logprobs=alternatives, **free)
    assert choice["finish_reason"] == "stop" and choice["text"]
    reported = choice["logprobs"]
    assert count == len(reported["tokens"]) < 60
    assert reported["tokens"][-1] == "" and reported["text_offset"][-1] == len(choice["text"])
    assert reported["token_logprobs"][-1] < 0
    for token, logprob, top in zip(
        reported["tokens"], reported["token_logprobs"], reported["top_logprobs"], strict=True
    ):
        assert top[token] == logprob and alternatives <= len(top) <= alternatives + 1


def test_an_answer_of_nothing_but_the_end(api: Api) -> None:
    """Such an answer is what lm-eval's requests get where a model has nothing more to say."""
    forced = {"temperature": 0, "max_tokens": 1, "logit_bias": {str(end_of(api)): 100}}
    prompt = "Once upon a time"
    size = len(api.engine.tokenize(prompt))
    choice, count = completed(api, prompt, logprobs=1, echo=True, **forced)
    assert (count, choice["finish_reason"], choice["text"]) == (1, "stop", prompt)
    assert len(choice["logprobs"]["tokens"]) == size + 1
    assert choice["logprobs"]["tokens"][-1] == ""
    chat, entries, usage = chatted(api, "Hi", **forced)
    assert usage["completion_tokens"] == len(entries) == 1
    assert chat["message"]["content"] == ""


@pytest.mark.parametrize("limit", [1, 2, 3, 6])
def test_a_limit_inside_of_a_character(api: Api, limit: int) -> None:
    """U+FFFD is where bytes were cut, and what stood before it in the same token is not lost."""
    text = "a 🙂 日本"
    choice, count = completed(
        api, "Hello", guided_choice=[text], temperature=0, max_tokens=limit, logprobs=1
    )
    assert count == len(choice["logprobs"]["tokens"]) <= limit
    whole = choice["text"].removesuffix(CUT)
    assert text.startswith(whole) and CUT not in whole


@pytest.mark.parametrize("prompt", ["✨ 🌟 ✨ 🌟", "Say hi with an emoji:"])
@pytest.mark.parametrize("limit", [1, 4])
def test_a_limit_inside_of_a_character_that_the_model_wants(
    api: Api, prompt: str, limit: int
) -> None:
    choice, count = completed(api, prompt, temperature=0, max_tokens=limit, logprobs=0)
    assert count == len(choice["logprobs"]["tokens"]) == limit or choice["finish_reason"] == "stop"


@pytest.mark.parametrize("stop", ["🙂", "本", "Z"])
def test_a_stop_string(api: Api, stop: str) -> None:
    """What is sampled of it is counted, and has its log-probability, but no text."""
    body = {"guided_choice": ["a 🙂 日本 b"], "temperature": 0, "stop": stop, "max_tokens": 40}
    choice, entries, usage = chatted(api, "Hi", **body)
    assert choice["message"]["content"] == "a 🙂 日本 b".partition(stop)[0]
    assert usage["completion_tokens"] == len(entries)


@pytest.mark.parametrize("alternatives", [0, 3])
def test_a_chat(api: Api, alternatives: int) -> None:
    body = {"temperature": 0, "max_tokens": 40, "top_logprobs": alternatives}
    asked = api.chat("Hello", logprobs=True, **body)
    entries = asked["choices"][0]["logprobs"]["content"]
    assert asked["usage"]["completion_tokens"] == len(entries)
    ended = asked["choices"][0]["finish_reason"] == "stop"
    assert ended and entries[-1]["token"] == "" and entries[-1]["bytes"] == []
    for entry in entries:
        top = entry["top_logprobs"]
        assert len(top) == alternatives
        if top:  # at temperature 0 the likeliest one is taken, and written as it was there
            assert (entry["token"], entry["bytes"]) == (top[0]["token"], top[0]["bytes"])
            assert entry["logprob"] == pytest.approx(top[0]["logprob"], abs=1e-6)


def test_an_alternative_without_text_has_its_name(tiny: Api) -> None:
    forced = {str(tiny.engine.tokenize("a")[0]): 100}
    body = {"temperature": 0, "max_tokens": 30, "logprobs": True, "top_logprobs": 20}
    entries = tiny.chat("Hello", **body, logit_bias=forced)["choices"][0]["logprobs"]["content"]
    silent = [top for entry in entries for top in entry["top_logprobs"] if not top["bytes"]]
    assert silent and {top["token"] for top in silent} <= {
        "<|im_end|>",
        "<|im_start|>",
        "<|endoftext|>",
    }


@pytest.mark.parametrize("n", [1, 2])
def test_several_prompts_and_choices(tiny: Api, n: int) -> None:
    body = {"echo": True, "logprobs": 1, "max_tokens": 12, "seed": 3, "n": n, "temperature": 1}
    prompts = ["Once upon", "Grüße 🙂"]
    whole = tiny.complete(prompts, **body)
    entries = sum(len(choice["logprobs"]["tokens"]) for choice in whole["choices"])
    read = n * sum(len(tiny.engine.tokenize(prompt)) for prompt in prompts)
    assert whole["usage"]["completion_tokens"] == entries - read


# Thoughts and calls, said by models whose words are known


THOUGHT = "Grüße 🙂: see.\n"
CALLED = [("get_weather", {"city": "Zürich 🙂"})]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


SCRIPTED = ["qwen3", "qwen35 in bytes", "gptoss", "mistral7", "commandr"]


@pytest.fixture(scope="module", params=SCRIPTED)
def scripted(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Api, tuple[str, ...]]]:
    """A model of a family, and the names of its scripts."""
    name, _, in_bytes = request.param.partition(" ")
    family = FAMILIES[name]
    thought = ("ü日" if in_bytes else THOUGHT) if family.thought else None
    answer = Script("answer", family.says("Né 🙂 4.", thought=thought), in_bytes=bool(in_bytes))
    call = Script("call", family.says("", *CALLED, thought=thought))
    scripts = [answer] if in_bytes else [answer, call]
    model = family.write(tmp_path_factory.mktemp("scripted"), scripts)
    engine = LlamaCppEngine(model, name=family.name, threads=1, parallel=1)
    yield Api(engine), tuple(script.name for script in scripts)
    engine.close()


@pytest.mark.parametrize("limits", [range(1, 20), range(20, 40), [200]])
def test_thoughts_and_calls_that_are_cut_anywhere(
    scripted: tuple[Api, tuple[str, ...]], limits: Iterable[int]
) -> None:
    """Their tokens are counted, and have entries without text. Nothing shows U+FFFD but what cuts a
    character, and no end token shows at all."""
    api, scripts = scripted
    body: dict[str, Any]
    for script, limit in product(scripts, limits):
        body = {"temperature": 0, "max_tokens": limit}
        if script == "call":
            body["tools"] = [TOOL]
        choice, entries, usage = chatted(api, f"say:{script}", **body)
        assert usage["completion_tokens"] == len(entries) <= limit
        assert usage["completion_tokens_details"]["reasoning_tokens"] <= len(entries)
        message = choice["message"]
        texts = [message["content"] or "", message.get("reasoning_content", "")]
        calls = [call["function"]["arguments"] for call in message.get("tool_calls", ())]
        assert "".join([*texts, *calls]).count(CUT) <= (choice["finish_reason"] == "length")
        assert not any(mark in text for text in texts for mark in ("<|", "</s>"))
        if limit == 200 and script == "answer":
            assert (message["content"], choice["finish_reason"]) == ("Né 🙂 4.", "stop")
            assert entries[-1]["bytes"] == []


SCHEMA = {
    "type": "object",
    "properties": {"a": {"enum": ["é🙂"]}},
    "required": ["a"],
    "additionalProperties": False,
}
JSON_ANSWER = {
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
}
ASKED: dict[str, Body] = {
    "a thought that is closed": {"thinking_token_budget": 3},
    "no thought": {"thinking_token_budget": 0},
    "structured output": JSON_ANSWER,
    "a call that is demanded": {"tools": [TOOL], "tool_choice": "required"},
    "stop strings": {"stop": ["4", "🙂"]},
    "a penalty": {"presence_penalty": 0.5},
}


@pytest.mark.parametrize(
    ("scripted", "asked"),
    [
        (name, asked)
        for name in SCRIPTED
        for asked in ASKED
        if "thought" not in asked or FAMILIES[name.split()[0]].thought
    ],
    indirect=["scripted"],
    scope="module",
)
def test_answers_that_are_made_in_several_calls(
    scripted: tuple[Api, tuple[str, ...]], asked: str
) -> None:
    """What one call of the engine said and another one says again is counted, and has no text."""
    api, scripts = scripted
    for script, limit in product(scripts, (3, 6, 9, 200)):
        body = {"temperature": 0, "max_tokens": limit, **ASKED[asked]}
        _, entries, usage = chatted(api, f"say:{script}", **body)
        assert usage["completion_tokens"] == len(entries) <= limit


# Vocabularies of other kinds


def test_a_vocabulary_with_tokens_for_bytes(tmp_path: Path) -> None:
    """SentencePiece puts a start token and a space before each text; what it has no letter for is bytes."""
    engine = LlamaCppEngine(
        write_sentencepiece_model(tmp_path / "m.gguf"), name="m", threads=1, parallel=1
    )
    api = Api(engine)
    try:
        for prompt in ("the hü 🙂", "<s>the", "</s>x", list(engine.tokenize("hü 🙂"))):
            size = len(engine.tokenize(prompt)) if isinstance(prompt, str) else len(prompt)
            for limit in (0, 1, 5):
                body = {"echo": True, "logprobs": 1, "max_tokens": limit, "temperature": 0}
                choice, count = completed(api, prompt, **body)
                assert len(choice["logprobs"]["tokens"]) == size + count
        for seed in range(12):  # random weights: mostly bytes, few of which are characters
            whole = api.complete("x", seed=seed, max_tokens=1 + seed, temperature=1, logprobs=1)
            choice = whole["choices"][0]
            data = b"".join(map(legacy_bytes, choice["logprobs"]["tokens"]))
            assert data.decode(errors="replace") == choice["text"]
            assert len(choice["logprobs"]["tokens"]) == whole["usage"]["completion_tokens"]
    finally:
        engine.close()


@pytest.mark.parametrize("limit", [1, 2, 3, 9])
def test_an_end_token_with_a_text_is_not_shown(tmp_path: Path, limit: int) -> None:
    """llama.cpp reports its name where the model file does not call it a control token."""
    end = "<|fin|>"
    path = write_model(tmp_path / "m.gguf", end=end, end_kind=USER_DEFINED)
    engine = LlamaCppEngine(path, name="m", threads=1, parallel=1)
    api = Api(engine)
    try:
        forced = {"logit_bias": {"258": 100}, "max_tokens": limit, "temperature": 0}
        choice, count = completed(api, "Hello", logprobs=1, **forced)
        assert (choice["text"], choice["finish_reason"], count) == ("", "stop", 1)
        chat, entries, _ = chatted(api, "Hello", **forced)
        assert (chat["message"]["content"], chat["finish_reason"]) == ("", "stop")
        assert len(entries) == 1
    finally:
        engine.close()


def test_a_model_may_write_the_replacement_character(tiny: Api) -> None:
    body = {"guided_choice": [f"a{CUT}b{CUT}"], "temperature": 0, "logprobs": 1}
    for limit, expected in ((40, f"a{CUT}b{CUT}"), (1, "a")):
        choice, count = completed(tiny, "Hello", max_tokens=limit, **body)
        assert choice["text"] == expected
        assert count == len(choice["logprobs"]["tokens"])
