"""Requests whose end is not certain are refused, over a real socket; so is what cannot be read."""

from __future__ import annotations

import random
import re
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.server.bodies import Body, BodyMemory
from extensions.openai.server.parser import ChunkedBody
from tests.conftest import Serve
from tests.support.reference import assert_envelope
from tests.support.wire import Wire, ask

BODY = b'{"model":"echo","prompt":"a"}'
SIZE = b"%x" % len(BODY)
LENGTH = b"Content-Length: %d\r\n" % len(BODY)
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = SIZE + b"\r\n" + BODY + b"\r\n0\r\n\r\n"
GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"

AMBIGUOUS = {
    "length and chunks": POST + LENGTH + CHUNKED + b"\r\n" + CHUNKS,
    "chunks and length 0": POST + CHUNKED + b"Content-Length: 0\r\n\r\n" + CHUNKS,
    "two lengths": POST + LENGTH + b"Content-Length: 1\r\n\r\n" + BODY,
    "one length twice": POST + LENGTH + LENGTH + b"\r\n" + BODY,
    "a list of lengths": POST + b"Content-Length: 5, 5\r\n\r\n" + BODY,
    "a signed length": POST + b"Content-Length: +5\r\n\r\n" + BODY,
    "a length of 5,000 digits": POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
    "an empty length": POST + b"Content-Length: \r\n\r\n",
    "chunked twice": POST + CHUNKED + CHUNKED + b"\r\n" + CHUNKS,
    "chunked, chunked": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n" + CHUNKS,
    "an empty encoding": POST + b"Transfer-Encoding: \r\n\r\n" + CHUNKS,
    "a comma": POST + b"Transfer-Encoding: ,chunked\r\n\r\n" + CHUNKS,
    "identity": POST + b"Transfer-Encoding: identity\r\n\r\n" + BODY,
    "gzip": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + CHUNKS,
    "a vertical tab": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n" + CHUNKS,
    "a space before the colon": POST + b"Transfer-Encoding : chunked\r\n\r\n" + CHUNKS,
    "chunks in HTTP/1.0": POST.replace(b"1.1", b"1.0") + CHUNKED + b"\r\n" + CHUNKS,
    "HTTP/1.2": POST.replace(b"1.1", b"1.2") + CHUNKED + b"\r\n" + CHUNKS,
    "HTTP/2.0": POST.replace(b"1.1", b"2.0") + LENGTH + b"\r\n" + BODY,
    "no version": b"GET /health\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a folded line": GET + b"X: a\r\n b\r\n\r\n",
    "a folded length": POST + b"Content-Length:\r\n 5\r\n\r\n" + BODY,
    "a folded first line": b"GET /health HTTP/1.1\r\n Host: localhost\r\n\r\n",
    "two hosts": GET + b"Host: other\r\n\r\n",
    "no host": b"GET /health HTTP/1.1\r\n\r\n",
    "a bare carriage return": GET + b"X: a\rb\r\n\r\n",
    "a bare line feed": GET + b"X: a\nY: b\r\n\r\n",
    "a null byte": GET + b"X: a\0b\r\n\r\n",
    "a null byte in the target": b"GET /hea\0lth HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "tabs in the first line": b"GET\t/health\tHTTP/1.1\r\nHost: localhost\r\n\r\n",
    "spaces in the first line": b"GET  /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a space at its end": b"GET /health HTTP/1.1 \r\nHost: localhost\r\n\r\n",
    "lines that end with a line feed": b"GET /health HTTP/1.1\nHost: localhost\n\n",
    "an end that is a line feed": GET + b"\n",
    "lines that end with a carriage return": b"GET /health HTTP/1.1\rHost: localhost\r\r",
    "line feed and carriage return": b"GET /health HTTP/1.1\n\rHost: localhost\n\r\n\r",
    "another scheme": b"GET ftp://localhost/health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a user in the target": b"GET http://a@localhost/health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a target of another host": b"GET http://a.example/health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a target of another port": b"GET http://localhost:2/health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a target without a host": b"GET http:///health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a target that is a host": b"CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no name": GET + b": x\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 60 + b"\r\n\r\n",
    "a broken URI": b"GET http://[::1/health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a size ended by a line feed": POST + CHUNKED + b"\r\n" + SIZE + b"\n" + BODY + b"\n0\n\n",
    "a size with a line feed": POST
    + CHUNKED
    + b"\r\n"
    + SIZE
    + b"\n\r\n"
    + BODY
    + b"\r\n0\r\n\r\n",
    "a size as Python writes it": POST + CHUNKED + b"\r\n0x" + CHUNKS,
    "a size below zero": POST + CHUNKED + b"\r\n-" + CHUNKS,
    "a size with an underscore": POST + CHUNKED + b"\r\n1_" + CHUNKS,
    "a size with a space": POST + CHUNKED + b"\r\n" + SIZE + b" \r\n" + BODY + b"\r\n0\r\n\r\n",
    "a size beyond all bounds": POST + CHUNKED + b"\r\n" + b"f" * 40 + b"\r\n" + BODY,
    "an empty line for a size": POST + CHUNKED + b"\r\n\r\n" + CHUNKS,
    "an extension with a line feed": POST + CHUNKED + b"\r\n" + SIZE + b";a\nb\r\n" + BODY,
    "an extension without end": POST + CHUNKED + b"\r\n" + SIZE + b";" + b"a" * 5000,
    "a chunk that is longer than it says": POST + CHUNKED + b"\r\n3\r\n" + BODY + b"\r\n0\r\n\r\n",
    "a trailer that is none": POST + CHUNKED + b"\r\n0\r\nnonsense\r\n\r\n",
    "trailers without end": POST + CHUNKED + b"\r\n0\r\n" + b"X: abcdefgh\r\n" * 1000,
}


@pytest.mark.parametrize("sent", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_what_is_not_certain_is_refused_and_the_connection_closed(
    serve: Serve, sent: bytes
) -> None:
    port = serve(EchoEngine()).port
    with Wire(port) as wire:
        # What a smuggler would hide behind it must not be answered.
        wire.send(sent + b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = wire.answer()
        assert answer.status == 400, answer
        assert_envelope(answer.json(), status=400)
        assert answer.headers["connection"] == "close" and answer.headers["x-request-id"]
        assert wire.rest() == b""
    assert ask(port, "GET", "/health").status == 200


def test_what_is_refused_below_the_application_is_logged_and_counted(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    port = serve(EchoEngine()).port
    with caplog.at_level("INFO", "openedai"), Wire(port) as wire:
        wire.send(AMBIGUOUS["two hosts"])
        answer = wire.answer()
        # The connection is closed after the line is written.
        wire.rest()
    assert answer.headers["x-request-id"] in caplog.text and "127.0.0.1" in caplog.text
    metrics = ask(port, "GET", "/metrics").body.decode()
    assert re.search(r'openedai_requests_total\{[^}]*status="400"[^}]*\} 1\.0', metrics), metrics


@pytest.mark.parametrize("end", [b"\rX: a", b"\nX: a", b"\0", b"\r\n b", b"\xff\r"])
def test_a_malformed_line_is_refused_without_the_key_in_it(serve: Serve, end: bytes) -> None:
    with Wire(serve(EchoEngine()).port) as wire:
        wire.send(GET + b"Authorization: Bearer sk-geheim" + end + b"\r\n\r\n")
        answer = wire.answer()
    assert answer.status == 400 and b"geheim" not in answer.body


@pytest.mark.parametrize(
    "sent",
    [
        POST + CHUNKED + b"\r\n" + CHUNKS,
        POST + b"transfer-encoding: \tCHUNKED \r\n\r\n" + CHUNKS,
        POST + CHUNKED + b"\r\n" + SIZE.upper() + b';a=b;c="d e"\r\n' + BODY + b"\r\n00\r\n\r\n",
        POST + CHUNKED + b"\r\n" + SIZE + b"\r\n" + BODY + b"\r\n0\r\nX-Sum: 1\r\n\r\n",
        POST + LENGTH + b"\r\n" + BODY,
        b"\r\n" + POST + LENGTH + b"\r\n" + BODY,
        POST.replace(b"/v1", b"http://localhost/v1") + LENGTH + b"\r\n" + BODY,
        POST.replace(b"1.1", b"1.0").replace(b"Host: localhost\r\n", b"") + LENGTH + b"\r\n" + BODY,
        POST + b"Content_Length: 5\r\n" + LENGTH + b"\r\n" + BODY,
    ],
    ids=range(9),
)
def test_what_is_certain_is_served(serve: Serve, sent: bytes) -> None:
    with Wire(serve(EchoEngine()).port) as wire:
        wire.send(sent)
        answer = wire.answer()
    assert answer.status == 200 and answer.json()["choices"][0]["text"] == "a"


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /health\r\n",
        b"SSH-2.0-OpenSSH_9\r\n",
        b"GET /health HTTP/1.1\nHost: localhost\n\n",
        GET + b"\n",
        b"GET /health HTTP/1.1\rHost: localhost\r\r",
        b"\r\n\r\nnonsense\r\n",
    ],
    ids=range(6),
)
@pytest.mark.parametrize("at_once", [True, False])
def test_a_head_that_cannot_become_good_is_not_waited_for(
    serve: Serve, sent: bytes, at_once: bool
) -> None:
    with Wire(serve(EchoEngine(), receive_timeout=3600).port) as wire:
        if at_once:
            wire.send(sent)
        else:
            for byte in sent:
                wire.send(bytes([byte]))
                if byte in b"\r\n":
                    threading.Event().wait(0.02)  # so that it is read in parts
        answer = wire.answer()
    assert answer.status == 400
    assert_envelope(answer.json(), status=400)


def test_a_good_head_may_come_in_parts_of_any_size(serve: Serve) -> None:
    with Wire(serve(EchoEngine()).port) as wire:
        for byte in b"\r\n" + GET + b"\r\n":
            wire.send(bytes([byte]))
            if byte in b"\r\n":
                threading.Event().wait(0.02)
        assert wire.answer().status == 200


@pytest.mark.parametrize("upgrade", [b"websocket", b"h2c", b"TLS/1.2, websocket", b""])
def test_a_wish_for_another_protocol_is_ignored(serve: Serve, upgrade: bytes) -> None:
    wish = b"Connection: Upgrade\r\nUpgrade: " + upgrade + b"\r\nSec-WebSocket-Version: 13\r\n"
    port = serve(EchoEngine()).port
    for sent in (GET + wish + b"\r\n", POST + wish + LENGTH + b"\r\n" + BODY):
        with Wire(port) as wire:
            wire.send(sent)
            assert wire.answer().status == 200
    with Wire(port) as wire:
        wire.send(GET.replace(b"/health", b"/nothing") + wish + b"\r\n")
        answer = wire.answer()
    assert answer.status == 404 and b"WebSocket" not in answer.body
    assert_envelope(answer.json(), status=404)


def test_a_large_body_gets_its_413_although_the_client_goes_on_sending(serve: Serve) -> None:
    """Closed at once, the connection would be reset and the answer lost."""
    port = serve(EchoEngine(), max_body_mb=1).port
    with Wire(port) as wire:
        wire.send(POST + b"Content-Length: 30000000\r\n\r\n")
        wire.sock.settimeout(5)
        for _ in range(100):
            try:
                wire.send(b"x" * 20_000)
            except (TimeoutError, ConnectionError):
                break
        answer = wire.answer()
    assert answer.status == 413
    assert_envelope(answer.json(), status=413)


def test_a_client_that_is_refused_and_gone_leaves_nothing(serve: Serve) -> None:
    server = serve(EchoEngine())
    for _ in range(20):
        wire = Wire(server.port)
        wire.send(b"NONSENSE\r\n\r\n")
        wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        wire.close()
    assert ask(server.port, "GET", "/health").status == 200


GOOD = (
    GET + b"Accept: */*\r\n\r\n",
    POST + LENGTH + b"\r\n" + BODY,
    POST + CHUNKED + b"\r\n" + CHUNKS,
    POST.replace(b"completions", b"chat/completions") + b"Content-Length: 2\r\n\r\n{}",
)


def changed(chance: random.Random) -> bytes:
    """A good request with a few bytes replaced, left out or repeated."""
    sent = bytearray(chance.choice(GOOD))
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(10, len(sent))
        if chance.random() < 0.5:
            sent[at] = chance.choice(b'\r\n\0 :,;%/\xff\x80AZaz09{}[]"')
        elif chance.random() < 0.5:
            del sent[at : at + chance.randint(1, 10)]
        else:
            sent[at:at] = sent[: chance.randint(1, 40)]
    return bytes(sent)


def test_requests_with_any_bytes_changed(serve: Serve) -> None:
    """Each is answered, in the envelope if it is refused, and none with a fault of the server's."""
    port = serve(EchoEngine(), receive_timeout=0.1).port
    chance = random.Random(7)
    requests = [changed(chance) for _ in range(300)]

    def ask_with(sent: bytes) -> None:
        with Wire(port) as wire:
            wire.sock.settimeout(30)
            wire.send(sent)
            answer = wire.answer(method="HEAD" if sent.startswith(b"HEAD") else "GET")
        assert answer.status < 500, (sent, answer)
        if answer.status >= 400:
            assert_envelope(answer.json(), status=answer.status)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ask_with, requests))
    for sent in GOOD[:3]:
        with Wire(port) as wire:
            wire.send(sent)
            assert wire.answer().status == 200


def test_a_head_request_that_is_refused_has_no_body(serve: Serve) -> None:
    with Wire(serve(EchoEngine()).port) as wire:
        wire.send(b"HEAD /health HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n")
        answer = wire.answer(method="HEAD")
        assert answer.status == 400 and int(answer.headers["content-length"]) > 0
        assert wire.rest() == b""


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=5),
    st.integers(1, 50),
    st.binary(max_size=10),
)
@hypothesis_settings(max_examples=100, deadline=None)
def test_chunks_in_parts_of_any_size(parts: list[bytes], step: int, rest: bytes) -> None:
    data = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    body = ChunkedBody(Body(BodyMemory(1 << 30)), 1 << 20)
    sent, taken = data + rest, 0
    for at in range(0, len(sent), step):
        taken += body.received(sent[at : at + step])
        if body.completed:
            break
    assert body.error is None and taken == len(data)
    assert body.getfile().read() == b"".join(parts)


@given(st.binary(max_size=200))
@hypothesis_settings(max_examples=200, deadline=None)
def test_any_bytes_as_chunks_end_or_fail_or_go_on(data: bytes) -> None:
    body = ChunkedBody(Body(BodyMemory(1 << 30)), 1 << 20)
    assert 0 <= body.received(data) <= len(data)
    assert len(body) <= len(data)
