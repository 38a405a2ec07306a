"""The web UI's git repository: what it tracks, what differs, and what it does not mention."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .work import RefusalError

BEGIN, END = "# openedai: installed by it", "# openedai: end"


@dataclass(frozen=True)
class Change:
    """A tracked path that is not as in HEAD."""

    path: str
    unmerged: bool


class Repository:
    """Paths are those of git: relative to the web UI's folder, with `/`."""

    def __init__(self, app: Path) -> None:
        self.app = app
        self._git = _find_git(app)

    def run(self, *arguments: str, check: bool = True) -> str:
        """What git prints. Raises RefusalError with git's own line."""
        done = subprocess.run(
            [self._git, "-C", str(self.app), *arguments],
            capture_output=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"},
        )
        if check and done.returncode:
            lines = done.stderr.decode(errors="replace").strip().splitlines() or ["no message"]
            raise RefusalError(f"git {arguments[0]} failed in {self.app}: {lines[0]}")
        return done.stdout.decode(errors="surrogateescape")

    def changes(self, *paths: str) -> list[Change]:
        """Tracked files below these paths, or anywhere, that are not as in HEAD."""
        text = self.run(
            "status", "--porcelain", "-z", "--no-renames", "--untracked-files=no", "--", *paths
        )
        rows = [row for row in text.split("\0") if row]
        return [Change(row[3:], "U" in row[:2] or row[:2] in ("AA", "DD")) for row in rows]

    def in_head(self, *paths: str) -> dict[str, str]:
        """The files below these paths in HEAD, each with the name of its content."""
        text = self.run("ls-tree", "-r", "-z", "HEAD", "--", *paths)
        rows = (row.partition("\t") for row in text.split("\0") if row)
        return {path: facts.split()[2] for facts, _, path in rows}

    def their_sides(self) -> dict[str, str]:
        """Of unmerged files, the content that came out of the stash."""
        rows = [row.partition("\t") for row in self.run("ls-files", "-u", "-z").split("\0") if row]
        return {path: facts.split()[1] for facts, _, path in rows if facts.split()[2] == "3"}

    def text_of(self, content: str) -> str:
        return self.run("cat-file", "blob", content, check=False)

    def content_name(self, path: str, file: Path) -> str:
        """The name that git gives to a file's content at this path."""
        return self.run("hash-object", f"--path={path}", str(file)).strip()

    def ever_had(self, content: str, folder: str) -> bool:
        """Whether the content was once in this folder."""
        found = self.run(
            "log",
            "-1",
            "--format=%h",
            f"--find-object={content}",
            "HEAD",
            "--",
            folder,
            check=False,
        )
        return bool(found.strip())

    def head_text(self, path: str) -> str:
        return self.run("show", f"HEAD:{path}", check=False)

    def restore(self, paths: list[str]) -> None:
        """Make these paths what they are in HEAD, in the index and in the folder."""
        known = self.in_head(*paths) if paths else {}
        gone = [path for path in paths if path not in known]
        for each in _portions(sorted(known)):
            self.run("checkout", "-q", "HEAD", "--", *each)
        for each in _portions(gone):
            self.run("reset", "-q", "HEAD", "--", *each, check=False)

    def autostashes(self) -> list[str]:
        """Stashes that a `git pull --autostash` could not put back, newest first."""
        lines = self.run("stash", "list", "--format=%gd %s").splitlines()
        return [line.split()[0] for line in lines if line.endswith("autostash")]

    def date(self) -> str:
        return self.run("log", "-1", "--format=%cs", check=False).strip()

    def mentions(self, path: Path) -> bool:
        """Whether `git status` would show a path that it does not track."""
        try:
            name = path.relative_to(self.app).as_posix()
        except ValueError:
            return False
        done = subprocess.run(
            [self._git, "-C", str(self.app), "check-ignore", "-q", "--no-index", name],
            capture_output=True,
            check=False,
        )
        return done.returncode == 1

    @property
    def _exclude_file(self) -> Path:
        return self.app / self.run("rev-parse", "--git-path", "info/exclude").strip()

    def exclude(self, names: list[str]) -> None:
        """Keep exactly these out of `git status` for us, by a file that git does not track."""
        file = self._exclude_file
        lines = _without_ours(_lines(file))
        if names:
            lines += [BEGIN, *names, END]
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def excluded(self) -> list[str]:
        """What is excluded for us."""
        lines = _lines(self._exclude_file)
        return [line for line in lines if line not in (*_without_ours(lines), BEGIN, END)]


def _lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8").splitlines() if file.is_file() else []


def _without_ours(lines: list[str]) -> list[str]:
    if BEGIN not in lines or END not in lines[lines.index(BEGIN) :]:
        return lines
    start = lines.index(BEGIN)
    return lines[:start] + lines[lines.index(END, start) + 1 :]


def repository_of(app: Path) -> Repository | None:
    """The web UI's repository; None for a release or a download, which has none."""
    return Repository(app) if (app / ".git").exists() else None


def blob_name(data: bytes) -> str:
    """The name that git gives to a content as it is."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def _find_git(app: Path) -> str:
    """git, also where only the web UI's own environment has it."""
    conda = app / "installer_files"
    own = [
        conda / folder / name
        for folder in ("env", "conda")
        for name in ("bin/git", "Library/bin/git.exe", "Library/cmd/git.exe")
    ]
    found = shutil.which("git") or next((str(each) for each in own if each.is_file()), None)
    if found is None:
        raise RefusalError(
            f"{app} is a git checkout, but git is not installed: install git and try again"
        )
    return found


def _portions(paths: list[str], size: int = 100) -> list[list[str]]:
    """Windows takes no command line above 32 KB."""
    return [paths[start : start + size] for start in range(0, len(paths), size)]
