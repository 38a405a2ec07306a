"""Listening on addresses and a port."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest

from extensions.openai.server.start_error import StartError
from extensions.openai.server.tcp_listeners import tcp_listeners


def test_several_addresses_have_one_port() -> None:
    with ExitStack() as after:
        sockets = [after.enter_context(each) for each in tcp_listeners(["127.0.0.1", "::1"], 0)]
        assert [each.family for each in sockets] == [socket.AF_INET, socket.AF_INET6]
        (port,) = {each.getsockname()[1] for each in sockets}
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port), timeout=30).close()


def test_an_address_that_is_named_twice_is_one() -> None:
    with ExitStack() as after:
        hosts = ["127.0.0.1", "127.0.0.1", "[::1]", "::1"]
        sockets = [after.enter_context(each) for each in tcp_listeners(hosts, 0)]
        assert len(sockets) == 2


def test_if_one_is_not_to_be_had_none_is_kept() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.2", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(StartError, match=rf"port {port} on 127\.0\.0\.2 is in use"):
            tcp_listeners(["127.0.0.1", "127.0.0.2"], port)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))


def test_a_host_that_there_is_not() -> None:
    with pytest.raises(StartError, match="unknown host name"):
        tcp_listeners(["127.0.0.1", "no such host"], 0)


@pytest.mark.parametrize(
    ("hosts", "expected"),
    [
        (["0.0.0.0", "127.0.0.1"], ["0.0.0.0"]),
        (["127.0.0.1", "0.0.0.0"], ["0.0.0.0"]),
        (["::1", "0.0.0.0", "127.0.0.1"], ["::1", "0.0.0.0"]),
        (["::", "127.0.0.1", "::1"], ["::", "127.0.0.1"]),
    ],
)
def test_all_addresses_include_each_of_their_kind(hosts: list[str], expected: list[str]) -> None:
    with ExitStack() as after:
        sockets = [after.enter_context(each) for each in tcp_listeners(hosts, 0)]
        assert [each.getsockname()[0] for each in sockets] == expected
