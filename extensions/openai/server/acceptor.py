"""Accepts connections, also when the system is out of resources."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

log = logging.getLogger("openedai")

EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
EXHAUSTED_PAUSE_S = 0.1  # without accepting after the system was out of resources
WARNING_INTERVAL_S = 60.0


class Acceptor:
    """Replaces a listener's own `handle_accept`, which would retry at once, forever and silently. Runs in the
    server's loop."""

    def __init__(self, listener: Any, close_idle: Callable[[], None]) -> None:
        """`listener` is waitress's; `close_idle()` requests that idle connections be closed."""
        self._listener = listener
        self._close_idle = close_idle
        self._readable: Callable[[], bool] = listener.readable
        self._paused_until = 0.0
        self._next_warning_at = 0.0
        listener.handle_accept = self.accept
        listener.readable = self.is_open

    def is_open(self) -> bool:
        """Whether the loop should accept connections."""
        if time.monotonic() < self._paused_until:
            return False
        is_open = self._readable()
        if self._listener.accepting and not is_open:
            self._warn("the maximum of connections is open; closing idle ones")
            self._close_idle()
        return is_open

    def accept(self) -> None:
        """Accept one connection."""
        listener = self._listener
        try:
            found = listener.accept()
        except OSError as error:
            if error.errno in EXHAUSTED:
                self._paused_until = time.monotonic() + EXHAUSTED_PAUSE_S
                self._warn(f"cannot accept a connection ({error.strerror}); closing idle ones")
                self._close_idle()
            return
        if found is None:
            return
        connection, address = found
        try:
            listener.set_socket_options(connection)
        except OSError:  # already closed
            with suppress(OSError):
                connection.close()
            return
        listener.channel_class(
            listener, connection, listener.fix_addr(address), listener.adj, map=listener._map
        )

    def _warn(self, message: str) -> None:
        now = time.monotonic()
        if now >= self._next_warning_at:
            self._next_warning_at = now + WARNING_INTERVAL_S
            log.warning("%s", message)
