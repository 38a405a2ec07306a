"""Looking at the queue, stopping generations, time limits: over real sockets."""

from __future__ import annotations

import json
import re
import threading
import time
from typing import Any

import openai
import pytest

from extensions.openai.engines.echo import EchoEngine
from tests.conftest import Serve
from tests.support.paced import PacedEngine
from tests.support.reference import assert_chunks, assert_envelope, sse_chunks, sse_payloads
from tests.support.wire import Answer, Wire, ask, streaming

CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"
QUEUE = "/v1/internal/queue"
STOP = "/v1/internal/stop-generation"
KEYS: dict[str, Any] = {"api_key": "user-key", "admin_key": "admin-key"}


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "paced", "messages": [{"role": "user", "content": "Hi"}], **fields}


def wait_for(condition: Any, timeout: float = 50.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        threading.Event().wait(0.02)


def queue(port: int, **headers: str) -> Any:
    answer = ask(port, "GET", QUEUE, **headers)
    assert answer.status == 200
    return answer.json()


def stop(port: int, body: Any = None, **headers: str) -> list[str]:
    answer = ask(port, "POST", STOP, body, **headers)
    assert answer.status == 200, answer.body
    ids: list[str] = answer.json()["ids"]
    return ids


def test_the_queue_shows_who_runs_and_who_waits(serve: Serve) -> None:
    port = serve(PacedEngine(endless=True, pace=0.01)).port
    assert queue(port) == {
        "object": "queue", "slots": 1, "running": 0, "waiting": 0, "requests_waiting": 0,
        "limit": 256, "callers": [], "requests": [],
    }  # fmt: skip
    with (
        streaming(port, CHAT, chat(stream=True)) as first,
        Wire(port) as second,
        Wire(port) as third,
    ):
        first.head()
        next(first.chunks())
        for at, wire in enumerate((second, third)):
            wire.request("POST", CHAT, chat(user="bob"), {"x-request-id": f"waits-{at}"})
            wait_for(lambda at=at: queue(port)["waiting"] == at + 1)
        seen = queue(port)
        assert (seen["running"], seen["requests_waiting"]) == (1, 2)
        assert seen["callers"] == [{"caller": "local", "running": 1, "waiting": 2}]
        running, *waiting = seen["requests"]
        assert running["state"] == "generating" and running["position"] is None
        assert running["answer"].startswith("chatcmpl-") and running["completion_tokens"] > 0
        assert [
            (each["id"], each["state"], each["position"], each["user"]) for each in waiting
        ] == [
            ("waits-0", "waiting", 1, "bob"),
            ("waits-1", "waiting", 2, "bob"),
        ]
    wait_for(lambda: queue(port)["requests"] == [] and queue(port)["running"] == 0)


def test_a_key_sees_and_stops_its_own_requests_only(serve: Serve) -> None:
    engine = PacedEngine(endless=True, pace=0.01, parallel=2)
    port = serve(engine, **KEYS).port
    mine, admin = {"authorization": "Bearer user-key"}, {"authorization": "Bearer admin-key"}
    with Wire(port) as users, Wire(port) as admins:
        users.request("POST", CHAT, chat(), mine)
        admins.request("POST", CHAT, chat(), admin)
        assert engine.wait_for_active(2)
        assert [each["caller"] for each in queue(port, **mine)["requests"]] == ["api-key"]
        assert queue(port, **mine)["running"] == 2
        assert len(queue(port, **admin)["requests"]) == 2
        theirs = next(r["id"] for r in queue(port, **admin)["requests"] if r["caller"] == "admin")
        assert stop(port, {"id": theirs}, **mine) == []
        assert len(stop(port, **mine)) == 1
        assert users.answer().status == 200
        # An answer may be with its client a moment before the server is done with it.
        wait_for(lambda: len(queue(port, **admin)["requests"]) == 1)
        assert stop(port, {}, **admin) == [theirs]
        assert admins.answer().status == 200
    assert ask(port, "GET", QUEUE).status == 401
    assert ask(port, "POST", STOP).status == 401


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS])
def test_a_stopped_answer_ends_as_if_the_model_had_ended_it(
    serve: Serve, path: str, stream: bool, n: int
) -> None:
    engine = PacedEngine(endless=True, pace=0.01, parallel=4)
    port = serve(engine).port
    body = chat(stream=stream, n=n)
    if path == COMPLETIONS:
        del body["messages"]
        body |= {"prompt": "Hi", "max_tokens": 900}
    with Wire(port) as wire:
        wire.request("POST", path, body, {"x-request-id": "this-one"})
        assert engine.wait_for_active(n)
        assert stop(port, {"id": "another"}) == []
        wait_for(lambda: queue(port)["requests"][0]["completion_tokens"] > 3)
        assert stop(port, {"id": "this-one"}) == ["this-one"]
        answer = wire.answer()
    assert answer.status == 200
    if stream:
        chunks = sse_chunks(answer.body)
        assert_chunks(chunks, usage=False)
        finishes = [c["finish_reason"] for chunk in chunks for c in chunk["choices"]]
    else:
        finishes = [choice["finish_reason"] for choice in answer.json()["choices"]]
        assert answer.json()["usage"]["completion_tokens"] > 3
    assert [finish for finish in finishes if finish] == ["stop"] * n
    assert engine.wait_for_active(0)


def test_an_answer_is_stopped_by_its_own_id(serve: Serve) -> None:
    engine = PacedEngine(endless=True, pace=0.01)
    port = serve(engine).port
    with streaming(port, CHAT, chat(stream=True)) as wire:
        wire.head()
        id = json.loads(next(wire.chunks())[6:])["id"]
        assert len(stop(port, {"id": id})) == 1
        assert b"".join(wire.chunks()).endswith(b"data: [DONE]\n\n")
    wait_for(lambda: queue(port)["requests"] == [])
    assert stop(port, {"id": id}) == [], "what has ended is no error"


def test_waiting_requests_are_stopped_too(serve: Serve) -> None:
    engine = PacedEngine(endless=True, pace=0.01)
    port = serve(engine).port
    with streaming(port, CHAT, chat(stream=True)) as running, Wire(port) as waiting:
        running.head()
        waiting.request("POST", CHAT, chat(), {"x-request-id": "waits"})
        wait_for(lambda: queue(port)["waiting"] == 1)
        assert stop(port, {"id": "waits"}) == ["waits"]
        answer = waiting.answer()
        assert answer.status == 200 and answer.json()["choices"][0]["finish_reason"] == "stop"
        assert engine.wait_for_active(1)
    assert engine.started == 1


def test_stopping_while_the_prompt_is_read(serve: Serve) -> None:
    engine = PacedEngine()
    engine.gate.clear()
    port = serve(engine).port
    with Wire(port) as wire:
        wire.request("POST", CHAT, chat())
        assert engine.wait_for_active(1)
        assert len(stop(port)) == 1
        assert wire.answer().json()["choices"][0]["message"]["content"] == ""
    assert engine.wait_for_active(0)


@pytest.mark.parametrize("body", [[], {"id": 3}, {"id": ""}, {"request_id": "misspelt"}, b"{"])
def test_a_stop_that_is_not_valid(serve: Serve, body: Any) -> None:
    answer = ask(serve(EchoEngine()).port, "POST", STOP, body)
    assert answer.status == 400
    assert_envelope(answer.json())


def test_comments_tell_the_place_in_the_queue(serve: Serve) -> None:
    engine = PacedEngine(endless=True, pace=0.01)
    port = serve(engine, keep_alive=0.05).port
    with streaming(port, CHAT, chat(stream=True)) as running, Wire(port) as first:
        assert engine.wait_for_active(1)
        first.request("POST", CHAT, chat(stream=True, max_tokens=2))
        wait_for(lambda: queue(port)["waiting"] == 1)
        with streaming(port, CHAT, chat(stream=True, max_tokens=2)) as second:
            second.head()
            assert next(second.chunks()) == b": queued, position 2 of 2\n\n"
            first.head()
            places = first.chunks()
            assert re.fullmatch(rb"(: queued, position 1 of [12]\n\n)+", next(places))
            running.close()
            for chunks in (places, second.chunks()):
                assert b"".join(chunks).endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("silent", [False, True])
def test_a_time_limit_ends_a_stream_with_an_event(serve: Serve, silent: bool) -> None:
    engine = PacedEngine(endless=True, pace=0.01)
    if silent:
        engine.gate.clear()
    port = serve(engine, keep_alive=0.05).port
    answer = ask(port, "POST", CHAT, chat(stream=True, timeout=0.5))
    assert answer.status == 200
    error = assert_envelope(json.loads(sse_payloads(answer.body)[-1]))
    assert (error["type"], error["code"]) == ("invalid_request_error", "request_timeout")
    assert engine.wait_for_active(0)


def whole_408(answer: Answer) -> None:
    assert answer.status == 408
    assert answer.headers["x-should-retry"] == "false"
    assert assert_envelope(answer.json())["code"] == "request_timeout"


@pytest.mark.parametrize("n", [1, 3])
def test_a_time_limit_on_a_whole_answer(serve: Serve, n: int) -> None:
    engine = PacedEngine(endless=True, pace=0.01)
    port = serve(engine).port
    whole_408(ask(port, "POST", CHAT, chat(timeout=0.3, n=n)))
    assert engine.wait_for_active(0)


def test_time_in_the_queue_counts(serve: Serve) -> None:
    engine = PacedEngine(endless=True, pace=0.01)
    port = serve(engine).port
    with streaming(port, CHAT, chat(stream=True)) as running:
        running.head()
        whole_408(ask(port, "POST", CHAT, chat(timeout=0.3)))
        assert queue(port)["waiting"] == 0
    assert engine.wait_for_active(0)
    assert engine.started == 1


def test_the_operator_limits_the_time(serve: Serve) -> None:
    engine = PacedEngine(endless=True, pace=0.01)
    port = serve(engine, request_timeout=0.4).port
    whole_408(ask(port, "POST", CHAT, chat()))
    answer = ask(port, "POST", CHAT, chat(timeout=5))
    assert answer.status == 400
    assert assert_envelope(answer.json())["param"] == "timeout"
    assert engine.wait_for_active(0)


def test_an_answer_that_is_in_time_is_whole(serve: Serve) -> None:
    port = serve(PacedEngine(), request_timeout=60).port
    assert ask(port, "POST", CHAT, chat(timeout=30)).status == 200


def test_the_official_client_does_not_ask_again_after_a_time_limit(serve: Serve) -> None:
    engine = PacedEngine(endless=True, pace=0.01)
    port = serve(engine).port
    with (
        openai.OpenAI(api_key="x", base_url=f"http://127.0.0.1:{port}/v1", max_retries=3) as client,
        pytest.raises(openai.APIStatusError) as caught,
    ):
        client.chat.completions.create(**chat(), extra_body={"timeout": 0.3})
    assert caught.value.status_code == 408
    assert engine.started == 1


def test_waiting_too_long_is_503(serve: Serve) -> None:
    engine = PacedEngine(endless=True, pace=0.01)
    port = serve(engine, queue_timeout=0.3).port
    with streaming(port, CHAT, chat(stream=True)) as running:
        running.head()
        answer = ask(port, "POST", CHAT, chat())
        assert answer.status == 503 and int(answer.headers["retry-after"]) >= 1
        assert assert_envelope(answer.json())["code"] == "queue_timeout"


def test_flex_is_batch_work_and_says_so(serve: Serve) -> None:
    engine = PacedEngine(["a"] * 3, pace=0.01)
    engine.gate.clear()
    port = serve(engine).port
    with Wire(port) as running, Wire(port) as flex, Wire(port) as other:
        running.request("POST", CHAT, chat())
        assert engine.wait_for_active(1)
        flex.request("POST", CHAT, chat(service_tier="flex"), {"x-request-id": "flex"})
        wait_for(lambda: queue(port)["waiting"] == 1)
        other.request("POST", CHAT, chat(), {"x-request-id": "other"})
        wait_for(lambda: queue(port)["waiting"] == 2)
        places = {each["id"]: each["position"] for each in queue(port)["requests"]}
        assert (places["other"], places["flex"]) == (1, 2)
        engine.gate.set()
        assert flex.answer().json()["service_tier"] == "flex"
        assert other.answer().status == running.answer().status == 200
