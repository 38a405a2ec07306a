"""What the machine gives this process: memory and open files."""

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
MOST_FILES = 8192  # more are of no use here


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


def raise_file_limit() -> int:
    """Raise the soft limit on open files to the hard one; return how many may be open now."""
    if resource is None:
        return USUAL_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft == resource.RLIM_INFINITY or soft >= most:
        return MOST_FILES if soft == resource.RLIM_INFINITY else soft
    for wanted in (most, 4096, 1024):  # macOS refuses what is above a limit of the kernel's
        if soft < wanted <= most:
            with suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
                return wanted
    return soft


def open_files() -> int:
    """How many files and sockets this process has open."""
    for folder in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            return len(os.listdir(folder))  # noqa: PTH208
    return 0
