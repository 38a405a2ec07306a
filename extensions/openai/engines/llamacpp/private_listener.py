"""llama.cpp's own HTTP listener, kept private: a unix socket in a folder of its own, behind a random key.

It cannot be switched off. It is asked for what has no call: tokens, properties, answers beside an encoder.
"""

from __future__ import annotations

import logging
import secrets
import shutil
import socket
import tempfile
from pathlib import Path

from .client import LlamaServer

log = logging.getLogger("openedai")

FOLDER_PREFIX = "openedai-"
SOCKET_NAME = "llama.sock"  # llama.cpp takes a host name that ends in .sock for a unix socket


class PrivateListener(LlamaServer):
    """Where llama.cpp is to listen, and how to ask it. Thread-safe."""

    def __init__(self) -> None:
        """Makes the folder (mode 0700); folders that killed processes have left are removed."""
        _remove_stale_folders()
        self._folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
        self.path = self._folder / SOCKET_NAME
        self.key = secrets.token_hex(32)
        super().__init__(self.path, self.key)

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def _remove_stale_folders() -> None:
    """Folders of processes that were killed: nothing answers at their sockets."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.connect(str(folder / SOCKET_NAME))
        except ConnectionRefusedError:
            shutil.rmtree(folder, ignore_errors=True)
        except OSError as error:
            # Another process's socket, or not there yet: another process may be about to make it.
            log.debug("left alone: %s (%s)", folder.name, error.strerror)
