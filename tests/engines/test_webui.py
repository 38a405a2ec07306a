"""A webui's model through its own modules: who may stop whom, models that come and go, exact answers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from extensions.openai.engines import template
from extensions.openai.engines.base import (
    ChatRequest,
    GenerateRequest,
    Message,
    Piece,
    Pieces,
    Tool,
    ToolCall,
)
from extensions.openai.engines.gguf import read_header
from extensions.openai.engines.llamacpp import LlamaCppEngine
from extensions.openai.engines.vocabulary import read_vocabulary, vocabulary_of
from extensions.openai.engines.webui import FALLBACK, WebuiEngine
from extensions.openai.errors import EngineFailed, ModelLoading
from extensions.openai.generation.prompted import PromptedChat
from tests.support.api import Api
from tests.support.process import ROOT
from tests.webui_host import AGES, MiniHost, install

TINY = ROOT / "models" / "openedai-tiny"
PATIENCE = 20.0  # seconds, on a busy machine


@pytest.fixture(params=AGES)
def host(request: pytest.FixtureRequest) -> Iterator[MiniHost]:
    with install(request.param, TINY) as host:
        host.load()
        yield host


@pytest.fixture
def modern() -> Iterator[MiniHost]:
    with install("2026", TINY) as host:
        host.load()
        yield host


def read(pieces: Pieces) -> list[Piece]:
    return [piece for piece in pieces if piece is not None]


def text_of(pieces: Pieces) -> str:
    return "".join(piece.text for piece in read(pieces))


def greedy(prompt: Any = "Hello", tokens: int | None = 8, **more: Any) -> GenerateRequest:
    return GenerateRequest(prompt, tokens, {"do_sample": False, "temperature": 0.0}, 7, **more)


class InThePage:
    """Somebody generates in the host's own page."""

    def __init__(self, host: MiniHost, tokens: int) -> None:
        self.texts: list[str] = []
        state = {**host.shared.settings, "max_new_tokens": tokens, "ban_eos_token": True}
        generate_reply = vars(host.modules["text_generation"])["generate_reply"]
        self._replies = generate_reply("Hello", {**FALLBACK, **state}, is_chat=True)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        self.wait_for(lambda: bool(self.texts))

    def _read(self) -> None:
        for text in self._replies:
            self.texts.append(text)

    @staticmethod
    def wait_for(condition: Any) -> None:
        until = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < until
            time.sleep(0.01)

    def join(self) -> str:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        return self.texts[-1]


def test_without_a_model_it_is_loading_and_a_new_one_is_seen_at_once(host: MiniHost) -> None:
    engine = WebuiEngine()
    assert engine.info.model == "tiny"
    host.load("other")
    assert engine.info.model == "other"
    before = engine.info.fingerprint
    host.unload()
    for ask in (
        lambda: engine.info,
        lambda: engine.tokenize("a"),
        lambda: read(engine.generate(greedy())),
    ):
        with pytest.raises(ModelLoading):
            ask()
    host.load("third")
    assert engine.info.model == "third" and engine.info.fingerprint != before
    assert text_of(engine.generate(greedy()))


def test_a_request_waits_for_the_page_and_leaves_it_alone(host: MiniHost) -> None:
    page = InThePage(host, 450)
    pieces = WebuiEngine().generate(greedy())
    assert next(pieces) is None
    pieces.close()
    whole = page.join()
    again = InThePage(host, 450).join()
    assert len(whole) > 100 and len(again) > 100
    assert not host.shared.stop_everything
    assert len(read(WebuiEngine().generate(greedy(tokens=4)))) == 4


def test_the_pages_stop_button_does_not_stop_the_api(host: MiniHost) -> None:
    engine = WebuiEngine()
    request = GenerateRequest("Hello", 60, {"do_sample": False, "ban_eos_token": True}, 7)
    whole = text_of(engine.generate(request))
    pieces = engine.generate(request)
    first = next(piece for piece in pieces if piece is not None)
    host.shared.stop_everything = True
    rest = read(pieces)
    assert first.text + "".join(piece.text for piece in rest) == whole
    assert rest[-1].finish == "length"


def test_closing_gives_the_generator_back_to_the_page(host: MiniHost) -> None:
    pieces = WebuiEngine().generate(
        GenerateRequest("Hello", 500, {"do_sample": False, "ban_eos_token": True}, 7)
    )
    next(piece for piece in pieces if piece is not None)
    pieces.close()
    began = time.monotonic()
    assert host.shared.generation_lock.acquire(timeout=2.0)
    host.shared.generation_lock.release()
    assert time.monotonic() - began < 2.0
    assert not host.shared.stop_everything


def test_a_model_that_is_switched_while_a_request_waits_is_one_clear_error(host: MiniHost) -> None:
    page = InThePage(host, 450)
    engine = WebuiEngine()
    pieces = engine.generate(greedy())
    assert next(pieces) is None
    host.load("other")
    with pytest.raises(EngineFailed, match="switched or unloaded"):
        read(pieces)
    page.join()
    assert text_of(engine.generate(greedy()))


def test_an_answer_under_way_ends_well_on_the_model_it_began_with(host: MiniHost) -> None:
    engine = WebuiEngine()
    request = GenerateRequest("Hello", 40, {"do_sample": False, "ban_eos_token": True}, 7)
    whole = text_of(engine.generate(request))
    pieces = engine.generate(request)
    first = next(piece for piece in pieces if piece is not None)
    host.unload()
    assert first.text + text_of(pieces) == whole


def test_a_model_that_fails_is_one_clear_error(host: MiniHost) -> None:
    def fail(*args: Any, **options: Any) -> Any:
        raise MemoryError("the prompt was: secret")

    host.shared.model.generate = fail
    with pytest.raises(EngineFailed) as caught:
        read(WebuiEngine().generate(greedy()))
    assert "secret" not in str(caught.value)
    host.load()
    assert text_of(WebuiEngine().generate(greedy()))


def test_missing_settings_are_filled_in(host: MiniHost) -> None:
    host.shared.settings = {"truncation_length": 256}
    assert len(read(WebuiEngine().generate(greedy(tokens=4)))) == 4


def test_seeds_repeat_and_differ(host: MiniHost) -> None:
    def answer(seed: int) -> str:
        sampling = {"temperature": 1.5, "do_sample": True, "ban_eos_token": True}
        return text_of(WebuiEngine().generate(GenerateRequest("Hello", 12, sampling, seed)))

    assert answer(5) == answer(5)
    assert len({answer(seed) for seed in range(4)}) > 1


def test_log_probabilities_are_those_of_the_sampled_tokens(host: MiniHost) -> None:
    """A banned favourite: the sampled token is another one, and both keep their own probability."""
    engine = WebuiEngine()
    plain = read(engine.generate(greedy(tokens=1, logprobs=3)))[0].logprobs[0]
    favourite = engine.tokenize(plain.bytes.decode())[0]
    request = greedy(tokens=1, logprobs=3, logit_bias=((favourite, -100.0),))
    other = read(engine.generate(request))[0].logprobs[0]
    assert plain.top[0].bytes == plain.bytes and other.bytes != plain.bytes
    assert other.top == plain.top
    assert (
        other.logprob == pytest.approx(plain.top[1].logprob) and other.bytes == plain.top[1].bytes
    )
    tokens = np.array([engine.tokenize("Hello")])
    logits = host.shared.model(tokens).logits[0, -1].astype(np.float64)
    expected = logits[favourite] - np.log(np.exp(logits).sum())
    assert plain.logprob == pytest.approx(expected, abs=1e-4)


def test_the_answer_is_scored_as_it_was_sampled(modern: MiniHost) -> None:
    engine = WebuiEngine()
    answer = [t for p in read(engine.generate(greedy(tokens=6, logprobs=0))) for t in p.logprobs]
    prompt = engine.tokenize("Hello")
    said = engine.tokenize("Hello" + b"".join(t.bytes for t in answer).decode())
    if said[: len(prompt)] != prompt or len(said) != len(prompt) + len(answer):
        pytest.skip("these tokens are not those that the text is split into")
    scores = [score for score in engine.score(said, 0) if score is not None]
    for token, score in zip(answer, scores[len(prompt) :], strict=True):
        assert token.logprob == pytest.approx(score.logprob, abs=1e-3)


def test_what_extensions_do_to_logits_is_done(modern: MiniHost) -> None:
    class Extension:
        @staticmethod
        def logits_processor_modifier(processors: list[Any], input_ids: Any) -> None:
            def only(tokens: Any, scores: Any) -> Any:
                scores = np.full_like(scores, -np.inf)
                scores[0, letter] = 0
                return scores

            processors.append(only)

    (letter,) = WebuiEngine().tokenize("a")
    modern.extend(loud=Extension)
    assert text_of(WebuiEngine().generate(greedy(tokens=4))) == "aaaa"


def test_what_an_extension_generates_is_the_answer_when_it_is_whole(modern: MiniHost) -> None:
    class Extension:
        @staticmethod
        def custom_generate_reply(
            question: str, original: str, state: Any, stops: Any, is_chat: bool = False
        ) -> Iterator[str]:
            yield "Let me see..."
            yield f"You said: {question}"

    modern.extend(own=Extension)
    engine = WebuiEngine()
    assert "grammar" not in engine.info.capabilities
    pieces = read(engine.generate(greedy("Hello there", 50)))
    assert "".join(piece.text for piece in pieces) == "You said: Hello there"
    assert sum(piece.tokens for piece in pieces) == len(engine.tokenize("You said: Hello there"))


CONVERSATION = (
    Message("system", "Be brief."),
    Message("user", "Grüße & <b>Küsse</b>"),
    Message("assistant", None, tool_calls=(ToolCall("call_1", "add", '{"a": 1, "b": [2]}'),)),
    Message("tool", "3", tool_call_id="call_1"),
    Message("assistant", "It is 3."),
    Message("user", "Thanks!"),
)
TOOLS = (Tool("add", "Adds.", {"type": "object", "properties": {"a": {"type": "number"}}}),)


@pytest.mark.parametrize("tools", [(), TOOLS])
@pytest.mark.parametrize("messages", [CONVERSATION[:2], CONVERSATION])
def test_prompts_are_those_that_llama_cpp_makes(
    host: MiniHost, tiny: Api, messages: tuple[Message, ...], tools: tuple[Tool, ...]
) -> None:
    request = ChatRequest(messages, tools=tools)
    assert isinstance(tiny.engine, LlamaCppEngine)
    assert WebuiEngine().render(request) == tiny.engine.render(request)


def test_the_vocabulary_is_that_of_the_gguf_file(modern: MiniHost) -> None:
    file = read_vocabulary(read_header(next(TINY.glob("*.gguf"))))
    read = vocabulary_of(modern.shared.tokenizer)
    assert read.tokens == file.tokens and read.names == file.names and read.special == file.special


@pytest.mark.parametrize(
    ("source", "ends"),
    [
        ("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}",
         ("<|im_end|>",)),
        ("{% for m in messages %}### {{ m.role }}:\n{{ m.content }}\n\n{% endfor %}", ("### user:",)),
        ("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", ("\nuser:",)),
        ("{{ raise_exception('no') }}", ()),
    ],
)  # fmt: skip
def test_a_template_tells_what_ends_a_turn(source: str, ends: tuple[str, ...]) -> None:
    found = template.turn_ends(source, {})
    assert all(any(end in each for each in found) for end in ends), found
    assert bool(found) == bool(ends)


@pytest.mark.parametrize("loader", ["Transformers", "llama.cpp"])
def test_pages_answer_from_it(modern: MiniHost, loader: str) -> None:
    modern.load(loader=loader)
    api = Api(PromptedChat(WebuiEngine()))
    answer = api.chat("Hello!", max_tokens=12, temperature=0)
    assert answer["choices"][0]["message"]["content"]
    assert 0 < answer["usage"]["completion_tokens"] <= 12
