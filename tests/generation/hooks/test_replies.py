"""Extensions that answer in the model's place, under a host that does not call them itself."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.generation.hooks.extension_hooks import Hooks
from tests.support.api import Api

CALLS: list[tuple[Any, ...]] = []


def custom_generate_reply(
    question: str, original: str, state: dict[str, Any], stops: list[str], is_chat: bool = False
) -> Iterator[str]:
    """As webuis' extensions declare it."""
    CALLS.append((question, original, state["max_new_tokens"], stops, is_chat))
    yield "From"
    yield "From elsewhere"
    yield "From elsewhere: é STOP more"


def api_of(*functions: Any, replies: bool = True, **options: Any) -> Api:
    api = Api(EchoEngine(), **options)
    named = [
        (f"e{at}", SimpleNamespace(custom_generate_reply=each)) for at, each in enumerate(functions)
    ]
    api.app.extensions["openai"].hooks = Hooks(lambda: named, replies=replies)
    CALLS.clear()
    return api


def never(*_: Any, **__: Any) -> Iterator[str]:
    raise AssertionError("only the first extension answers")


@pytest.mark.parametrize("streamed", [False, True])
def test_a_chat_is_answered_by_the_first_extension(streamed: bool) -> None:
    api = api_of(custom_generate_reply, never)
    body: dict[str, Any] = {"messages": [{"role": "user", "content": "Hi"}], "stop": "STOP"}
    whole = api.folded("chat/completions", **body) if streamed else api.chat("Hi", stop="STOP")
    choice = whole["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("From elsewhere: é ", "stop")
    ((question, original, limit, stops, is_chat),) = CALLS
    assert question == original == "<|user|>Hi<|end|><|assistant|>" and is_chat
    assert limit > 0 and stops == []


def test_a_completion_and_its_usage() -> None:
    whole = api_of(custom_generate_reply).complete("Once", max_tokens=100)
    said = "From elsewhere: é STOP more"
    assert whole["choices"][0]["text"] == said
    assert whole["usage"]["prompt_tokens"] == len("Once")
    assert whole["usage"]["completion_tokens"] == len(said.encode())
    assert CALLS[0][4] is False


def test_who_leaves_extensions_out_gets_the_model() -> None:
    api = api_of(custom_generate_reply)
    assert api.chat("Hi", hooks=False)["choices"][0]["message"]["content"] == "Hi"
    webui = api_of(custom_generate_reply, replies=False)  # there the host calls it, or not
    assert webui.chat("Hi")["choices"][0]["message"]["content"] == "Hi"
    assert not CALLS


def test_what_only_the_model_can_give_is_refused(tiny: Api) -> None:
    api = Api(tiny.engine)
    named = [("e", SimpleNamespace(custom_generate_reply=custom_generate_reply))]
    api.app.extensions["openai"].hooks = Hooks(lambda: named, replies=True)
    for more in (
        {"logprobs": True},
        {"logit_bias": {"5": 1}},
        {"response_format": {"type": "json_object"}},
    ):
        error = api.refused("chat/completions", **more)
        assert "custom_generate_reply" in error["message"], more
    assert "custom_generate_reply" in api.refused("completions", logprobs=1)["message"]


def test_one_that_fails_is_named() -> None:
    def failing(*_: Any) -> Iterator[str]:
        yield "x"
        raise ValueError("secret")

    api = api_of(failing)
    answer = api.client.post(
        "/v1/chat/completions",
        json={"model": "echo", "messages": [{"role": "user", "content": "Hi"}]},
    )
    assert answer.status_code == 500
    assert "'e0'" in answer.json["error"]["message"] and "secret" not in answer.text
