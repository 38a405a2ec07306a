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
DEFAULT_MEMORY_BYTES = 4 << 30  # if the system does not report it
DEFAULT_OPEN_FILES = 1024  # the limit, if the system does not report it


def memory_bytes() -> int:
    """Bytes of memory available to this process: the machine's, or the container's if less."""
    try:
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        found = DEFAULT_MEMORY_BYTES
    for path in CGROUP_LIMITS:
        with suppress(OSError, ValueError):  # it does not exist, or contains `max`
            found = min(found, int(path.read_text(encoding="ascii")))
    return found


def raise_file_limit(wanted: int) -> int:
    """Raise the limit of open files to `wanted`, if the system allows it; return the limit."""
    if resource is None:
        return DEFAULT_OPEN_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    possible = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if possible > soft:
        with suppress(OSError, ValueError):  # macOS refuses more than its kernel's limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (possible, hard))
            return possible
    return soft


def open_files() -> int:
    """How many files and sockets this process has open."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            return len(os.listdir(folder))  # noqa: PTH208
    return 0
