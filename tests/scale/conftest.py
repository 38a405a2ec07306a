"""Three replicas that share PostgreSQL, Redis and the secret of keys, and what stands in front of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from extensions.openai.access.caller import Scope
from extensions.openai.access.signed_keys import Grant, new_id, sign
from tests.support import postgres, redis
from tests.support.process import ROOT, ServerProcess, free_port

INSTALLED = Path(os.environ.get("SCALE_DIR", ".scale")).resolve() / "bin"
SECRET = "a secret that all replicas share"
START_S = 120.0


@dataclass(slots=True)
class Scene:
    """A front, and the replicas behind it."""

    url: str
    replicas: Sequence[ServerProcess]
    sends_again: bool
    """Whether a request that meets a replica which just stops is sent to another one."""


def key_of(name: str, rpm: int | None = None) -> str:
    """A key that is signed, and that no replica has a list of."""
    scopes: frozenset[Scope] = frozenset({"read", "write"})
    limits = {} if rpm is None else {"rpm": rpm}
    return sign(Grant(new_id(), name, scopes, limits=limits), SECRET.encode())


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The settings that replicas share."""
    if not postgres.available():
        pytest.skip(postgres.MISSING)
    if not redis.available():
        pytest.skip(redis.MISSING)
    folder = tmp_path_factory.mktemp("shared")
    sealing = {"OPENEDAI_SECRET_FILE": str(folder / "server.keys")}
    subprocess.run(
        [sys.executable, "-m", "openedai", "store", "rotate"],
        cwd=ROOT,
        env={**os.environ, **sealing, "OPENEDAI_DATA_FOLDER": str(folder)},
        check=True,
        capture_output=True,
    )
    database, counts = postgres.PostgresServer(), redis.RedisServer(folder)
    yield {
        "OPENEDAI_STORE": database.new_database(),
        "OPENEDAI_LIMITS_STORAGE": counts.url,
        "OPENEDAI_KEYS_SECRET": SECRET,
        **sealing,
        "OPENEDAI_ADMIN_KEY": "admin-key",
        "OPENEDAI_METRICS": "open",
        "OPENEDAI_DRAIN_TIMEOUT": "10",
    }
    counts.stop()
    database.close()


Front = Callable[[Sequence[int], Path], "tuple[subprocess.Popen[bytes], str]"]


def nginx(ports: Sequence[int], folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if found is None:
        pytest.skip("nginx is not installed")
    text = (ROOT / "deploy" / "nginx-replicas.conf").read_text(encoding="utf-8")
    for at, port in enumerate(ports, 1):
        text = text.replace(f"10.0.0.{at}:5001", f"127.0.0.1:{port}")
    front = free_port()
    text = text.replace("listen 8080", f"listen 127.0.0.1:{front}")
    assert "10.0.0." not in text and "8080" not in text
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"daemon off;\nmaster_process off;\npid {folder}/pid;\nerror_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{temporary}{text}}}\n"
    )
    command = [found, "-p", str(folder), "-c", str(folder / "nginx.conf")]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL), f"http://127.0.0.1:{front}"


def envoy(ports: Sequence[int], folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    command, front = INSTALLED / "envoy", free_port()
    if not command.exists():
        pytest.skip(f"{command} is not installed")
    text = (ROOT / "deploy" / "envoy-replicas.yaml").read_text(encoding="utf-8")
    for at, port in enumerate(ports, 1):
        text = text.replace(f"10.0.0.{at}, port_value: 5001", f"127.0.0.1, port_value: {port}")
    text = text.replace("0.0.0.0, port_value: 8080", f"127.0.0.1, port_value: {front}")
    assert "10.0.0." not in text and "8080" not in text
    (folder / "envoy.yaml").write_text(text, encoding="utf-8")
    started = subprocess.Popen(
        [
            *(str(command), "-c", str(folder / "envoy.yaml"), "--concurrency", "1"),
            *("--disable-hot-restart", "--log-level", "error"),
        ],
        stderr=subprocess.DEVNULL,
    )
    return started, f"http://127.0.0.1:{front}"


def sglang_router(ports: Sequence[int], folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    command, front = INSTALLED / "sglang-router", free_port()
    if not command.exists():
        pytest.skip(f"{command} is not installed")
    started = subprocess.Popen(
        [
            *(str(command), "launch", "--host", "127.0.0.1", "--port", str(front)),
            *("--worker-urls", *(f"http://127.0.0.1:{port}" for port in ports)),
            *("--policy", "cache_aware", "--health-check-interval-secs", "2"),
            *("--prometheus-host", "127.0.0.1", "--prometheus-port", str(free_port())),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return started, f"http://127.0.0.1:{front}"


def itself(ports: Sequence[int], folder: Path) -> tuple[subprocess.Popen[bytes], str]:
    """This server, with the replicas as upstreams."""
    rows = "".join(
        f"  r{at}: {{address: 'http://127.0.0.1:{port}', key_env: REPLICAS_KEY, kind: openedai, "
        "models: [openedai-tiny]}\n"
        for at, port in enumerate(ports)
    )
    file = folder / "upstreams.yaml"
    file.write_text(f"upstreams:\n{rows}", encoding="utf-8")
    front = free_port()
    process = subprocess.Popen(
        [
            *(sys.executable, "server.py", "--extensions", "openai", "--api-port", str(front)),
            *("--loader", "upstream", "--upstreams", str(file)),
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "REPLICAS_KEY": key_of("front", rpm=0),
            "OPENEDAI_KEYS_SECRET": SECRET,
            "OPENEDAI_DATA_FOLDER": str(folder),
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    return process, f"http://127.0.0.1:{front}"


@contextmanager
def replicas_of(number: int, environment: Mapping[str, str]) -> Iterator[list[ServerProcess]]:
    servers = [
        ServerProcess(
            *("--threads", "1", "--parallel", "2"),
            environment={**environment, "OPENEDAI_TRUSTED_PROXIES": "127.0.0.1"},
        )
        for _ in range(number)
    ]
    try:
        for server in servers:
            server.wait_until_ready()
        yield servers
    finally:
        for server in servers:
            server.stop()


def wait_until_it_answers(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + START_S
    request = urllib.request.Request(
        f"{url}/v1/models", headers={"Authorization": f"Bearer {key_of('start')}"}
    )
    while time.monotonic() < deadline:
        assert process.poll() is None, "what stands in front ended"
        try:
            with urllib.request.urlopen(request, timeout=5):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("nothing is answered")


@pytest.fixture(
    scope="module", params=[nginx, envoy, sglang_router, itself], ids=lambda front: front.__name__
)
def scene(
    request: pytest.FixtureRequest,
    shared: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Scene]:
    front: Front = request.param
    with replicas_of(3, shared) as replicas:
        folder = tmp_path_factory.mktemp("front")
        process, url = front([server.port for server in replicas], folder)
        try:
            wait_until_it_answers(process, url)
            yield Scene(url, replicas, front is not sglang_router)
        finally:
            process.terminate()
            process.wait(20)


@pytest.fixture(scope="module")
def ray(shared: dict[str, str]) -> Iterator[str]:
    """The address of Ray Serve with two replicas."""
    command, port = INSTALLED / "serve", free_port()
    if not command.exists():
        pytest.skip(f"{command} is not installed")
    own = {
        **os.environ,
        **shared,
        "OPENEDAI_COMMAND": f"{ROOT}/.venv/bin/python {ROOT}/server.py --extensions openai --threads 1",
        "RAY_SERVE_HTTP_PORT": str(port),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DEDUP_LOGS": "0",
    }
    process = subprocess.Popen(
        [str(INSTALLED / "python"), "-m", "tests.scale.run_ray", str(port)],
        cwd=ROOT,
        env=own,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until_it_answers(process, url)
        yield url
    finally:
        assert process.stdin is not None
        process.stdin.close()  # it ends the deployment, and with it the replicas
        process.wait(60)
