"""Ollama's own API, through its Python client and on the wire."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import ollama
import pytest
from flask import Flask
from flask.testing import FlaskClient
from PIL import Image

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.protocol import Capability, EngineInfo
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.conftest import Serve
from tests.support.calling_engine import CallingEngine, call
from tests.support.keys import headers_of
from tests.support.paced import LONG, PacedEngine
from tests.support.reference import assert_ollama_error, json_lines
from tests.support.wire import Wire, ask

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
GOOD: dict[str, Any] = {"model": "echo", "messages": HELLO, "stream": False}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
CITY = {"city": "Paris"}


class SeeingEngine(CallingEngine):
    """Takes pictures."""

    @property
    def info(self) -> EngineInfo:
        info = super().info
        return replace(info, capabilities=(*info.capabilities, Capability.VISION))


def ollama_on(app: Flask, **headers: str) -> ollama.Client:
    transport = httpx.WSGITransport(app=app)
    return ollama.Client(host="http://127.0.0.1:80", transport=transport, headers=headers)


def app_of(engine: EchoEngine | PacedEngine, **options: Any) -> Flask:
    return create_app(Settings(**{"ollama_api": True, **options}), engine)


@pytest.fixture(scope="module")
def app() -> Flask:
    return app_of(EchoEngine(), embedding_model="self")


@pytest.fixture(scope="module")
def client(app: Flask) -> Iterator[ollama.Client]:
    yield ollama_on(app)


@pytest.fixture(scope="module")
def wire(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def engine() -> CallingEngine:
    return SeeingEngine()


@pytest.fixture
def calling(engine: CallingEngine) -> ollama.Client:
    return ollama_on(app_of(engine))


def refused(wire: FlaskClient, path: str, status: int = 400, **body: Any) -> str:
    """The text of the error, which is the same for a stream."""
    texts = []
    for stream in (False, True):
        answer = wire.post(path, json={**body, "stream": stream})
        assert answer.status_code == status, answer.text
        texts.append(assert_ollama_error(answer.json)["message"])
    assert texts[0] == texts[1]
    return str(texts[0])


# Through the client.


def test_a_chat(client: ollama.Client) -> None:
    answer = client.chat("echo", messages=HELLO)
    assert (answer.message.role, answer.message.content) == ("assistant", "Hello")
    assert (answer.model, answer.done, answer.done_reason) == ("echo", True, "stop")
    assert answer.prompt_eval_count and answer.eval_count == 6
    durations = (answer.load_duration, answer.prompt_eval_duration, answer.eval_duration)
    known = [each for each in durations if each is not None]
    assert len(known) == 3 and min(known) >= 0
    assert answer.total_duration and answer.total_duration >= sum(known)


def test_the_stream_adds_up_to_the_chat(client: ollama.Client) -> None:
    lines = list(client.chat("echo", messages=HELLO, stream=True))
    assert "".join(line.message.content or "" for line in lines) == "Hello"
    assert [line.done for line in lines] == [False] * (len(lines) - 1) + [True]
    assert lines[-1].eval_count == 6 and lines[-1].done_reason == "stop"
    assert all(line.eval_count is None for line in lines[:-1])


def test_a_prompt(client: ollama.Client) -> None:
    answer = client.generate("echo", "Hello")
    assert (answer.response, answer.done_reason, answer.eval_count) == ("Hello", "stop", 6)
    lines = list(client.generate("echo", "Hello", stream=True))
    assert "".join(line.response or "" for line in lines) == "Hello" and lines[-1].done
    limited = client.generate("echo", "Hello", options={"num_predict": 2})
    assert (limited.response, limited.done_reason) == ("He", "length")
    assert client.generate("echo", "Hello", options={"num_predict": 0}).response == "Hello"


def test_a_raw_prompt_has_no_template(client: ollama.Client) -> None:
    answered = client.generate("echo", "Hello", system="Be brief.")
    raw = client.generate("echo", "Hello", raw=True)
    assert answered.prompt_eval_count and raw.prompt_eval_count
    assert raw.prompt_eval_count == len("Hello") < answered.prompt_eval_count


def test_models(client: ollama.Client) -> None:
    assert [model.model for model in client.list().models] == ["echo", "gpt-3.5-turbo"]
    assert [model.name for model in client.ps().models] == ["echo"]
    shown = client.show("echo")
    assert shown.capabilities == ["completion", "embedding"]
    assert shown.modelinfo is not None
    family = shown.modelinfo["general.architecture"]
    assert shown.modelinfo[f"{family}.context_length"] == 8192
    with pytest.raises(ollama.ResponseError) as caught:
        client.show("nope")
    assert caught.value.status_code == 404 and "nope" in caught.value.error


def test_vectors(client: ollama.Client) -> None:
    answer = client.embed("echo", ["a", "b"])
    assert len(answer.embeddings) == 2 and answer.prompt_eval_count == 2
    assert client.embed("echo", "a").embeddings[0] == answer.embeddings[0]
    assert client.embeddings("echo", "a").embedding == answer.embeddings[0]


def test_tools(calling: ollama.Client, engine: CallingEngine) -> None:
    """A call comes whole, with its arguments as an object; its result goes back under the tool's name."""
    asked: list[Any] = [{"role": "user", "content": call("get_weather", CITY)}]
    answer = calling.chat("echo", messages=asked, tools=[WEATHER])
    assert engine.tools == ["get_weather"] and answer.done_reason == "stop"
    (made,) = answer.message.tool_calls or ()
    assert (made.function.name, made.function.arguments) == ("get_weather", CITY)
    lines = list(calling.chat("echo", messages=asked, tools=[WEATHER], stream=True))
    (streamed,) = [each for line in lines for each in line.message.tool_calls or ()]
    assert streamed.function == made.function
    result = {"role": "tool", "tool_name": "get_weather", "content": "sunny"}
    last = calling.chat("echo", messages=[*asked, answer.message, result], tools=[WEATHER])
    assert last.message.content == "sunny"
    *_, said, returned = engine.asked[-1].messages
    assert json.loads(said.tool_calls[0].arguments) == CITY
    assert returned.tool_call_id == said.tool_calls[0].id and returned.name == "get_weather"


def test_pictures(calling: ollama.Client, engine: CallingEngine) -> None:
    data = io.BytesIO()
    Image.new("RGB", (2, 2), "red").save(data, "PNG")
    said: list[Any] = [{"role": "user", "content": "What?", "images": [data.getvalue()]}]
    assert calling.chat("echo", messages=said).message.content == "What?"
    picture, text = engine.asked[-1].messages[-1].parts
    assert text == "What?" and not isinstance(picture, str) and picture.kind == "image"
    calling.generate("echo", "What?", images=[data.getvalue()], system="Look.")
    system, asked = engine.asked[-1].messages
    assert (system.role, system.content) == ("system", "Look.") and asked.parts[1] == "What?"


def test_options_are_those_of_the_sampler(calling: ollama.Client, engine: CallingEngine) -> None:
    options = {"temperature": 0.3, "top_k": 7, "repeat_penalty": 1.2, "repeat_last_n": 33}
    more = {"num_predict": 3, "stop": ["zz"], "mirostat": 2}
    answer = calling.chat("echo", messages=HELLO, options=options | more)
    request = engine.asked[-1]
    assert {name: request.sampling[name] for name in (*options, "mirostat")} == {
        **options,
        "mirostat": 2,
    }
    assert request.max_tokens == 3 and answer.done_reason == "length"
    stopped = calling.chat("echo", messages=HELLO, options={"stop": ["lo"], "num_predict": -1})
    assert (stopped.message.content, stopped.done_reason) == ("Hel", "stop")


def test_a_format_is_enforced(tiny_app: Flask) -> None:
    client = ollama_on(tiny_app)
    schema = {"type": "object", "properties": {"a": {"enum": [1]}}, "required": ["a"]}
    options = {"num_predict": 60, "temperature": 0}
    answer = client.chat("openedai-tiny", messages=HELLO, format=schema, options=options)
    assert json.loads(answer.message.content or "")["a"] == 1
    prompted = client.generate("openedai-tiny", "Hi", format=schema, options=options)
    assert json.loads(prompted.response or "")["a"] == 1


@pytest.fixture(scope="module")
def tiny_app(tiny: Any) -> Flask:
    return create_app(Settings(ollama_api=True), tiny.engine)


# On the wire.


def test_it_is_off_unless_the_operator_turns_it_on() -> None:
    off = create_app(Settings(), EchoEngine()).test_client()
    text = assert_ollama_error(off.post("/api/chat", json=GOOD).json)["message"]
    assert "--ollama-api" in text
    assert "Ollama" not in off.get("/").text
    on = create_app(Settings(endpoints=("ollama",)), EchoEngine()).test_client()
    assert on.post("/api/chat", json=GOOD).status_code == 200


def test_the_greeting_is_for_programs_and_the_console_for_browsers(wire: FlaskClient) -> None:
    assert wire.get("/").text == "Ollama is running"
    assert wire.head("/").status_code == 200
    assert wire.get("/", headers={"Accept": "text/html,*/*"}).text.startswith("<!doctype html>")
    assert wire.get("/api/version").json["version"].count(".") == 2


def test_what_is_not_here_is_an_error_as_its_clients_read_it(client: ollama.Client) -> None:
    with pytest.raises(ollama.ResponseError) as caught:
        client.pull("echo")
    assert (caught.value.status_code, type(caught.value.error)) == (404, str)
    assert "use POST /v1/internal/models/download" in caught.value.error
    with pytest.raises(ollama.ResponseError, match=r"Invalid URL \(DELETE"):
        client.delete("echo")


def test_lines(wire: FlaskClient) -> None:
    """Streamed unless the client says otherwise, an object a line, as JSON lines."""
    answer = wire.post("/api/chat", json={"model": "echo", "messages": HELLO})
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    lines = json_lines(answer.data)
    assert set(lines[0]) == {"model", "created_at", "message", "done"}
    assert lines[-1]["message"] == {"role": "assistant", "content": ""}
    assert lines[0]["created_at"].endswith("Z")


def test_a_request_without_a_prompt_only_looks_for_the_model(wire: FlaskClient) -> None:
    for path in ("/api/chat", "/api/generate"):
        body: dict[str, Any] = {"model": "echo", "messages": [], "prompt": ""}
        answer = wire.post(path, json={**body, "keep_alive": "5m"})
        assert (answer.json["done"], answer.json["done_reason"]) == (True, "load")
        text = refused(wire, path, **body, keep_alive=0)
        assert "'keep_alive' unloads no model here" in text


def test_what_has_no_effect_is_named(wire: FlaskClient) -> None:
    options = {"num_ctx": 99, "num_gpu": 1, "seed": 1, "nonsense": 1}
    answer = wire.post("/api/chat", json={**GOOD, "options": options, "keep_alive": "5m"})
    named = answer.headers["x-openedai-ignored"].split(", ")
    assert named == ["options.num_ctx", "options.num_gpu", "keep_alive", "options.nonsense"]


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("chat", {"options": {"temperature": "warm"}}, "'options.temperature'"),
        ("chat", {"options": {"top_k": -7}}, "'options.top_k'"),
        ("chat", {"format": "xml"}, "'format'"),
        ("chat", {"think": "hard"}, "'think'"),
        ("chat", {"messages": [{"role": "user", "images": ["eA=="]}]}, "'messages[0]'"),
        ("chat", {"messages": [{"role": "x"}]}, "'messages[0].role'"),
        ("chat", {"tools": [{"type": "function"}]}, "'tools[0].function'"),
        ("chat", {"think": "high"}, "'think'"),
        ("generate", {"prompt": "x", "context": [1]}, "'context'"),
        ("generate", {"prompt": "x", "template": "{{ .Prompt }}"}, "'template'"),
        ("generate", {"prompt": "x", "raw": True, "system": "y"}, "'system'"),
        ("generate", {"prompt": "x", "suffix": "y"}, "'suffix'"),
        ("generate", {"prompt": 1}, "'prompt'"),
        ("embed", {"input": []}, "'input'"),
        ("embed", {"input": "x", "dimensions": 99999}, "'dimensions'"),
        ("show", {}, "'model'"),
    ],
)
def test_what_cannot_be_is_refused_by_name(
    wire: FlaskClient, path: str, body: dict[str, Any], words: str
) -> None:
    good: dict[str, Any] = {"model": "echo"} if path != "show" else {}
    good |= {"messages": HELLO} if path == "chat" else {}
    assert words in refused(wire, f"/api/{path}", **{**good, **body})


def test_names_may_have_a_tag_that_the_client_put_there() -> None:
    strict = app_of(EchoEngine(), strict_models=True).test_client()
    assert strict.post("/api/chat", json={**GOOD, "model": "echo:latest"}).json["model"] == "echo"
    assert strict.post("/api/show", json={"model": "echo:latest"}).status_code == 200
    assert "nope" in refused(strict, "/api/chat", 404, **{**GOOD, "model": "nope"})


def test_keys_and_limits_hold(tmp_path: Any) -> None:
    settings = Settings(ollama_api=True, data_folder=str(tmp_path), rpm=2, tpm=0)
    headers = headers_of(settings, "ann")
    wire = create_app(settings, EchoEngine()).test_client()
    assert wire.post("/api/chat", json=GOOD).status_code == 401
    key = headers["ann"]["Authorization"]
    client = ollama_on(wire.application, Authorization=key)
    assert client.chat("echo", messages=HELLO).message.content == "Hello"
    assert client.chat("echo", messages=HELLO).message.content == "Hello"
    with pytest.raises(ollama.ResponseError) as caught:
        client.chat("echo", messages=HELLO)
    assert caught.value.status_code == 429


def test_a_limit_of_tokens_counts_those_that_the_options_ask_for() -> None:
    wire = app_of(EchoEngine(), api_key="k", tpm=50).test_client()
    sent = {**GOOD, "options": {"num_predict": 60}}
    answer = wire.post("/api/chat", json=sent, headers={"Authorization": "Bearer k"})
    assert answer.status_code == 429, answer.text


def test_a_session_that_a_header_names(tmp_path: Any) -> None:
    wire = app_of(EchoEngine(), store="memory", data_folder=str(tmp_path)).test_client()
    for text in ("one", "two"):
        said = {**GOOD, "messages": [{"role": "user", "content": text}]}
        answer = wire.post("/api/chat", json=said, headers={"x-openedai-session-key": "s"})
        assert answer.json["message"]["content"] == text
    id = wire.get("/v1/sessions").json["first_id"]
    kept = wire.get(f"/v1/sessions/{id}").json["messages"]
    assert [each["content"] for each in kept] == ["one", "one", "two", "two"]


def test_a_long_silence_is_filled_with_lines_without_text(serve: Serve) -> None:
    """Also while a request waits in the queue. An answer that is complete ends as one."""
    engine = PacedEngine(["a", "b"])
    engine.gate.clear()
    port = serve(engine, keep_alive=0.05, ollama_api=True).port
    with Wire(port) as wire, Wire(port) as waiting:
        for each in (wire, waiting):
            each.request("POST", "/api/chat", {"model": "paced", "messages": HELLO})
            _, status, _ = each.head()
            chunks = each.chunks()
            first = json.loads(next(chunks))
            assert status == 200 and first["message"]["content"] == "" and not first["done"]
        engine.gate.set()
        lines = json_lines(b"".join(chunks))
    assert "".join(line["message"]["content"] for line in lines) == "ab" and lines[-1]["done"]


def test_an_answer_that_fails_ends_with_an_error() -> None:
    wire = app_of(PacedEngine(["a", "b"], fail_after=1)).test_client()
    lines = json_lines(wire.post("/api/chat", json={**GOOD, "stream": True}).data)
    assert lines[0]["message"]["content"] == "a"
    assert_ollama_error(lines[-1])
    with pytest.raises(ollama.ResponseError):
        list(ollama_on(wire.application).chat("paced", messages=HELLO, stream=True))


def test_who_hangs_up_ends_the_work(serve: Serve) -> None:
    engine = PacedEngine(endless=True, pace=0.001, context_length=LONG)
    port = serve(engine, ollama_api=True).port
    with Wire(port) as wire:
        wire.request("POST", "/api/generate", {"model": "paced", "prompt": "x"})
        wire.head()
        next(wire.chunks())
        assert engine.wait_for_active(1, 30.0)
    assert engine.wait_for_active(0, 30.0)
    assert ask(port, "GET", "/api/version").status == 200
