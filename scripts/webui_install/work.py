"""Steps on the file system: named, left out in a dry run, refused in one line where they fail."""

from __future__ import annotations

import shutil
import stat
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class RefusalError(Exception):
    """The message is one line: what is wrong, and the way out."""


@dataclass
class Work:
    """Does one step after the other, and prints what it does."""

    dry: bool = False
    kept_folder: Path | None = None
    """Where files are kept aside that may be the user's; known when the first one is."""
    kept: list[str] = field(default_factory=list)

    def say(self, text: str) -> None:
        sys.stdout.write(f"{text}\n")

    def do(self, text: str, action: Callable[[], object]) -> None:
        """Say it and do it; in a dry run only say it. Raises RefusalError."""
        if self.dry:
            self.say(f"would: {text}")
            return
        try:
            action()
        except OSError as error:
            where = error.filename or ""
            raise RefusalError(
                f"could not {text}: {error.strerror or error} {where}".rstrip()
                + " (is the web UI running? end it and try again)"
            ) from error
        self.say(f"did: {text}")

    def keep_aside(self, path: Path, name: str, data_folder: Path) -> None:
        """Move a file that may be the user's out of the way, never over another one."""
        folder = self.kept_folder
        if folder is None:
            folder = data_folder / "kept" / time.strftime("%Y-%m-%d-%H%M%S")
            self.kept_folder = folder
        if name not in self.kept:
            self.kept.append(name)
        if self.dry:
            return
        target = _free(folder / name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(str(path), str(target))

    def tell_what_was_kept(self) -> None:
        if self.kept:
            files = "file" if len(self.kept) == 1 else "files"
            verb = "would keep" if self.dry else "kept"
            self.say(
                f"{verb} {len(self.kept)} {files} that may be yours in {self.kept_folder}: "
                f"{', '.join(sorted(self.kept))}"
            )


def _free(path: Path) -> Path:
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}.{number}")
    return free


def is_there(path: Path) -> bool:
    """Whether something has this name, a link to nothing included."""
    return path.is_symlink() or path.exists()


def remove(path: Path) -> None:
    """Remove a file, a link (not what it points to) or a folder with all in it."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir() and sys.version_info >= (3, 12):
        shutil.rmtree(path, onexc=_make_writable)
    elif path.is_dir():
        shutil.rmtree(path, onerror=_make_writable)


def remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
        folder.rmdir()


def replace_folder(fresh: Path, place: Path) -> None:
    """Put a finished folder or link in the place of what is there, which comes back where that fails."""
    old = place.with_name(f"{place.name}.old")
    remove(old)
    if is_there(place):
        place.replace(old)
    try:
        fresh.replace(place)
    except OSError:
        if is_there(old):
            old.replace(place)
        raise
    remove(old)


def _make_writable(function: Callable[..., Any], path: str, _: Any) -> None:
    """Windows removes no file that is marked as read-only."""
    Path(path).chmod(stat.S_IWRITE)
    function(path)
