"""Errors of a download as one line; those that a server can cause are in test_hub.py."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from host.models.hub_errors import explain


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (errno.ENOSPC, "no space left in d for some/model"),
        (errno.EDQUOT, "no space left in d for some/model"),
        (errno.EACCES, "cannot write to d: Permission denied"),
        (errno.EROFS, "cannot write to d: Read-only file system"),
    ],
)
def test_a_full_disk_is_named_even_as_the_cause_of_another_error(number: int, line: str) -> None:
    error = RuntimeError("the download failed")
    error.__cause__ = OSError(number, "whatever")
    assert explain(error, "some/model", Path("d")) == line


def test_an_error_nobody_thought_of_is_still_one_line() -> None:
    error = ValueError("first\nsecond")
    assert explain(error, "some/model", Path("d")) == (
        "cannot download some/model: ValueError: first"
    )
