"""Reads a model's files once before they are loaded, so that loading finds them in memory.

xllamacpp holds Python's lock while it loads: no thread runs, `/health` does not answer and nothing
can show progress. Most of that time is waiting for the disk, and this wait can be had outside.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from host.models.progress import Progress

log = logging.getLogger(__name__)

Watch = Callable[[float], None]
"""Called with how much is read, from 0 to 1."""

WORTH_IT = 256 << 20
"""Bytes; smaller files are loaded in the blink of an eye anyway."""
FITS = 0.8
"""The share of the free memory that the files may take, or the end would push out the beginning."""


def _unwatched(share: float) -> None:
    pass


def read_ahead(
    files: Sequence[Path], free: int | None = None, watch: Watch = _unwatched
) -> bool:
    """Read the files; whether it was done. It is not for small files, nor for more than fits.

    `free` is the memory in bytes that may be used (default: asked from the system). A file that
    can't be read is left to the loader, and is reported there.
    """
    if free is None:
        free = free_memory()
    try:
        total = sum(file.stat().st_size for file in files)
        if total < WORTH_IT or total > FITS * free:
            return False
        _read(files, total, watch)
    except OSError as error:
        log.debug("no reading ahead: %s", error)
        return False
    return True


def free_memory(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Bytes that can be had without swapping; 0 where the system does not say."""
    try:
        lines = meminfo.read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(fields.get("MemAvailable", "0").split()[0]) * 1024


def _read(files: Sequence[Path], total: int, watch: Watch) -> None:
    buffer = bytearray(8 << 20)
    done = 0
    progress = Progress(f"reading {files[0].name}", total)
    for file in files:
        with file.open("rb", buffering=0) as stream:
            while count := stream.readinto(buffer):
                done += count
                progress.update(done)
                watch(done / total)
    progress.close()
