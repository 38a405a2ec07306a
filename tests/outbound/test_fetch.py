"""Fetching from addresses that a stranger has chosen: what comes, and what must never be reached."""

from __future__ import annotations

import gzip
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from extensions.openai.errors import InvalidRequest
from extensions.openai.outbound import fetch
from extensions.openai.outbound.fetch import UNREACHABLE, Fetcher, FetchRules, is_public
from tests.support.bare_server import drip, ok, redirect, serving

MIB = 1 << 20


def fetch_from(
    url: str, *hosts: str, check: Callable[[], None] = lambda: None, **rules: Any
) -> bytes:
    return Fetcher(FetchRules(hosts=hosts, **rules), check).get(url, "p")


def refused(url: str, *hosts: str, **rules: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        fetch_from(url, *hosts, **rules)
    assert caught.value.param == "p"
    assert "127.0.0.1" not in caught.value.message and "localhost" not in caught.value.message
    return caught.value


def test_a_host_that_was_named_is_fetched_from(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with serving(ok(b"picture")) as server:
        here = f"127.0.0.1:{server.port}"
        assert fetch_from(f"http://{here}/a%20b/ü?q=1&r={{}}#part", here) == b"picture"
    head = server.asked[0]
    assert head.startswith("GET /a%20b/%C3%BC?q=1&r={} HTTP/1.1\r\n")
    assert f"Host: {here}\r\n" in head and "identity" in head
    assert "cookie" not in head.lower() and "authorization" not in head.lower()


def test_without_a_list_only_public_addresses_are_reached() -> None:
    with serving(ok(b"secret")) as server:
        here = f"127.0.0.1:{server.port}"
        assert "that host" in refused(f"http://{here}/").message
        assert "that port" in refused(f"http://{here}/", public=True).message
        assert "that host" in refused(f"http://localhost:{server.port}/", here).message
        assert server.asked == []


INSIDE = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "0",
    "0.0.0.0",
    "localhost",
    "LOCALHOST.",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "169.254.169.254",
    "10.0.0.1",
    "192.168.0.1",
    "100.64.0.1",
    "[fe80::1]",
    "[fd00:ec2::254]",
    "name.that.does.not.exist.invalid",
]


@pytest.mark.parametrize("host", INSIDE)
def test_all_spellings_of_inside_get_the_same_words(
    monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """They are not even connected to, and they do not differ from a name that does not exist."""
    monkeypatch.setattr(socket.socket, "connect", _never)
    error = refused(f"http://{host}/", public=True)
    assert UNREACHABLE in error.message and error.code == "failed_to_download_image"


def _never(*_: object) -> None:
    raise AssertionError("this must not be connected to")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("inside", ["http://127.0.0.1", "http://[::ffff:127.0.0.1]", "//localhost"])
def test_a_redirect_does_not_lead_inside(status: int, inside: str) -> None:
    with serving(ok(b"secret")) as secret:
        for port in (f":{secret.port}", ""):
            with serving(redirect(f"{inside}{port}/", status)) as server:
                here = f"127.0.0.1:{server.port}"
                refused(f"http://{here}/", here, public=True)
        assert secret.asked == []


def test_a_redirect_is_followed_at_most_three_times() -> None:
    def answer(connection: socket.socket, target: str) -> None:
        left = int(target[1:])
        connection.sendall(redirect(f"/{left - 1}") if left else ok(b"there"))

    with serving(answer) as server:
        here = f"127.0.0.1:{server.port}"
        assert fetch_from(f"http://{here}/3", here) == b"there"
        assert "3 times" in refused(f"http://{here}/4", here).message
        server.asked.clear()
        assert "3 times" in refused(f"http://{here}/99", here).message
        assert len(server.asked) == 4


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "ftp://example.com/", "gopher://x/", "data:,x", "http://", ""],
)
def test_a_redirect_leads_to_http_only(location: str) -> None:
    def answer(connection: socket.socket, target: str) -> None:
        connection.sendall(redirect(location))

    with serving(answer) as server:
        here = f"127.0.0.1:{server.port}"
        refused(f"http://{here}/", here, public=True)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "ftp://example.com/a.png",
        "gopher://example.com/",
        "http:///a.png",
        "http://",
        "https:example.com",
        "http://user@example.com/",
        "http://user:password@example.com/",
        "http://example.com:99999/",
        "http://example.com:x/",
        "http://exa mple.com/",
        "http://example.com\\@127.0.0.1/",
        "http://example.com\r\nX: y/",
        "http://[fe80::1%25eth0]/",
        "http://[::1/",
        "http://example.com/" + "a" * 5000,
        "http://" + "a" * 300 + ".com/",
        "http://exämple..com/",
    ],
)
def test_addresses_that_are_none(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr(fetch, "getaddrinfo", _never)
    error = refused(url, public=True)
    assert error.code == "invalid_image_url" and "password" not in error.message.split("or ")[0]


@pytest.mark.parametrize("port", [22, 25, 6379, 8080])
def test_other_ports_are_for_named_hosts(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setattr(fetch, "getaddrinfo", _never)
    assert "port" in refused(f"http://example.com:{port}/", "example.com", public=True).message


def test_a_name_cannot_change_between_the_look_and_the_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The name is looked up once; the connection is made to the number that was looked at."""
    looked: list[str] = []
    connected: list[object] = []

    def lookup(host: str, port: int, **_: object) -> list[object]:
        looked.append(host)
        # Public the first time, then the one that the attacker is after; both beside a private one.
        number = "93.184.216.34" if len(looked) == 1 else "127.0.0.1"
        return [(2, 1, 6, "", (text, port)) for text in ("10.0.0.7", number)]

    def connect(address: tuple[str, int], *_: object, **__: object) -> None:
        connected.append(address)
        raise OSError("not in a test")

    monkeypatch.setattr(fetch, "getaddrinfo", lookup)
    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(InvalidRequest, match="public"):
        fetch_from("http://rebinding.example/", public=True)
    assert looked == ["rebinding.example"]
    assert connected == [("93.184.216.34", 80)]


def test_a_name_with_private_addresses_only(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = ["10.0.0.7", "fd00::1", "fe80::1%eth0", "169.254.169.254"]
    entries = [(2, 1, 6, "", (number, 80)) for number in numbers]
    monkeypatch.setattr(fetch, "getaddrinfo", lambda *_, **__: entries)
    monkeypatch.setattr(socket.socket, "connect", _never)
    assert UNREACHABLE in refused("http://inside.example/", public=True).message


def test_this_machine_is_not_reached_by_its_public_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """A firewall may keep others from what this machine can reach at its own address."""
    with serving(ok(b"secret")) as server:
        monkeypatch.setitem(fetch.PORTS, "http", server.port)
        monkeypatch.setattr(fetch, "is_public", lambda number: True)
        assert UNREACHABLE in refused(f"http://127.0.0.1:{server.port}/", public=True).message
        assert server.asked == []


@pytest.mark.parametrize(
    "number",
    """0.0.0.0 0.1.2.3 10.1.2.3 100.64.0.1 100.127.255.255 127.0.0.1 127.255.255.255 169.254.169.254
    172.16.0.1 172.31.255.255 192.0.0.192 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.51.100.1
    203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255 168.63.129.16
    :: ::1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 ::7f00:1 64:ff9b::7f00:1 64:ff9b::808:808 64:ff9b:1::1 100::1
    2001::1 2001:db8::1 2002:7f00:1:: 2002:808:808:: fc00::1 fd00:ec2::254 fe80::1 fec0::1 ff02::1""".split(),
)
def test_addresses_that_are_not_public(number: str) -> None:
    assert not is_public(number)


@pytest.mark.parametrize("number", ["8.8.8.8", "93.184.216.34", "2606:4700::1111", "2a00:1450::1"])
def test_addresses_that_are_public(number: str) -> None:
    assert is_public(number)


@pytest.mark.parametrize("reported", [True, False])
def test_a_body_that_is_too_large(reported: bool) -> None:
    sent = 0

    def answer(connection: socket.socket, target: str) -> None:
        nonlocal sent
        length = f"Content-Length: {9 * MIB}\r\n" if reported else ""
        connection.sendall(f"HTTP/1.1 200 OK\r\n{length}\r\n".encode())
        while True:
            connection.sendall(bytes(65536))
            sent += 65536

    with serving(answer) as server:
        here = f"127.0.0.1:{server.port}"
        error = refused(f"http://{here}/", here, max_bytes=MIB)
        assert error.code == "image_file_too_large" and "1 MiB" in error.message
        assert server.left.wait(50)
    assert sent < 64 * MIB  # it had no end


def test_a_body_as_large_as_may_be() -> None:
    with serving(ok(bytes(MIB))) as server:
        here = f"127.0.0.1:{server.port}"
        assert fetch_from(f"http://{here}/", here, max_bytes=MIB) == bytes(MIB)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "gzip, identity"])
def test_nothing_is_unpacked(encoding: str) -> None:
    bomb = gzip.compress(bytes(50 * MIB))
    with serving(ok(bomb, f"Content-Encoding: {encoding}")) as server:
        here = f"127.0.0.1:{server.port}"
        assert "compressed" in refused(f"http://{here}/", here).message


@pytest.mark.parametrize(
    "parts",
    [
        (),
        (b"HTTP/1.1 200 OK\r\nX-Long: ",),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n",),
    ],
)
def test_what_comes_in_drops_ends_when_the_time_is_over(parts: tuple[bytes, ...]) -> None:
    with serving(drip(*parts)) as server:
        here = f"127.0.0.1:{server.port}"
        began = time.monotonic()
        assert "within 0.6 seconds" in refused(f"http://{here}/", here, seconds=0.6).message
        assert time.monotonic() - began < 10
        assert server.left.wait(10)


def test_silence_ends_when_the_time_is_over() -> None:
    release = threading.Event()
    with serving(lambda connection, target: release.wait(30)) as server:
        here = f"127.0.0.1:{server.port}"
        assert "within 0.3 seconds" in refused(f"http://{here}/", here, seconds=0.3).message
        release.set()


def test_one_time_for_all_files_of_a_request() -> None:
    def answer(connection: socket.socket, target: str) -> None:
        time.sleep(0.4)
        connection.sendall(ok(b"x"))

    with serving(answer) as server:
        here = f"127.0.0.1:{server.port}"
        fetcher = Fetcher(FetchRules(hosts=(here,), seconds=1.0), lambda: None)
        with pytest.raises(InvalidRequest, match="within 1 seconds"):
            for _ in range(9):
                fetcher.get(f"http://{here}/", "p")
        assert len(server.asked) < 5


def test_a_name_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def lookup(*_: object, **__: object) -> list[object]:
        release.wait(30)
        return []

    monkeypatch.setattr(fetch, "getaddrinfo", lookup)
    assert "within 0.3 seconds" in refused("http://slow.example/", public=True, seconds=0.3).message
    release.set()


class Gone(Exception):
    """The client has left."""


@pytest.mark.parametrize(
    "parts", [(), (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n",)], ids=["head", "body"]
)
def test_a_client_that_leaves_ends_the_fetch(parts: tuple[bytes, ...]) -> None:
    with serving(drip(*parts)) as server:
        here = f"127.0.0.1:{server.port}"

        def check() -> None:
            if server.asked:
                raise Gone

        with pytest.raises(Gone):
            fetch_from(f"http://{here}/", here, check=check, seconds=60)
        assert server.left.wait(10)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x00\xff" * 100,
        b"HTTP/0.9\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 404 Not Found\r\nContent-Length: 6\r\n\r\nsecret",
        b"HTTP/1.1 500 Oops\r\nContent-Length: 6\r\n\r\nsecret",
    ],
)
def test_answers_that_are_no_file(answer: bytes) -> None:
    with serving(answer) as server:
        here = f"127.0.0.1:{server.port}"
        error = refused(f"http://{here}/", here, seconds=5.0)
        assert "secret" not in error.message and error.code == "failed_to_download_image"


def test_a_certificate_must_be_good() -> None:
    """Our server speaks no TLS at all, and then TLS without any certificate."""
    with serving(ok(b"x")) as server:
        here = f"127.0.0.1:{server.port}"
        refused(f"https://{here}/", here, seconds=1.0)
        assert server.asked == []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with serving(ok(b"x"), context=context) as server:
        here = f"127.0.0.1:{server.port}"
        refused(f"https://{here}/", here, seconds=1.0)
        assert server.asked == []


@pytest.fixture
def certified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """TLS as `pictures.example`, whose certificate is to be trusted."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1".split(),
            *("-subj", "/CN=pictures.example", "-addext", "subjectAltName=DNS:pictures.example"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def test_tls_is_checked_for_the_name_and_not_for_the_number(
    certified: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lookup(host: str, port: int, **_: object) -> list[object]:
        return [(2, 1, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(fetch, "getaddrinfo", lookup)
    with serving(ok(b"x" * 100_000), context=certified) as server:
        there = f"pictures.example:{server.port}"
        assert fetch_from(f"https://{there}/", there) == b"x" * 100_000
        other = f"other.example:{server.port}"
        refused(f"https://{other}/", other)
        assert len(server.asked) == 1


def test_a_drip_through_tls_ends_too(
    certified: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = (2, 1, 6, "", ("127.0.0.1", 0))
    monkeypatch.setattr(fetch, "getaddrinfo", lambda *_, **__: [entry])
    with serving(drip(b"HTTP/1.1 200 OK\r\n\r\n"), context=certified) as server:
        there = f"pictures.example:{server.port}"
        assert "within 1 seconds" in refused(f"https://{there}/", there, seconds=1).message
        assert len(server.asked) == 1 and server.left.wait(10)


def test_a_connection_that_comes_too_late_for_tls_is_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sockets: list[socket.socket] = []
    connect = socket.create_connection

    def slow(*arguments: object, **options: object) -> socket.socket:
        sockets.append(connect(*arguments, **options))  # type: ignore[arg-type]
        time.sleep(0.6)
        return sockets[-1]

    monkeypatch.setattr(socket, "create_connection", slow)
    with serving(ok(b"x")) as server:
        here = f"127.0.0.1:{server.port}"
        assert "within 0.5 seconds" in refused(f"https://{here}/", here, seconds=0.5).message
        until(lambda: sockets[0].fileno() == -1)


def until(true: Callable[[], bool], timeout: float = 50.0) -> None:
    deadline = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_ipv6_hosts_are_named_in_brackets() -> None:
    try:
        with serving(ok(b"six"), "::1") as server:
            here = f"[::1]:{server.port}"
            assert fetch_from(f"http://{here}/", here) == b"six"
            assert f"Host: {here}\r\n" in server.asked[0]
    except OSError:
        pytest.skip("this machine has no IPv6")
