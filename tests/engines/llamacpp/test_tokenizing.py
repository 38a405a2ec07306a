"""A prompt is tokenized once, and nothing of it is kept for the next request."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from tests.support.api import Api

LONG = "a text of many words, " * 60  # longer than what is tokenized only in doubt


@pytest.fixture
def engine(random_model: Path) -> Iterator[LlamaCppEngine]:
    engine = LlamaCppEngine(random_model, name="x", parallel=1)
    yield engine
    engine.close()


def test_a_long_prompt_is_tokenized_once(engine: LlamaCppEngine) -> None:
    api, listener, texts = Api(engine), engine.model.listener, list[str]()
    ask = listener.ask

    def counted(path: str, body: dict[str, Any] | None = None) -> Any:
        if body is not None and path == "/tokenize":
            texts.append(body["content"])
        return ask(path, body)

    plain = {"max_tokens": 2, "temperature": 0, "logit_bias": {"97": 100}}  # no parts of characters
    listener.ask = counted  # type: ignore[method-assign]
    for _ in range(2):  # the second one is not told by its time that it comes again
        texts.clear()
        api.chat(LONG, **plain)
        assert [LONG in text for text in texts] == [True]
        texts.clear()
        api.complete(LONG, **plain)
        assert texts == [LONG]
    engine.tokenize(LONG)
    engine.tokenize("another")
    texts.clear()
    assert engine.tokenize("another") == engine.tokenize("another") and not texts
    assert engine.tokenize(LONG) != engine.tokenize("another") and texts == [LONG, "another"]
