"""`make run`: the stand-alone host, so that a start that is refused ends with the host's line, not make's."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from host.main import REFUSED, main
from scripts.set_up import refused

if __name__ == "__main__":
    status = main()
    sys.exit(refused(status) if status == REFUSED else status)
