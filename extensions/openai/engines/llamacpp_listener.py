"""llama.cpp's own HTTP listener, kept private: a unix socket in a folder of its own, behind a random key.

It cannot be switched off. It is asked only for what has no call: tokens, templates, properties.
"""

from __future__ import annotations

import http.client
import logging
import secrets
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import orjson

from .failures import unreachable
from .llamacpp_answers import error_of

log = logging.getLogger("openedai")

FOLDER_PREFIX = "openedai-"
SOCKET_NAME = "llama.sock"  # llama.cpp takes a host name that ends in .sock for a unix socket
TIMEOUT = 30  # seconds


class PrivateListener:
    """Where llama.cpp is to listen, and how to ask it. Thread-safe."""

    def __init__(self) -> None:
        """Makes the folder (mode 0700); folders that killed processes have left are removed."""
        _remove_stale_folders()
        self._folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
        self.path = self._folder / SOCKET_NAME
        self.key = secrets.token_hex(32)

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The JSON answer to a question. Raises EngineFailed, or what llama.cpp's error stands for."""
        connection = _UnixConnection(self.path)
        try:
            headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
            connection.request(method, path, orjson.dumps(body) if body else None, headers)
            response = connection.getresponse()
            answer = response.read()
        except OSError as error:
            raise unreachable() from error
        finally:
            connection.close()
        if response.status != 200:
            raise error_of(orjson.loads(answer).get("error", {}), "messages")
        return orjson.loads(answer)

    def complete(self, body: bytes, receive: Callable[[bytes], bool]) -> None:
        """Stream llama.cpp's own /completion, which takes media; as `handle_completions` of xllamacpp:
        `receive` gets each chunk, errors too, and stops it by answering True."""
        connection = _UnixConnection(self.path, timeout=None)
        try:
            headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
            connection.request("POST", "/completion", body, headers)
            response = connection.getresponse()
            if response.status != 200:
                receive(response.read())
                return
            pass_on(response, receive)
        except (OSError, http.client.HTTPException) as error:
            raise unreachable() from error
        finally:
            connection.close()

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def pass_on(lines: Iterable[bytes], receive: Callable[[bytes], bool]) -> None:
    """Give the chunks of a stream to `receive`, errors too, until it answers True."""
    for line in lines:
        kind, _, data = line.partition(b": ")
        if kind in (b"data", b"error") and data.startswith(b"{") and receive(data):
            return


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path, timeout: float | None = TIMEOUT) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _remove_stale_folders() -> None:
    """Folders of processes that were killed: their sockets answer nobody."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.connect(str(folder / SOCKET_NAME))
        except ConnectionRefusedError:
            shutil.rmtree(folder, ignore_errors=True)
        except OSError as error:
            # Not a socket of ours, or not there yet: another process may be about to make it.
            log.debug("left alone: %s (%s)", folder.name, error.strerror)
