"""Log-probabilities: two shapes that agree with the text, with each other, and with arithmetic."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest

from extensions.openai.engines.protocol import LikelyToken, TokenLogprob
from extensions.openai.generation.logprobs import chat_logprobs, completion_logprobs
from tests.support.api import Api, as_messages, assert_alike

SLACK = 2e-3  # nats; batches of other sizes round differently


def token_bytes(shown: str) -> bytes:
    """The bytes of a token of the legacy shape."""
    if shown.startswith("bytes:"):
        return bytes(int(pair, 16) for pair in re.findall(r"\\x([0-9a-f]{2})", shown))
    return shown.encode()


def assert_legacy(choice: dict[str, Any], alternatives: int) -> None:
    """What holds for every text with its log-probabilities."""
    text, reported = choice["text"], choice["logprobs"]
    tokens, offsets = reported["tokens"], reported["text_offset"]
    assert (
        len(tokens)
        == len(offsets)
        == len(reported["token_logprobs"])
        == len(reported["top_logprobs"])
    )
    as_messages = [token_bytes(token) for token in tokens]
    assert b"".join(as_messages).decode(errors="replace") == text
    assert offsets == sorted(offsets)
    for at, offset in enumerate(offsets):
        if not tokens[at].startswith("bytes:") and (
            at == 0 or is_whole(b"".join(as_messages[:at]))
        ):
            assert text[offset:].startswith(tokens[at])
            assert offset == len(b"".join(as_messages[:at]).decode(errors="replace"))
    for at, (token, logprob, top) in enumerate(
        zip(tokens, reported["token_logprobs"], reported["top_logprobs"], strict=True)
    ):
        if logprob is None:
            assert at == 0 and top is None
            continue
        assert logprob <= 0 and math.isfinite(logprob)
        assert top[token] == pytest.approx(logprob, abs=1e-6)
        assert len(top) <= alternatives + 1
        assert sum(map(math.exp, top.values())) <= 1 + 1e-5


def is_whole(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def assert_chat(choice: dict[str, Any], alternatives: int) -> None:
    reported = choice["logprobs"]
    assert set(reported) == {"content", "refusal"} and reported["refusal"] is None
    data = b"".join(bytes(token["bytes"]) for token in reported["content"])
    assert data.decode(errors="replace") == choice["message"]["content"]
    for token in reported["content"]:
        assert set(token) == {"token", "logprob", "bytes", "top_logprobs"}
        top = token["top_logprobs"]
        assert len(top) == alternatives
        logprobs = [other["logprob"] for other in top]
        assert logprobs == sorted(logprobs, reverse=True)
        assert sum(map(math.exp, logprobs)) <= 1 + 1e-5
        assert token["logprob"] <= 0
        for each in (token, *top):
            assert set(each) - {"top_logprobs"} == {"token", "logprob", "bytes"}
            if is_whole(bytes(each["bytes"])) and each["bytes"]:
                assert each["token"] == bytes(each["bytes"]).decode()
        if top and token["logprob"] > logprobs[-1] + SLACK:
            assert token["bytes"] in [other["bytes"] for other in top]


PROMPTS = ["Once upon", "Grüße 🙂 日本", "  two  spaces\n", "🙂🙂"]


@pytest.mark.parametrize("alternatives", range(6))
@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_completion_tells_its_tokens(tiny: Api, prompt: str, alternatives: int) -> None:
    body = {"logprobs": alternatives, "max_tokens": 12, "seed": alternatives, "temperature": 1.3}
    whole = tiny.complete(prompt, **body)
    choice = whole["choices"][0]
    assert_legacy(choice, alternatives)
    assert len(choice["logprobs"]["tokens"]) == whole["usage"]["completion_tokens"]
    folded = tiny.folded("completions", prompt=prompt, **body)
    assert_alike(folded, whole)


@pytest.mark.parametrize("alternatives", [0, 1, 5])
@pytest.mark.parametrize("max_tokens", [0, 6])
@pytest.mark.parametrize("prompt", [*PROMPTS, [40, 41, 42, 300]])
def test_an_echoed_prompt_tells_its_tokens(
    tiny: Api, prompt: Any, max_tokens: int, alternatives: int
) -> None:
    body = {"echo": True, "logprobs": alternatives, "max_tokens": max_tokens, "temperature": 0}
    whole = tiny.complete(prompt, **body)
    choice = whole["choices"][0]
    assert_legacy(choice, alternatives)
    reported = choice["logprobs"]
    assert reported["token_logprobs"][0] is None and reported["top_logprobs"][0] is None
    assert None not in reported["token_logprobs"][1:]
    assert len(reported["tokens"]) >= whole["usage"]["prompt_tokens"]
    folded = tiny.folded("completions", prompt=prompt, **body)
    assert_alike(folded, whole)


@pytest.mark.parametrize("prompt", ["Once upon a time", "Grüße 🙂 an alle"])
def test_a_prompts_log_probabilities_are_those_found_prefix_by_prefix(
    tiny: Api, prompt: str
) -> None:
    """Each token of a prompt, made the answer to those before it by a bias, which is not told of."""
    ids = tiny.engine.tokenize(prompt)
    echoed = tiny.complete(list(ids), echo=True, logprobs=5, max_tokens=0)["choices"][0]["logprobs"]
    for at in range(1, len(ids)):
        whole = tiny.complete(
            list(ids[:at]), logprobs=5, max_tokens=1, logit_bias={str(ids[at]): 100}, temperature=0
        )
        asked = whole["choices"][0]["logprobs"]
        if asked["tokens"] == [echoed["tokens"][at]]:
            logprob = asked["token_logprobs"][0]
            assert echoed["token_logprobs"][at] == pytest.approx(logprob, abs=SLACK)
        else:  # a part of a character is not told of alone
            assert echoed["tokens"][at].startswith("bytes:")
        free = tiny.complete(list(ids[:at]), logprobs=5, max_tokens=1, temperature=0)
        likeliest = free["choices"][0]["logprobs"]
        if likeliest["tokens"] and not likeliest["tokens"][0].startswith("bytes:"):
            for token, logprob in likeliest["top_logprobs"][0].items():
                assert echoed["top_logprobs"][at][token] == pytest.approx(logprob, abs=SLACK)


def test_an_answers_log_probabilities_are_those_of_its_echo(tiny: Api) -> None:
    """What sampling tells of each token is what reading the same text tells of it."""
    prompt = "Once upon a"
    made = tiny.complete(prompt, logprobs=3, max_tokens=14, temperature=1, seed=4)["choices"][0]
    read = tiny.complete(prompt + made["text"], echo=True, logprobs=3, max_tokens=0)["choices"][0]
    count = len(made["logprobs"]["tokens"])
    assert read["logprobs"]["tokens"][-count:] == made["logprobs"]["tokens"]
    for one, other in zip(
        made["logprobs"]["token_logprobs"],
        read["logprobs"]["token_logprobs"][-count:],
        strict=True,
    ):
        assert one == pytest.approx(other, abs=SLACK)


def test_log_probabilities_are_the_models_own_whatever_the_sampler_does(tiny: Api) -> None:
    """Temperature, truncation, penalties and biases choose tokens; they do not change what is told."""
    plain = tiny.complete("Once upon", logprobs=5, max_tokens=1, temperature=0)
    for sampling in (
        {"temperature": 2, "top_k": 1},
        {"temperature": 0.1, "top_p": 0.01},
        {"temperature": 0, "frequency_penalty": 2, "presence_penalty": 2},
    ):
        other = tiny.complete("Once upon", logprobs=5, max_tokens=1, seed=1, **sampling)
        for name in ("tokens", "token_logprobs", "top_logprobs"):
            assert other["choices"][0]["logprobs"][name] == plain["choices"][0]["logprobs"][name]


def test_a_greedy_answer_takes_the_likeliest_tokens(tiny: Api) -> None:
    choice = tiny.chat("Hello", logprobs=True, top_logprobs=4, temperature=0)["choices"][0]
    assert choice["logprobs"]["content"]
    for token in choice["logprobs"]["content"]:
        likeliest = token["top_logprobs"][0]
        assert (token["bytes"], token["logprob"]) == (likeliest["bytes"], likeliest["logprob"])


@pytest.mark.parametrize("alternatives", [0, 1, 2, 5, 19, 20])
@pytest.mark.parametrize("text", ["Hello", "Say hello with an emoji.", "Grüße auf Französisch"])
def test_a_chat_tells_its_tokens(tiny: Api, text: str, alternatives: int) -> None:
    body = {"logprobs": True, "top_logprobs": alternatives, "seed": 3, "max_tokens": 24}
    whole = tiny.chat(text, **body)
    assert_chat(whole["choices"][0], alternatives)
    folded = tiny.folded("chat/completions", messages=as_messages(text), **body)
    assert_alike(folded, whole)


def test_no_alternatives_unless_they_are_asked_for(tiny: Api) -> None:
    assert_chat(tiny.chat("Hello", logprobs=True, max_tokens=5)["choices"][0], 0)
    for logprobs in (False, None):
        assert tiny.chat("Hello", logprobs=logprobs, max_tokens=2)["choices"][0]["logprobs"] is None


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": False, "top_logprobs": 2}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        ({"logprobs": True, "top_logprobs": -1}, "top_logprobs"),
        ({"logprobs": 2}, "logprobs"),
    ],
)
def test_what_chat_cannot_tell_is_refused(tiny: Api, body: dict[str, Any], param: str) -> None:
    assert tiny.refused("chat/completions", **body)["param"] == param


@pytest.mark.parametrize("seed", range(6))
def test_characters_split_over_tokens_are_told_byte_by_byte(noise: Api, seed: int) -> None:
    """Random weights say broken and split characters all the time."""
    silent = {str(id): -100 for id in range(256, 288)}
    body = {"seed": seed, "max_tokens": 40, "temperature": 1, "logit_bias": silent}
    whole = noise.complete("é🙂", logprobs=4, **body)
    choice = whole["choices"][0]
    reported = choice["logprobs"]
    assert any(token.startswith("bytes:") for token in reported["tokens"])
    assert_legacy(choice, 4)
    chat = noise.chat("é🙂", logprobs=True, top_logprobs=3, **body)["choices"][0]
    assert_chat(chat, 3)


@pytest.mark.parametrize("seed", range(3))
def test_control_tokens_between_broken_characters(noise: Api, seed: int) -> None:
    """They say nothing, and the bytes around them are told all the same."""
    choice = noise.complete("é🙂", logprobs=1, seed=seed, max_tokens=40)["choices"][0]
    as_messages = b"".join(map(token_bytes, choice["logprobs"]["tokens"]))
    assert as_messages.decode(errors="replace") == choice["text"]


@pytest.mark.parametrize("text", ["🙂", "日本語", "é", "aé🙂b"])
def test_every_byte_of_a_character_that_is_forced_is_told(noise: Api, text: str) -> None:
    """A vocabulary of bytes: the tokens of a text are its bytes, each with its own log-probability."""
    choice = noise.complete("x", guided_choice=[text], logprobs=1, max_tokens=40)["choices"][0]
    assert choice["text"] == text
    reported = choice["logprobs"]
    end = b""  # an end token has no text
    assert [token_bytes(token) for token in reported["tokens"]] == [
        *(bytes([byte]) for byte in text.encode()),
        end,
    ]
    starts = [at for at, character in enumerate(text) for _ in character.encode()]
    assert reported["text_offset"] == [*starts, len(text)]
    ids = list(noise.engine.tokenize("x" + text))
    read = noise.complete(ids, echo=True, logprobs=1, max_tokens=0)["choices"][0]["logprobs"]
    for one, other in zip(reported["token_logprobs"][:-1], read["token_logprobs"][1:], strict=True):
        assert one == pytest.approx(other, abs=SLACK)


@pytest.mark.parametrize("stop", [" time", "me th", [" upo", "zzz"], "a time there"])
def test_tokens_end_where_a_stop_string_does(tiny: Api, stop: Any) -> None:
    """Also a stop string that begins or ends inside of a token: the tokens make the text exactly, and those
    of the stop string are there without text, as they are counted."""
    body = {"logprobs": 2, "max_tokens": 12, "temperature": 0}
    free = tiny.complete("Once", **body)["choices"][0]
    whole = tiny.complete("Once", **body, stop=stop)
    cut, count = whole["choices"][0], whole["usage"]["completion_tokens"]
    stops = [stop] if isinstance(stop, str) else stop
    end = min(at for each in stops if (at := free["text"].find(each)) >= 0)
    assert (cut["text"], cut["finish_reason"]) == (free["text"][:end], "stop")
    assert_legacy(cut, 2)
    reported = cut["logprobs"]
    assert count == len(reported["tokens"]) < 12
    assert reported["token_logprobs"] == free["logprobs"]["token_logprobs"][:count]
    assert reported["text_offset"] == [
        min(at, end) for at in free["logprobs"]["text_offset"][:count]
    ]
    assert reported["tokens"][-1] == "" or free["text"][:end].endswith(reported["tokens"][-1])
    folded = tiny.folded(
        "completions", prompt="Once", logprobs=2, max_tokens=12, temperature=0, stop=stop
    )
    assert_alike(folded["choices"][0], cut)


@pytest.mark.parametrize("path", ["completions", "chat/completions"])
def test_several_choices_each_tell_their_own(tiny: Api, path: str) -> None:
    body: dict[str, Any] = {"n": 3, "seed": 9, "max_tokens": 10, "stop": [".", "!"]}
    if path == "completions":
        body |= {"prompt": ["Once upon", "Hello"], "logprobs": 2, "echo": True}
        whole = tiny.complete(**body)
        assert len(whole["choices"]) == 6
        for choice in whole["choices"]:
            reported = choice["logprobs"]
            bytes_of_tokens = b"".join(map(token_bytes, reported["tokens"]))
            assert bytes_of_tokens.decode(errors="replace") == choice["text"]
    else:
        body |= {"messages": as_messages("Hello"), "logprobs": True, "top_logprobs": 2}
        whole = tiny.chat(**body)
        for choice in whole["choices"]:
            bytes_of_tokens = b"".join(
                bytes(token["bytes"]) for token in choice["logprobs"]["content"]
            )
            content = choice["message"]["content"]
            assert bytes_of_tokens.decode(errors="replace") == content
    folded = tiny.folded(path, **body)
    assert_alike(folded, whole)


def test_what_lies_behind_a_cut_character_is_told(tiny: Api) -> None:
    """The answer ends inside of a character: its bytes are told, and the text has U+FFFD for them."""
    emoji = list(tiny.engine.tokenize("🙏🏿 ß"))
    for length in range(1, len(emoji)):
        choice = tiny.complete(emoji[:length], echo=True, logprobs=0, max_tokens=0)["choices"][0]
        assert_legacy(choice, 0)


def likely(data: bytes, *others: bytes) -> TokenLogprob:
    return TokenLogprob(data, -0.5, tuple(LikelyToken(other, -1.0) for other in others))


@pytest.mark.parametrize(
    ("parts", "offsets"),
    [
        ([b"a", b"bc", b"d"], [7, 8, 10]),
        ([b"\xf0", b"\x9f\x99", b"\x82", b"x"], [7, 7, 7, 8]),
        ([b" \xc3", b"\xbc", b"b"], [7, 8, 9]),
        (["é".encode(), "🙂".encode(), b"!"], [7, 8, 9]),
        ([b"", b"a"], [7, 7]),
    ],
)
def test_offsets_count_characters(parts: list[bytes], offsets: list[int]) -> None:
    reported = completion_logprobs([likely(part) for part in parts], 7)
    assert reported["text_offset"] == offsets


def test_the_legacy_shape_writes_bytes_that_are_no_text() -> None:
    reported = completion_logprobs([likely(b"\xf0\x9f", b"a", b"\x99")], 0)
    assert reported["tokens"] == ["bytes:\\xf0\\x9f"]
    assert reported["top_logprobs"] == [{"a": -1.0, "bytes:\\x99": -1.0, "bytes:\\xf0\\x9f": -0.5}]


def test_the_shape_of_chat() -> None:
    reported = chat_logprobs([likely("é".encode(), b"\xc3")])
    assert reported == {
        "content": [
            {
                "token": "é",
                "logprob": -0.5,
                "bytes": [0xC3, 0xA9],
                "top_logprobs": [{"token": "\\xc3", "logprob": -1.0, "bytes": [0xC3]}],
            }
        ],
        "refusal": None,
    }


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("text", ["日", "語x", "🙂", "a日b", "🙂🙂"])
def test_a_character_that_max_tokens_cuts(tiny: Api, text: str, streamed: bool) -> None:
    """Every counted token is reported, with the log-probability it has anywhere. The text has
    U+FFFD for the character, as everywhere, with log-probabilities or without."""
    body: dict[str, Any] = {"messages": as_messages("Hello"), "logprobs": True, "top_logprobs": 2}
    body |= {"guided_choice": [text], "temperature": 0}
    whole = tiny.chat(**body)["choices"][0]
    every = whole["logprobs"]["content"]
    assert b"".join(bytes(token["bytes"]) for token in every) == text.encode()
    assert len(every) > len(text)  # so there is something to cut
    for limit in range(1, len(every)):
        body["max_tokens"] = limit
        if streamed:
            cut = tiny.folded("chat/completions", **body, stream_options={"include_usage": True})
        else:
            cut = tiny.chat(**body)
        assert cut["usage"]["completion_tokens"] == limit
        choice = cut["choices"][0]
        reported = choice["logprobs"]["content"]
        assert [token["bytes"] for token in reported] == [token["bytes"] for token in every[:limit]]
        for one, other in zip(reported, every, strict=False):
            assert one["logprob"] == pytest.approx(other["logprob"], abs=SLACK)
        data = b"".join(bytes(token["bytes"]) for token in reported)
        assert choice["message"]["content"] == data.decode(errors="replace")
        assert choice["finish_reason"] == "length"
        plain = tiny.chat(**body | {"logprobs": None, "top_logprobs": None})["choices"][0]
        assert plain["message"] == choice["message"]
        assert plain["finish_reason"] == "length"


def test_the_last_token_allowed_may_be_the_end(tiny: Api) -> None:
    """Then the answer has ended by itself, although there is no token left."""
    free = tiny.chat("Hi", temperature=0, logprobs=True)
    count = free["usage"]["completion_tokens"]
    assert free["choices"][0]["finish_reason"] == "stop"
    for limit, reason in ((count, "stop"), (count - 1, "length")):
        for more in ({}, {"logprobs": True}):
            cut = tiny.chat("Hi", temperature=0, max_tokens=limit, **more)
            assert cut["choices"][0]["finish_reason"] == reason
            assert cut["usage"]["completion_tokens"] == limit
            assert cut["choices"][0]["message"] == free["choices"][0]["message"]


@pytest.mark.parametrize(
    ("spelled", "offsets"),
    [
        ([b"a", b"\xc3", b"\xbc", b"b"], [0, 1, 1, 2]),
        # Characters that are never completed, and one that is.
        (
            [b"\xf0\x9f", b"\x8e", b"\xf0\x9f", b"\x8e", b"\xf0\x9f", b"\x8c", b"\x8e", b"\xf0\x9f"],
            [0, 0, 1, 1, 2, 2, 2, 3],
        ),
        ([b"\xe0", b"\x80", b"\xff\xff", b"x"], [0, 1, 2, 4]),
        ([b"\xe6", b"", b"\x97\xa5x", b"y"], [0, 0, 0, 2]),
    ],
)  # fmt: skip
def test_where_tokens_begin_that_are_no_whole_characters(
    spelled: list[bytes], offsets: list[int]
) -> None:
    tokens = [TokenLogprob(each, -1.0, ()) for each in spelled]
    assert completion_logprobs(tokens, 7)["text_offset"] == [7 + each for each in offsets]
