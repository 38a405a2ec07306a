"""A chat API that does not speak OpenAI's: its answers in every form, its failures, and what it cannot do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from extensions.openai.engines.external.engine import ExternalEngine
from extensions.openai.engines.external.rows import ExternalEntry, external_of
from extensions.openai.engines.remote.http_client import HttpClient
from extensions.openai.engines.upstream.rows import TimeoutsEntry
from extensions.openai.engines.upstreams_file import engines_of
from extensions.openai.settings import Settings, SettingsError
from tests.support.api import Api
from tests.support.examples import examples
from tests.support.fake_upstream import FakeUpstream, Script, Scripted, event, whole
from tests.support.process import ServerProcess, free_port

Serve = Callable[..., tuple[FakeUpstream, Api]]
QUICK = {"connect": 1, "first": 1, "silence": 1}


@pytest.fixture(scope="module")
def serve() -> Iterator[Serve]:
    """`serve(script, text="reply", ...)`: a fake chat API, and this server's API over a row for it. Those
    with the same options are used again."""
    running: dict[str, tuple[FakeUpstream, Api]] = {}

    def start(script: Script | Scripted, **row: Any) -> tuple[FakeUpstream, Api]:
        known = repr(row)
        if known not in running:
            fake = FakeUpstream(script)
            address = fake.address.removesuffix("/v1") + "/chat?v=2"
            entry = ExternalEntry(**{"address": address, "text": "reply", "timeouts": QUICK, **row})
            made = external_of("helper", entry, "here")
            running[known] = fake, Api(ExternalEngine(made, HttpClient(made.address, made.headers)))
        fake, api = running[known]
        fake.script = script if callable(script) else lambda asked: script
        fake.asked.clear()
        fake.completed = 0
        return fake, api

    yield start
    for fake, api in running.values():
        api.engine.close()
        fake.kill()


def said(api: Api, **body: Any) -> str:
    return str(api.chat("Hi", **body)["choices"][0]["message"]["content"])


def failed(api: Api, **body: Any) -> tuple[int, dict[str, Any]]:
    asked = {"model": "helper", "messages": [{"role": "user", "content": "Hi"}], **body}
    answer = api.client.post("/v1/chat/completions", json=asked)
    return answer.status_code, answer.json["error"]


def test_messages_go_in_and_a_text_comes_out(serve: Serve) -> None:
    fake, api = serve(whole({"reply": "Hello there, friend"}), headers={"X-Team": "red"})
    messages = [{"role": "system", "content": 'Be "brief".'}, {"role": "user", "content": "Hi\n"}]
    answer = api.chat(messages)
    assert answer["choices"][0]["message"]["content"] == "Hello there, friend"
    assert answer["usage"]["estimated"] is True
    assert answer["usage"]["completion_tokens"] == 5
    (asked,) = fake.posts
    assert (asked.path, asked.body) == ("/chat?v=2", {"messages": messages})
    assert asked.headers["x-team"] == "red"


def test_a_body_of_another_form(serve: Serve) -> None:
    body = (
        '{"q": {{ prompt | tojson }}, "context": {{ system | tojson }}, '
        '"options": {"heat": {{ temperature | default(0.5) }}, "most": {{ max_tokens or 99 }}}}'
    )
    fake, api = serve(whole({"reply": "x"}), body=body)
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "Hi"}]
    api.chat(messages, temperature=0.25)
    api.chat(messages, max_tokens=7)
    assert [asked.body for asked in fake.posts] == [
        {"q": "Hi", "context": "S", "options": {"heat": 0.25, "most": 99}},
        {"q": "Hi", "context": "S", "options": {"heat": 0.5, "most": 7}},
    ]
    status, error = failed(api, top_p=0.5)
    assert (status, error["param"]) == (400, "top_p")
    _, api = serve(whole({"reply": "x"}), ignores=["top_p"])
    assert said(api, top_p=0.5) == "x"


FORMS: dict[str, tuple[dict[str, Any], Scripted]] = {
    "deep in it": (
        {"text": "data.messages[-1].content[0]"},
        whole({"data": {"messages": [{}, {"content": ["one two"]}]}}),
    ),
    "events": (
        {"text": "reply", "event_text": "delta.text"},
        Scripted([event({"delta": {"text": "one "}}), event({"delta": {"text": "two"}})]),
    ),
    "events with an end": (
        {"text": "t"},
        Scripted(
            [event({"t": "one "}), event({"done": False}), event({"t": "two"}), event("[DONE]")]
        ),
    ),
    "events with all so far": (
        {"text": "t", "whole_events": True},
        Scripted([event({"t": "one"}), event({"t": "one "}), event({"t": "one two"})]),
    ),
    "events of text": ({"text": ""}, Scripted([b"data: one two\n\n"])),
    "lines of JSON": (
        {"text": "message.content"},
        Scripted(
            [
                b'{"message": {"content": "one "}}\n{"message": ',
                b'{"content": "two"}}\n{"done": true}',
            ],
            kind="application/x-ndjson",
        ),
    ),
    "plain text": (
        {"text": ""},
        Scripted([b"one t", b"wo"], kind="text/plain; charset=utf-8"),
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_answers_in_every_form(serve: Serve, form: str) -> None:
    row, script = FORMS[form]
    _, api = serve(script, **row)
    assert said(api) == "one two"
    streamed = api.folded("chat/completions", messages=[{"role": "user", "content": "Hi"}])
    assert streamed["choices"][0]["message"]["content"] == "one two"


def test_a_stream_is_passed_on_as_it_comes(serve: Serve) -> None:
    _, api = serve(Scripted([event({"reply": "one "}), 0.6, event({"reply": "two"})]))
    body = {"model": "helper", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    began, first = time.monotonic(), 0.0
    with api.client.post("/v1/chat/completions", json=body, buffered=False) as answer:
        for part in answer.iter_encoded():
            if b"one " in part:
                first = time.monotonic() - began
    assert 0 < first < 0.5 < time.monotonic() - began


def test_what_this_server_does_over_it(serve: Serve) -> None:
    fake, api = serve(whole({"reply": "one two three four"}))
    assert said(api, stop=["three"]) == "one two "
    answer = api.chat("Hi", max_tokens=2)
    assert answer["choices"][0]["message"]["content"] == "one two "
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 2
    fake.asked.clear()
    assert len(api.chat("Hi", n=3)["choices"]) == len(fake.posts) == 3


def test_what_it_cannot_do_is_refused(serve: Serve) -> None:
    fake, api = serve(whole({"reply": "x"}))
    for field, value in (
        ("tools", [{"type": "function", "function": {"name": "f", "parameters": {}}}]),
        ("response_format", {"type": "json_object"}),
        ("logprobs", True),
    ):
        status, error = failed(api, **{field: value})
        assert (status, error["param"]) == (400, field)
    answer = api.client.post("/v1/completions", json={"model": "helper", "prompt": "Hi"})
    assert (answer.status_code, answer.json["error"]["code"]) == (400, "not_supported")
    assert not fake.posts


@pytest.mark.parametrize(
    ("script", "status", "code"),
    [
        (whole({"error": "too rude"}, 400), 422, "upstream_refused"),
        (whole({"detail": "too long"}, 422), 422, "upstream_refused"),
        (whole({}, 401), 502, "upstream_failed"),
        (whole({}, 404), 502, "upstream_failed"),
        (whole({}, 500), 502, "upstream_failed"),
        (whole({}, 429, Retry_After="3"), 429, "upstream_rate_limited"),
        (whole({}, 503), 503, "upstream_busy"),
        (whole({"answer": "elsewhere"}), 502, "upstream_failed"),
        (whole({"reply": 5}), 502, "upstream_failed"),
        (Scripted([b"{nonsense"], kind="application/json"), 502, "upstream_failed"),
        (Scripted([b"<html>"], kind="text/html"), 502, "upstream_failed"),
        (Scripted([]), 502, "upstream_failed"),
        (Scripted([event({"reply": "x"})], is_cut=True), 502, "upstream_unreachable"),
    ],
)
def test_its_failures(serve: Serve, script: Scripted, status: int, code: str) -> None:
    _, api = serve(script)
    found, error = failed(api)
    assert (found, error["code"]) == (status, code)


def test_an_answer_that_says_that_it_failed(serve: Serve) -> None:
    _, api = serve(whole({"reply": "", "failure": "no model"}), error="failure")
    assert failed(api)[0] == 502


def test_its_silence_is_a_timeout() -> None:
    fake = FakeUpstream(Scripted([1.5]))
    made = ExternalEntry(
        address=fake.address, text="reply", timeouts=TimeoutsEntry(first=0.3, silence=0.3)
    )
    row = external_of("helper", made, "here")
    api = Api(ExternalEngine(row, HttpClient(row.address, {}, row.timeouts)))
    assert failed(api)[0] == 504
    fake.kill()
    assert failed(api)[0] == 502
    api.engine.close()


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("{address: 'http://x', text: 'a..b'}", "is no path"),
        ("{address: 'http://x', text: '[x]'}", "is no path"),
        ("{address: 'http://x', text: a, body: '{{ messages }}'}", "not JSON"),
        ("{address: 'http://x', text: a, body: '{% for'}", "body: line 1"),
        ("{address: 'nowhere', text: a}", "address"),
        ("{address: 'http://x'}", "text: Field required"),
        ("{address: 'http://x', text: a, key_env: NOT_SET}", "NOT_SET"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, row: str, words: str) -> None:
    file = tmp_path / "upstreams.yaml"
    file.write_text(f"external: {{helper: {row}}}", encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        engines_of(Settings(upstreams=str(file)))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_the_documentations_example_runs(tmp_path: Path) -> None:
    """The chat API, the file and the client of docs/external.md, as they are printed but for the ports."""
    blocks = {each.language: each.code for each in examples() if each.page.name == "external.md"}
    api_port = free_port()
    (tmp_path / "chat_api.py").write_text(blocks["python"])
    (tmp_path / "upstreams.yaml").write_text(blocks["yaml"].replace("9000", str(api_port)))
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    flask = [sys.executable, "-m", "flask", "--app", "chat_api", "run", "--port", str(api_port)]
    api = subprocess.Popen(flask, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    server = ServerProcess("--loader", "upstream", "--upstreams", str(tmp_path / "upstreams.yaml"))
    try:
        server.wait_until_ready()
        with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
            answer = client.chat.completions.create(
                model="helper", messages=[{"role": "user", "content": "Good morning"}]
            )
            assert answer.choices[0].message.content == "You said: Good morning"
            assert answer.usage is not None and json.loads(answer.to_json())["usage"]["estimated"]
            parts = client.responses.create(model="helper", input="Hello", stream=True)
            done = [part for part in parts if part.type == "response.completed"]
            assert done[0].response.output_text == "You said: Hello"
    finally:
        server.stop()
        api.terminate()
        api.wait(10)
