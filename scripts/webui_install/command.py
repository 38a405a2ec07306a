"""The command line, and what it does in which order."""

from __future__ import annotations

import argparse
import filecmp
import io
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

from . import earlier, environment
from .earlier import BACKUPS
from .environment import Environment, Plan
from .layout import NAME, TAKEN_NAME, Webui, find_webui, is_ours
from .repository import Repository, repository_of
from .work import RefusalError, Work, is_there, remove, remove_if_empty, replace_folder

SOURCE = Path(__file__).resolve().parents[2] / "extensions" / "openai"
LEFT_OUT = ("__pycache__", "*.pyc", "requirements.txt")
"""Not copied. The web UI's updater would run `pip install --upgrade` on requirements that it finds."""

HELP = """Installs the OpenAI-compatible API into the text-generation-webui at PATH: copies the extension
to where that version loads extensions from, under the name opened_ai, and puts the packages that the web UI's
Python lacks into a folder of the extension's own. Nothing that git tracks and no package of the web UI's is
changed. It can be run again at any time, to bring a newer version, and after each update of the web UI."""


@dataclass(frozen=True)
class Job:
    """What is asked for, and where."""

    work: Work
    webui: Webui
    repository: Repository | None
    options: argparse.Namespace

    @property
    def place(self) -> Path:
        taken = self.options.take_over_openai
        return self.webui.taken_place if taken else self.webui.place

    @property
    def installed_root(self) -> Path:
        """The extension's folder as it will know itself: through a link it is ours."""
        return SOURCE if self.options.link else self.place

    @property
    def packages(self) -> Path:
        if self.options.link:
            return SOURCE.parent.parent / "user_data" / "openedai" / "packages"
        return self.webui.data / "packages"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise RefusalError(f"{message} (--help lists the options)")


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0, or 1 with one line on standard error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a console that lacks a letter of a path
            stream.reconfigure(errors="replace")
    try:
        options = _parser().parse_args(arguments)
        if options.path is None:
            raise RefusalError("PATH is missing: the folder of the web UI (--help explains)")
        return _run(options)
    except RefusalError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="install_into_webui", description=HELP)
    add = parser.add_argument
    add(
        "path", metavar="PATH", nargs="?", help="the folder of the web UI, or of a portable release"
    )
    add(
        "--user-data-dir",
        metavar="DIR",
        help="what you start the web UI with; found by itself in CMD_FLAGS.txt and in portable releases",
    )
    add(
        "--python",
        metavar="P",
        help="the web UI's Python; default: the one of its installer, its venv, or the active one",
    )
    add(
        "--take-over-openai",
        action="store_true",
        help="before March 2026: install under the name openai, in place of the web UI's own API. Before "
        "July 2025 this changes files that git tracks: run --uninstall before you update the web UI",
    )
    add(
        "--link",
        action="store_true",
        help="link to this folder instead of copying it (for development)",
    )
    add("--no-requirements", action="store_true", help="bring no packages")
    add(
        "--repair-environment",
        action="store_true",
        help="give packages of the web UI back the versions that it needs, after an earlier version of this "
        "installer has upgraded them",
    )
    add(
        "--uninstall",
        action="store_true",
        help="take the extension and its packages out; keys and usage stay",
    )
    add(
        "--check",
        action="store_true",
        help="say what is installed and what is wrong; change nothing",
    )
    add("--dry-run", action="store_true", help="say what would be done; change nothing")
    return parser  # fmt: skip


def _run(options: argparse.Namespace) -> int:
    work = Work(dry=options.dry_run)
    webui = find_webui(Path(options.path).expanduser(), options.user_data_dir)
    if webui.hint is not None:
        work.say(f"note: {webui.hint}")
    job = Job(work, webui, repository_of(webui.app), options)
    if options.check:
        from .checking import check

        return check(job)
    if options.uninstall:
        _uninstall(job)
    else:
        _install(job)
    return 0


def _install(job: Job) -> None:
    work, webui, options = job.work, job.webui, job.options
    _check_name(job)
    found = None if options.no_requirements else _environment(job)
    if found is not None:
        _bring_packages(job, *found)
    if earlier.traces(webui, job.repository):
        earlier.put_back(work, webui, job.repository, SOURCE)
    if options.take_over_openai and not webui.user_extensions:
        earlier.take_over(work, webui, job.repository)
    shown = webui.shown(job.place)
    verb = "link" if options.link else "install"
    work.do(f"{verb} {shown}", lambda: _place(job))
    _remove_other_copies(job)
    _exclude(job)
    if not work.dry:
        work.say(f"start the web UI with: --extensions {job.place.name}")


def _remove_other_copies(job: Job) -> None:
    """Those under another name, or where an older web UI looked; what they kept moves along."""
    work, webui = job.work, job.webui
    for other in (*webui.places, webui.taken_place):
        if other in (job.place, webui.app / earlier.PLACE):
            continue
        if is_there(other) and is_ours(other):
            work.do(f"remove the other copy {webui.shown(other)}", partial(remove, other))
            data = webui.app / "user_data" / "openedai"
            if webui.app in other.parents and data != webui.data and data.is_dir():
                work.do(
                    f"move {webui.shown(data)} to {webui.data}", partial(_move, data, webui.data)
                )


def _move(source: Path, target: Path) -> None:
    """Move what the target does not have yet."""
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    for entry in source.iterdir():
        if not is_there(target / entry.name):
            shutil.move(str(entry), str(target / entry.name))
    remove_if_empty(source)


def _check_name(job: Job) -> None:
    webui = job.webui
    if job.options.take_over_openai and webui.own_api:
        raise RefusalError(
            "--take-over-openai: since March 2026 the web UI answers to the name openai itself; leave the "
            f"option out and start with --extensions {NAME} (docs/webui.md says how to take its port)"
        )
    if is_there(job.place) and not is_ours(job.place):
        is_own = job.place == webui.app / earlier.PLACE
        if not is_own:
            raise RefusalError(f"{job.place} is another extension: move it away first")


def _environment(job: Job) -> tuple[Environment, Plan | None]:
    """The web UI's Python and what it lacks; None where that was brought before and nothing has changed."""
    python = environment.find_python(job.webui.app, job.options.python)
    requirements = SOURCE / "requirements.txt"
    found = environment.look_at(python, SOURCE)
    may_be_broken = job.options.repair_environment or earlier.traces(job.webui, job.repository)
    if may_be_broken and _repair(job, found):
        found = environment.look_at(python, SOURCE)
    if environment.is_settled(found, job.packages, requirements):
        return found, None
    job.work.say(f"looking at what {python} lacks")
    return found, environment.plan(found, requirements)


def _bring_packages(job: Job, found: Environment, wanted: Plan | None) -> None:
    if wanted is None:
        job.work.say("the packages are there already")
        return
    environment.bring(job.work, found, wanted, job.packages, SOURCE / "requirements.txt")


def _place(job: Job) -> None:
    """Made whole beside its place, and then moved there."""
    place = job.place
    fresh = place.with_name(f"{place.name}.new")
    remove(fresh)
    place.parent.mkdir(parents=True, exist_ok=True)
    if job.options.link:
        fresh.symlink_to(SOURCE, target_is_directory=True)
    else:
        shutil.copytree(SOURCE, fresh, ignore=shutil.ignore_patterns(*LEFT_OUT))
    replace_folder(fresh, place)


def _exclude(job: Job) -> None:
    """Keep what is not tracked out of `git status`, where the web UI's own .gitignore does not."""
    repository, webui = job.repository, job.webui
    if repository is None:
        return
    ours = set(repository.excluded())
    wanted = []
    taken = webui.app / earlier.PLACE
    backups = [webui.app / BACKUPS] if job.place == taken else []
    for path in (job.place, webui.data, *backups):
        if path == taken or webui.app not in path.parents:
            continue
        name = f"/{path.relative_to(webui.app).as_posix()}"
        if name in ours or repository.mentions(path):
            wanted.append(name)
    if set(wanted) != ours:
        names = ", ".join(wanted) or "nothing any more"
        job.work.do(
            f"have git pass over {names} (.git/info/exclude)", lambda: repository.exclude(wanted)
        )


def _repair(job: Job, found: Environment) -> bool:
    """Give packages that an earlier install has upgraded their versions back, if the user says so.

    Return whether the environment was changed.
    """
    wishes = environment.broken_requirements(
        found, environment.required_names(SOURCE / "requirements.txt")
    )
    if not wishes:
        return False
    if job.options.repair_environment:
        job.work.do(f"give back {', '.join(wishes)}", lambda: environment.repair(found, wishes))
        return not job.work.dry
    job.work.say(
        "note: the web UI's Python has packages in versions that the web UI cannot use; "
        "--repair-environment runs: " + environment.repair_command(found, wishes)
    )
    return False


def _uninstall(job: Job) -> None:
    work, webui, repository = job.work, job.webui, job.repository
    removed = False
    for place in (*webui.places, webui.user_data / "extensions" / TAKEN_NAME):
        if is_there(place) and is_ours(place):
            work.do(f"remove {webui.shown(place)}", partial(remove, place))
            removed = True
    had_earlier = earlier.traces(webui, repository)
    if had_earlier:
        earlier.put_back(work, webui, repository, SOURCE)
        removed = True
    packages = webui.data / "packages"
    if packages.is_dir():
        work.do(f"remove {webui.shown(packages)}", lambda: remove(packages))
        removed = True
    _tidy(job)
    if not removed:
        work.say(
            f"nothing to remove: {webui.shown(webui.place)} is not there, or not this extension"
        )
    if job.options.repair_environment or (had_earlier and not job.options.no_requirements):
        _look_for_damage(job)
    if webui.data.is_dir() and not work.dry:
        work.say(f"keys and usage stay in {webui.data}")


def _look_for_damage(job: Job) -> None:
    """An earlier install may have upgraded packages in the environment, wherever that is."""
    try:
        python = environment.find_python(job.webui.app, job.options.python)
        _repair(job, environment.look_at(python, SOURCE))
    except RefusalError:
        if job.options.repair_environment:
            raise
        job.work.say("note: the web UI's Python was not looked at; --python PATH names it")


def _tidy(job: Job) -> None:
    """Leave no empty folders, and no exclusions of what is gone."""
    webui, repository = job.webui, job.repository
    if job.work.dry:
        return
    remove_if_empty(webui.data)
    if not webui.user_extensions:
        remove_if_empty(webui.user_data)
    if repository is not None and repository.excluded():
        left = (
            f"/{webui.data.relative_to(webui.app).as_posix()}"
            if webui.app in webui.data.parents
            else ""
        )
        repository.exclude([left] if webui.data.is_dir() and left in repository.excluded() else [])


def is_current(place: Path) -> bool:
    """Whether the copy is what this folder has."""
    if place.is_symlink():
        return place.resolve() == SOURCE
    return not _differences(
        filecmp.dircmp(SOURCE, place, ignore=["__pycache__", "requirements.txt"])
    )


def _differences(compared: filecmp.dircmp[str]) -> bool:
    if compared.left_only or compared.right_only or compared.diff_files or compared.funny_files:
        return True
    return any(_differences(each) for each in compared.subdirs.values())
