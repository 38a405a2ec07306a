"""Fields that are not known: misspelt ones are refused, others are named to the client."""

from __future__ import annotations

from typing import Any

import pytest

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.schemas.field_names import closest_name, header_of
from tests.support.api import Api
from tests.support.reference import assert_envelope

PATHS: dict[str, dict[str, Any]] = {
    "completions": {"model": "echo", "prompt": "Hello"},
    "chat/completions": {"model": "echo", "messages": [{"role": "user", "content": "Hello"}]},
}
HEADER = "x-openedai-ignored"


@pytest.fixture(scope="module")
def api() -> Api:
    return Api(EchoEngine())


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("temprature", "temperature"),
        ("temperatur", "temperature"),
        ("temperaturee", "temperature"),
        ("temperatuer", "temperature"),
        ("tempurature", "temperature"),
        ("Temperature", "temperature"),
        ("max-tokens", "max_tokens"),
        ("maxTokens", "max_tokens"),
        ("max_token", "max_tokens"),
        ("topP", "top_p"),
        ("stops", "stop"),
        ("frequency_penality", "frequency_penalty"),
        ("repetition_penalti", "repetition_penalty"),
        ("stoping_strings", "stopping_strings"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_misspelt_field_is_refused(
    api: Api, path: str, name: str, meant: str, stream: bool
) -> None:
    answer = api.client.post(f"/v1/{path}", json={**PATHS[path], name: 1, "stream": stream})
    error = assert_envelope(answer.json, status=400)
    assert (error["param"], error["code"]) == (name, "unknown_parameter")
    assert f"'{meant}'" in error["message"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "name",
    ["num_ctx", "options", "keep_alive", "ttl", "cache_prompt", "id_slot", "provider", "route", "transforms",
     "plugins", "chat_id", "session_id", "top_n", "min_k", "format", "truncation_length",
     "speculative_ngram", "sampler_seed", "api_type", "api_server", "draft_model", "usage"],
)  # fmt: skip
def test_a_field_of_another_server_is_taken_and_named(api: Api, path: str, name: str) -> None:
    for stream in (False, True):
        answer = api.client.post(f"/v1/{path}", json={**PATHS[path], name: 1, "stream": stream})
        assert (answer.status_code, answer.headers[HEADER]) == (200, name)
    quiet = api.client.post(f"/v1/{path}", json={**PATHS[path], name: None})
    assert quiet.status_code == 200 and HEADER not in quiet.headers


def test_whoever_gives_the_right_field_too_means_another(api: Api) -> None:
    """OpenRouter's clients send `models` beside `model`."""
    body = {**PATHS["completions"], "model": "echo", "models": ["a", "b"]}
    answer = api.client.post("/v1/completions", json=body)
    assert (answer.status_code, answer.headers[HEADER]) == (200, "models")
    del body["model"]
    assert api.client.post("/v1/completions", json=body).status_code == 400


def test_fields_inside_of_a_field(api: Api) -> None:
    """Clients of the official SDK write `extra_body`; who sends it as JSON sends nothing that is read."""
    body = {**PATHS["chat/completions"], "stream": True}
    body |= {
        "extra_body": {"top_k": 4},
        "stream_options": {"include_usage": True, "x": 1, "y": None},
    }
    answer = api.client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200
    assert set(answer.headers[HEADER].split(", ")) == {"extra_body.top_k", "stream_options.x"}


def test_known_fields_are_not_named(api: Api) -> None:
    body = {"max_output_tokens": 3, "num_beams": 1, "typical": 1.0, "n_keep": 0, "temperature": 1}
    answer = api.client.post("/v1/completions", json={**PATHS["completions"], **body})
    assert answer.status_code == 200 and HEADER not in answer.headers


@pytest.mark.parametrize(
    "name", ["a\r\nx-evil: 1", "é" * 20, "", "x" * 65, " temperature", "temprature\n", "\ud83d"]
)
def test_names_that_could_not_stand_in_a_header(api: Api, name: str) -> None:
    assert closest_name(name, {"temperature"}, set()) is None
    assert header_of([name, "num_ctx"]) == "num_ctx"
    assert header_of([f"x{n}" for n in range(99)]).count(",") == 19


def test_strict_refuses_them_all() -> None:
    strict = Api(EchoEngine(), strict_parameters=True)
    for name in ("num_ctx", "temprature"):
        error: dict[str, Any] = strict.refused("completions", **{name: 1})
        assert (error["param"], error["code"]) == (name, "unknown_parameter")


@pytest.mark.parametrize(
    ("messages", "missing", "sent"),
    [
        ({"mesages": []}, "messages", "mesages"),
        ({"message": []}, "messages", "message"),
        ({"messages": [{"role": "user", "contents": "x"}]}, "messages[0].content", "contents"),
    ],
)
def test_a_missing_field_that_was_misspelt(
    api: Api, messages: dict[str, Any], missing: str, sent: str
) -> None:
    answer = api.client.post("/v1/chat/completions", json={"model": "m", **messages})
    error = assert_envelope(answer.json, status=400)
    assert (error["param"], error["code"]) == (missing, "missing_required_parameter")
    assert f"Is '{sent}' a misspelling of it?" in error["message"]


def test_a_missing_field_beside_others(api: Api) -> None:
    answer = api.client.post("/v1/chat/completions", json={"model": "m", "temperature": 1})
    error = assert_envelope(answer.json, status=400)
    assert error["message"] == "Missing required parameter: 'messages'."


@pytest.mark.parametrize("known", [("mode", "model"), ("model", "mode")])
def test_swapped_letters_before_a_missing_one(known: tuple[str, str]) -> None:
    assert closest_name("modle", known, set()) == "model"
