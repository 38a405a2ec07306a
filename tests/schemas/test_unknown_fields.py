"""Fields that a request's class does not declare are named and have no effect: no code can read them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from extensions.openai.completions import CompletionRequest
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.generation.chat.request import ChatCompletionRequest
from extensions.openai.generation.sampling.policy import Policy
from extensions.openai.generation.sampling.profiles import to_native
from extensions.openai.generation.sampling.table import PARAMETERS
from extensions.openai.limits.token_estimate import expected_tokens
from extensions.openai.schemas.validation import RequestModel, check
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app

INFO = EchoEngine().info
WRONG: tuple[Any, ...] = (5, "many", [1], {"a": 1}, True)


class Plain(RequestModel):
    """A body that declares one field."""

    model_name: str | None = None


@pytest.mark.parametrize("value", WRONG)
@pytest.mark.parametrize("name", ["user", "prompt", "model_dump", "__dict__", "_private"])
def test_no_attribute_comes_of_one(name: str, value: Any) -> None:
    with_it, without = (check(Plain, {"model_name": "x", **more}) for more in ({name: value}, {}))
    assert with_it.model_extra == {name: value}
    assert hasattr(with_it, name) == hasattr(without, name)
    assert getattr(with_it, name, None) != value
    assert with_it.model_fields_set == {"model_name"}
    assert dict(with_it) == {"model_name": "x"}


@pytest.mark.parametrize("value", [*WRONG, "bob", None])
def test_the_pipeline_reads_no_user_where_none_is_declared(value: Any) -> None:
    app = create_app(Settings(api_key="secret", user_limits={"rpm": 5}), EchoEngine())
    client = app.test_client()

    def ask(body: dict[str, Any]) -> Any:
        return client.post(
            "/v1/internal/model/load",
            data=json.dumps({"model_name": "x", **body}),
            headers={"Authorization": "Bearer secret", "Content-Type": "application/json"},
        )

    plain, answer = ask({}), ask({"user": value})
    assert plain.status_code == 400 and plain.json["error"]["code"] == "not_supported"
    assert (answer.status_code, answer.json) == (plain.status_code, plain.json)
    assert answer.headers.get("x-openedai-ignored") == (None if value is None else "user")


@pytest.mark.parametrize("value", WRONG)
@pytest.mark.parametrize("name", ["prompt", "input", "messages", "suffix", "n", "best_of"])
def test_the_estimate_counts_none(name: str, value: Any) -> None:
    assert expected_tokens(check(Plain, {"model_name": "x", name: value})) == 0


def test_the_estimate_counts_none_inside_of_messages() -> None:
    def size(**more: str) -> int:
        messages = [{"role": "user", "content": "Hello", **more}]
        return expected_tokens(check(ChatCompletionRequest, {"messages": messages}))

    assert size(notes="word " * 400) == size()


@pytest.mark.parametrize("value", WRONG)
@pytest.mark.parametrize("name", [row.name for row in PARAMETERS])
def test_no_sampler_is_sent_one(name: str, value: Any) -> None:
    for sampler in ("llama.cpp", "webui", "webui-2023"):
        info = replace(INFO, sampler=sampler)
        body = check(Plain, {"model_name": "x", name: value})
        assert to_native(body, info) == to_native(Plain(model_name="x"), info)


def test_no_sampler_is_sent_one_that_stands_for_a_row() -> None:
    """A chat has no best_of; as one that changes nothing, it is let through."""
    info = replace(INFO, sampler="webui-2023")
    output = {"messages": [{"role": "user", "content": "Hello"}]}
    body = check(ChatCompletionRequest, {**output, "best_of": 1})
    assert to_native(body, info) == to_native(check(ChatCompletionRequest, output), info)


@pytest.mark.parametrize("value", WRONG)
def test_limits_are_read_of_declared_fields(value: Any) -> None:
    body = check(CompletionRequest, {"prompt": "x", "max_completion_tokens": value})
    body.check_limits(strict=True, lenient=False)
    assert body.stops == ()


def test_an_operators_limits_are_read_of_declared_fields() -> None:
    output = {"messages": [{"role": "user", "content": "Hello"}]}
    body = check(ChatCompletionRequest, {**output, "best_of": 1})
    assert Policy(limits={"best_of": 0}).apply(body) is body


@pytest.mark.parametrize("strict", [False, True])
def test_messages_belong_to_chats(strict: bool) -> None:
    """A completion would else begin a document of its own, and say nothing of what was asked."""
    client = create_app(Settings(strict_parameters=strict), EchoEngine()).test_client()
    body = {"model": "echo", "messages": [{"role": "user", "content": "Hi"}]}
    for more in ({}, {"prompt": "x"}):
        answer: Any = client.post("/v1/completions", json={**body, **more})
        assert answer.status_code == 400
        error = answer.json["error"]
        assert (error["param"], error["code"]) == ("messages", "unsupported_parameter")
        assert "POST /v1/chat/completions" in error["message"]
    assert client.post("/v1/completions", json={**body, "messages": None}).status_code == 200
