"""Puts back what an install over the web UI's own `extensions/openai` has changed there.

So did every install before March 2026's web UI, and so does `--take-over-openai` where there is no other way.
When the web UI is then updated by `git pull --autostash`, git merges our files with those of the new version:
conflict marks, or our text, in `extensions/openai` and (as the web UI moved its files) in `modules/api`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .layout import TAKEN_NAME, Webui, is_ours
from .repository import Repository, blob_name
from .work import Work, is_there, remove, remove_if_empty

BACKUPS = "extensions-before-openedai"
"""Where the web UI's own extension was put: `openai`, then `openai.2`, ..."""
PLACE = f"extensions/{TAKEN_NAME}"
TOUCHED = (PLACE, "modules/api")
CONFLICT_MARKS = ("<<<<<<< ", ">>>>>>> ")
KNOWN = Path(__file__).with_name("earlier_files.txt")
"""The files of the version that was installed so, each with git's name of its content."""


def traces(webui: Webui, repository: Repository | None) -> bool:
    """Whether there was such an install."""
    app = webui.app
    if (app / BACKUPS).is_dir() or is_ours(app / PLACE):
        return True
    if repository is None:
        return False
    changes = repository.changes(*TOUCHED)
    return any(change.unmerged for change in changes) and bool(repository.autostashes())


def put_back(work: Work, webui: Webui, repository: Repository | None, source: Path) -> None:
    """Make `extensions/openai` and `modules/api` the web UI's again; keep files that may be the user's."""
    healer = _Healer(work, webui, repository, _known_contents(source))
    if repository is None:
        healer.without_git()
    else:
        healer.with_git(repository)
    work.tell_what_was_kept()


def take_over(work: Work, webui: Webui, repository: Repository | None) -> None:
    """Move the web UI's own extension away, so that another one can take its place."""
    place, backup = webui.app / PLACE, webui.app / BACKUPS / TAKEN_NAME

    def move() -> None:
        backup.parent.mkdir(exist_ok=True)
        place.replace(backup)

    if is_there(place):
        work.do(f"keep the web UI's {PLACE} in {BACKUPS}", move)


@dataclass
class _Healer:
    work: Work
    webui: Webui
    repository: Repository | None
    known: frozenset[str]
    """Contents that are ours for certain."""

    def without_git(self) -> None:
        """The newest backup is what was there."""
        place, backups = self.webui.app / PLACE, self._backups()
        if is_there(place) and is_ours(place):
            self._clear(place, keep=())
        if backups and not is_there(place):
            newest = backups.pop()
            self.work.do(f"put back {PLACE}", lambda: newest.replace(place))
        self._drop_backups({})

    def with_git(self, repository: Repository) -> None:
        """HEAD has what belongs there, and the backups what the user had changed before."""
        app = self.webui.app
        place = app / PLACE
        head = repository.in_head(*TOUCHED)
        mine = self._users_changes(repository, head)
        was_ours = is_there(place) and is_ours(place)
        damaged = [
            change.path
            for change in repository.changes(*TOUCHED)
            if change.unmerged
            or (was_ours and change.path.startswith(f"{PLACE}/"))
            or self._is_damaged(repository, change.path)
        ]
        damaged += [
            path
            for path, content in repository.their_sides().items()
            if content in self.known and path not in damaged
        ]
        if was_ours:
            self._clear(place, keep=tuple(path for path in head if path not in damaged))
        for path in damaged:
            self._keep_unless_known(app / path, path)
        if damaged:
            what = f"{len(damaged)} files" if len(damaged) > 1 else "one file"
            self.work.do(
                f"put back {what} of the web UI: {', '.join(sorted(damaged))}",
                lambda: self._restore(repository, damaged),
            )
        self._drop_backups(mine)
        if repository.autostashes():
            self.work.say(
                "note: git keeps a stash of an update that failed (git stash list); "
                "when you miss nothing: git stash drop"
            )

    def _restore(self, repository: Repository, paths: list[str]) -> None:
        repository.restore(paths)
        remove_if_empty(self.webui.app / PLACE)

    def _users_changes(
        self, repository: Repository, head: dict[str, str]
    ) -> dict[Path, str | None]:
        """Files in backups that the web UI never had, each with its path, None if that is unclear.

        It is clear where the web UI was not updated since: another file beside it is as in HEAD.
        """
        found: dict[Path, str | None] = {}
        for backup in self._backups():
            contents = {}
            for file in _files(backup):
                path = f"{PLACE}/{file.relative_to(backup).as_posix()}"
                contents[file] = (path, repository.content_name(path, file))
            same_age = any(head.get(path) == content for path, content in contents.values())
            for file, (path, content) in contents.items():
                if head.get(path) == content or content in self.known:
                    continue
                if not repository.ever_had(content, PLACE):
                    found[file] = path if same_age else None
        return found

    def _is_damaged(self, repository: Repository, path: str) -> bool:
        """Whether a file of the web UI's was changed by us or by a merge with ours, not by the user."""
        file = self.webui.app / path
        if not file.is_file():
            return True
        data = file.read_bytes()
        if blob_name(data) in self.known:
            return True
        lines = data.decode(errors="replace").splitlines()
        if any(line.startswith(CONFLICT_MARKS) for line in lines):
            return True
        theirs = set(repository.head_text(path).splitlines())
        return len(theirs.intersection(lines)) * 2 < len(theirs)

    def _clear(self, place: Path, keep: tuple[str, ...]) -> None:
        """Remove our files from a folder; what is not known to be ours is kept aside."""
        if place.is_symlink():
            self.work.do(f"remove the link {PLACE}", lambda: remove(place))
            return
        app = self.webui.app
        for file in _files(place):
            path = file.relative_to(app).as_posix()
            if path not in keep:
                self._keep_unless_known(file, path)
        spared = {app / path for path in keep}
        self.work.do(f"remove the extension from {PLACE}", lambda: _remove_but(place, spared))

    def _keep_unless_known(self, file: Path, name: str) -> None:
        if file.is_file() and "__pycache__" not in file.parts:
            data = file.read_bytes()
            if not (blob_name(data) in self.known or self._has_nothing_new(name, data)):
                self.work.keep_aside(file, name, self.webui.data)

    def _has_nothing_new(self, path: str, data: bytes) -> bool:
        """Whether a file is the web UI's, or git's merge of it with ours: no line is anybody else's."""
        if self.repository is None:
            return False
        content = self.repository.their_sides().get(path, "")
        ours = self.repository.text_of(content) if content in self.known else ""
        theirs = self.repository.head_text(path)
        lines = (line.rstrip("\r") for line in data.decode(errors="replace").split("\n"))
        foreign = set(lines).difference(theirs.splitlines(), ours.splitlines(), ("", "======="))
        return all(line.startswith(CONFLICT_MARKS) for line in foreign)

    def _backups(self) -> list[Path]:
        folder = self.webui.app / BACKUPS
        found = folder.glob(f"{TAKEN_NAME}*") if folder.is_dir() else ()
        return sorted(found, key=lambda path: int(path.suffix[1:] or 1))

    def _drop_backups(self, mine: dict[Path, str | None]) -> None:
        """Remove the backups: the user's files first, to their place if that is free, else aside."""
        folder = self.webui.app / BACKUPS
        if not folder.is_dir():
            return
        if self.repository is None:
            mine = {file: None for backup in self._backups() for file in _files(backup)}
        for file, path in mine.items():
            name = f"{PLACE}/{Path(*file.relative_to(folder).parts[1:]).as_posix()}"
            if path is not None and self._put_in_place(file, path):
                continue
            self.work.keep_aside(file, name, self.webui.data)
        if not self.work.dry:
            remove(folder)

    def _put_in_place(self, file: Path, path: str) -> bool:
        """Whether the user's version of a file went back to where it was."""
        target = self.webui.app / path
        if not target.parent.is_dir():
            return False

        def put() -> None:
            target.parent.mkdir(parents=True, exist_ok=True)
            file.replace(target)

        self.work.do(f"put back your own {path}", put)
        return True


def _known_contents(source: Path) -> frozenset[str]:
    listed = (line.split()[0] for line in KNOWN.read_text(encoding="utf-8").splitlines())
    return frozenset((*listed, *(blob_name(file.read_bytes()) for file in _files(source))))


def _files(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    )


def _remove_but(folder: Path, spared: set[Path]) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            remove_if_empty(path)
        elif path not in spared:
            path.unlink()
    remove_if_empty(folder)
