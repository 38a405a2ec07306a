"""The operator's commands: make, list, revoke and rotate named keys, print their usage; copy the data folder;
hash a password; and those of the store (`state/operations/commands.py`).

    python -m extensions.openai keys create --name alice

A key is printed once, to standard output; all messages go to standard error.
"""

from __future__ import annotations

import argparse
import csv
import getpass
import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NoReturn, get_args

try:
    from .access.caller import RESERVED, Limits, Priority
    from .access.key_files import Entry, KeyFiles, KeysError
    from .access.key_report import (
        SCOPES,
        UNITS,
        allowed,
        day,
        described,
        duration,
        end_of,
        state_of,
        table,
    )
    from .access.password import hashed
    from .access.signed_keys import NAME, Grant
    from .configuration.sources import load
    from .errors import UsageUnreadable
    from .settings import KEY_LIMITS, SettingsError
    from .state import usage as usage_file
    from .state.operations.backup import BackupError, back_up
    from .state.usage import UsageStore
except ModuleNotFoundError as error:
    if __name__ != "__main__":
        raise
    line = f"this Python lacks the package {error.name}; take the one that the server runs with"
    print(f"error: {line} (in a clone: .venv/bin/openedai)", file=sys.stderr)
    sys.exit(2)

MAX_DURATION_S = 100 * 366 * 86400

PROGRAM = f"python -m {__package__}"
HELP = """examples:
  {program} keys create --name alice --expires 90d --rpm 60
  {program} keys list
  {program} keys usage --days 7 --csv
  {program} keys rotate alice --grace 1h
  {program} keys revoke alice
  {program} backup /backups/monday

Changes take effect at once, also on a running server. docs/keys.md has more."""


class _Parser(argparse.ArgumentParser):
    """Reports errors in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message} ({self.prog} --help says more)\n")


def main(argv: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Run one command; return the exit status: 0, or 2 with one line on standard error."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["store"]:
        from .state.operations import commands

        return commands.main(words[1:], f"{program} store")
    parser = command_parser(program)
    given = parser.parse_args(words)
    if given.run is None:
        given.parser.print_help()
        return 0
    try:
        folder = vars(given).get("data_folder")
        settings = load({}, {"data_folder": folder} if folder else {})
        given.run(KeyFiles.of(settings), given)
    except (BackupError, KeysError, SettingsError, UsageUnreadable) as error:
        _say(f"error: {error}")
        return 2
    return 0


def create(files: KeyFiles, given: argparse.Namespace) -> None:
    """Make a key and print it."""
    grant = _changed(Grant("", given.name, frozenset({"read", "write"})), given)
    is_new = not files.folder.exists()
    begins = files.secret() is not None and not files.entries()
    is_first = files.secret() is None
    key = files.create(grant)
    if is_new:
        _say(
            f"warning: the folder {files.folder} is new; a server with another data folder will not accept "
            "the key (--data-folder sets it)"
        )
    if begins:
        _say(
            f"{files.folder} had no list of keys; from now on keys that are not on it are invalid there"
        )
    if is_first:
        _say(
            "from now on a server with this data folder answers only requests with a key "
            "(clients take it from OPENAI_API_KEY)"
        )
    _say(f"made the key {given.name} in {files.folder}: {allowed(grant)}. It is shown only once:")
    print(key)


def rotate(files: KeyFiles, given: argparse.Namespace) -> None:
    """Make a new key with the same name, and end the old one."""

    def change(old: Entry) -> Grant:
        grant = replace(old.grant, id="")
        if grant.expires is not None:
            # The same lifetime as the old key's.
            grant = replace(grant, expires=int(time.time()) + grant.expires - old.created)
        return _changed(grant, given)

    key, grant = files.rotate(given.name, change, given.grace)
    old = f"in {duration(given.grace)}" if given.grace else "now"
    _say(
        f"made a new key {given.name} in {files.folder}: {allowed(grant)}. The old one ends {old}. "
        "The new one:"
    )
    print(key)


def revoke(files: KeyFiles, given: argparse.Namespace) -> None:
    """End all keys with a name."""
    count = files.revoke(given.name)
    what = "the key" if count == 1 else f"{count} keys"
    _say(f"revoked {what} {given.name} in {files.folder}")
    if not any(each.valid(time.time()) for each in files.entries()):
        _say(
            "warning: no valid key is left, and requests still need one: make one (keys create), or stop "
            "the server and delete keys.json and keys.secret to do without keys"
        )


def show(files: KeyFiles, given: argparse.Namespace) -> None:
    """Print a table of all keys, never the keys themselves."""
    now = time.time()
    entries = [each for each in files.entries() if given.all or each.valid(now)]
    used = _usage(files).last_used()
    if given.json:
        rows = [described(each, now, used.get(each.grant.name)) for each in entries]
        print(json.dumps(rows, indent=2))
        return
    if not entries:
        others = files.entries()
        hint = "; --all lists the others, too" if others else ""
        _say(f"there are no {'valid keys' if others else 'keys'} in {files.folder}{hint}")
        return
    head = ("NAME", "STATE", "MADE", "ENDS", "LAST USED", "MAY")
    print(
        table(
            [
                head,
                *(
                    (
                        *(
                            each.grant.name,
                            state_of(each, now),
                            day(each.created),
                            day(end_of(each)),
                        ),
                        *(day(used.get(each.grant.name)), allowed(each.grant, with_end=False)),
                    )
                    for each in entries
                ),
            ]
        )
    )


def usage(files: KeyFiles, given: argparse.Namespace) -> None:
    """Print the usage of keys, users and models."""
    now = int(time.time())
    rows = _usage(files).read(now - given.days * 86400, now + 60, by=given.by)
    head = [*given.by, "requests", "input_tokens", "cached_tokens", "output_tokens"]
    cells = [[str(getattr(row, name) or "") for name in given.by] for row in rows]
    counts = [[getattr(row, name) for name in head[len(given.by) :]] for row in rows]
    if given.csv:
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(head)
        writer.writerows([*names, *numbers] for names, numbers in zip(cells, counts, strict=True))
        return
    if not rows:
        _say(f"{files.folder} has no usage of the last {given.days} days")
        return
    heads = [name.removesuffix("_tokens").upper() for name in head]
    lines = [
        [*(name or "-" for name in names), *(f"{number:,}" for number in numbers)]
        for names, numbers in zip(cells, counts, strict=True)
    ]
    print(table([heads, *lines]))


def _usage(files: KeyFiles) -> UsageStore:
    """The usage in the keys' folder; does not create a file."""
    there = (files.folder / usage_file.FILE).exists()
    return UsageStore(files.folder if there else None, days=36500)


def backup(files: KeyFiles, given: argparse.Namespace) -> None:
    """Copy the data folder."""
    names = back_up(files.folder, given.folder)
    _say(f"copied {', '.join(names)} from {files.folder} to {given.folder}")


def password(files: KeyFiles, given: argparse.Namespace) -> None:
    """Read a password and print its hash."""
    if sys.stdin.isatty():
        text = getpass.getpass("Password: ")
        if getpass.getpass("Again: ") != text:
            raise KeysError("the two passwords differ")
    else:
        text = sys.stdin.readline().rstrip("\r\n")
    if len(text) < 8:
        raise KeysError("a password needs at least 8 characters")
    print(hashed(text))


def command_parser(program: str = PROGRAM) -> argparse.ArgumentParser:
    """The parser of the command line."""
    # Allowed before and after the command; a default would override the value before it.
    shared = _Parser(add_help=False, argument_default=argparse.SUPPRESS)
    shared.add_argument(
        "--data-folder",
        metavar="DIR",
        help="the server's data folder (its setting data_folder, or OPENEDAI_DATA_FOLDER)",
    )
    parser = _Parser(
        prog=program,
        description="Commands of the OpenAI-compatible API. The host starts the server itself.",
        epilog=HELP.format(program=program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[shared],
        allow_abbrev=False,
    )
    parser.set_defaults(run=None, parser=parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    keys = commands.add_parser("keys", help="make and end named keys", parents=[shared])
    keys.set_defaults(parser=keys)
    actions = keys.add_subparsers(title="commands", metavar="COMMAND")

    def command(
        parent: Any, name: str, run: Callable[..., None], text: str
    ) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = parent.add_parser(
            name, help=text, description=text, parents=[shared], allow_abbrev=False
        )
        added.set_defaults(run=run)
        return added

    created = command(actions, "create", create, "make a key; it is printed once")
    created.add_argument(
        "--name", required=True, type=_name, help="letters, digits, - and _; at most 40"
    )
    _add_grant(created, "read,write", "never")
    listed = command(actions, "list", show, "list the valid keys, without the keys themselves")
    listed.add_argument("--all", action="store_true", help="also keys that have ended")
    listed.add_argument("--json", action="store_true", help="as JSON")
    used = command(actions, "usage", usage, "print the usage: requests and tokens")
    used.add_argument(
        "--days", type=_count(1, 36500), default=30, metavar="N", help="of the last N (default: 30)"
    )
    used.add_argument(
        "--by",
        type=_columns,
        default=["key"],
        metavar="LIST",
        help="group by these: key, user, model (default: key)",
    )
    used.add_argument("--csv", action="store_true", help="as CSV")
    revoked = command(actions, "revoke", revoke, "end all keys with a name, at once")
    revoked.add_argument("name", metavar="NAME", type=_name)
    rotated = command(actions, "rotate", rotate, "make a new key with a name, and end the old one")
    rotated.add_argument("name", metavar="NAME", type=_name)
    rotated.add_argument(
        "--grace",
        type=_seconds,
        default=0,
        metavar="TIME",
        help="how long the old one stays valid, such as 1h (default: not at all)",
    )
    _add_grant(rotated, "as before", "the same lifetime as the old one")
    copied = command(commands, "backup", backup, "copy keys, usage and store while a server runs")
    copied.add_argument("folder", metavar="FOLDER", type=Path, help="a new folder for the copy")
    command(commands, "store", show, "check, export, erase what is stored: store --help")
    command(commands, "password", password, "read a password and print its hash, for --password")
    return parser


def _add_grant(parser: argparse.ArgumentParser, scopes: str, expires: str) -> None:
    """Add the options of a key's grant; the result has only those that were given."""

    def add(flag: str, type: Callable[[str], Any], metavar: str, text: str) -> None:
        parser.add_argument(flag, type=type, metavar=metavar, help=text, default=argparse.SUPPRESS)

    add("--scopes", _scopes, "LIST", f"of read, write and admin (default: {scopes})")
    add("--expires", _expiry, "TIME", f"such as 90d, 12h or 2030-12-31 (default: {expires})")
    for name, limit in KEY_LIMITS.items():
        text = f"{limit.words}; 0 is no limit (default: the setting {name})"
        add("--" + name.replace("_", "-"), _count(0, limit.at_most), "N", text)
    add("--user-limits", _limits, "LIST", "for each user of the key, such as rpm=10,tpm=5000")
    add(
        "--weight",
        _count(1, 100),
        "N",
        "its share of the engine relative to other keys (default: 1)",
    )
    parser.add_argument(
        "--priority",
        choices=get_args(Priority),
        default=argparse.SUPPRESS,
        help="batch gets the capacity that interactive requests leave (default: interactive)",
    )
    parser.add_argument(
        "--store",
        dest="stores",
        action=argparse.BooleanOptionalAction,
        default=argparse.SUPPRESS,
        help="whether its requests may store objects (default: yes)",
    )


def _changed(grant: Grant, given: argparse.Namespace) -> Grant:
    """The grant, updated with the command line's options."""
    options = vars(given)
    limits = {name: options[name] for name in KEY_LIMITS if name in options}
    fields = ("scopes", "expires", "user_limits", "weight", "priority", "stores")
    return replace(
        grant,
        limits={**grant.limits, **limits},
        **{name: options[name] for name in fields if name in options},
    )


def _name(text: str) -> str:
    if not re.fullmatch(NAME, text):
        raise argparse.ArgumentTypeError(
            "a name has letters, digits, - and _, begins and ends with a letter or digit, and has at most "
            "40 characters"
        )
    if text.lower() in RESERVED:
        raise argparse.ArgumentTypeError(f"the name {text} is reserved")
    return text


def _scopes(text: str) -> frozenset[str]:
    scopes = frozenset(part.strip() for part in text.split(",") if part.strip())
    if not scopes or not scopes <= set(SCOPES):
        raise argparse.ArgumentTypeError("some of read, write, admin, separated by commas")
    return scopes


def _columns(text: str) -> list[str]:
    columns = [part.strip() for part in text.split(",") if part.strip()]
    if not columns or not set(columns) <= set(usage_file.COLUMNS):
        raise argparse.ArgumentTypeError("some of key, user, model, separated by commas")
    return columns


def _seconds(text: str) -> int:
    found = re.fullmatch(r"(\d{1,9})([smhdw])", text.strip().lower())
    seconds = int(found[1]) * UNITS[found[2]] if found else 0
    if not 0 < seconds <= MAX_DURATION_S:
        raise argparse.ArgumentTypeError("a number and a unit, such as 30m, 12h, 90d or 4w")
    return seconds


def _expiry(text: str) -> int | None:
    """Unix seconds; None for `never`."""
    now = int(time.time())
    if text == "never":
        return None
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=timezone.utc)
    except ValueError:
        return now + _seconds(text)
    if not now < day.timestamp() <= now + MAX_DURATION_S:
        raise argparse.ArgumentTypeError("the day must be in the future")
    return int(day.timestamp())


def _count(low: int, high: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"a whole number from {low} to {high}")
        return int(text)

    return convert


def _limits(text: str) -> Limits:
    limits = {}
    for part in filter(None, text.split(",")):
        name, _, value = part.strip().partition("=")
        if name not in KEY_LIMITS:
            raise argparse.ArgumentTypeError(
                f"limits are {', '.join(KEY_LIMITS)}, as in rpm=10,tpm=5000"
            )
        limits[name] = _count(0, KEY_LIMITS[name].at_most)(value)
    return limits


def _say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
