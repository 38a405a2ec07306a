"""Every answer through the official client, which is strict about types here; and its error classes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from openai.types import CompletionCreateParams
from openai.types.chat import ChatCompletionChunk, completion_create_params

from extensions.openai.completions import CompletionRequest
from extensions.openai.engines.swappable import SwappableEngine
from extensions.openai.generation.chat.request import ChatCompletionRequest
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.conftest import Serve, sdk_on
from tests.support.paced import PacedEngine
from tests.support.process import ServerProcess

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


def test_models(sdk: openai.OpenAI) -> None:
    page = sdk.models.list()
    assert [model.id for model in page] == ["echo", "gpt-3.5-turbo"]
    model = sdk.models.retrieve("gpt-3.5-turbo")
    assert (model.object, model.id) == ("model", "gpt-3.5-turbo")
    raw = sdk.models.with_raw_response.list()
    assert raw.status_code == 200 and raw.request_id and raw.parse().data[0].id == "echo"


def test_a_completion(sdk: openai.OpenAI) -> None:
    completion = sdk.completions.create(model="echo", prompt=["ab", "c"], n=2, echo=True)
    assert [choice.text for choice in completion.choices] == ["abab", "abab", "cc", "cc"]
    assert {choice.finish_reason for choice in completion.choices} == {"stop"}
    assert completion.usage is not None and completion.usage.prompt_tokens == 3
    assert completion._request_id
    raw = sdk.completions.with_raw_response.create(model="echo", prompt="x")
    assert raw.headers["x-request-id"] == raw.request_id
    assert int(raw.headers["openai-processing-ms"]) >= 0
    assert raw.parse().choices[0].text == "x"


def test_a_completion_as_a_stream(loose_sdk: openai.OpenAI) -> None:
    """The client's own type has no null finish_reason, which every stream sends; so not strict."""
    stream = loose_sdk.completions.create(
        model="echo", prompt="héllo", stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == "héllo"
    assert chunks[-1].choices == [] and chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 7


def test_a_chat(sdk: openai.OpenAI) -> None:
    answer = sdk.chat.completions.create(model="gpt-3.5-turbo", messages=HELLO, n=2)
    assert [choice.message.content for choice in answer.choices] == ["Hello", "Hello"]
    assert answer.choices[0].message.role == "assistant"
    assert answer.usage is not None and answer.usage.prompt_tokens_details is not None
    assert answer.model == "echo"
    raw = sdk.chat.completions.with_raw_response.create(model="echo", messages=HELLO)
    assert raw.parse().choices[0].message.content == "Hello"


@pytest.mark.parametrize("usage", [False, True])
def test_a_chat_as_a_stream(sdk: openai.OpenAI, usage: bool) -> None:
    options: Any = {"stream_options": {"include_usage": True}} if usage else {}
    with sdk.chat.completions.create(
        model="echo", messages=HELLO, stream=True, **options
    ) as stream:
        chunks = list(stream)
    assert all(isinstance(chunk, ChatCompletionChunk) for chunk in chunks)
    parts = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert parts[0].delta.role == "assistant"
    assert "".join(part.delta.content or "" for part in parts) == "Hello"
    assert parts[-1].finish_reason == "stop"
    assert (chunks[-1].usage is not None) is usage


def test_the_raw_bytes_of_a_stream_through_the_client(sdk: openai.OpenAI) -> None:
    with sdk.chat.completions.with_streaming_response.create(
        model="echo", messages=HELLO, stream=True
    ) as response:
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        lines = list(response.iter_lines())
    assert [line for line in lines if line][-1] == "data: [DONE]"


def test_the_stream_helper_of_the_client(sdk: openai.OpenAI) -> None:
    with sdk.chat.completions.stream(model="echo", messages=HELLO) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert final.choices[0].message.content == "Hello"


def test_closing_a_stream_of_the_client_ends_the_work() -> None:
    engine = PacedEngine(endless=True, pace=0.001)
    with sdk_on(create_app(Settings(), engine)) as sdk:
        stream = sdk.chat.completions.create(model="paced", messages=HELLO, stream=True)
        for _ in range(3):
            next(stream)
        assert engine.wait_for_active(1)
        stream.close()
        assert engine.wait_for_active(0, 2.0)


@pytest.mark.parametrize(
    ("call", "kind", "code", "param"),
    [
        ({"model": "echo", "messages": []}, openai.BadRequestError, "empty_array", "messages"),
        (
            {"model": "echo", "messages": HELLO, "temperature": 900},
            openai.BadRequestError,
            "decimal_above_max_value",
            "temperature",
        ),
        (
            {"model": "echo", "messages": [{"role": "user", "content": "x" * 9000}]},
            openai.BadRequestError,
            "context_length_exceeded",
            "messages",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_the_clients_own_classes(
    sdk: openai.OpenAI,
    call: dict[str, Any],
    kind: type[openai.APIStatusError],
    code: str,
    param: str,
    stream: bool,
) -> None:
    with pytest.raises(kind) as caught:
        sdk.chat.completions.create(**call, stream=stream)
    error = caught.value
    assert (error.code, error.param, error.type) == (code, param, "invalid_request_error")
    assert error.request_id and error.message


def test_a_name_that_is_not_there_is_a_not_found_error() -> None:
    from extensions.openai.engines.echo import EchoEngine

    with sdk_on(create_app(Settings(strict_models=True), EchoEngine())) as sdk:
        with pytest.raises(openai.NotFoundError) as caught:
            sdk.chat.completions.create(model="nope", messages=HELLO)
        assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_a_wrong_key_is_an_authentication_error() -> None:
    from extensions.openai.engines.echo import EchoEngine

    with sdk_on(create_app(Settings(api_key="right"), EchoEngine())) as sdk:
        with pytest.raises(openai.AuthenticationError) as caught:
            sdk.models.list()
        assert caught.value.code == "invalid_api_key"
        assert len(list(sdk.with_options(api_key="right").models.list())) == 2


def test_a_loading_model_is_an_internal_server_error_that_the_client_retries() -> None:
    with (
        sdk_on(create_app(Settings(), SwappableEngine())) as sdk,
        pytest.raises(openai.InternalServerError) as caught,
    ):
        sdk.models.list()
    assert (caught.value.status_code, caught.value.code) == (503, "model_loading")


def test_an_error_in_a_stream_raises_in_the_client() -> None:
    engine = PacedEngine(["a"], endless=True, fail_after=2)
    with sdk_on(create_app(Settings(), engine)) as sdk:
        stream = sdk.chat.completions.create(model="paced", messages=HELLO, stream=True)
        with pytest.raises(openai.APIError) as caught:
            list(stream)
    assert caught.value.type == "server_error"


def test_the_client_of_azure(serve: Serve) -> None:
    from extensions.openai.engines.echo import EchoEngine

    port = serve(EchoEngine(), api_key="azure-key").port
    with openai.AzureOpenAI(
        azure_endpoint=f"http://127.0.0.1:{port}",
        api_version="2024-10-21",
        api_key="azure-key",
        max_retries=0,
    ) as azure:
        answer = azure.chat.completions.create(model="echo", messages=HELLO)
        assert answer.choices[0].message.content == "Hello"
        completion = azure.completions.create(model="gpt-3.5-turbo", prompt="x")
        assert completion.choices[0].text == "x"


@pytest.mark.parametrize(
    ("ours", "official"),
    [
        (CompletionRequest, CompletionCreateParams),
        (ChatCompletionRequest, completion_create_params.CompletionCreateParams),
    ],
)
def test_every_official_parameter_is_known(ours: Any, official: Any) -> None:
    """Each is honoured, or refused, or declared as taken without effect: none falls through."""
    names = {name for variant in official.__args__ for name in variant.__annotations__}
    names |= {
        name for variant in official.__args__ for base in variant.__orig_bases__
        for name in getattr(base, "__annotations__", {})
    }  # fmt: skip
    assert len(names) > 10
    assert sorted(names - set(ours.model_fields) - set(ours.refused)) == []


# Over TCP, against the whole program with a real model.


@pytest.fixture
def remote(server: ServerProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        api_key="unused",
        base_url=f"{server.url}/v1",
        max_retries=0,
        _strict_response_validation=True,
    ) as client:
        yield client


@pytest.fixture
def loose_sdk(sdk: openai.OpenAI) -> openai.OpenAI:
    sdk._strict_response_validation = False
    return sdk


def test_a_real_model_through_the_client(remote: openai.OpenAI, server: ServerProcess) -> None:
    model = next(iter(remote.models.list()))
    assert model.id == server.model
    limits: Any = {"model": model.id, "messages": HELLO, "max_tokens": 24, "temperature": 0}
    whole = remote.chat.completions.create(**limits)
    streamed = "".join(
        chunk.choices[0].delta.content or ""
        for chunk in remote.chat.completions.create(**limits, stream=True)
    )
    assert streamed == whole.choices[0].message.content
    assert whole.usage is not None and 0 < whole.usage.completion_tokens <= 24
    completion = remote.completions.create(model=model.id, prompt="Hello", max_tokens=5, n=3)
    assert len(completion.choices) == 3


def test_many_clients_at_once(remote: openai.OpenAI, server: ServerProcess) -> None:
    model = server.model
    answers: list[str | None] = []

    def work() -> None:
        answer = remote.chat.completions.create(
            model=model, messages=HELLO, max_tokens=8, temperature=0
        )
        answers.append(answer.choices[0].message.content)

    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(answers) == 12


@asynccontextmanager
async def async_client(server: ServerProcess) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        api_key="unused",
        base_url=f"{server.url}/v1",
        max_retries=0,
        _strict_response_validation=True,
    ) as client:
        yield client


def test_the_async_client(server: ServerProcess) -> None:
    async def scenario() -> None:
        async with async_client(server) as client:
            models = [model.id async for model in client.models.list()]
            limits: Any = {"model": models[0], "messages": HELLO, "max_tokens": 10}
            whole, other = await asyncio.gather(
                client.chat.completions.create(**limits), client.chat.completions.create(**limits)
            )
            assert whole.id != other.id
            stream = await client.chat.completions.create(**limits, stream=True)
            chunks = [chunk async for chunk in stream]
            assert chunks[0].choices[0].delta.role == "assistant"
            assert chunks[-1].choices[0].finish_reason in ("stop", "length")
            async with client.chat.completions.with_streaming_response.create(
                **limits, stream=True
            ) as response:
                lines = [line async for line in response.iter_lines()]
            assert [line for line in lines if line][-1] == "data: [DONE]"
            with pytest.raises(openai.NotFoundError):
                await client.models.retrieve("nope")

    asyncio.run(scenario())


def test_an_async_client_that_cancels_leaves_the_server_well(server: ServerProcess) -> None:
    async def scenario() -> None:
        async with async_client(server) as client:
            model = server.model
            for _ in range(6):
                task = asyncio.create_task(
                    client.completions.create(
                        model=model,
                        prompt="Hello",
                        max_tokens=1500,
                        extra_body={"ignore_eos": True},
                    )
                )
                await asyncio.sleep(0.05)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            answer = await client.completions.create(
                model=model, prompt="x", max_tokens=1, timeout=10
            )
            assert answer.choices

    asyncio.run(scenario())
