"""Lets root meet the permissions of files, as other users do."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

VERSION_3 = 0x20080522
DAC_OVERRIDE, DAC_READ_SEARCH = 1, 2
"""See capabilities(7)."""


@contextmanager
def held_to_permissions() -> Iterator[None]:
    """In this thread, and those that it starts meanwhile; nothing changes for users other than root."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    head = (ctypes.c_uint32 * 2)(VERSION_3, 0)
    before = (ctypes.c_uint32 * 6)()
    """Effective, permitted and inheritable, twice 32 bits each."""

    def change(values: ctypes.Array[ctypes.c_uint32]) -> None:
        if libc.capset(head, values) != 0:
            raise OSError(ctypes.get_errno(), "capset")

    if libc.capget(head, before) != 0:
        raise OSError(ctypes.get_errno(), "capget")
    without = (ctypes.c_uint32 * 6)(*before)
    without[0] &= ~(1 << DAC_OVERRIDE | 1 << DAC_READ_SEARCH)
    change(without)
    try:
        yield
    finally:
        change(before)
