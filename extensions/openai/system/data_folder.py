"""Where the extension keeps what must outlive it: keys, usage."""

from __future__ import annotations

import os
import secrets
from functools import cache
from pathlib import Path

from ..settings import Settings
from .private_packages import data_root

DEFAULT = data_root(Path(__file__).resolve().parents[1])
"""`openedai` in the `user_data` of the app that this folder is installed in, wherever it is started from."""


def data_folder(settings: Settings) -> Path:
    """The folder in force; it need not be there."""
    return _folder(settings.data_folder) if settings.data_folder else DEFAULT


@cache
def _folder(name: str) -> Path:
    return Path(name).expanduser()


def make_private(folder: Path) -> None:
    """Make the folder, for its owner only, unless it is there. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def write_private(path: Path, data: bytes) -> None:
    """Put a file in place as a whole, or not at all; only its owner may read it. Raises OSError."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
