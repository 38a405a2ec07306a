"""Every field of a request for a response, by the reference: what it does, or the 400 that names it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_type_hints

import pytest
from flask.testing import FlaskClient
from openai.types.responses import response_create_params

from extensions.openai.dialects.responses.request import ResponsesRequest
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.support.reference import assert_envelope, fold_response, response_events

Check = Callable[[FlaskClient], None]
BASE: dict[str, Any] = {"model": "echo", "input": "Hello"}
OPEN_RESPONSES = {
    *("id", "object", "created_at", "completed_at", "status", "incomplete_details", "model"),
    *("previous_response_id", "instructions", "output", "error", "tools", "tool_choice"),
    *("truncation", "parallel_tool_calls", "text", "top_p", "presence_penalty"),
    *("frequency_penalty", "top_logprobs", "temperature", "reasoning", "user", "usage"),
    *("max_output_tokens", "max_tool_calls", "store", "background", "service_tier", "metadata"),
    *("safety_identifier", "prompt_cache_key"),
}
"""What a response must hold. Source: Open Responses, "ResponseResource"."""


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    return create_app(Settings(store="memory"), EchoEngine()).test_client()


def made(client: FlaskClient, **body: Any) -> Any:
    answer = client.post("/v1/responses", json={**BASE, **body}, buffered=True)
    assert answer.status_code == 200, answer.text
    return answer


def is_told(field: str, value: Any) -> Check:
    """The response tells it again."""

    def check(client: FlaskClient) -> None:
        assert made(client, **{field: value}).json[field] == value

    return check


def is_refused(field: str, value: Any) -> Check:
    def check(client: FlaskClient) -> None:
        answer = client.post("/v1/responses", json={**BASE, field: value})
        assert assert_envelope(answer.json, status=400)["param"] == field

    return check


def has_no_effect(field: str, value: Any) -> Check:
    """It is taken, and the document says so."""

    def check(client: FlaskClient) -> None:
        made(client, **{field: value})
        said = ResponsesRequest.model_fields[field].description
        assert said is not None and "without effect" in said

    return check


def goes_on(field: str) -> Check:
    """The prompt has what was said before."""

    def check(client: FlaskClient) -> None:
        before = made(client).json["id"]
        if field == "conversation":
            item = {"role": "user", "content": "Hello"}
            before = client.post("/v1/conversations", json={"items": [item]}).json["id"]
        longer, short = (
            made(client, **more).json["usage"]["input_tokens"] for more in ({field: before}, {})
        )
        assert longer > short

    return check


def lengthens(field: str, value: Any) -> Check:
    """The prompt has it."""

    def check(client: FlaskClient) -> None:
        longer, short = (
            made(client, **more).json["usage"]["input_tokens"] for more in ({field: value}, {})
        )
        assert longer > short

    return check


def cuts(client: FlaskClient) -> None:
    response = made(client, max_output_tokens=2).json
    assert response["output"][0]["content"][0]["text"] == "He"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}


def streams(client: FlaskClient) -> None:
    assert fold_response(response_events(made(client, stream=True).data))["status"] == "completed"


def stores(client: FlaskClient) -> None:
    for store, status in ((True, 200), (False, 404)):
        response = made(client, store=store).json
        assert response["store"] is store
        assert client.get(f"/v1/responses/{response['id']}").status_code == status


def in_background(client: FlaskClient) -> None:
    response = made(client, background=True).json
    assert response["status"] == "queued" and response["background"] is True


def compacts(client: FlaskClient) -> None:
    said = [{"role": role, "content": "x" * 500} for role in ("user", "assistant", "user")]
    management = [{"type": "compaction", "compact_threshold": 1000}]
    output = made(client, input=said, context_management=management).json["output"]
    assert [item["type"] for item in output] == ["compaction", "message"]


def cannot_log(client: FlaskClient) -> None:
    """This engine has no log-probabilities; what they are is in tests/test_responses.py."""
    for body in ({"include": ["message.output_text.logprobs"]}, {"top_logprobs": 2}):
        answer = client.post("/v1/responses", json={**BASE, **body})
        assert assert_envelope(answer.json, status=400)["param"] == "top_logprobs"


def leaves_out_what_does_not_fit(client: FlaskClient) -> None:
    said = [{"role": "user", "content": letter * 5000} for letter in "ab"]
    answer = made(client, input=said, truncation="auto")
    assert answer.headers["x-openedai-ignored"] == "input[0]"
    assert answer.json["truncation"] == "auto"


FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}}
FIELDS: dict[str, Check] = {
    "background": in_background,
    "context_management": compacts,
    "conversation": goes_on("conversation"),
    "include": cannot_log,
    "input": lengthens("input", "Hello, hello"),
    "instructions": lengthens("instructions", "Be brief."),
    "max_output_tokens": cuts,
    "max_tool_calls": is_told("max_tool_calls", 0),
    "metadata": is_told("metadata", {"topic": "greeting"}),
    "model": is_refused("model", ""),
    "moderation": is_refused("moderation", {"model": "omni-moderation-latest"}),
    "parallel_tool_calls": is_told("parallel_tool_calls", False),
    "previous_response_id": goes_on("previous_response_id"),
    "prompt": is_refused("prompt", {"id": "pmpt_1"}),
    "prompt_cache_key": is_told("prompt_cache_key", "k"),
    "prompt_cache_options": has_no_effect("prompt_cache_options", {"mode": "explicit"}),
    "prompt_cache_retention": has_no_effect("prompt_cache_retention", "24h"),
    "reasoning": is_told("reasoning", {"effort": "low", "summary": None}),
    "safety_identifier": is_told("safety_identifier", "someone"),
    "service_tier": is_told("service_tier", "flex"),
    "store": stores,
    "stream": streams,
    "stream_options": has_no_effect("stream_options", {"include_obfuscation": True}),
    "temperature": is_told("temperature", 0.5),
    "text": is_told("text", {"format": {"type": "text"}, "verbosity": "low"}),
    "tool_choice": is_told("tool_choice", "none"),
    "tools": is_refused("tools", [FUNCTION]),
    "top_logprobs": cannot_log,
    "top_p": is_told("top_p", 0.5),
    "truncation": leaves_out_what_does_not_fit,
    "user": is_told("user", "someone"),
}


def test_no_field_of_the_reference_is_missing() -> None:
    official = set(get_type_hints(response_create_params.ResponseCreateParamsBase)) | {"stream"}
    assert official - set(FIELDS) - {"access_programs", "image", "background_options"} == set()


@pytest.mark.parametrize("field", FIELDS)
def test_each_field_does_what_it_says_or_is_refused(client: FlaskClient, field: str) -> None:
    """What that is, the check asserts."""
    FIELDS[field](client)
    assert field in ResponsesRequest.model_fields


@pytest.mark.parametrize("more", [{}, {"background": True}])
def test_a_response_has_all_fields_of_open_responses(client: FlaskClient, more: Any) -> None:
    assert set(made(client, **more).json) - OPEN_RESPONSES == {"conversation"}
    assert set(made(client, **more).json) >= OPEN_RESPONSES
    for event in response_events(made(client, stream=True, **more).data):
        assert set(event.get("response", OPEN_RESPONSES)) >= OPEN_RESPONSES
