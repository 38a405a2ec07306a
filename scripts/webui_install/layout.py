"""Where a version of the web UI has its program, its user's files and its extensions."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from .work import RefusalError

NAME = "opened_ai"
"""The extension's name in a web UI."""
TAKEN_NAME = "openai"
"""The name of the API that the web UI had as an extension until March 2026."""
PARTS = (
    "server.py",
    "modules/shared.py",
    "modules/extensions.py",
    "modules/text_generation.py",
    "extensions",
)
MARKER = "openedai.txt"
EARLIER_MARKERS = ("private_packages.py", "engines/base.py", "engines/protocol.py")
"""Files by which a folder is known to be this extension; installs of 2026 have no marker of its own."""


@dataclass(frozen=True)
class Webui:
    """One installation of the web UI."""

    app: Path
    """The folder of its `server.py`."""
    user_data: Path
    """What outlives its updates. Before April 2025 there was no such folder; ours makes it then."""
    user_extensions: bool
    """Whether it loads extensions from `user_data` (since July 2025)."""
    own_api: bool
    """Whether its own API is a part of the program (since March 2026), not the extension `openai`."""
    hint: str | None = None
    """What to tell the user about the choice of `user_data`."""

    @property
    def data(self) -> Path:
        """Where the extension keeps keys, usage and packages."""
        return self.user_data / "openedai"

    @property
    def place(self) -> Path:
        """Where the extension goes."""
        return self.extensions / NAME

    @property
    def extensions(self) -> Path:
        return (self.user_data if self.user_extensions else self.app) / "extensions"

    @property
    def places(self) -> tuple[Path, ...]:
        """Where it goes, or went when the web UI was older."""
        return (
            self.place,
            *(each for each in (self.app / "extensions" / NAME,) if each != self.place),
        )

    @property
    def taken_place(self) -> Path:
        """Where an extension is loaded from under the name of the web UI's own API."""
        return self.extensions / TAKEN_NAME

    def shown(self, path: Path) -> str:
        """A path below the web UI in short."""
        for root in (self.app, self.user_data.parent):
            if root in path.parents:
                return path.relative_to(root).as_posix()
        return str(path)


def find_webui(path: Path, user_data: str | None = None) -> Webui:
    """The web UI at PATH: its checkout, or a portable release. Raises RefusalError."""
    if not path.is_dir():
        raise RefusalError(f"no folder {path}: give the folder of the web UI")
    path = path.resolve()
    is_release = not (path / "server.py").exists() and (path / "app" / "server.py").exists()
    app = path / "app" if is_release else path
    for part in PARTS:
        if not (app / part).exists():
            raise RefusalError(
                f"{path} is not text-generation-webui: it has no {part}; give the folder with its server.py"
            )
    shared = (app / "modules" / "shared.py").read_text(encoding="utf-8", errors="replace")
    if "generation_lock" not in shared:
        raise RefusalError(
            f"{path} is a web UI from before 24 May 2023, when it got the lock that its page and this API "
            "share: update it (git pull) and try again"
        )
    loader = (app / "modules" / "extensions.py").read_text(encoding="utf-8", errors="replace")
    has_flag = "--user-data-dir" in shared
    folder, hint = _user_data(app, user_data, has_flag=has_flag)
    return Webui(
        app,
        folder,
        user_extensions="user_data" in loader and folder.is_dir(),
        own_api=(app / "modules" / "api" / "script.py").exists(),
        hint=hint,
    )


def _user_data(app: Path, given: str | None, *, has_flag: bool) -> tuple[Path, str | None]:
    """The folder that the web UI will use, by the rules of its `modules/paths.py`."""
    usual = app / "user_data"
    if given is not None:
        if not has_flag:
            raise RefusalError(
                "this version of the web UI has no --user-data-dir: leave it out, its folder is "
                f"{usual}"
            )
        folder = app / Path(given).expanduser()
        if not folder.is_dir():
            raise RefusalError(f"--user-data-dir: no folder {folder}")
        return folder.resolve(), None
    if not has_flag:
        return usual, None
    portable = _portable_user_data(app)
    hint = None
    if (app / ".git").exists():
        # A checkout is started without --portable unless its user wants it so.
        if portable is not None:
            hint = f"if you start it with --portable, add --user-data-dir {portable}"
        folder = usual
    else:
        folder = portable or usual
    named = _from_flags_file(folder / "CMD_FLAGS.txt")
    if named is not None:
        folder, hint = (app / named).resolve(), None
        if not folder.is_dir():
            raise RefusalError(f"CMD_FLAGS.txt names --user-data-dir {named}, which is no folder")
    return folder, hint


def _portable_user_data(app: Path) -> Path | None:
    """Where `--portable` finds it: one folder for many releases, or the release's own."""
    candidates = [app.parent / "user_data"]
    if (app.parent / "app").exists():
        candidates.insert(0, app.parent.parent / "user_data")
    return next((each.resolve() for each in candidates if each.is_dir()), None)


def _from_flags_file(path: Path) -> str | None:
    """What `--user-data-dir` says in a CMD_FLAGS.txt, which the web UI reads like a command line."""
    try:
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError:
        return None
    kept = (line.strip().rstrip("\\").strip() for line in lines if not line.strip().startswith("#"))
    try:
        words = shlex.split(" ".join(kept))
    except ValueError:
        return None
    found = None
    for number, word in enumerate(words):
        if word == "--user-data-dir" and number + 1 < len(words):
            found = words[number + 1]
        elif word.startswith("--user-data-dir="):
            found = word.partition("=")[2]
    return found


def is_ours(folder: Path) -> bool:
    """Whether a folder is this extension; a link may point to one that is gone."""
    if folder.is_symlink() and not folder.exists():
        return True
    return any((folder / mark).exists() for mark in (MARKER, *EARLIER_MARKERS))
