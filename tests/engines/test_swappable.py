"""The engine that is not there yet."""

from __future__ import annotations

import pytest

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.protocol import ChatRequest, GenerateRequest, Message
from extensions.openai.engines.swappable import SwappableEngine
from extensions.openai.errors import ModelLoading


class Closing(EchoEngine):
    """Counts how often it is closed."""

    closed = 0

    def close(self) -> None:
        self.closed += 1


def test_everything_says_that_the_model_is_loading() -> None:
    engine = SwappableEngine()
    for call in (
        lambda: engine.info,
        lambda: next(engine.generate(GenerateRequest("x"))),
        lambda: engine.render(ChatRequest((Message("user", "x"),))),
        lambda: engine.tokenize("x"),
        lambda: engine.detokenize((1,)),
    ):
        with pytest.raises(ModelLoading):
            call()
    assert ModelLoading("x").status == 503


def test_once_set_it_is_the_engine() -> None:
    engine = SwappableEngine()
    engine.set(EchoEngine(name="a"))
    assert engine.info.model == "a"
    assert engine.detokenize(engine.tokenize("hé")) == "hé"
    pieces = engine.generate(GenerateRequest("hi", 5))
    assert "".join(piece.text for piece in pieces if piece) == "hi"


def test_the_engine_before_is_closed_once() -> None:
    engine, first, second = SwappableEngine(), Closing(name="a"), Closing(name="b")
    engine.set(first)
    engine.set(second)
    assert (first.closed, second.closed) == (1, 0)
    assert engine.info.model == "b"
    engine.close()
    engine.close()
    assert (first.closed, second.closed) == (1, 1)
    with pytest.raises(ModelLoading):
        engine.info  # noqa: B018


def test_setting_the_same_engine_again_keeps_it_open() -> None:
    engine, only = SwappableEngine(), Closing()
    engine.set(only)
    engine.set(only)
    assert only.closed == 0
