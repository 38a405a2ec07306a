"""A prompt is tokenized once, and nothing of it is kept for the next request."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.engines.tokens.context_length import RequestTokens, request_tokens
from tests.support.api import Api

LONG = "a text of many words, " * 60  # longer than what is tokenized only in doubt


@pytest.fixture
def engine(random_model: Path) -> Iterator[LlamaCppEngine]:
    engine = LlamaCppEngine(random_model, name="x", parallel=1)
    yield engine
    engine.close()


@pytest.fixture
def texts(engine: LlamaCppEngine) -> list[str]:
    """What is tokenized."""
    listener, texts = engine.model.listener, list[str]()
    ask = listener.ask

    def counted(path: str, body: dict[str, Any] | None = None) -> Any:
        if body is not None and path == "/tokenize":
            texts.append(body["content"])
        return ask(path, body)

    listener.ask = counted  # type: ignore[method-assign]
    return texts


def test_a_long_prompt_is_tokenized_once(engine: LlamaCppEngine, texts: list[str]) -> None:
    api = Api(engine)
    plain = {"max_tokens": 2, "temperature": 0, "logit_bias": {"97": 100}}  # no parts of characters
    for _ in range(2):  # the second one is not told by its time that it comes again
        texts.clear()
        api.chat(LONG, **plain)
        assert [LONG in text for text in texts] == [True]
        texts.clear()
        api.complete(LONG, **plain)
        assert texts == [LONG]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("internal/token-count", {"text": LONG}, 200),
        ("internal/logits", {"prompt": LONG[:400], "use_samplers": True}, 200),
        ("completions", {"prompt": LONG}, 400),
        ("completions", {"prompt": LONG[:400], "logit_bias": {"9999": 1}}, 400),
        ("chat/completions", {"messages": [{"role": "user", "content": LONG}]}, 400),
    ],
)
def test_nothing_is_known_after_a_request_whatever_came_of_it(
    engine: LlamaCppEngine, texts: list[str], path: str, body: dict[str, Any], status: int
) -> None:
    """Else the same text, sent with another key, would be answered sooner."""
    api, counts = Api(engine), []
    for _ in range(2):
        texts.clear()
        answer = api.client.post(f"/v1/{path}", json=body, buffered=True)
        assert answer.status_code == status, answer.text
        counts.append(list(texts))
        assert request_tokens.known is None, "no prompt stays in memory"
    first, second = counts
    assert first == second


def test_models_have_their_own_tokens_and_nothing_is_kept_beside_requests() -> None:
    asked = list[str]()

    def tokenize(text: str) -> tuple[int, ...]:
        asked.append(text)
        return tuple(text.encode())

    found, one, other = RequestTokens(), object(), object()
    assert [found.of(one, "a", tokenize) for _ in range(2)] == [(97,), (97,)]
    found.begin()
    for model in (one, one, other, one):
        assert found.of(model, "b", tokenize) == (98,)
    found.end()
    found.of(one, "b", tokenize)
    assert "".join(asked) == "aabbbb"
