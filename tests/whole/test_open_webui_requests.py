"""What Open WebUI sends, byte for byte, as tests/clients/test_open_webui.py records it from the real one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from werkzeug.test import TestResponse

from extensions.openai.engines.echo import EchoEngine
from tests.support.api import Api
from tests.support.process import ROOT

RECORDED: dict[str, dict[str, str]] = json.loads(
    (ROOT / "tests" / "support" / "open_webui_requests.json").read_text("utf-8")
)
HEADERS = {
    "Content-Type": "application/json",
    "Accept": "*/*",
    "Accept-Encoding": "gzip, deflate, br",
    "User-Agent": "Python/3.11 aiohttp/3.14.5",
}
PATHS = ("/api/chat", "/v1/chat/completions", "/v1/responses")


@pytest.fixture(scope="module")
def api(tiny: Api) -> Api:
    return Api(tiny.engine, ollama_api=True)


def send(api: Api, name: str) -> TestResponse:
    request = RECORDED[name]
    body = request["body"].encode()
    return api.client.post(request["path"], data=body, headers=HEADERS)


def whole(answer: TestResponse) -> Any:
    """An answer as one object of its dialect, streamed or not."""
    assert answer.status_code == 200, answer.text
    if answer.mimetype == "application/json":
        return answer.json
    if answer.mimetype == "application/x-ndjson":
        lines = [json.loads(line) for line in answer.text.splitlines()]
        last = lines[-1]
        last["message"]["content"] = "".join(each["message"]["content"] for each in lines)
        calls = [each["message"]["tool_calls"] for each in lines if "tool_calls" in each["message"]]
        return last | {"message": last["message"] | ({"tool_calls": calls[0]} if calls else {})}
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line[:7] == "data: {"]
    if "response" in events[-1]:
        return events[-1]["response"]
    deltas = [choice["delta"] for each in events for choice in each["choices"]]
    parts = [part for each in deltas for part in each.get("tool_calls") or ()]
    function = {
        name: "".join(each["function"].get(name) or "" for each in parts)
        for name in ("name", "arguments")
    }
    message = {
        "content": "".join(each.get("content") or "" for each in deltas),
        "tool_calls": [{"function": function}],
    }
    return {"choices": [{"message": message}]}


def text_of(path: str, answer: Any) -> str:
    if path == "/api/chat":
        return str(answer["message"]["content"])
    if path == "/v1/responses":
        return "".join(
            part["text"] for item in answer["output"] for part in item.get("content") or ()
        )
    return str(answer["choices"][0]["message"]["content"])


def call_of(path: str, answer: Any) -> tuple[str, Any]:
    if path == "/v1/responses":
        (call,) = (item for item in answer["output"] if item["type"] == "function_call")
    else:
        message = answer["message"] if path == "/api/chat" else answer["choices"][0]["message"]
        (call,) = (each["function"] for each in message["tool_calls"])
    given = call["arguments"]
    return call["name"], given if isinstance(given, dict) else json.loads(given)


@pytest.mark.parametrize("streamed", ["", ", streamed"])
@pytest.mark.parametrize("path", PATHS)
def test_chats_tools_and_their_results(api: Api, path: str, streamed: str) -> None:
    said = text_of(path, whole(send(api, f"{path} chat{streamed}")))
    assert said == "Hello! 👋 How can I help you?"
    call = call_of(path, whole(send(api, f"{path} tool{streamed}")))
    assert call == ("get_weather", {"city": "Paris"})
    assert "18 degrees" in text_of(path, whole(send(api, f"{path} result{streamed}")))


@pytest.mark.parametrize("path", PATHS)
def test_sliders_are_honoured_or_named(api: Api, path: str) -> None:
    answer = send(api, f"{path} sliders")
    assert text_of(path, whole(answer))
    left_out = {
        each.strip().removeprefix("options.")
        for each in answer.headers["x-openedai-ignored"].split(",")
    }
    assert {"num_ctx", "num_gpu", "num_thread", "use_mmap", "keep_alive"} <= left_out
    assert not {"temperature", "top_k", "min_p", "mirostat_tau", "repeat_last_n"} & left_out


@pytest.mark.parametrize("path", PATHS[:2])
def test_a_schema_is_held(api: Api, path: str) -> None:
    assert json.loads(text_of(path, whole(send(api, f"{path} schema")))).keys() == {"a"}


def test_a_schema_in_the_place_that_chats_have_for_it_is_refused(api: Api) -> None:
    answer = send(api, "/v1/responses schema")
    assert answer.status_code == 400 and answer.json is not None
    error = answer.json["error"]
    assert error["param"] == "response_format" and "text.format" in error["message"]


@pytest.mark.parametrize("path", PATHS)
def test_a_picture_for_a_model_that_sees_none_is_refused(api: Api, path: str) -> None:
    answer = send(api, f"{path} picture")
    assert answer.status_code == 400 and "takes no pictures" in answer.text


def test_an_answer_is_continued(api: Api) -> None:
    assert text_of("/api/chat", whole(send(api, "/api/chat continued"))) == " can I help you?"


def test_texts_become_vectors() -> None:
    api = Api(EchoEngine(), ollama_api=True, embedding_model="self")
    several, one = (whole(send(api, f"/api/{name}")) for name in ("embed texts", "embeddings text"))
    assert len(several["embeddings"]) == 2 and one["embedding"] == several["embeddings"][0]


def test_each_recorded_request_is_sent() -> None:
    tried = {f"{path} {what}" for path in PATHS for what in ("chat", "tool", "result")}
    tried |= {f"{each}, streamed" for each in tried}
    tried |= {f"{path} {what}" for path in PATHS for what in ("sliders", "schema", "picture")}
    others = {"/api/chat continued", "/api/embed texts", "/api/embeddings text"}
    assert RECORDED.keys() == tried | others
