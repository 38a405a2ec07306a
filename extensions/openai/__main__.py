"""The operator's commands: make, list, revoke and rotate named keys; hash a password.

    python -m extensions.openai keys create --name alice

A key is printed once, to standard output; all else that is said goes to standard error.
"""

from __future__ import annotations

import argparse
import getpass
import json
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from datetime import datetime, timezone
from typing import Any, NoReturn, get_args

from .access.caller import RESERVED, UNSPECIFIED, Limits, Priority, Scope
from .access.key_files import Entry, KeyFiles, KeysError
from .access.password import hashed
from .access.signed_keys import NAME, Grant
from .configuration.sources import load
from .settings import SettingsError

SCOPES: tuple[Scope, ...] = get_args(Scope)
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
LONGEST = 100 * 366 * 86400  # seconds
MOST = 10**12
WORDS = {
    "rpm": "{} requests a minute",
    "tpm": "{} tokens a minute",
    "concurrent": "{} requests at once",
    "monthly_tokens": "{} tokens a month",
}

PROGRAM = f"python -m {__package__}"
HELP = f"""examples:
  {PROGRAM} keys create --name alice --scopes read,write --expires 90d --rpm 60 --tpm 40000
  {PROGRAM} keys list
  {PROGRAM} keys rotate alice --grace 1h
  {PROGRAM} keys revoke alice
  {PROGRAM} password

What you do takes effect at once, also on a server that runs. docs/keys.md has more."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message} ({self.prog} --help says more)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status: 0, or 2 with one line on standard error."""
    parser = _parser()
    given = parser.parse_args(argv)
    if given.run is None:
        given.parser.print_help()
        return 0
    try:
        settings = load({}, {"data_folder": given.data_folder} if given.data_folder else {})
        given.run(KeyFiles.of(settings), given)
    except (KeysError, SettingsError) as error:
        _say(f"error: {error}")
        return 2
    return 0


def create(files: KeyFiles, given: argparse.Namespace) -> None:
    """Make a key and print it."""
    grant = _changed(Grant("", given.name, frozenset({"read", "write"})), given)
    begins = files.secret() is not None and not files.entries()
    key = files.create(grant)
    if begins:
        _say(
            f"{files.folder} had no list of keys; from now on keys that are not on it are void there"
        )
    _say(f"made the key {given.name}: {_words(grant)}. It is shown this once:")
    print(key)


def rotate(files: KeyFiles, given: argparse.Namespace) -> None:
    """Make another key of the same name, and end the old one."""

    def change(old: Entry) -> Grant:
        grant = replace(old.grant, id="")
        if grant.expires is not None:
            # As long as the old one had from its beginning.
            grant = replace(grant, expires=int(time.time()) + grant.expires - old.created)
        return _changed(grant, given)

    key, grant = files.rotate(given.name, change, given.grace)
    old = f"in {_length(given.grace)}" if given.grace else "now"
    _say(f"made another key {given.name}: {_words(grant)}. The old one ends {old}. The new one:")
    print(key)


def revoke(files: KeyFiles, given: argparse.Namespace) -> None:
    """End all keys of a name."""
    count = files.revoke(given.name)
    _say(f"revoked {'the key' if count == 1 else f'{count} keys'} {given.name}")


def show(files: KeyFiles, given: argparse.Namespace) -> None:
    """Print what is known of all keys, and never a key."""
    now = time.time()
    entries = [each for each in files.entries() if given.all or each.valid(now)]
    if given.json:
        print(json.dumps([_described(each, now) for each in entries], indent=2))
        return
    if not entries:
        _say("there are no keys" if not files.entries() else "there are no valid keys (--all)")
        return
    rows = [("NAME", "STATE", "MADE", "ENDS", "MAY")]
    for entry in entries:
        made, ends = _day(entry.created), _ends(entry)
        rows.append(
            (
                *(entry.grant.name, _state(entry, now), made),
                *(_day(ends) if ends else "-", _words(entry.grant, ends=False)),
            )
        )
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())


def password(files: KeyFiles, given: argparse.Namespace) -> None:
    """Read a password and print its hash."""
    if sys.stdin.isatty():
        text = getpass.getpass("Password: ")
        if getpass.getpass("Again: ") != text:
            raise KeysError("the two are not the same")
    else:
        text = sys.stdin.readline().rstrip("\r\n")
    if len(text) < 8:
        raise KeysError("a password needs at least 8 characters")
    print(hashed(text))


def _parser() -> _Parser:
    # Also after the command: argparse would set the default again there.
    shared = _Parser(add_help=False, argument_default=argparse.SUPPRESS)
    shared.add_argument(
        "--data-folder",
        metavar="DIR",
        help="where the server keeps its data (its setting data_folder, or OPENEDAI_DATA_FOLDER)",
    )
    parser = _Parser(
        prog=PROGRAM,
        description="Commands of the OpenAI-compatible API. The server itself is started by its host.",
        epilog=HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        parents=[shared],
        allow_abbrev=False,
    )
    parser.set_defaults(run=None, data_folder=None, parser=parser)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    keys = commands.add_parser("keys", help="make and end named keys", parents=[shared])
    keys.set_defaults(parser=keys)
    actions = keys.add_subparsers(title="commands", metavar="COMMAND")

    def command(
        parent: Any, name: str, run: Callable[..., None], text: str
    ) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = parent.add_parser(
            name, help=text, description=text, parents=[shared], allow_abbrev=False
        )
        made.set_defaults(run=run)
        return made

    made = command(actions, "create", create, "make a key; it is printed once")
    made.add_argument(
        "--name", required=True, type=_name, help="letters, digits, - and _; at most 40"
    )
    _add_grant(made, "read,write", "never")
    listed = command(actions, "list", show, "list the valid keys, without the keys themselves")
    listed.add_argument("--all", action="store_true", help="those that have ended, too")
    listed.add_argument("--json", action="store_true", help="as JSON")
    ended = command(actions, "revoke", revoke, "end all keys of a name, at once")
    ended.add_argument("name", metavar="NAME", type=_name)
    again = command(actions, "rotate", rotate, "make another key of a name, and end the old one")
    again.add_argument("name", metavar="NAME", type=_name)
    again.add_argument(
        "--grace",
        type=_seconds,
        default=0,
        metavar="TIME",
        help="how long the old one stays valid, such as 1h (default: not at all)",
    )
    _add_grant(again, "as before", "as long after its beginning as the old one")
    command(commands, "password", password, "read a password and print its hash, for --password")
    return parser


def _add_grant(parser: argparse.ArgumentParser, scopes: str, expires: str) -> None:
    """What a key may allow; nothing is in the result that was not given."""

    def add(flag: str, type: Callable[[str], Any], metavar: str, text: str) -> None:
        parser.add_argument(flag, type=type, metavar=metavar, help=text, default=argparse.SUPPRESS)

    add("--scopes", _scopes, "LIST", f"of read, write and admin (default: {scopes})")
    add("--expires", _expiry, "TIME", f"such as 90d, 12h or 2030-12-31 (default: {expires})")
    add(
        "--rpm", _count(0, 1000), "N", "requests a minute; 0 is no limit (default: the setting rpm)"
    )
    add("--tpm", _count(0, MOST), "N", "tokens a minute; 0 is no limit")
    add("--concurrent", _count(0, 1024), "N", "requests at the same time; 0 is no limit")
    add("--monthly-tokens", _count(0, MOST), "N", "tokens in a calendar month; 0 is no limit")
    add("--user-limits", _limits, "LIST", "of each user of the key, such as rpm=10,tpm=5000")
    add("--weight", _count(1, 100), "N", "its share of the engine beside other keys (default: 1)")
    parser.add_argument(
        "--priority",
        choices=get_args(Priority),
        default=argparse.SUPPRESS,
        help="batch gets what interactive work leaves over (default: interactive)",
    )


def _changed(grant: Grant, given: argparse.Namespace) -> Grant:
    """The grant with what the command line says."""
    said = vars(given)
    limits = {field.name: said[field.name] for field in fields(Limits) if field.name in said}
    whole = ("scopes", "expires", "user_limits", "weight", "priority")
    return replace(
        grant,
        limits=replace(grant.limits, **limits),
        **{name: said[name] for name in whole if name in said},
    )


def _name(text: str) -> str:
    if not re.fullmatch(NAME, text):
        raise argparse.ArgumentTypeError(
            "a name is made of letters, digits, - and _, begins and ends with a letter or digit, and "
            "has at most 40 of them"
        )
    if text.lower() in RESERVED:
        raise argparse.ArgumentTypeError(f"the name {text} has a meaning of its own")
    return text


def _scopes(text: str) -> frozenset[str]:
    scopes = frozenset(part.strip() for part in text.split(",") if part.strip())
    if not scopes or not scopes <= set(SCOPES):
        raise argparse.ArgumentTypeError("some of read, write, admin, with commas between them")
    return scopes


def _seconds(text: str) -> int:
    found = re.fullmatch(r"(\d{1,9})([smhdw])", text.strip().lower())
    seconds = int(found[1]) * UNITS[found[2]] if found else 0
    if not 0 < seconds <= LONGEST:
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
    if not now < day.timestamp() <= now + LONGEST:
        raise argparse.ArgumentTypeError("the day must lie in the future")
    return int(day.timestamp())


def _count(low: int, high: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"a whole number from {low} to {high}")
        return int(text)

    return convert


def _limits(text: str) -> Limits:
    limits = UNSPECIFIED
    for part in filter(None, text.split(",")):
        name, _, value = part.strip().partition("=")
        if name not in WORDS:
            raise argparse.ArgumentTypeError(
                f"limits are {', '.join(WORDS)}, as in rpm=10,tpm=5000"
            )
        limits = replace(limits, **{name: _count(0, 1000 if name == "rpm" else MOST)(value)})
    return limits


def _words(grant: Grant, *, ends: bool = True) -> str:
    """What the key allows, in words."""
    parts = [", ".join(scope for scope in SCOPES if scope in grant.scopes)]
    parts += _limit_words(grant.limits, "")
    parts += _limit_words(grant.user_limits, " for each user")
    if grant.weight != 1:
        parts.append(f"weight {grant.weight}")
    if grant.priority == "batch":
        parts.append("batch")
    if ends:
        parts.append(f"until {_day(grant.expires)}" if grant.expires else "does not expire")
    return "; ".join(parts)


def _limit_words(limits: Limits, suffix: str) -> list[str]:
    values = ((words, getattr(limits, name)) for name, words in WORDS.items())
    return [
        words.format(value or "any number of") + suffix
        for words, value in values
        if value is not None
    ]


def _described(entry: Entry, now: float) -> dict[str, Any]:
    grant = entry.grant
    return {
        "name": grant.name,
        "id": grant.id,
        "state": _state(entry, now),
        "scopes": [scope for scope in SCOPES if scope in grant.scopes],
        "created_at": entry.created,
        "expires_at": grant.expires,
        "ends_at": _ends(entry),
        "limits": {name: getattr(grant.limits, name) for name in WORDS},
        "user_limits": {name: getattr(grant.user_limits, name) for name in WORDS},
        "weight": grant.weight,
        "priority": grant.priority,
    }


def _state(entry: Entry, now: float) -> str:
    if entry.valid(now):
        return "valid" if entry.ends is None else "replaced"
    if entry.ends is not None and (entry.grant.expires is None or now < entry.grant.expires):
        return "revoked"
    return "expired"


def _ends(entry: Entry) -> int | None:
    ends = [end for end in (entry.ends, entry.grant.expires) if end]
    return min(ends, default=None)


def _day(seconds: float | None) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds)) if seconds else "-"


def _length(seconds: int) -> str:
    for unit, size in reversed(UNITS.items()):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _say(text: str) -> None:
    print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
