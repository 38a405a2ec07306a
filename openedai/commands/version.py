"""`openedai version`: what is installed, for a report of a fault."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from host import __version__
from host.folders import DATA, ROOT

PACKAGES = ("xllamacpp", "waitress", "flask", "pydantic", "llguidance")


def main(argv: Sequence[str], program: str) -> int:
    """Print one line for each."""
    argparse.ArgumentParser(prog=program, description="Print versions.").parse_args(argv)
    print(f"openedai {__version__}")
    print(f"python {platform.python_version()} on {platform.system()} {platform.machine()}")
    for name in PACKAGES:
        print(f"{name} {installed(name) or 'is not installed'}")
    print(f"program in {ROOT}")
    print(f"data in {DATA}")
    return 0


def installed(package: str) -> str | None:
    """Its version; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
