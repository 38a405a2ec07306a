"""The folder for data that outlives the process: keys, usage, stored objects."""

from __future__ import annotations

import os
import secrets
from functools import cache
from pathlib import Path

from ..settings import Settings
from .private_packages import data_root

DEFAULT = data_root(Path(__file__).resolve().parents[1])
"""`openedai` in the `user_data` of the app that has this extension, whatever the working directory."""


def data_folder(settings: Settings) -> Path:
    """The data folder, which may not exist yet."""
    return _folder(settings.data_folder) if settings.data_folder else DEFAULT


@cache
def _folder(name: str) -> Path:
    return Path(name).expanduser()


def folder_for_temporary_files(settings: Settings) -> Path | None:
    """The data folder, if it exists; None: the system's, which may be in memory."""
    folder = data_folder(settings)
    return folder if folder.is_dir() else None


def make_private(folder: Path) -> None:
    """Create the folder, for its owner only, unless it exists. Raises OSError."""
    missing = [each for each in (folder, *folder.absolute().parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)
        hand_over(each)


def write_private(path: Path, data: bytes) -> None:
    """Write a file atomically, readable by its owner only. Raises OSError."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        hand_over(draft)
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise


def hand_over(path: Path) -> None:
    """Change the owner of a path made by root to that of its folder: the server runs as that user, and could
    not read it. Raises OSError."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return
    folder = path.parent.stat()
    if folder.st_uid != path.lstat().st_uid:
        os.chown(path, folder.st_uid, folder.st_gid, follow_symlinks=False)
