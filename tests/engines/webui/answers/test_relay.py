"""Extensions that generate in the model's place (`custom_generate_reply`), or pass on what it says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from extensions.openai.engines.protocol import GenerateRequest, Piece, Pieces
from extensions.openai.engines.webui.answers import relay
from extensions.openai.engines.webui.engine import WebuiEngine
from extensions.openai.errors import EngineFailed, InvalidRequest
from tests.support.api import Api
from tests.support.process import ROOT
from tests.webui_host import MiniHost, install

TINY = ROOT / "models" / "openedai-tiny"
LOADERS = ("Transformers", "llama.cpp", "llama-cpp-python", "ExLlamav3", "ExLlamav3, one by one")
WAITING = "Once upon a time there was a"


@pytest.fixture(params=LOADERS)
def host(request: pytest.FixtureRequest) -> Iterator[MiniHost]:
    with install("2026", TINY) as host:
        host.load(loader=request.param)
        yield host


@pytest.fixture
def modern() -> Iterator[MiniHost]:
    with install("2026", TINY) as host:
        host.load()
        yield host


@pytest.fixture(autouse=True)
def no_extension_has_contradicted_itself() -> Iterator[None]:
    relay.contradicting.clear()
    yield
    relay.contradicting.clear()


Reply = Callable[..., Iterator[str]]


def replying(host: MiniHost, reply: Callable[[Reply, str, Any], Iterator[str]]) -> None:
    """Load an extension that generates so: given the host's function, the question and the state."""

    def custom_generate_reply(
        question: str, original: str, state: Any, stops: Any = None, is_chat: bool = False
    ) -> Iterator[str]:
        module: Any = host.modules["text_generation"]
        stepwise = type(host.shared.model).__name__ == "NumpyLlama"
        own = module.generate_reply_HF if stepwise else module.generate_reply_custom

        def generate(question: str, state: Any) -> Iterator[str]:
            return iter(own(question, original, state, stops, is_chat=is_chat))

        yield from reply(generate, question, state)

    host.extend(relay=SimpleNamespace(custom_generate_reply=custom_generate_reply))


def passing(generate: Reply, question: str, state: Any) -> Iterator[str]:
    yield from generate(question, state)


def read(pieces: Pieces) -> list[Piece]:
    return [piece for piece in pieces if piece is not None]


def reported(pieces: list[Piece]) -> tuple[Any, ...]:
    """What clients get of an answer."""
    tokens = tuple(token for piece in pieces for token in piece.logprobs)
    prompt = next(piece.prompt for piece in pieces if piece.prompt)
    counted = sum(piece.tokens for piece in pieces)
    return "".join(piece.text for piece in pieces), tokens, counted, prompt, pieces[-1].finish


def greedy(prompt: str = WAITING, tokens: int = 24, **more: Any) -> GenerateRequest:
    return GenerateRequest(prompt, tokens, {"do_sample": False, "temperature": 0.0}, 7, **more)


@pytest.mark.parametrize("whole", [False, True])
def test_what_an_extension_passes_on_stays_exact(host: MiniHost, whole: bool) -> None:
    engine = WebuiEngine()
    (letter,) = engine.tokenize("a")
    requests = [
        greedy(logprobs=2, unstreamed=whole),
        greedy("Hello! What can you do?", 60, unstreamed=whole),
        greedy(tokens=5, logit_bias=((letter, 100.0),), unstreamed=whole),
        greedy(grammar='start: "yes" | "no"', logprobs=0, unstreamed=whole),
        greedy("Grüße 🙂 äöü 日本", 20, logprobs=1, unstreamed=whole),
    ]
    expected = [reported(read(engine.generate(request))) for request in requests]
    capabilities = engine.info.capabilities
    replying(host, passing)
    assert engine.info.capabilities == capabilities
    assert [reported(read(engine.generate(request))) for request in requests] == expected
    assert expected[2][0] == "aaaaa" and expected[3][0] in ("yes", "no")


def test_what_an_extension_passes_on_is_streamed(host: MiniHost) -> None:
    replying(host, passing)
    heard: list[str] = []
    pieces = WebuiEngine().generate(greedy(tokens=40))
    for piece in pieces:
        if piece is not None and piece.text:
            heard.append(piece.text)
    assert len(heard) > 10


def test_schemas_and_demanded_calls_pass(host: MiniHost) -> None:
    replying(host, passing)
    api = Api(WebuiEngine())
    schema = {
        "type": "object",
        "properties": {"size": {"enum": ["S", "L"]}},
        "required": ["size"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer = api.chat("Hi", response_format=form, max_tokens=60, temperature=0)
    assert json.loads(answer["choices"][0]["message"]["content"])["size"] in ("S", "L")
    tool = {"type": "function", "function": {"name": "pick", "parameters": schema}}
    answer = api.chat("Hi", tools=[tool], tool_choice="required", max_tokens=60, temperature=0)
    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"])["size"] in ("S", "L")


@pytest.mark.parametrize("field", ["logprobs", "logit_bias", "grammar"])
def test_where_an_extension_generates_by_itself_the_400_names_it(
    host: MiniHost, field: str
) -> None:
    replying(host, lambda generate, question, state: iter(("Let me see...", "I say so.")))
    engine = WebuiEngine()
    wanted: dict[str, Any] = {"logprobs": 0, "logit_bias": ((5, 1.0),), "grammar": 'start: "yes"'}
    with pytest.raises(InvalidRequest, match=r"extension 'relay'.*custom_generate_reply"):
        read(engine.generate(greedy(**{field: wanted[field]})))
    text, _, counted, prompt, finish = reported(read(engine.generate(greedy())))
    assert (text, finish) == ("I say so.", "stop")
    assert counted == len(engine.tokenize("I say so.")) and prompt.tokens == len(
        engine.tokenize(WAITING)
    )


def test_the_400_comes_before_anything_is_sent(modern: MiniHost) -> None:
    replying(modern, lambda generate, question, state: iter(("I say so.",)))
    refused = Api(WebuiEngine()).refused("completions", prompt="Hello", logprobs=1)
    assert refused["param"] == "logprobs" and "relay" in refused["message"]


def rewriting(generate: Reply, question: str, state: Any) -> Iterator[str]:
    for output in generate(question, state):
        yield output.upper()


def appending(generate: Reply, question: str, state: Any) -> Iterator[str]:
    output = ""
    for output in generate(question, state):
        yield output
    yield output + " (Source: nobody)"


def asking_twice(generate: Reply, question: str, state: Any) -> Iterator[str]:
    """As one does that looks up what the model asks for."""
    output = ""
    for output in generate(question, state):
        yield output
    for more in generate(question + output + " So", state):
        yield output + " So" + more


def cutting(generate: Reply, question: str, state: Any) -> Iterator[str]:
    """Ends the model's answer before its time."""
    replies = generate(question, state)
    for output in replies:
        yield output
        if len(output) > 12:
            break
    replies.close()  # type: ignore[attr-defined]


def resuming(generate: Reply, question: str, state: Any) -> Iterator[str]:
    """Ends it, and has the model go on with another prompt, as a lorebook does."""
    begin = ""
    replies = generate(question, state)
    for begin in replies:
        yield begin
        if len(begin) > 12:
            break
    replies.close()  # type: ignore[attr-defined]
    for output in generate("Lore. " + question + begin, state):
        yield begin + output


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("reply", [rewriting, appending, asking_twice, cutting, resuming])
def test_what_an_extension_makes_of_it_is_the_answer(
    host: MiniHost, whole: bool, reply: Callable[..., Iterator[str]]
) -> None:
    output: list[str] = []

    def noting(generate: Reply, question: str, state: Any) -> Iterator[str]:
        for each in reply(generate, question, state):
            output.append(each)
            yield each

    replying(host, noting)
    engine = WebuiEngine()
    text, _, counted, _, finish = reported(
        read(engine.generate(greedy(tokens=12, unstreamed=whole)))
    )
    assert text.strip() == output[-1].strip() and counted > 0
    if reply not in (resuming, cutting):  # a fast model may be at its end before it is interrupted
        assert finish == ("length" if reply in (appending, asking_twice) else "stop")
    # The host is free again, and the next answer is right.
    host.extend()
    assert reported(read(engine.generate(greedy(tokens=4))))[2] == 4


def test_what_it_changes_has_no_log_probabilities_and_keeps_to_no_form(host: MiniHost) -> None:
    replying(host, rewriting)
    engine = WebuiEngine()
    for more in ({"logprobs": 1}, {"grammar": 'start: "yes, of course"'}):
        with pytest.raises(InvalidRequest, match="relay"):
            read(engine.generate(greedy(unstreamed=True, **more)))
    replying(host, appending)
    with pytest.raises((InvalidRequest, EngineFailed), match="relay"):
        read(engine.generate(greedy(grammar='start: "yes"')))
    tokens = reported(read(engine.generate(greedy(logprobs=1, tokens=6))))[1]
    assert len(tokens) == 6, "what is added has none, what was said has"


def test_a_changed_prompt_is_the_one_that_is_continued(host: MiniHost) -> None:
    def inserting(generate: Reply, question: str, state: Any) -> Iterator[str]:
        yield from generate(f"It is late. {question}", state)

    engine = WebuiEngine()
    expected = reported(read(engine.generate(greedy(f"It is late. {WAITING}", logprobs=0))))
    replying(host, inserting)
    assert reported(read(engine.generate(greedy(logprobs=0))))[:3] == expected[:3]


def test_text_that_was_sent_and_is_changed_is_told_of_once(
    modern: MiniHost, caplog: pytest.LogCaptureFixture
) -> None:
    def late(generate: Reply, question: str, state: Any) -> Iterator[str]:
        output = ""
        for output in generate(question, state):
            yield output
        yield f"Answer: {output}"

    engine = WebuiEngine()
    plain = reported(read(engine.generate(greedy())))[0]
    replying(modern, late)
    assert reported(read(engine.generate(greedy(unstreamed=True))))[0] == f"Answer: {plain}"
    assert not relay.contradicting
    assert reported(read(engine.generate(greedy())))[0].startswith(plain)
    assert "relay" in caplog.text
    assert reported(read(engine.generate(greedy())))[0] == f"Answer: {plain}"


def test_an_extension_that_fails_is_one_clear_error_that_names_it(modern: MiniHost) -> None:
    def failing(generate: Reply, question: str, state: Any) -> Iterator[str]:
        yield next(iter(generate(question, state)))
        raise KeyError("secret")

    replying(modern, failing)
    engine = WebuiEngine()
    with pytest.raises(EngineFailed, match=r"'relay'.*KeyError") as caught:
        read(engine.generate(greedy()))
    assert "secret" not in str(caught.value)
    modern.extend()
    assert read(engine.generate(greedy(tokens=2)))


def test_a_model_that_fails_below_an_extension_is_an_error(
    modern: MiniHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    replying(modern, passing)

    def fail(*_: Any, **__: Any) -> Any:
        raise MemoryError("no room")

    monkeypatch.setattr(type(modern.shared.model), "read", fail)
    with pytest.raises(EngineFailed):
        read(WebuiEngine().generate(greedy()))


def test_a_client_that_leaves_ends_the_work(host: MiniHost) -> None:
    replying(host, passing)
    engine = WebuiEngine()
    pieces = engine.generate(GenerateRequest("Hello", 400, {"ban_eos_token": True}, 7))
    while (piece := next(pieces)) is None or not piece.text:
        pass
    pieces.close()
    assert reported(read(engine.generate(greedy(tokens=3))))[2] == 3


def test_the_pages_own_generation_is_left_alone(host: MiniHost) -> None:
    """It goes through the same extension, without a request to the API."""
    from tests.engines.webui.test_engine import InTheUI

    replying(host, passing)
    ui = InTheUI(host)
    assert ui.join()
    assert reported(read(WebuiEngine().generate(greedy(tokens=3))))[2] == 3
