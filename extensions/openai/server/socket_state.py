"""Looks at a socket from the thread that answers on it, without reading."""

from __future__ import annotations

import select
import socket

HUNG_UP = getattr(select, "POLLRDHUP", 0)  # Linux


def is_readable_within(sock: socket.socket, seconds: float) -> bool:
    """Whether there is something to read (the end, too), or will be within that time. Raises OSError, and
    ValueError for a socket that is closed."""
    if not hasattr(select, "poll"):
        return bool(select.select([sock], [], [], seconds)[0])
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(1000 * seconds))


def peer_has_closed(sock: socket.socket) -> bool:
    """Whether the client has closed its side. Where the system does not report it, not before all it has sent
    is read."""
    try:
        if HUNG_UP:
            poll = select.poll()
            poll.register(sock, HUNG_UP)
            return bool(poll.poll(0))
        return not sock.recv(1, socket.MSG_PEEK)  # it never blocks
    except BlockingIOError:
        return False
    except (OSError, ValueError):  # it is closed on our side
        return True
