"""Bodies: wanted or not by their heads alone, in memory, and within one bound for all of them."""

from __future__ import annotations

import errno
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from extensions.openai.access.key_files import KeyFiles
from extensions.openai.access.signed_keys import Grant, new_id
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.server.bodies import Body, BodyMemory
from extensions.openai.server.server import APIServer
from tests.conftest import Serve
from tests.support.paced import PacedEngine
from tests.support.reference import assert_envelope
from tests.support.wire import Answer, Wire, ask

COMPLETIONS = "/v1/completions"
KEY = {"Authorization": "Bearer right-key"}
LARGE = str(20 << 20)


def head_only(port: int, path: str = COMPLETIONS, method: str = "POST", **headers: str) -> Answer:
    """The answer to a request of which only the head is sent."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with Wire(port) as wire:
        wire.request(method, path, headers={"Content-Length": LARGE, **named})
        answer = wire.answer()
        assert wire.rest() == b"", "the connection ends with the answer"
        return answer


def body(size: int = 0) -> bytes:
    return b'{"model":"echo","prompt":"hey","user":"%s"}' % (b"u" * size)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def held(server: APIServer) -> int:
    budget = server.listeners[0].channel_class.body_memory  # type: ignore[attr-defined]
    assert isinstance(budget, BodyMemory)
    return budget.used


@pytest.mark.parametrize(
    ("headers", "path", "method", "status", "code"),
    [
        ({}, COMPLETIONS, "POST", 401, "invalid_api_key"),
        ({"Authorization": "Bearer wrong"}, COMPLETIONS, "POST", 401, "invalid_api_key"),
        ({"Authorization": "Basic abc"}, COMPLETIONS, "POST", 401, "invalid_api_key"),
        ({"Api-Key": "wrong", "Expect": "100-continue"}, COMPLETIONS, "POST", 401, None),
        ({"Expect": "100-continue"}, "/v1/chat/completions", "POST", 401, "invalid_api_key"),
        (KEY, "/v1/nowhere", "POST", 404, None),
        ({}, "/v1/nowhere", "POST", 404, None),
        (KEY, COMPLETIONS, "GET", 405, "method_not_supported"),
        ({**KEY, "Content-Type": "text/plain"}, COMPLETIONS, "POST", 415, None),
        ({**KEY, "Content-Encoding": "gzip"}, COMPLETIONS, "POST", 415, None),
        ({}, "/v1/internal/model/load", "POST", 401, "invalid_api_key"),
        (KEY, "/v1/internal/model/load", "POST", 403, "insufficient_permissions"),
    ],
)
def test_what_a_head_tells_is_answered_before_the_body(
    serve: Serve, headers: dict[str, str], path: str, method: str, status: int, code: str | None
) -> None:
    port = serve(EchoEngine(), api_key="right-key", admin_key="admin-key").port
    answer = head_only(port, path, method, **headers)
    assert answer.status == status
    error = assert_envelope(answer.json())
    assert code is None or error["code"] == code
    assert answer.headers["connection"] == "close" and "x-request-id" in answer.headers


def test_a_chunked_body_is_not_taken_either(serve: Serve) -> None:
    with Wire(serve(EchoEngine(), api_key="right-key").port) as wire:
        wire.request("POST", COMPLETIONS, headers={"Transfer-Encoding": "chunked"})
        assert wire.answer().status == 401


def test_a_page_of_a_browser_may_read_the_refusal(serve: Serve) -> None:
    port = serve(EchoEngine(), api_key="right-key", cors_origins=("https://app.example",)).port
    answer = head_only(port, Origin="https://app.example")
    assert answer.status == 401
    assert answer.headers["access-control-allow-origin"] == "https://app.example"


def test_what_follows_a_refused_head_is_no_request(serve: Serve) -> None:
    server = serve(EchoEngine(), api_key="right-key")
    hidden = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with Wire(server.port) as wire:
        wire.request("POST", COMPLETIONS, headers={"Content-Length": LARGE})
        wire.send(hidden * 20)
        assert wire.answer().status == 401
        assert wire.rest() == b""


def test_a_client_that_sends_on_gets_its_refusal(serve: Serve) -> None:
    """As programs do that write all of a request before they read: nothing is kept, nothing is reset."""
    server = serve(EchoEngine(), api_key="right-key")
    with Wire(server.port) as wire:
        wire.request("POST", COMPLETIONS, b" " * (8 << 20))
        assert wire.answer().status == 401
    assert held(server) == 0


def test_each_wrong_key_is_counted_once(serve: Serve) -> None:
    server = serve(EchoEngine(), api_key="right-key", wrong_keys=2, trusted_proxies=("127.0.0.1",))
    sent = {"Authorization": "Bearer wrong", "X-Forwarded-For": "203.0.113.9"}
    found = [head_only(server.port, **sent).status for _ in range(3)]
    assert found == [401, 401, 429]


@pytest.mark.parametrize("expects", [False, True])
@pytest.mark.parametrize("kind", ["shared", "named", "password"])
def test_with_the_right_key_the_body_is_read(
    serve: Serve, tmp_path: Path, kind: str, expects: bool
) -> None:
    keys = KeyFiles(tmp_path)
    named = keys.create(Grant(new_id(), "anna", frozenset({"read", "write"})))
    given = {"shared": "right-key", "named": named, "password": "right-password"}[kind]
    port = serve(
        EchoEngine(), api_key="right-key", password="right-password", data_folder=str(tmp_path)
    ).port
    data = body()
    with Wire(port) as wire:
        for _ in range(3):
            headers = {"Authorization": f"Bearer {given}", "Content-Length": str(len(data))}
            wire.request(
                "POST",
                COMPLETIONS,
                headers=headers | ({"Expect": "100-continue"} if expects else {}),
            )
            if expects:
                assert wire.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            wire.send(data)
            answer = wire.answer()
            assert answer.status == 200, answer.body


def test_without_keys_a_body_is_waited_for(serve: Serve) -> None:
    data = body()
    with Wire(serve(EchoEngine()).port) as wire:
        wire.request("POST", "/v1/nowhere", headers={"Content-Length": str(len(data))})
        wire.send(data)
        assert wire.answer().status == 404
        wire.request("POST", COMPLETIONS, data)
        assert wire.answer().status == 200


def test_all_bodies_together_are_bounded(serve: Serve) -> None:
    engine = PacedEngine(["a"], endless=True, pace=0.02)
    server = serve(engine, request_memory_mb=1)
    with Wire(server.port) as first, Wire(server.port) as second:
        first.request("POST", COMPLETIONS, {**_json(body(600_000)), "stream": True})
        assert first.head()[1] == 200
        assert held(server) > 600_000
        second.request("POST", COMPLETIONS, headers={"Content-Length": "300000"})
        answer = second.answer()
        assert answer.status == 503 and answer.headers["retry-after"] == "5"
        assert assert_envelope(answer.json())["code"] == "request_memory_full"
        chunked = {"Transfer-Encoding": "chunked"}
        with Wire(server.port) as third:
            third.request("POST", COMPLETIONS, headers=chunked)
            third.send(b"%x\r\n" % 300_000 + b" " * 300_000)
            assert third.answer().status == 503
        # Short ones still have room.
        assert ask(server.port, "POST", COMPLETIONS, wrong(30_000)).status == 400
    wait_for(lambda: held(server) == 0)
    assert ask(server.port, "POST", COMPLETIONS, wrong(600_000)).status == 400


def wrong(size: int) -> dict[str, Any]:
    """A request that is read, and refused."""
    return {"model": "paced", "prompt": "hey", "user": "u" * size, "temperature": "warm"}


def _json(data: bytes) -> dict[str, Any]:
    return {"model": "paced", "prompt": "hey", "user": "u" * len(data), "max_tokens": 900}


def test_a_client_that_leaves_in_its_body_frees_what_it_held(serve: Serve) -> None:
    server = serve(EchoEngine())
    with Wire(server.port) as wire:
        wire.request("POST", COMPLETIONS, headers={"Content-Length": LARGE})
        wire.send(b" " * 3_000_000)
        wait_for(lambda: held(server) == 3_000_000)
    wait_for(lambda: held(server) == 0)


def test_a_full_disk_is_in_nobodys_way(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    text = "x" * 3_000_000
    port = serve(PacedEngine([text])).port
    messages = [{"role": "user", "content": "Hi"}]
    chat = {"model": "paced", "messages": messages, "user": text, "max_tokens": 1}
    answer = ask(port, "POST", "/v1/chat/completions", chat)
    assert answer.status == 200
    assert answer.json()["choices"][0]["message"]["content"] == text


MIB = 1 << 20
FORM = "multipart/form-data; boundary=b"


def form_with(content: bytes) -> bytes:
    purpose = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nvision\r\n'
    file = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    return purpose + file + content + b"\r\n--b--\r\n"


def test_a_file_is_on_disk_while_it_arrives(serve: Serve, tmp_path: Path) -> None:
    server = serve(
        EchoEngine(), store="memory", max_body_mb=1, max_file_mb=4, data_folder=str(tmp_path)
    )
    content = os.urandom(3 * MIB)
    form, port = form_with(content), server.port
    with Wire(port) as wire:
        head = {"Content-Type": FORM, "Content-Length": str(len(form))}
        wire.request("POST", "/v1/files", headers=head)
        wire.send(form[: 2 * MIB])
        on_disk = f"{tmp_path}/#"  # a file without a name
        wait_for(lambda: any(each.startswith(on_disk) for each in open_files()))
        assert held(server) == 0
        wire.send(form[2 * MIB :])
        answer = wire.answer()
    assert answer.status == 200, answer.body
    got = ask(port, "GET", f"/v1/files/{answer.json()['id']}/content")
    assert got.body == content
    wait_for(lambda: not any(each.startswith(on_disk) for each in open_files()))
    assert [*tmp_path.iterdir()] == []
    # A longer one, and one of the same length for an address that takes no files.
    for path, size in (("/v1/files", 7 * MIB), (COMPLETIONS, 3 * MIB)):
        refused = head_only(port, path, Content_Type=FORM, Content_Length=str(size))
        assert assert_envelope(refused.json(), status=413)["type"] == "invalid_request_error"
    # One whose length is not known before, without end.
    with Wire(port) as wire:
        head = {"Content-Type": FORM, "Transfer-Encoding": "chunked"}
        wire.request("POST", "/v1/files", headers=head)
        with suppress(ConnectionError):
            for _ in range(8):
                wire.send(b"100000\r\n" + b"x" * MIB + b"\r\n")
        assert wire.answer().status == 413


def open_files() -> list[str]:
    found = []
    for each in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # it was closed meanwhile
            found.append(str(each.readlink()))
    return found


def test_without_a_store_no_file_is_received(serve: Serve) -> None:
    port = serve(EchoEngine(), store="off", max_body_mb=1, max_file_mb=4).port
    refused = head_only(port, "/v1/files", Content_Type=FORM, Content_Length=str(3 * MIB))
    assert assert_envelope(refused.json(), status=413)["type"] == "invalid_request_error"


def test_a_body_is_read_in_any_portions() -> None:
    budget = BodyMemory(1000)
    whole = Body(budget)
    parts = [b"", b"abc", b"d", b"efghij" * 9]
    assert all(whole.append(part) for part in parts)
    reader = whole.getfile()
    assert reader.read(2) + (reader.read(3) or b"") + reader.readall() == b"".join(parts)
    whole.close()
    whole.close()
    assert budget.used == 0 and not whole.append(b"x")
