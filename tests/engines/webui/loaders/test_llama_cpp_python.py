"""A webui whose loader samples in its own process, by llama-cpp-python, as until spring 2025."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from extensions.openai.engines.protocol import GenerateRequest, Piece, Pieces
from extensions.openai.engines.webui.engine import WebuiEngine
from extensions.openai.engines.webui.ui_state import FALLBACK
from extensions.openai.errors import EngineFailed
from tests.support.process import ROOT
from tests.webui_host import AGES, MiniHost, install

TINY = ROOT / "models" / "openedai-tiny"


@pytest.fixture(params=AGES)
def host(request: pytest.FixtureRequest) -> Iterator[MiniHost]:
    with install(request.param, TINY) as host:
        host.load(loader="llama-cpp-python")
        yield host


def read(pieces: Pieces) -> list[Piece]:
    return [piece for piece in pieces if piece is not None]


def text_of(pieces: Pieces) -> str:
    return "".join(piece.text for piece in read(pieces))


def greedy(prompt: Any = "Hello", tokens: int | None = 12, **more: Any) -> GenerateRequest:
    return GenerateRequest(prompt, tokens, {"do_sample": False, "temperature": 0.0}, 7, **more)


def test_answers_are_those_of_a_transformers_loader(host: MiniHost) -> None:
    """The same model, in the same arithmetic: only the way in differs."""
    requests = [
        greedy(
            "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
        ),
        greedy("Grüße 🙂", logprobs=2),
        greedy(grammar='start: "日é🙂" /[a-z]{4}/', logprobs=1),
        greedy(logit_bias=((3, -100.0), (260, 4.0))),
    ]
    ours = [read(WebuiEngine().generate(request)) for request in requests]
    host.load(loader="Transformers")
    for request, pieces in zip(requests, ours, strict=True):
        expected = read(WebuiEngine().generate(request))
        assert [piece.text for piece in pieces] == [piece.text for piece in expected]
        assert [piece.tokens for piece in pieces] == [piece.tokens for piece in expected]
        assert pieces[-1].finish == expected[-1].finish
        for one, other in zip(pieces, expected, strict=True):
            assert [token.bytes for token in one.logprobs] == [t.bytes for t in other.logprobs]
            for mine, theirs in zip(one.logprobs, other.logprobs, strict=True):
                assert mine.logprob == pytest.approx(theirs.logprob, abs=1e-3)


def test_prompts_are_scored(host: MiniHost) -> None:
    engine = WebuiEngine()
    tokens = engine.tokenize("Grüße 🙂")
    scores = [score for score in engine.score(tokens, 2) if score is not None]
    host.load(loader="Transformers")
    expected = [score for score in WebuiEngine().score(tokens, 2) if score is not None]
    for one, other in zip(scores, expected, strict=True):
        assert one.bytes == other.bytes
        assert one.logprob == pytest.approx(other.logprob, abs=1e-3)


def test_the_pages_stop_button_does_not_stop_the_api(host: MiniHost) -> None:
    sampling = {"do_sample": False, "temperature": 0.0, "ban_eos_token": True}
    request = GenerateRequest("Hello", 40, sampling, 7)
    whole = text_of(WebuiEngine().generate(request))
    pieces = WebuiEngine().generate(request)
    first = next(piece for piece in pieces if piece is not None)
    host.shared.stop_everything = True
    assert first.text + text_of(pieces) == whole


def test_what_is_not_ours_goes_the_hosts_own_way(host: MiniHost) -> None:
    expected = text_of(WebuiEngine().generate(greedy(tokens=8)))
    state = {**FALLBACK, **host.shared.settings, "max_new_tokens": 8, "do_sample": False}
    generate_reply = vars(host.modules["text_generation"])["generate_reply"]
    assert [*generate_reply("Hello", state, is_chat=True)][-1] == expected


def test_a_model_that_fails_is_one_clear_error(
    host: MiniHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **options: Any) -> Any:
        raise MemoryError("the prompt was: secret")

    monkeypatch.setattr(host.shared.model.model, "generate", fail)
    with pytest.raises(EngineFailed) as caught:
        read(WebuiEngine().generate(greedy()))
    assert "secret" not in str(caught.value)
