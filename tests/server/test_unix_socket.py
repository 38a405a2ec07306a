"""The server on a unix socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.remote.address import parse_address
from extensions.openai.engines.remote.http_client import HttpClient
from extensions.openai.server.server import APIServer
from extensions.openai.server.start_error import StartError
from extensions.openai.settings import Settings, SettingsError
from extensions.openai.web.app import create_app
from tests.support.wire import Wire


def server_at(path: Path, **options: object) -> APIServer:
    settings = Settings(unix_socket=str(path), drain_timeout=0.0, **options)  # type: ignore[arg-type]
    return APIServer(create_app(settings, EchoEngine()), settings)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "api.sock"


@pytest.fixture
def server(path: Path) -> Iterator[APIServer]:
    server = server_at(path)
    server.start()
    yield server
    server.stop(5.0)


def ask(path: Path, target: str) -> int:
    client = HttpClient(parse_address(f"unix://{path}"), {})
    with client.request("GET", target) as reply:
        reply.finish()
    client.close()
    return reply.status


def test_it_answers_there_and_its_socket_goes_with_it(path: Path, server: APIServer) -> None:
    assert ask(path, "/v1/models") == 200
    assert server.url == "http://localhost"
    server.stop(5.0)
    assert not path.exists()


def test_what_an_ended_server_left_is_replaced(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    server = server_at(path)
    server.start()
    assert ask(path, "/health") == 200
    server.stop(5.0)


def test_one_in_use_and_a_file_are_not_replaced(path: Path, server: APIServer) -> None:
    with pytest.raises(StartError, match="is in use"):
        server_at(path)
    file = path.with_name("file")
    file.write_text("mine")
    with pytest.raises(StartError, match="cannot listen on the unix socket"):
        server_at(file)
    assert file.read_text() == "mine"
    with pytest.raises(StartError, match="too long"):
        server_at(path.with_name("x" * 200))


def test_no_tunnel_leads_there(path: Path) -> None:
    with pytest.raises(SettingsError, match="--public-api needs a port"):
        server_at(path, public_api=True, api_key="sk-secret")
    assert not path.exists()


def test_it_may_have_addresses_as_well(path: Path) -> None:
    server = server_at(path, listen_host="127.0.0.1,::1", api_port=0)
    server.start()
    assert server.url == f"http://127.0.0.1:{server.port}" and server.socket_path is None
    assert ask(path, "/v1/models") == 200
    for host in ("127.0.0.1", "::1"):
        with Wire(server.port, host) as wire:
            wire.request("GET", "/v1/models")
            assert wire.answer().status == 200
    server.stop(5.0)
    assert not path.exists() and not server.is_running
    for host in ("127.0.0.1", "::1"):
        with pytest.raises(OSError):
            socket.create_connection((host, server.port), timeout=5)


def test_one_address_beside_it(path: Path) -> None:
    server = server_at(path, listen_host="127.0.0.1", api_port=0)
    server.start()
    with Wire(server.port) as wire:
        wire.request("GET", "/health")
        assert wire.answer().status == 200
    assert ask(path, "/health") == 200
    server.stop(5.0)
    assert not path.exists() and not server.is_running


def test_a_path_that_is_taken_leaves_no_port_open(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(StartError):
        server_at(tmp_path / "none" / "s", listen_host="127.0.0.1", api_port=port)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", port))
