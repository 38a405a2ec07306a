"""llama.cpp's own HTTP listener, kept private: a unix socket in its own folder, behind a random key.

It cannot be switched off. It is used for what has no Python call: tokens, properties, answers with an
encoder.
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
SOCKET_NAME = "llama.sock"  # llama.cpp treats a host name that ends in .sock as a unix socket


class PrivateListener(LlamaServer):
    """The socket for llama.cpp to listen on, and a client for it. Thread-safe."""

    def __init__(self) -> None:
        """Make the folder (mode 0700), and remove those that killed processes left behind."""
        _remove_stale_folders()
        self._folder = Path(tempfile.mkdtemp(prefix=FOLDER_PREFIX))
        self.path = self._folder / SOCKET_NAME
        self.slots_folder = self._folder / "slots"
        """For llama.cpp's files of what slots hold."""
        self.slots_folder.mkdir(mode=0o700)
        self.key = secrets.token_hex(32)
        super().__init__(self.path, self.key)

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def _remove_stale_folders() -> None:
    """Remove the folders of killed processes: nothing answers at their sockets."""
    for folder in Path(tempfile.gettempdir()).glob(f"{FOLDER_PREFIX}*"):
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.connect(str(folder / SOCKET_NAME))
        except ConnectionRefusedError:
            shutil.rmtree(folder, ignore_errors=True)
        except OSError as error:
            # Another process's socket, or one that another process is about to make.
            log.debug("left alone: %s (%s)", folder.name, error.strerror)
