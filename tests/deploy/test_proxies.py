"""The configurations in deploy/ for nginx and Caddy, each in the real program in front of a real server."""

from __future__ import annotations

import json
import re
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest

from extensions.openai.observability.record import RequestRecord
from extensions.openai.server.limits import DEFAULT_LIMITS
from extensions.openai.server.server import APIServer
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.support.paced import PacedEngine
from tests.support.process import ROOT, free_port
from tests.support.reference import assert_envelope, sse_payloads
from tests.support.wire import TIMEOUT, Wire

CHAT = "/v1/chat/completions"
NAME = "llm.example"
BODY = {"model": "paced", "messages": [{"role": "user", "content": "Hi"}]}


class TLSWire(Wire):
    """A connection to a proxy, from another local address than the proxy's."""

    def __init__(self, port: int, certificate: Path) -> None:
        plain = socket.create_connection(
            ("127.0.0.1", port), TIMEOUT, source_address=("127.0.0.2", 0)
        )
        context = ssl.create_default_context(cafile=str(certificate))
        super().__init__(port, sock=context.wrap_socket(plain, server_hostname=NAME))

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.request(method, path, body, {"Host": f"{NAME}:{self.port}", **named})


@dataclass
class Certificate:
    file: Path
    key: Path


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certificate")
    made = Certificate(folder / "cert.pem", folder / "key.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", "2", "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}",
         "-keyout", str(made.key), "-out", str(made.file)],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return made


class Setup:
    """The API, and what stands in front of it."""

    def __init__(self, certificate: Certificate, *, is_caddy: bool) -> None:
        self.certificate = certificate
        self.is_caddy = is_caddy
        self.engine = PacedEngine(["one", " two", " three"], parallel=4)
        self.records: list[RequestRecord] = []
        settings = Settings(
            api_port=0,
            trusted_proxies=("127.0.0.1",),
            allowed_hosts=(NAME,),
            max_body_mb=1,
            drain_timeout=0,
            keep_alive=0.2,
        )
        app = create_app(settings, self.engine)
        app.extensions["openai"].observers.append(self.records.append)
        self.server = APIServer(app, settings)
        self.server.start()
        self.port = free_port()

    def connect(self) -> TLSWire:
        return TLSWire(self.port, self.certificate.file)

    def record(self, route: str) -> RequestRecord:
        """The first request to this route, once it has ended."""
        for _ in range(500):
            for record in self.records:
                if record.route == route:
                    return record
            threading.Event().wait(0.02)
        raise AssertionError(f"no {route} in {self.records}")


Start = Callable[[Setup, Path], "subprocess.Popen[bytes]"]


def adapted(file: str, changes: dict[str, str]) -> str:
    """The configuration that we ship, with what a test must change in it; all of it must be there."""
    text = (ROOT / "deploy" / file).read_text(encoding="utf-8")
    for before, after in changes.items():
        assert before in text, before
        text = text.replace(before, after)
    return text


def start_nginx(setup: Setup, folder: Path, prefix: bool = False) -> subprocess.Popen[bytes]:
    site = adapted(
        "nginx.conf",
        {
            "listen 443 ssl http2": f"listen 127.0.0.1:{setup.port} ssl",
            "server 127.0.0.1:5001": f"server 127.0.0.1:{setup.server.port}",
            "/etc/ssl/llm.example.pem": str(setup.certificate.file),
            "/etc/ssl/llm.example.key": str(setup.certificate.key),
            # Shorter than the silence of the tests, so that only comments can keep a stream open.
            "proxy_read_timeout 3600s": f"proxy_read_timeout {60 if prefix else 1}s",
            "client_max_body_size 36m": "client_max_body_size 2m",
        },
    )
    if prefix:
        site = re.sub(r"    location / \{.*?\n    \}\n", "", site, flags=re.DOTALL)
        block = site.index("    # location /llm/")
        end = site.index("    # }", block) + len("    # }")
        site = site[:block] + site[block:end].replace("# ", "") + site[end:]
    conf = folder / "nginx.conf"
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    conf.write_text(
        f"daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{temporary}{site}}}\n"
    )
    command = [nginx(), "-p", str(folder), "-c", str(conf)]
    checked = subprocess.run([*command, "-t"], capture_output=True, check=False, timeout=60)
    assert checked.returncode == 0, checked.stderr.decode()
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def nginx() -> str:
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin") or ""


def start_caddy(setup: Setup, folder: Path) -> subprocess.Popen[bytes]:
    text = adapted(
        "Caddyfile",
        {
            "llm.example {\n": f"llm.example:{setup.port} {{\n\tbind 127.0.0.1\n"
            f"\ttls {setup.certificate.file} {setup.certificate.key}\n",
            "reverse_proxy 127.0.0.1:5001": f"reverse_proxy 127.0.0.1:{setup.server.port}",
            "24MB": "2MB",
        },
    )
    file = folder / "Caddyfile"
    file.write_text("{\n\tadmin off\n\tauto_https disable_redirects\n}\n" + text)
    environment = {"HOME": str(folder), "XDG_DATA_HOME": str(folder), "PATH": "/usr/bin:/bin"}
    return subprocess.Popen(
        ["caddy", "run", "--config", str(file), "--adapter", "caddyfile"],
        env=environment | {"XDG_CONFIG_HOME": str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@pytest.fixture(params=["nginx", "caddy"])
def setup(
    request: pytest.FixtureRequest, certificate: Certificate, tmp_path: Path
) -> Iterator[Setup]:
    yield from running(request.param, certificate, tmp_path)


def running(kind: str, certificate: Certificate, folder: Path) -> Iterator[Setup]:
    if not (nginx() if kind.startswith("nginx") else shutil.which("caddy")):
        pytest.skip(f"{kind} is not installed")
    setup = Setup(certificate, is_caddy=kind == "caddy")
    start: dict[str, Start] = {
        "nginx": start_nginx,
        "nginx-prefix": lambda setup, folder: start_nginx(setup, folder, prefix=True),
        "caddy": start_caddy,
    }
    process = start[kind](setup, folder)
    try:
        for _ in range(300):
            assert process.poll() is None, "the proxy ended"
            try:
                setup.connect().close()
                break
            except OSError:
                threading.Event().wait(0.05)
        yield setup
    finally:
        process.kill()
        process.wait()
        setup.engine.gate.set()
        setup.server.stop(5)


def test_tokens_come_one_by_one_and_silence_is_survived(setup: Setup) -> None:
    setup.engine.gate.clear()
    with setup.connect() as wire:
        wire.ask("POST", CHAT, {**BODY, "stream": True})
        _, status, headers = wire.head()
        assert status == 200
        assert headers["content-type"].startswith("text/event-stream")
        # Nothing but comments for longer than nginx waits here.
        silence = 10 * b": keep-alive\n\n"
        chunks = wire.chunks()
        seen = b""
        while seen.count(b": keep-alive") < 10:
            seen += next(chunks)
        assert set(seen.split(b"\n\n")) == set(silence.split(b"\n\n"))
        setup.engine.gate.set()
        payloads = sse_payloads(seen + b"".join(chunks))
    assert payloads[-1] == "[DONE]"
    text = "".join(json.loads(p)["choices"][0]["delta"].get("content", "") for p in payloads[:-1])
    assert text == "one two three"


def test_each_token_arrives_before_the_next_is_made(setup: Setup) -> None:
    steps = threading.Semaphore(0)
    setup.engine.gate.wait = lambda timeout: steps.acquire(timeout=timeout)  # type: ignore
    with setup.connect() as wire:
        wire.ask("POST", CHAT, {**BODY, "stream": True})
        assert wire.head()[1] == 200
        chunks, seen = wire.chunks(), b""
        for word in ("one", " two", " three"):
            steps.release()
            while f'"{word}"'.encode() not in seen:
                seen += next(chunks)
        steps.release()
        assert (seen + b"".join(chunks)).endswith(b"data: [DONE]\n\n")


def test_addresses_are_the_clients(setup: Setup) -> None:
    with setup.connect() as wire:
        wire.ask("GET", "/", x_forwarded_for="6.6.6.6", x_forwarded_prefix="/evil")
        page = wire.answer(method="GET")
        wire.ask("GET", "/v1/models", x_forwarded_host="evil.example")
        assert wire.answer(method="GET").status == 200
    assert page.status == 200
    assert f"https://{NAME}:{setup.port}/v1" in page.body.decode()
    assert b"evil" not in page.body
    assert setup.record("GET /v1/models").address == "127.0.0.2"


def test_a_client_that_leaves_ends_the_work(setup: Setup) -> None:
    setup.engine.gate.clear()
    for stream in (True, False):
        wire = setup.connect()
        wire.ask("POST", CHAT, {**BODY, "stream": stream})
        assert setup.engine.wait_for_active(1)
        wire.close()
        assert setup.engine.wait_for_active(0), "the engine goes on"


def test_bodies_that_are_too_large(setup: Setup) -> None:
    for size in ((1 << 20) + 1000, (5 << 20)):
        with setup.connect() as wire:
            headers = {"Host": f"{NAME}:{setup.port}", "Content-Type": "application/json"}
            head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            wire.send(f"POST {CHAT} HTTP/1.1\r\n{head}Content-Length: {size}\r\n\r\n".encode())
            try:
                wire.send(b"x" * size)
            except OSError:
                pass  # refused by what it announces
            answer = wire.answer()
        if size < 2 << 20 or not setup.is_caddy:
            assert answer.status == 413
            assert_envelope(answer.json(), status=413)
        else:
            # Caddy 2.6 tells what it cuts off itself now as the one, now as the other.
            assert answer.status in (413, 502)


def test_proxies_let_go_of_connections_first() -> None:
    for name in ("nginx.conf", "Caddyfile"):
        (kept,) = re.findall(r"keepalive(?:_timeout)? (\d+)s", (ROOT / "deploy" / name).read_text())
        assert int(kept) < DEFAULT_LIMITS.idle_connection, name


def test_a_path_of_its_own_in_nginx(certificate: Certificate, tmp_path: Path) -> None:
    for setup in running("nginx-prefix", certificate, tmp_path):
        with setup.connect() as wire:
            wire.ask("GET", "/llm/")
            page = wire.answer(method="GET").body.decode()
            assert f"https://{NAME}:{setup.port}/llm/v1" in page
            here = f"https://{NAME}:{setup.port}"
            for path in re.findall(r'(?:href|src)="([^"]+)"', page):
                local = urljoin(f"{here}/llm/", path).removeprefix(here)
                assert local.startswith("/llm/"), path
                wire.ask("GET", local)
                assert wire.answer(method="GET").status == 200, local
            wire.ask("GET", "/llm/docs")
            docs = wire.answer(method="GET").body.decode()
            wire.ask("GET", re.findall(r'url: "([^"]+)"', docs)[0])
            assert wire.answer(method="GET").status == 200
            wire.ask("POST", "/llm" + CHAT, {**BODY, "stream": True})
            assert wire.head()[1] == 200
            assert b"[DONE]" in b"".join(wire.chunks())
