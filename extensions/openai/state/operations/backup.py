"""A copy of the data folder, made while servers use it: named keys, usage, a store that is a file."""

from __future__ import annotations

import secrets
import shutil
import sqlite3
from pathlib import Path

from ...access import key_files
from ...system.data_folder import hand_over, make_private, write_private
from .. import keyring, usage
from ..databases import sqlite_file

# A key's secret is made before the list that it is on, so a list is never copied without its secret.
KEY_FILES = (key_files.LIST, key_files.SECRET, keyring.FILE)
DATABASES = (usage.FILE, sqlite_file.FILE)


class BackupError(Exception):
    """There is no copy; the message is one clear line."""


def back_up(folder: Path, target: Path) -> tuple[str, ...]:
    """Copy what is worth keeping into a new folder, as a whole or not at all; the names of the files.

    Raises BackupError.
    """
    if target.exists():
        raise BackupError(f"there is a {target} already; name a new folder")
    draft = target.with_name(f"{target.name}.{secrets.token_hex(4)}.part")
    try:
        make_private(draft)
        names = tuple(_copied(folder, draft))
        if not names:
            raise BackupError(f"there is nothing to copy in {folder} (--data-folder)")
        draft.rename(target)
    except (OSError, sqlite3.Error) as error:
        reason = (isinstance(error, OSError) and error.strerror) or error
        raise BackupError(f"cannot copy {folder} to {target}: {reason}") from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return names


def _copied(folder: Path, target: Path) -> list[str]:
    made = []
    for name in (*KEY_FILES, *DATABASES):
        if not (folder / name).exists():
            continue
        if name in DATABASES:
            sqlite_file.copy(folder / name, target / name)
            hand_over(target / name)
        else:
            write_private(target / name, (folder / name).read_bytes())
        made.append(name)
    return made
