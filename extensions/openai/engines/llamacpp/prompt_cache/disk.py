"""Copies of what slots held, in a folder of the operator's, so that they outlive a restart.

A file is one copy: `MAGIC`, the length and the SHA-256 of its head, the head (JSON), and llama.cpp's state. A
file that differs from what its head says, or is of another model, is never given to llama.cpp. Only their
owner may read the folder and its files: they hold prompts.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict, ValidationError

from ...model_spec import ModelLoadError
from .checkpoints import Checkpoints
from .prompt import Prompt

log = logging.getLogger("openedai")

MAGIC = b"openedai prompt state 3\n"
SUFFIX = ".promptstate"
MAX_HEAD_BYTES = 64 << 20
BLOCK_BYTES = 1 << 20


class Head(BaseModel):
    """What a file says of itself."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    model: str
    """The fingerprint of the model and of all settings that change its states."""
    space: str
    text: str
    ids: tuple[int, ...]
    tokens: int
    checkpoints: Checkpoints
    beginning: bool
    bytes: int
    digest: str
    """SHA-256 of the state."""

    @property
    def prompt(self) -> Prompt:
        return Prompt(self.space, self.text, self.ids)


@dataclass(frozen=True, slots=True)
class DiskState:
    """One file."""

    path: Path
    head: Head
    offset: int
    """Where the state begins."""

    def copy_to(self, target: BinaryIO) -> bool:
        """Copy the state; False if it is not what was written."""
        digest, size = hashlib.sha256(), 0
        try:
            with _opened(self.path) as file:
                file.seek(self.offset)
                while block := file.read(BLOCK_BYTES):
                    digest.update(block)
                    size += len(block)
                    target.write(block)
        except OSError as error:
            log.debug("a prompt's state cannot be read: %s", error.strerror)
            return False
        return size == self.head.bytes and digest.hexdigest() == self.head.digest

    def delete(self) -> None:
        self.path.unlink(missing_ok=True)


class Disk:
    """The folder, for one model."""

    def __init__(self, folder: Path, model: str, limit: int) -> None:
        """`limit`: how many bytes all files in it may have. Raises ModelLoadError for a folder that others
        may read."""
        self._folder, self._model, self.limit = folder, model, limit
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = folder.stat()
        except OSError as error:
            raise ModelLoadError(f"--cache-disk: {error.strerror}") from None
        if os.name == "posix" and (found.st_uid != os.geteuid() or found.st_mode & 0o077):
            raise ModelLoadError(
                "--cache-disk must be a folder that is yours and that no others may read: chmod 700 DIR"
            )

    def states(self) -> list[DiskState]:
        """Those of this model, the one used last at the end."""
        found = [state for path, _ in self._files() if (state := _read_head(path)) is not None]
        return [state for state in found if state.head.model == self._model]

    def write(
        self,
        prompt: Prompt,
        tokens: int,
        checkpoints: Checkpoints,
        beginning: bool,
        source: Path,
    ) -> None:
        """Keep the state in `source`; the oldest files go, if there is no space. A full disk is one line in
        the log."""
        digest = hashlib.sha256()
        with source.open("rb") as file:
            while block := file.read(BLOCK_BYTES):
                digest.update(block)
        head = Head(
            model=self._model,
            space=prompt.space,
            text=prompt.text,
            ids=prompt.ids,
            tokens=tokens,
            checkpoints=checkpoints,
            beginning=beginning,
            bytes=source.stat().st_size,
            digest=digest.hexdigest(),
        )
        told = head.model_dump_json().encode()
        begin = MAGIC + len(told).to_bytes(8, "big") + hashlib.sha256(told).digest() + told
        if not self._make_room(len(begin) + head.bytes):
            return
        name = secrets.token_hex(16)
        partial = self._folder / f".{name}.partial"
        try:
            with open(partial, "xb", opener=_private) as target, source.open("rb") as file:
                target.write(begin)
                shutil.copyfileobj(file, target, BLOCK_BYTES)
            partial.rename(self._folder / f"{name}{SUFFIX}")
        except OSError as error:
            partial.unlink(missing_ok=True)
            log.warning("a prompt is not kept on the disk: %s", error.strerror)

    def _make_room(self, size: int) -> bool:
        if size > self.limit:
            return False
        files = self._files()
        taken = sum(freed for _, freed in files)
        for path, freed in files:
            if taken + size <= self.limit:
                break
            path.unlink(missing_ok=True)
            taken -= freed
        return True

    def _files(self) -> list[tuple[Path, int]]:
        """All of this folder that are no links, the oldest first, with their sizes."""
        aged: list[tuple[int, Path, int]] = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name.endswith(SUFFIX) and entry.is_file(follow_symlinks=False):
                    found = entry.stat(follow_symlinks=False)
                    aged.append((found.st_mtime_ns, Path(entry.path), found.st_size))
        return [(path, size) for _, path, size in sorted(aged)]


def _read_head(path: Path) -> DiskState | None:
    """What a file says of itself; None if it is not one of these, is damaged or has another length."""
    try:
        with _opened(path) as file:
            found = os.fstat(file.fileno())
            if os.name == "posix" and (found.st_uid != os.geteuid() or found.st_mode & 0o077):
                return None
            if file.read(len(MAGIC)) != MAGIC:
                return None
            length, digest = int.from_bytes(file.read(8), "big"), file.read(32)
            if length > MAX_HEAD_BYTES:
                return None
            told = file.read(length)
            if hashlib.sha256(told).digest() != digest:
                return None
            head, offset = Head.model_validate_json(told), file.tell()
    except (OSError, ValidationError):
        return None
    return DiskState(path, head, offset) if found.st_size == offset + head.bytes else None


def _opened(path: Path) -> BinaryIO:
    return os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0)), "rb")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
