"""Limits of the machine: memory and open files."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

try:
    import resource
except ImportError:  # Windows has none
    resource = None  # type: ignore[assignment]

CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
UNKNOWN_MEMORY = 4 << 30  # bytes, where the system does not say
USUAL_FILES = 1024  # that may be open, where the system does not say


def memory_bytes() -> int:
    """Bytes of memory that this process may have: the machine's, or the container's if that is less."""
    try:
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        found = UNKNOWN_MEMORY
    for path in CGROUP_LIMITS:
        with suppress(OSError, ValueError):  # there is none, or it says `max`
            found = min(found, int(path.read_text(encoding="ascii")))
    return found


def raise_file_limit(wanted: int) -> int:
    """Raise the limit of open files to `wanted`, if the system allows it; return the limit."""
    if resource is None:
        return USUAL_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    most = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if most > soft:
        with suppress(OSError, ValueError):  # macOS refuses what is above a limit of the kernel's
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            return most
    return soft


def open_files() -> int:
    """How many files and sockets this process has open."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            return len(os.listdir(folder))  # noqa: PTH208
    return 0
