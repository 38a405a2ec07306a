"""Listening on a unix socket, in place of an address and a port or beside them."""

from __future__ import annotations

import socket
import stat
from contextlib import suppress
from pathlib import Path

from .start_error import StartError

PROBE_S = 1.0


def unix_listener(path: str) -> socket.socket:
    """A listening socket at this path; one that a server left there which has ended is replaced. Raises
    StartError with one clear line."""
    if not hasattr(socket, "AF_UNIX"):
        raise StartError("this system has no unix sockets: leave out --unix-socket")
    place = Path(path).expanduser()
    if _is_left(place):
        place.unlink(missing_ok=True)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(str(place))
        listening.listen(1024)
    except OSError as error:
        listening.close()
        # Python reports a path that is too long without a number.
        why = error.strerror or "the path is too long"
        raise StartError(f"cannot listen on the unix socket {path}: {why}") from error
    return listening


def is_unix(listening: socket.socket) -> bool:
    """Whether it has a path."""
    return listening.family == getattr(socket, "AF_UNIX", None)


def local_peer(address: object) -> tuple[str, int]:
    """The address of a peer on a unix socket, which has none: a program on this machine."""
    return ("127.0.0.1", 0)


def remove_socket(path: str) -> None:
    """Remove what a server that has ended leaves."""
    with suppress(OSError):
        Path(path).expanduser().unlink()


def _is_left(path: Path) -> bool:
    """Whether it is a socket on which no server listens. Raises StartError if one does."""
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            return False
    except OSError:
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_S)
        try:
            probe.connect(str(path))
        except OSError:
            return True
    raise StartError(f"the unix socket {path} is in use: stop what uses it, or choose another")
