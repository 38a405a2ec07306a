"""A batch as it is stored, and its lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from .encryption import Row

KIND = "batches"
People = tuple[str | None, str | None]
"""A user and a safety identifier, as columns have them."""
NOBODY: People = (None, None)
ANY_LENGTH = -1
Status = Literal[
    "validating",
    "failed",
    "in_progress",
    "finalizing",
    "completed",
    "expired",
    "cancelling",
    "cancelled",
]
ACTIVE: tuple[Status, ...] = ("validating", "in_progress", "finalizing", "cancelling")


@dataclass(frozen=True, slots=True)
class NewBatch:
    """What a client asks for."""

    endpoint: str
    input_file: str
    window: str
    """As the client wrote it."""
    ends: int
    """Unix seconds: when its window does."""
    caller: Mapping[str, Any]
    """The key whose requests its lines are, as `access.caller` writes it."""
    metadata: Mapping[str, str] | None = None
    output_seconds: int | None = None
    """After which its output files expire; None: they do not."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What lines have used."""

    prompt: int = 0
    cached: int = 0
    completion: int = 0
    reasoning: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """A stored batch."""

    seq: int
    id: str
    owner: str
    created: int
    status: Status
    paused: bool
    ends: int
    input_file: str
    output_file: str | None
    error_file: str | None
    total: int
    completed: int
    failed: int
    tokens: Tokens
    endpoint: str
    window: str
    caller: Mapping[str, Any]
    metadata: Mapping[str, str] | None
    output_seconds: int | None
    model: str | None = None
    times: Mapping[str, int] = field(default_factory=dict)
    """Unix seconds at which it came to a status."""
    errors: Sequence[Mapping[str, Any]] = ()
    ending: Status = "completed"
    """What it will be when it is finalized."""
    scope: str | None = None
    """Only processes with this scope answer its lines; None: servers do."""


@dataclass(frozen=True, slots=True)
class BatchTotals:
    """All batches together that have not ended."""

    by_status: Mapping[Status, int]
    oldest: int | None
    """Unix seconds: when the oldest one was made; None: there is none."""
    lines: int
    completed: int
    failed: int
    file_bytes: Mapping[str, int]
    """Of the files of all batches, also those that have ended, by purpose."""

    @property
    def open_lines(self) -> int:
        return self.lines - self.completed - self.failed


@dataclass(frozen=True, slots=True)
class IndexedLine:
    """Where a line of the input file is."""

    number: int
    """From 1."""
    at: int
    length: int


@dataclass(frozen=True, slots=True)
class NewLine(IndexedLine):
    """One that was looked through."""

    name: str
    """Stands for its `custom_id`."""
    prefix: str
    """Sorts those together whose prompts begin alike."""


@dataclass(frozen=True, slots=True)
class LineResult:
    """What a line became."""

    number: int
    written: bytes
    """Its line in the output or the error file, without its end."""
    succeeded: bool
    tokens: Tokens = Tokens()
    people: People = NOBODY
    """Whose request it was."""
    length: int = ANY_LENGTH
    """Of its request. One that was erased meanwhile has none: then this is not kept."""


COUNTS = (
    "total",
    "completed",
    "failed",
    "prompt_tokens",
    "cached_tokens",
    "completion_tokens",
    "reasoning_tokens",
)


SAME = (
    *("seq", "id", "owner", "created", "status", "paused", "ends", "input_file"),
    *("output_file", "error_file", "total", "completed", "failed"),
)
"""Columns that are fields."""


def batch_of(row: Row) -> Batch:
    """What a row with its contents says."""
    about = orjson.loads(row["about"])
    counts = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens")
    return Batch(
        **{name: row[name] for name in SAME},
        tokens=Tokens(*(row[name] for name in counts)),
        **about,
    )
