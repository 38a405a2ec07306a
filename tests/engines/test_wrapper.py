"""An engine in front of another one passes everything on, and nobody has to have everything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from extensions.openai.engines import protocol
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.protocol import (
    ChatRequest,
    Engine,
    GenerateRequest,
    Message,
    RepositoryFile,
    Scores,
    TokenLogprob,
)
from extensions.openai.engines.swappable import SwappableEngine
from extensions.openai.engines.wrapper import EngineWrapper
from extensions.openai.errors import EngineFailed
from tests.support.abilities import infill, score


class Front(EngineWrapper):
    def __init__(self, engine: Engine) -> None:
        self._behind = engine

    @property
    def _inner(self) -> Engine:
        return self._behind


class Able(EchoEngine):
    """Has what only some engines have."""

    closed = 0

    def score(self, tokens: Sequence[int], alternatives: int) -> Scores:
        for token in tokens:
            yield TokenLogprob(bytes([token]), -float(alternatives))

    def infill(self, before: str | tuple[int, ...], after: str) -> tuple[int, ...]:
        return (*(before.encode() if isinstance(before, str) else before), 0, *after.encode())

    def repository(self, files: Sequence[RepositoryFile]) -> tuple[int, ...]:
        return tuple(b"".join(each.text.encode() for each in files))

    def close(self) -> None:
        self.closed += 1


def swappable(engine: Engine) -> SwappableEngine:
    front = SwappableEngine()
    front.set(engine)
    return front


FRONTS = pytest.mark.parametrize("front_of", [Front, swappable])


@FRONTS
def test_all_that_an_engine_does_is_passed_on(front_of: Any) -> None:
    engine = Able(name="behind")
    front = front_of(engine)
    chat = ChatRequest((Message("user", "Hi"),))
    assert front.info is engine.info
    assert front.render(chat) == engine.render(chat)
    assert front.turn_ends(chat) == engine.turn_ends(chat)
    assert front.tokenize("hé") == engine.tokenize("hé")
    assert front.detokenize((104, 105)) == "hi"
    assert list(front.generate(GenerateRequest("hi"))) == list(
        engine.generate(GenerateRequest("hi"))
    )
    assert list(score(front, (1, 2), 3)) == list(engine.score((1, 2), 3))
    assert infill(front, "a", "b") == (97, 0, 98)
    front.close()
    assert engine.closed == 1


@FRONTS
def test_what_the_engine_lacks_is_said_and_not_guessed(front_of: Any) -> None:
    for engine in (EchoEngine(), front_of(EchoEngine())):
        with pytest.raises(EngineFailed, match="does not support Scorer"):
            list(score(engine, (1,), 0))
        with pytest.raises(EngineFailed, match="does not support Infill"):
            infill(engine, "a", "b")


def test_no_method_of_the_protocols_is_forgotten() -> None:
    parts = (*(protocol.TextEngine, protocol.ChatEngine, protocol.Tokenizer, protocol.Forwarding),)
    methods = {name for part in parts for name in vars(part) if not name.startswith("_")}
    assert {"info", "generate", "run", "ask", "close"} <= methods
    assert methods <= vars(EngineWrapper).keys()
