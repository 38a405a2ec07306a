"""The operator's commands for the store: check, export, erase.

    python -m extensions.openai store check

They may be used while a server runs. Results go to standard output, all else to standard error.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import BinaryIO, NoReturn

from ...access.key_files import KeyFiles, KeysError
from ...configuration.sources import load
from ...errors import StoreUnavailable
from ...settings import Settings, SettingsError
from ..keyring import keyring_file
from ..store import Store

FLAGS = ("data_folder", "store", "secret_file")
"""The server's settings that all commands take."""
FAULTY = 1
"""The exit status of `check` where it finds something."""
HELP = """examples:
  {program} check
  {program} export --user alice@example.com > alice.jsonl
  {program} erase --user alice@example.com
  {program} erase --key team-b

docs/store.md has more."""


class CommandError(Exception):
    """What was asked for cannot be done; the message is one line."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message} ({self.prog} --help says more)\n")


def main(argv: Sequence[str], program: str) -> int:
    """Run one command; the exit status: 0, 2 with one line on standard error, or FAULTY."""
    parser = _parser(program)
    given = parser.parse_args(argv)
    if given.run is None:
        parser.print_help()
        return 0
    flags = {name: getattr(given, name) for name in FLAGS if getattr(given, name)}
    try:
        status: int = given.run(load({}, flags), given)
    except (CommandError, KeysError, SettingsError, StoreUnavailable) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return status


def check(settings: Settings, given: argparse.Namespace) -> int:
    """Read all of it, and find what does not fit together."""
    path = Store(settings).path
    if path is not None:
        _check_there(path)
        if found := _damage(path):
            print("\n".join(f"damaged: {line}" for line in found))
            return FAULTY
    from . import consistency

    with _opened(settings) as store:
        report = consistency.check(store.database)
    for line in report.faults:
        print(f"wrong: {line}")
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in report.objects.items())
    print(f"{kinds} of {report.owners:,} owners, {report.bytes:,} bytes; schema {report.revision}")
    return FAULTY if report.faults else 0


def export(settings: Settings, given: argparse.Namespace) -> int:
    """Write objects as lines of JSON."""
    from .. import users

    with _opened(settings) as store:
        lines = users.export(store.database, user=given.user, owners=_owners(settings, given))
        count = _write(lines, sys.stdout.buffer)
    print(f"{count:,} objects", file=sys.stderr)
    return 0


def erase(settings: Settings, given: argparse.Namespace) -> int:
    """Delete objects for good, and print a receipt."""
    if given.user is None and given.key is None and not given.all:
        raise CommandError("say whose objects to erase: --user, --key, or --all")
    from .. import users

    with _opened(settings) as store:
        receipt = users.erase_with_receipt(
            store.database,
            user=given.user,
            key=given.key,
            owners=_owners(settings, given),
        )
    print(json.dumps(receipt))
    return 0


def encrypt(settings: Settings, given: argparse.Namespace) -> int:
    """Encrypt what was stored before store_encryption was on."""
    from . import encrypting

    with _opened(settings.model_copy(update={"store_encryption": True})) as store:
        done = encrypting.encrypt(store.database)
    print(f"encrypted {done.objects:,} objects", file=sys.stderr)
    if not settings.store_encryption:
        print("what a server without --store-encryption stores is in the clear", file=sys.stderr)
    return 0


def rotate(settings: Settings, given: argparse.Namespace) -> int:
    """Make a new server key, with which all is sealed from now on."""
    file = keyring_file(settings)
    file.rotate()
    store = Store(settings)
    is_file = store.path is not None and store.path.exists()
    if is_file or store.kind == "postgresql":
        from .encrypting import rewrap

        with _opened(settings) as opened:
            rewrap(opened.database)
    gone = file.forget() if given.forget else 0
    kept = (
        f"; {gone} older ones are gone, and what they have sealed is void" if given.forget else ""
    )
    print(f"made a new key in {file.path}{kept}", file=sys.stderr)
    return 0


def _name(text: str) -> str:
    """A variable of the shell that is not set must not choose anything."""
    if not text:
        raise argparse.ArgumentTypeError("the name is empty")
    return text


def _owners(settings: Settings, given: argparse.Namespace) -> frozenset[str] | None:
    return None if given.key is None else KeyFiles.of(settings).owners(given.key)


def _write(lines: Iterator[bytes], file: BinaryIO) -> int:
    count = 0
    for line in lines:
        file.write(line)
        count += 1
    file.flush()
    return count


@contextmanager
def _opened(settings: Settings) -> Iterator[Store]:
    """The store, which must be there already."""
    store = Store(settings)
    if not store.keeps:
        raise CommandError("nothing is stored: the setting store is off")
    if store.kind == "memory":
        raise CommandError("the setting store is memory, which only the server itself can read")
    if store.path is not None:
        _check_there(store.path)
    store.prepare()
    try:
        yield store
    finally:
        store.close()


def _check_there(path: Path) -> None:
    if not path.exists():
        raise CommandError(f"there is no store: no file {path} (--data-folder names its folder)")


def _damage(path: Path) -> list[str]:
    """What SQLite finds wrong with the file; nothing is written to it."""
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            lines = [line for (line,) in database.execute("PRAGMA integrity_check")]
            lines += [
                f"{row[0]} row {row[1]}" for row in database.execute("PRAGMA foreign_key_check")
            ]
    except sqlite3.DatabaseError as error:
        return [str(error)]
    return [line for line in lines if line != "ok"]


def _parser(program: str) -> _Parser:
    shared = _Parser(add_help=False, argument_default=argparse.SUPPRESS)
    shared.add_argument(
        "--data-folder",
        metavar="DIR",
        help="where the server keeps its data (its setting data_folder, or OPENEDAI_DATA_FOLDER)",
    )
    shared.add_argument(
        "--store", metavar="WHERE", help="the server's setting store (or OPENEDAI_STORE)"
    )
    shared.add_argument(
        "--secret-file",
        metavar="FILE",
        help="the server's setting secret_file (or OPENEDAI_SECRET_FILE)",
    )
    parser = _Parser(
        prog=program,
        description="What clients have stored.",
        epilog=HELP.format(program=program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[shared],
        allow_abbrev=False,
    )
    parser.set_defaults(run=None, **dict.fromkeys(FLAGS))
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    def command(name: str, run: Callable[..., int], text: str) -> _Parser:
        made: _Parser = commands.add_parser(
            name, help=text, description=text, parents=[shared], allow_abbrev=False
        )
        made.set_defaults(run=run)
        return made

    command("check", check, "read all of it; exit status 1 where something is wrong")
    for name, run, text in (
        ("export", export, "print objects as lines of JSON; all, if nothing is chosen"),
        ("erase", erase, "delete objects for good, and print a receipt"),
    ):
        made = command(name, run, text)
        made.add_argument(
            "--user", type=_name, metavar="NAME", help="whose `user` or `safety_identifier` it is"
        )
        made.add_argument(
            "--key",
            type=_name,
            metavar="NAME",
            help="what the key of this name has stored (or api-key, local ...)",
        )
        if name == "erase":
            made.add_argument("--all", action="store_true", help="everything")
    command("encrypt", encrypt, "encrypt what was stored in the clear; may be interrupted")
    rotated = command(
        "rotate", rotate, "make a new server key, with which all is sealed from now on"
    )
    rotated.add_argument(
        "--forget", action="store_true", help="the older keys, too: what they have sealed is void"
    )
    return parser
