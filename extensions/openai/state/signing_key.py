"""The key that this server signs things with that clients keep for it and give back."""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import secrets
from functools import cache
from pathlib import Path

from ..settings import Settings
from ..system.data_folder import data_folder, make_private

log = logging.getLogger("openedai")

FILE = "signing.key"
KEY_BYTES = 32


def signing_key(settings: Settings, purpose: str) -> bytes:
    """The key for one purpose.

    It is made of `keys_secret`, which replicas share, or else of a file in the data folder, which is made
    when it is first needed; a new file makes what was signed before void.
    """
    given = settings.keys_secret
    root = (
        key_of_folder(data_folder(settings)) if given is None else given.get_secret_value().encode()
    )
    return hmac.new(root, purpose.encode(), hashlib.sha256).digest()


@cache
def key_of_folder(folder: Path) -> bytes:
    path = folder / FILE
    try:
        make_private(folder)
        if not path.exists():
            _create(path)
        return path.read_bytes()
    except OSError as error:
        log.warning(
            "no %s in the data folder (%s): what is signed is void after a restart",
            FILE,
            error.strerror,
        )
        return secrets.token_bytes(KEY_BYTES)


def _create(path: Path) -> None:
    """Put a new key in place; where another process was faster, its key stays."""
    draft = path.with_name(f"{FILE}.{secrets.token_hex(4)}.part")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(secrets.token_bytes(KEY_BYTES))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, path)
    except FileExistsError:
        log.debug("another process has made %s", FILE)
    finally:
        draft.unlink()
