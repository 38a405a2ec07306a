#!/usr/bin/env python3
"""Puts the extension into a text-generation-webui, and takes it out again: `--help` explains."""

import sys
from pathlib import Path

if sys.version_info < (3, 10):  # noqa: UP036 - told in one line
    sys.exit(
        "error: Python 3.10 or later is needed; the web UI's own will do: run this script with it"
    )

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.webui_install.command import main

if __name__ == "__main__":
    sys.exit(main())
