"""Checks a socket's state without reading from it."""

from __future__ import annotations

import select
import socket

HUNG_UP = getattr(select, "POLLRDHUP", 0)  # Linux


def is_readable_within(sock: socket.socket, seconds: float) -> bool:
    """Whether data or the end of file can be read within that time. Raises OSError, and ValueError for a
    closed socket."""
    if not hasattr(select, "poll"):
        return bool(select.select([sock], [], [], seconds)[0])
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(1000 * seconds))


def peer_has_closed(sock: socket.socket) -> bool:
    """Whether the client has closed its side. If the system cannot report that, only once all data is
    read."""
    try:
        if HUNG_UP:
            poll = select.poll()
            poll.register(sock, HUNG_UP)
            return bool(poll.poll(0))
        return not sock.recv(1, socket.MSG_PEEK)  # the socket never blocks
    except BlockingIOError:
        return False
    except (OSError, ValueError):  # closed on our side
        return True
