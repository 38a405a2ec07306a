"""The main module of a model's process: this host, which ends when the process that started it does.

The other end of its standard input belongs to its parent. The system closes that however the parent ends.
"""

import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

FOLDER_PREFIX = "openedai-model-"
"""Of the folder that its parent makes for its temporary files."""
PROGRESS = "progress: "
"""Begins the lines for the parent that say how many percent of the model's files are read."""


def main() -> int:
    """Run the host. Call it in the main thread."""
    threading.Thread(target=_watch_parent, name="parent", daemon=True).start()
    from host.main import main as run

    return run(prog="model", reading=read_and_tell)


def read_and_tell(files: Sequence[Path]) -> bool:
    """Read the model's files, and tell the parent how far that is, each percent once."""
    from host.models.read_ahead import read_ahead

    told = -1

    def tell(share: float) -> None:
        nonlocal told
        if (percent := int(100 * share)) > told:
            told = percent
            print(f"{PROGRESS}{percent}", flush=True)

    return read_ahead(files, watch=tell)


def progress_in(line: str) -> float | None:
    """What a line of its output says of that, from 0 to 1; None: it is of something else."""
    if not line.startswith(PROGRESS):
        return None
    percent = line.removeprefix(PROGRESS)
    return int(percent) / 100 if percent.isdecimal() else None


def _watch_parent() -> None:
    while os.read(0, 1):
        pass
    # Answers have no reader any more, and all that is on the disk is in this process's own folder.
    folder = Path(tempfile.gettempdir())
    if folder.name.startswith(FOLDER_PREFIX):
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
