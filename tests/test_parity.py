"""A stream adds up to the very object that the same request gets without one.

The stream is folded here by the rules of the reference, not by our own code.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from extensions.openai.app import create_app
from extensions.openai.engines.llamacpp import LlamaCppEngine
from extensions.openai.settings import Settings
from tests.support.paced import PacedEngine
from tests.support.reference import assert_chunks, fold_chat, fold_completion, sse_chunks

COMPLETIONS: dict[str, dict[str, Any]] = {
    "plain": {"prompt": "Hello"},
    "unicode": {"prompt": "Grüße 🙂 日本", "max_tokens": 40},
    "cut in a character": {"prompt": "🙂🙂🙂🙂🙂", "max_tokens": 6},
    "length": {"prompt": "a long prompt to be continued", "max_tokens": 5},
    "one token": {"prompt": "Hello", "max_tokens": 1},
    "no token": {"prompt": ["Hello", "you"], "max_tokens": 0, "n": 2},
    "no token, echo": {"prompt": "Hello", "max_tokens": 0, "echo": True},
    "empty prompt": {"prompt": ""},
    "no prompt": {},
    "n": {"prompt": "Hello", "n": 5},
    "prompts": {"prompt": ["one", "two", "", "four", "five", "six"]},
    "prompts and n": {"prompt": ["one", "twö"], "n": 3, "echo": True},
    "tokens": {"prompt": [72, 101, 108]},
    "tokens, several": {"prompt": [[72, 101], [108]], "echo": True, "n": 2},
    "echo": {"prompt": "Hello", "echo": True},
    "stop": {"prompt": "one two three", "stop": " t"},
    "stop, several": {"prompt": ["one two", "three"], "stop": ["x", "wo", "ee"], "n": 2},
    "stop at once": {"prompt": "Hello", "stop": "H"},
    "stop held at the end": {"prompt": "0123456789abcdefg", "stop": "fgh"},
    "stop in the echo": {"prompt": "a b", "echo": True, "stop": "b"},
    "seed": {"prompt": "Hello", "seed": 7, "temperature": 1.5, "n": 2},
    "sampling": {"prompt": "Hello", "seed": 1, "top_p": 0.9, "top_k": 5, "min_p": 0.01},
}
USER = {"role": "user", "content": "Grüße 🙂 an alle"}
CHATS: dict[str, dict[str, Any]] = {
    "plain": {},
    "length": {"max_tokens": 5},
    "cut in a character": {"max_completion_tokens": 10},
    "n": {"n": 6},
    "n and length": {"n": 3, "max_tokens": 4},
    "stop": {"stop": ["an", "🙂"], "n": 2},
    "stop held at the end": {"stop": "alles"},
    "stop at once": {"stop": "G"},
    "empty": {"messages": [{"role": "user", "content": ""}]},
    "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "part"}]}]},
    "system": {"messages": [{"role": "system", "content": "Be brief."}, USER]},
    "seed": {"seed": 3, "temperature": 2, "n": 2, "max_tokens": 12},
}


def without_chance(whole: dict[str, Any]) -> dict[str, Any]:
    """What must be equal: all but the id, the time and what the cache happened to hold."""
    usage = dict(whole["usage"])
    assert set(usage.pop("prompt_tokens_details")) == {"cached_tokens"}
    return {**whole, "id": None, "created": None, "usage": usage}


def assert_parity(client: FlaskClient, url: str, body: dict[str, Any]) -> None:
    whole = client.post(url, json=body)
    assert whole.status_code == 200, whole.get_data(as_text=True)
    options = {"stream": True, "stream_options": {"include_usage": True}}
    streamed = client.post(url, json=body | options)
    assert streamed.status_code == 200, streamed.get_data(as_text=True)
    chunks = sse_chunks(streamed.data)
    assert_chunks(chunks, usage=True)
    folded = fold_chat(chunks) if "chat" in url else fold_completion(chunks)
    assert without_chance(folded) == without_chance(whole.json)
    bare = sse_chunks(client.post(url, json=body | {"stream": True}).data)
    assert_chunks(bare, usage=False)


def paced(settings: Settings) -> Flask:
    return create_app(settings, PacedEngine(["a", "", "é\n", " STOP"], parallel=2))


@pytest.mark.parametrize("case", COMPLETIONS)
def test_completions_of_echo(client: FlaskClient, case: str) -> None:
    assert_parity(client, "/v1/completions", {"model": "echo", **COMPLETIONS[case]})


@pytest.mark.parametrize("case", CHATS)
def test_chats_of_echo(client: FlaskClient, case: str) -> None:
    assert_parity(
        client, "/v1/chat/completions", {"model": "echo", "messages": [USER], **CHATS[case]}
    )


@pytest.mark.parametrize("case", COMPLETIONS)
def test_completions_of_a_paced_engine(settings: Settings, case: str) -> None:
    body = {"model": "paced", **COMPLETIONS[case]}
    assert_parity(paced(settings).test_client(), "/v1/completions", body)


@pytest.fixture(scope="module")
def random_client(random_model: Path) -> Iterator[FlaskClient]:
    """One answer at a time: what runs beside an answer changes its last digits, and by that chance."""
    engine = LlamaCppEngine(random_model, name="random", threads=1, parallel=1)
    yield create_app(Settings(), engine).test_client()
    engine.close()


@pytest.mark.parametrize("sampling", [{"temperature": 0}, {"temperature": 1, "seed": 11}])
@pytest.mark.parametrize("case", COMPLETIONS)
def test_completions_of_a_model(
    random_client: FlaskClient, case: str, sampling: dict[str, Any]
) -> None:
    """Random weights say random bytes: broken characters, control characters, special tokens."""
    body = {"model": "random", "max_tokens": 60, **COMPLETIONS[case], **sampling}
    assert_parity(random_client, "/v1/completions", body)


@pytest.mark.parametrize("sampling", [{"temperature": 0}, {"temperature": 1, "seed": 11}])
@pytest.mark.parametrize("case", CHATS)
def test_chats_of_a_model(random_client: FlaskClient, case: str, sampling: dict[str, Any]) -> None:
    body = {"model": "random", "messages": [USER], "max_tokens": 60, **CHATS[case], **sampling}
    if "max_completion_tokens" in body:
        del body["max_tokens"]
    assert_parity(random_client, "/v1/chat/completions", body)


@pytest.mark.parametrize("stop", ["\n", "a", ["e", "\x00", "he"], "\ufffd"])
@pytest.mark.parametrize("seed", range(5))
def test_stop_strings_never_show_in_what_a_model_says(
    random_client: FlaskClient, seed: int, stop: Any
) -> None:
    body = {"model": "random", "prompt": "x", "max_tokens": 80, "seed": seed, "stop": stop, "n": 2}
    whole = random_client.post("/v1/completions", json=body).json
    for choice in whole["choices"]:
        assert not any(
            each in choice["text"] for each in ([stop] if isinstance(stop, str) else stop)
        )
    assert_parity(random_client, "/v1/completions", body)


@pytest.mark.parametrize("page", ["completions", "chat/completions"])
def test_several_greedy_choices_at_once(llamacpp: LlamaCppEngine, page: str) -> None:
    body: dict[str, Any] = {"model": "random", "n": 3, "temperature": 0, "max_tokens": 20}
    body |= {"messages": [USER]} if "chat" in page else {"prompt": ["one", "two"]}
    assert_parity(create_app(Settings(), llamacpp).test_client(), f"/v1/{page}", body)
