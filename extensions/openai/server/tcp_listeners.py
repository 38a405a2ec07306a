"""Listening on addresses and a port."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Iterator
from typing import Any

from .start_error import StartError

ALL = ("0.0.0.0", "::")
"""Of all addresses of a machine, IPv4 and IPv6."""


def tcp_listeners(hosts: Iterable[str], port: int) -> list[socket.socket]:
    """Listening sockets on all addresses of the `hosts`, at one port. Raises StartError, with one line."""
    sockets: list[socket.socket] = []
    try:
        for host, found in _without_covered(_addresses(hosts, port)):
            family, kind, proto, address = found
            listening = socket.socket(family, kind, proto)
            sockets.append(listening)
            _listen(listening, host, (address[0], port, *address[2:]))
            port = port or listening.getsockname()[1]  # a free one, which the next ones get, too
    except StartError:
        for listening in sockets:
            listening.close()
        raise
    return sockets


def _addresses(hosts: Iterable[str], port: int) -> Iterator[tuple[str, Any]]:
    """Each address once, with the host that it is of."""
    known = set()
    for host in hosts:
        try:
            found = socket.getaddrinfo(
                host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
        except OSError as error:
            raise StartError(f"cannot listen on {host}: unknown host name") from error
        for family, kind, proto, _, address in found:
            if (family, address) not in known:
                known.add((family, address))
                yield host, (family, kind, proto, address)


def _without_covered(found: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Those that listening on all addresses of the same kind (0.0.0.0, ::) does not include already."""
    all_found = list(found)
    covered = {each[0] for _, each in all_found if each[3][0] in ALL}
    return [(host, each) for host, each in all_found if each[3][0] in ALL or each[0] not in covered]


def _listen(listening: socket.socket, host: str, address: Any) -> None:
    port = address[1]
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if listening.family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(address)
        listening.listen(1024)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise StartError(
                f"port {port} on {host} is in use: stop what uses it, or choose another with --api-port "
                "(or OPENEDAI_API_PORT)"
            ) from error
        raise StartError(f"cannot listen on {host}, port {port}: {error.strerror}") from error
