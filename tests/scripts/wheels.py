"""Packages that hold a version and nothing else, as wheels and as installed: for the real resolver of pip."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path

from tests.scripts.webui_layouts import EXTENSION, files

REQUIRED = {
    "flask": "3.1", "flask-cors": "5.0", "waitress": "3.0.2", "flask-cloudflared": "0.0.15",
    "pydantic": "2.11", "pydantic-settings": "2.9", "orjson": "3.10", "httpcore": "1.0.9", "pillow": "11.0",
    "prometheus-client": "0.21", "structlog": "25.1", "itsdangerous": "2.2", "filelock": "3.18",
    "limits": "5.0", "pyyaml": "6.0.2", "llguidance": "1.1", "typing-extensions": "4.13",
    "flask-openapi3-swagger": "5.20", "flask-openapi3-redoc": "5.20",
    "sqlalchemy": "2.0.30", "alembic": "1.13", "cryptography": "45.0",
}  # fmt: skip
"""A version of each requirement of the extension."""
REQUIRES = {"pydantic-settings": ["pydantic>=2"], "flask-cors": ["flask"]}


def module_of(name: str) -> str:
    return name.replace("-", "_")


def metadata(name: str, version: str, requires: Iterable[str] = ()) -> str:
    lines = ("Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}")
    return "\n".join([*lines, *(f"Requires-Dist: {each}" for each in requires), ""])


def make_wheel(folder: Path, name: str, version: str, requires: Iterable[str] = ()) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    module = module_of(name)
    info = f"{module}-{version}.dist-info"
    contents = {
        f"{module}/__init__.py": f"__version__ = {version!r}\n",
        f"{info}/METADATA": metadata(name, version, requires),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    contents[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in (*contents, f"{info}/RECORD"))
    with zipfile.ZipFile(folder / f"{module}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in contents.items():
            wheel.writestr(path, text)


def all_wheels(folder: Path) -> Path:
    """Everything that the extension needs."""
    for name, version in REQUIRED.items():
        make_wheel(folder, name, version, REQUIRES.get(name, ()))
    return folder


class FakeEnvironment:
    """A Python environment without pip, in which packages are told to be installed."""

    def __init__(self, folder: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
        self.folder = folder
        self.python = folder / "bin" / "python"
        (self.packages,) = folder.glob("lib/python*/site-packages")

    def add(self, name: str, version: str, requires: Iterable[str] = ()) -> None:
        module = module_of(name)
        (self.packages / module).mkdir()
        (self.packages / module / "__init__.py").write_text(f"__version__ = {version!r}\n")
        info = self.packages / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(metadata(name, version, requires))
        (info / "INSTALLER").write_text("pip\n")
        (info / "RECORD").write_text(
            f"{module}/__init__.py,,\n{info.name}/METADATA,,\n{info.name}/RECORD,,\n"
        )

    def add_all_but(self, *left_out: str, **versions: str) -> None:
        for name, version in REQUIRED.items():
            if name not in left_out:
                self.add(name, versions.get(module_of(name), version), REQUIRES.get(name, ()))

    def contents(self) -> dict[str, bytes]:
        return files(self.folder)


def requirement_names() -> set[str]:
    lines = (EXTENSION / "requirements.txt").read_text().splitlines()
    return {line.split(">")[0].split("=")[0].lower() for line in lines}
