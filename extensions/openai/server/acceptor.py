"""Takes in connections, also where the system has no room for more."""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

log = logging.getLogger("openedai")

EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
PAUSE = 0.1  # seconds in which none is taken in after the system had no room
SAY_AGAIN = 60.0  # seconds


class Acceptor:
    """In the place of a listener's own way to accept: waitress would try again at once, for ever, and say
    nothing. It belongs to the server's loop."""

    def __init__(self, listener: Any, make_room: Callable[[], None]) -> None:
        """`listener` is waitress's; `make_room()` asks for idle connections to be closed."""
        self._listener = listener
        self._make_room = make_room
        self._readable: Callable[[], bool] = listener.readable
        self._closed_until = 0.0
        self._say_after = 0.0
        listener.handle_accept = self.accept
        listener.readable = self.is_open

    def is_open(self) -> bool:
        """Whether the loop should look for new connections."""
        if time.monotonic() < self._closed_until:
            return False
        is_open = self._readable()
        if self._listener.accepting and not is_open:
            self._say("as many connections are open as may be; idle ones are closed")
            self._make_room()
        return is_open

    def accept(self) -> None:
        """Take in one connection."""
        listener = self._listener
        try:
            found = listener.accept()
        except OSError as error:
            if error.errno in EXHAUSTED:
                self._closed_until = time.monotonic() + PAUSE
                self._say(f"no connection can be taken in ({error.strerror}); idle ones are closed")
                self._make_room()
            return
        if found is None:
            return
        connection, address = found
        try:
            listener.set_socket_options(connection)
        except OSError:  # it has gone already
            with suppress(OSError):
                connection.close()
            return
        listener.channel_class(
            listener, connection, listener.fix_addr(address), listener.adj, map=listener._map
        )

    def _say(self, what: str) -> None:
        now = time.monotonic()
        if now >= self._say_after:
            self._say_after = now + SAY_AGAIN
            log.warning("%s", what)
