"""`openedai version`: what is installed, for a report of a fault."""

from __future__ import annotations

import argparse
import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

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
    print(f"data in {_data()}")
    return 0


def _data() -> Path:
    """The data folder that the environment says, or else the one of this program."""
    try:
        from extensions.openai.configuration.sources import load
        from extensions.openai.settings import SettingsError
        from extensions.openai.system.data_folder import data_folder
    except ImportError:
        return DATA  # what is missing is said above
    try:
        return data_folder(load({}, {}))
    except SettingsError:
        return DATA  # `openedai check` says what is wrong with the environment


def installed(package: str) -> str | None:
    """Its version; None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
