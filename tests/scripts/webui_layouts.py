"""Trees of the shapes that the web UI has had over the years, as far as the installer looks; also in git."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.support.process import ROOT

SCRIPT = ROOT / "scripts" / "install_into_webui.sh"
EXTENSION = ROOT / "extensions" / "openai"
LOCK = "generation_lock = None\n"
OWN_API = ("script.py", "completions.py", "models.py", "images.py", "typing.py")


@dataclass(frozen=True)
class Age:
    """What tells a version of the web UI from others."""

    name: str
    place: str
    """Where the extension belongs."""
    takes_user_extensions: bool = False
    api: str | None = "extensions/openai"
    has_paths: bool = False
    ignores: str = "/extensions\n"

    def files(self) -> dict[str, str]:
        """Its tracked files. Each text is long enough for git to see a file that was moved and changed."""
        flag = "'--user-data-dir'\n" if self.has_paths else ""
        user_data = "user_data" if self.takes_user_extensions else ""
        found = {
            ".gitignore": self.ignores,
            "server.py": f"# {self.name}\n",
            "modules/shared.py": f"{LOCK}{flag}",
            "modules/extensions.py": f"# loads extensions {user_data}\n",
            "modules/text_generation.py": "",
            "extensions/gallery/script.py": "# gallery\n",
        }
        if self.api:
            body = "".join(f"def of_the_web_ui_{number}(): ...\n" for number in range(30))
            found |= {f"{self.api}/{name}": f"# {name}\n{body}# {self.name}\n" for name in OWN_API}
            if self.api == "modules/api":  # some were not changed when they were moved
                found["modules/api/images.py"] = f"# images.py\n{body}# January 2026\n"
        if self.takes_user_extensions:
            found["user_data/extensions/place-your-extensions-here.txt"] = ""
        return found


AGES = (
    Age("June 2023", "extensions/opened_ai", ignores="/cache\n"),
    Age("August 2024", "extensions/opened_ai"),
    Age("January 2026", "user_data/extensions/opened_ai", True, ignores="/extensions\n/user_data\n"),
    Age("May 2026", "user_data/extensions/opened_ai", True, "modules/api", True,
        "/extensions\n/user_data\n"),
)  # fmt: skip
BY_NAME = {age.name: age for age in AGES}


def write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def git(folder: Path, *arguments: str) -> str:
    """Raises CalledProcessError."""
    done = subprocess.run(
        [
            "git",
            "-c",
            "user.name=n",
            "-c",
            "user.email=e@e",
            "-c",
            "core.autocrlf=false",
            *arguments,
        ],
        cwd=folder,
        env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def plain_tree(root: Path, age: str) -> Path:
    """A download: no repository."""
    webui = root / "text generation webui"
    write(webui, BY_NAME[age].files())
    return webui


def history(root: Path) -> Path:
    """A repository with a commit for each age, each with a branch of its name (without blanks)."""
    upstream = root / "upstream"
    upstream.mkdir(parents=True)
    git(upstream, "init", "-q", "-b", "main")
    for age in AGES:
        for entry in upstream.iterdir():
            if entry.name != ".git":
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        write(upstream, age.files())
        git(upstream, "add", "--all", "--force")
        git(upstream, "commit", "-q", "-m", age.name)
        git(upstream, "branch", _branch(age.name))
    return upstream


def checkout(root: Path, age: str) -> Path:
    """A clone of `history`, at an age."""
    upstream = root / "upstream"
    if not upstream.exists():
        history(root)
    webui = root / "text generation webui"
    git(root, "clone", "-q", str(upstream), str(webui))
    git(webui, "config", "user.name", "n")
    git(webui, "config", "user.email", "e@e")
    git(webui, "reset", "-q", "--hard", f"origin/{_branch(age)}")
    return webui


def update(webui: Path, age: str) -> str:
    """What the web UI's updater runs."""
    git(webui, "branch", "-q", f"--set-upstream-to=origin/{_branch(age)}")
    return git(webui, "pull", "--autostash")


def status(webui: Path) -> str:
    """What git says of the checkout, untracked files included."""
    return git(webui, "status", "--porcelain")


def install(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {
        name: value
        for name, value in os.environ.items()
        if name not in ("VIRTUAL_ENV", "CONDA_PREFIX")
    }
    return subprocess.run(
        [SCRIPT, *map(str, arguments)],
        env=clean | {"PIP_NO_INDEX": "1"} | environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def installed(*arguments: str | Path) -> str:
    """What the installer prints where it does its work without packages."""
    done = install("--no-requirements", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def files(folder: Path) -> dict[str, bytes]:
    """All files below a folder but git's own and compiled ones."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not {"__pycache__", ".git"}.intersection(path.parts)
    }


def extension_files() -> dict[str, bytes]:
    """What an installed copy holds."""
    return {name: data for name, data in files(EXTENSION).items() if name != "requirements.txt"}


def earlier_install(webui: Path) -> None:
    """What the installer of the first release did before March 2026: ours in place of the web UI's own."""
    place = webui / "extensions" / "openai"
    (webui / "extensions-before-openedai").mkdir()
    place.rename(webui / "extensions-before-openedai" / "openai")
    shutil.copytree(EXTENSION, place, ignore=shutil.ignore_patterns("__pycache__"))


def _branch(age: str) -> str:
    return age.replace(" ", "-")
