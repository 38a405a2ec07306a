"""A webui whose loader has llama.cpp's server beside it: what is kept to, told and counted through it."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.engines.protocol import GenerateRequest, Piece, Pieces
from extensions.openai.engines.tokens.gguf import read_header
from extensions.openai.engines.webui.engine import WebuiEngine
from extensions.openai.engines.webui.ui_state import FALLBACK
from extensions.openai.errors import EngineFailed, ModelChanged
from tests.support.api import Api
from tests.support.media import image, picture, text, user
from tests.support.process import ROOT
from tests.support.random_encoder import IMAGE_TOKENS, write_encoder
from tests.webui_host import MiniHost, install

TINY = ROOT / "models" / "openedai-tiny"
PATIENCE = 40.0  # seconds, on a busy machine


@pytest.fixture
def host() -> Iterator[MiniHost]:
    with install("2026", TINY) as host:
        host.load(loader="llama.cpp")
        yield host


@pytest.fixture
def api(host: MiniHost) -> Api:
    return Api(WebuiEngine())


@pytest.fixture(scope="module")
def own() -> Iterator[LlamaCppEngine]:
    """The same model in our own engine, where llama.cpp follows grammars by itself."""
    engine = LlamaCppEngine(next(TINY.glob("*.gguf")), name="tiny", threads=1)
    yield engine
    engine.close()


def read(pieces: Pieces) -> list[Piece]:
    return [piece for piece in pieces if piece is not None]


def text_of(pieces: Pieces) -> str:
    return "".join(piece.text for piece in read(pieces))


def greedy(prompt: Any = "Hello", tokens: int | None = 40, **more: Any) -> GenerateRequest:
    return GenerateRequest(prompt, tokens, {"temperature": 0.0}, 7, **more)


GRAMMARS = [
    "start: /[0-9]{3}-[a-z]+!/",
    'start: "n=" NUMBER ("," NUMBER){2}\nNUMBER: /[0-9]{1,3}/',
    'start: %json {"type": "object", "properties": {"city": {"type": "string"}, "n": {"type": "integer"}},'
    ' "required": ["city", "n"], "additionalProperties": false,'
    ' "x-guidance": {"whitespace_flexible": false}}',
    'start: "日本語🙂é"',
    "start: /[あ-ん]{3,6}[🙂🙃]/",
    "start: TEXT\nTEXT: /(.|\\n)*/ & ~/(.|\\n)*[ae](.|\\n)*/",
]


@pytest.mark.parametrize("grammar", GRAMMARS)
@pytest.mark.parametrize("logprobs", [None, 2])
def test_a_grammar_is_kept_to_as_in_our_own_engine(
    host: MiniHost, own: LlamaCppEngine, grammar: str, logprobs: int | None
) -> None:
    # Where there is no end to the text, the model wants <|endoftext|> at some point, which llama.cpp does not
    # take for the end of a grammar.
    request = greedy(tokens=20 if "TEXT" in grammar else 40, grammar=grammar, logprobs=logprobs)
    pieces, expected = read(WebuiEngine().generate(request)), read(own.generate(request))
    assert text_of(iter(pieces)) == text_of(iter(expected))  # type: ignore[arg-type]
    assert pieces[-1].finish == expected[-1].finish
    assert not vars(host).get("_failures")


SCHEMA = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 12},
        "size": {"enum": ["S", "L"]},
        "people": {"type": "integer", "minimum": 1, "maximum": 99},
    },
    "required": ["city", "size", "people"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("seed", range(4))
def test_whatever_is_sampled_matches(api: Api, seed: int) -> None:
    hot = {"temperature": 1.8, "seed": seed, "max_tokens": 80}
    form = {"type": "json_schema", "json_schema": {"name": "place", "schema": SCHEMA}}
    choice = api.chat("Hello", response_format=form, **hot)["choices"][0]
    assert choice["finish_reason"] == "stop"
    place = json.loads(choice["message"]["content"])
    assert list(place) == ["city", "size", "people"] and 1 <= place["people"] <= 99
    regex = api.complete("Hello", guided_regex="[A-Z][a-z]{2,5}[0-9]", **hot)["choices"][0]
    assert re.fullmatch("[A-Z][a-z]{2,5}[0-9]", regex["text"]), regex
    assert api.complete("Hello", guided_choice=["yes", "🙂 no"], **hot)["choices"][0]["text"] in (
        "yes",
        "🙂 no",
    )
    gbnf = 'root ::= ("a" | "bc"){3} [0-9]'
    assert re.fullmatch(
        "(a|bc){3}[0-9]", api.complete("Hello", grammar=gbnf, **hot)["choices"][0]["text"]
    )


TOOL = {
    "type": "function",
    "function": {
        "name": "capital_of",
        "parameters": {
            "type": "object",
            "properties": {"country": {"type": "string", "maxLength": 12}},
            "required": ["country"],
            "additionalProperties": False,
        },
    },
}


@pytest.mark.parametrize("logprobs", [False, True])
def test_calls_that_are_demanded_come(api: Api, logprobs: bool) -> None:
    body = {"tools": [TOOL], "tool_choice": "required", "max_tokens": 120, "logprobs": logprobs}
    body |= {"temperature": 1.5, "seed": 4, "parallel_tool_calls": False}
    choice = api.chat("What is the capital of France?", **body)["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    (call,) = choice["message"]["tool_calls"]
    assert call["function"]["name"] == "capital_of"
    assert set(json.loads(call["function"]["arguments"])) == {"country"}
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    folded = api.folded("chat/completions", messages=messages, **body)["choices"][0]
    arguments = folded["message"]["tool_calls"][0]["function"]["arguments"]
    assert arguments == call["function"]["arguments"]


def test_what_no_grammar_can_hold_is_refused(api: Api) -> None:
    refused = api.refused("chat/completions", grammar='root ::= "a')
    assert refused["param"] == "grammar"


@pytest.mark.parametrize("prompt", ["Hello", "Grüße auf Französisch", "Say it with an emoji: 🙂"])
def test_log_probabilities_are_those_of_our_own_engine(
    host: MiniHost, own: LlamaCppEngine, prompt: str
) -> None:
    request = greedy(prompt, 20, logprobs=3)
    reported = [
        token for piece in read(WebuiEngine().generate(request)) for token in piece.logprobs
    ]
    expected = [token for piece in read(own.generate(request)) for token in piece.logprobs]
    assert [token.bytes for token in reported] == [token.bytes for token in expected]
    for one, other in zip(reported, expected, strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=0.02)
        assert [each.bytes for each in one.top] == [each.bytes for each in other.top]


def test_characters_in_several_tokens_are_told_token_by_token(host: MiniHost) -> None:
    """Forced by a grammar, as the model would hardly say them by itself."""
    engine = WebuiEngine()
    text = "日é🙂"
    request = greedy(grammar=f'start: "{text}"', logprobs=2)
    tokens = [token for piece in read(engine.generate(request)) for token in piece.logprobs]
    assert b"".join(token.bytes for token in tokens) == text.encode()
    assert len(tokens) > len(text)
    read_again = (*engine.tokenize("Hello"), *engine.tokenize(text))
    scores = [score for score in engine.score(read_again, 2) if score is not None]
    by_bytes = {score.bytes: score for score in scores[1:]}
    for token in tokens[:1]:
        assert token.logprob == pytest.approx(by_bytes[token.bytes].logprob, abs=0.02)
    assert all(token.logprob is not None and token.logprob < 0 for token in tokens)
    assert all(len(token.top) == 2 for token in tokens)


@pytest.mark.parametrize("seed", range(6))
def test_answers_of_any_bytes_are_told_whole(random_model: Path, seed: int) -> None:
    """Random weights say broken characters, special tokens, anything."""
    with install("2026", random_model.parent) as host:
        host.load(loader="llama.cpp")
        sampling = {"temperature": 1.0, "do_sample": True}
        request = GenerateRequest("Hello", 40, sampling, seed, logprobs=2)
        pieces = read(WebuiEngine().generate(request))
        tokens = [token for piece in pieces for token in piece.logprobs]
        output = b"".join(token.bytes for token in tokens)
        assert output.decode(errors="replace") == text_of(iter(pieces))  # type: ignore[arg-type]
        assert sum(piece.tokens for piece in pieces) == 40 or pieces[-1].finish == "stop"
        assert not vars(host).get("_failures")


def test_echoed_prompts_are_told_too(api: Api) -> None:
    whole = api.complete("Grüße", echo=True, logprobs=1, max_tokens=3, temperature=0)["choices"][0]
    tokens = whole["logprobs"]["tokens"]
    assert "".join(tokens).startswith("Grüße") or whole["text"].startswith("Grüße")
    assert whole["logprobs"]["token_logprobs"][0] is None


@pytest.mark.parametrize("tokens", [1, 2, 3, 5])
def test_a_limit_is_exact_also_inside_of_a_grammar(host: MiniHost, tokens: int) -> None:
    pieces = read(
        WebuiEngine().generate(greedy("Hello", tokens, grammar='start: "日本語 and so on"'))
    )
    assert sum(piece.tokens for piece in pieces) == tokens and pieces[-1].finish == "length"
    assert [piece.finish is not None for piece in pieces].count(True) == 1


def test_biases_hold_beside_a_grammar_and_without_one(host: MiniHost) -> None:
    engine = WebuiEngine()
    (letter,) = engine.tokenize("a")
    assert text_of(engine.generate(greedy("Hello", 3, logit_bias=((letter, 100.0),)))) == "aaa"
    grammar = "start: /[a-c]{3}/"
    plain = text_of(engine.generate(greedy(grammar=grammar)))
    ids = {engine.tokenize(text)[0] for text in {plain, plain[:1], plain[:2]}}
    other = greedy(grammar=grammar, logit_bias=tuple((id, -100.0) for id in ids))
    assert text_of(engine.generate(other)) != plain
    assert re.fullmatch("[a-c]{3}", text_of(engine.generate(other)))


def test_a_grammar_ends_where_the_end_is_banned(host: MiniHost) -> None:
    request = GenerateRequest(
        "Hello", 40, {"temperature": 0.0, "ban_eos_token": True}, 7, 'start: "yes"'
    )
    pieces = read(WebuiEngine().generate(request))
    assert text_of(iter(pieces)) == "yes" and pieces[-1].finish == "stop"  # type: ignore[arg-type]


def test_seeds_repeat_and_differ_under_a_grammar(host: MiniHost) -> None:
    def answer(seed: int) -> str:
        sampling = {"temperature": 1.5, "do_sample": True}
        request = GenerateRequest("Hello", 40, sampling, seed, "start: /[a-z]{12}/")
        return text_of(WebuiEngine().generate(request))

    assert answer(5) == answer(5)
    assert len({answer(seed) for seed in range(4)}) > 1


@pytest.mark.parametrize("grammar", [None, r"start: /(.|\n)*/"])
def test_the_pages_stop_button_does_not_stop_the_api(host: MiniHost, grammar: str | None) -> None:
    sampling = {"temperature": 0.0, "ban_eos_token": True}
    request = GenerateRequest("Hello", 60, sampling, 7, grammar)
    whole = text_of(WebuiEngine().generate(request))
    pieces = WebuiEngine().generate(request)
    first = next(piece for piece in pieces if piece is not None)
    host.shared.stop_everything = True
    assert first.text + text_of(pieces) == whole and whole


def test_closing_gives_the_generator_back(host: MiniHost) -> None:
    for grammar in (None, r"start: /(.|\n)*/"):
        sampling = {"temperature": 0.0, "ban_eos_token": True}
        pieces = WebuiEngine().generate(GenerateRequest("Hello", 400, sampling, 7, grammar))
        next(piece for piece in pieces if piece is not None)
        pieces.close()
        assert host.shared.generation_lock.acquire(timeout=PATIENCE)
        host.shared.generation_lock.release()


def test_what_is_not_ours_goes_the_hosts_own_way(host: MiniHost) -> None:
    engine = WebuiEngine()
    expected = text_of(engine.generate(greedy(tokens=8)))
    state = {**FALLBACK, **host.shared.settings, "max_new_tokens": 8, "do_sample": False}
    generate_reply = vars(host.modules["text_generation"])["generate_reply"]
    assert [*generate_reply("Hello", state, is_chat=True)][-1] == expected


def test_several_run_at_once_where_the_host_lets_them(host: MiniHost) -> None:
    host.shared.args.parallel = 2
    host.load(loader="llama.cpp")
    engine = WebuiEngine()
    assert engine.info.parallel == 2
    sampling = {"temperature": 0.0, "ban_eos_token": True}
    one = engine.generate(GenerateRequest("Hello", 300, sampling, 7))
    next(piece for piece in one if piece is not None)
    assert text_of(engine.generate(greedy(grammar='start: "yes"'))) == "yes"
    assert read(one)[-1].finish == "length"


@pytest.mark.parametrize(
    "grammar", [None, 'start: /[a-z]+/ "!"', 'start: "what is forced, then " /[a-z]+/']
)
def test_a_server_that_dies_is_one_clear_error(host: MiniHost, grammar: str | None) -> None:
    engine = WebuiEngine()
    text_of(engine.generate(greedy(tokens=2)))
    tokens = engine.tokenize("Hello")
    host.shared.model.port = 9  # nothing listens there
    with pytest.raises(EngineFailed) as caught:
        read(engine.generate(greedy(tokens, 40, grammar=grammar)))
    assert "Hello" not in str(caught.value)


def test_a_model_that_is_switched_while_a_request_waits_is_one_clear_error(host: MiniHost) -> None:
    engine = WebuiEngine()
    with host.shared.generation_lock:
        pieces = engine.generate(greedy())
        assert next(pieces) is None
        host.unload()
    with pytest.raises(ModelChanged, match="changed or unloaded"):
        read(pieces)


@pytest.fixture
def seeing(host: MiniHost, tmp_path_factory: pytest.TempPathFactory) -> Api:
    host.mmproj = tmp_path_factory.getbasetemp() / "webui-mmproj.gguf"
    if not host.mmproj.exists():
        width = read_header(next(TINY.glob("*.gguf"))).metadata["llama.embedding_length"]
        write_encoder(host.mmproj, model_width=int(str(width)))
    host.load(loader="llama.cpp")
    return Api(WebuiEngine())


def test_pictures_are_seen_and_counted(seeing: Api) -> None:
    assert {"vision", "audio"} <= set(seeing.engine.info.capabilities)
    greedy = {"temperature": 0, "max_tokens": 6}
    plain = seeing.chat(user(text("What is "), text("it?")), **greedy)
    tokens = plain["usage"]["prompt_tokens"]
    answers = []
    for colour in ("red", "blue"):
        messages = user(text("What is "), text("it?"), image(picture(colour)))
        whole = seeing.chat(messages, **greedy, logprobs=True, top_logprobs=2)
        assert whole["usage"]["prompt_tokens"] == tokens + IMAGE_TOKENS
        answers.append(whole["choices"][0]["logprobs"]["content"])
        folded = seeing.folded("chat/completions", messages=messages, **greedy)
        assert folded["choices"][0]["message"] == whole["choices"][0]["message"]
    assert answers[0] != answers[1]


def test_what_pictures_cannot_stand_beside_is_refused(seeing: Api, api: Api) -> None:
    messages = user(text("What is it?"), image(picture("red")))
    refused = seeing.refused("chat/completions", messages=messages, guided_choice=["a", "b"])
    assert refused["param"] == "messages"
    marked = user(text(f"a {webui_mark()} b"), image(picture("red")))
    refused = seeing.refused("chat/completions", messages=marked)
    assert refused["param"] == f"messages[{len(marked) - 1}].content"


def webui_mark() -> str:
    """What stands for a picture in a prompt."""
    host = sys.modules["modules.shared"]
    return str(vars(host)["model"].media_marker)


def test_without_an_encoder_pictures_are_refused(api: Api) -> None:
    messages = user(text("What is it?"), image(picture("red")))
    assert "image" in api.refused("chat/completions", messages=messages)["message"]


def test_a_server_that_tells_less_hands_over_text(host: MiniHost) -> None:
    expected = text_of(WebuiEngine().generate(greedy(tokens=8)))
    host.shared.args.ik = True
    engine = WebuiEngine()
    assert not {"logprobs", "grammar"} & set(engine.info.capabilities)
    assert text_of(engine.generate(greedy(tokens=8))) == expected
    first = engine.tokenize(expected)[0]
    banned = text_of(engine.generate(greedy(tokens=8, logit_bias=((first, -100.0),))))
    assert banned and not banned.startswith(expected[:1])
