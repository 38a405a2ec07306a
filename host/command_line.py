"""The command line, read in two passes, because extensions bring flags of their own.

`read_early` takes the host's options and passes over what it does not know, so that the extensions
can be imported; `read` then knows all flags, and lists them under `--help`.
"""

import argparse
import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from host import __version__
from host.errors import HostError
from host.options import OPTIONS, HostOptions, Option, from_environment

Flags = dict[str, Any]
"""Flags by `dest`, only those that were really given. May hold keys: never log one."""


class OneLineParser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one HostError line instead of a page of usage."""

    def error(self, message: str) -> NoReturn:
        raise HostError(f"{message} (--help lists the flags)")


@dataclass(frozen=True, slots=True)
class ExtensionFlags:
    """The flags of one extension, on a parser of their own until the full one is put together."""

    name: str
    parser: OneLineParser
    dests: frozenset[str]


def read_early(
    argv: Sequence[str], environ: Mapping[str, str] = os.environ
) -> tuple[HostOptions, bool]:
    """The host's options and whether help was asked for; unknown flags are left for `read`.

    Exits with status 0 after printing, when `--version` is given. Raises HostError.
    """
    parser = _host_parser()
    parser.add_argument("-h", "--help", action="store_true", dest="_help")
    given, _ = parser.parse_known_args(argv)
    wants_help = bool(vars(given).pop("_help", False))
    return _host_options(vars(given), environ), wants_help


def declare_flags(
    name: str, add_arguments: Callable[[argparse.ArgumentParser], Any]
) -> ExtensionFlags:
    """Let the extension `name` declare its flags. Whatever it raises passes through."""
    parser = OneLineParser(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    # argparse has no public way to name the default group; under this title the flags are listed.
    parser._optionals.title = f"flags of the extension {name}"
    add_arguments(parser)
    # A default would look as if the flag had been given, and would then win over the environment.
    parser._defaults.clear()
    for action in parser._actions:
        action.default = argparse.SUPPRESS
    return ExtensionFlags(name, parser, frozenset(action.dest for action in parser._actions))


def build_parser(extensions: Sequence[ExtensionFlags]) -> OneLineParser:
    """The full parser. Raises argparse.ArgumentError when two of them declare the same flag."""
    parser = _host_parser([extension.parser for extension in extensions])
    parser.add_argument("-h", "--help", action="help", help="show this text and exit")
    return parser


def read(
    argv: Sequence[str],
    extensions: Sequence[ExtensionFlags],
    environ: Mapping[str, str] = os.environ,
) -> tuple[HostOptions, dict[str, Flags]]:
    """The host's options, and by extension name the flags that were given.

    Exits with status 0 after printing, when `--help` is given. Raises HostError.
    """
    parser = build_parser(extensions)
    namespace, unknown = parser.parse_known_args(argv)
    if unknown:
        raise HostError(_unknown(unknown, parser))
    given = vars(namespace)
    flags = {
        extension.name: {dest: given[dest] for dest in extension.dests if dest in given}
        for extension in extensions
    }
    return _host_options(given, environ), flags


def _host_parser(parents: Sequence[argparse.ArgumentParser] = ()) -> OneLineParser:
    parser = OneLineParser(
        prog="server.py",
        usage="python server.py [--model MODEL] [--extensions NAME ...] [flags]",
        description="Loads a local model and serves it through extensions.",
        epilog="Every flag of the host is also read from the environment as OPENEDAI_<NAME>, "
        "for example OPENEDAI_CTX_SIZE. A stop by Ctrl-C or SIGTERM ends with status 0, a start "
        "that is refused with status 2, a stop while the model loads with that of the signal.",
        add_help=False,
        # An abbreviation could mean something else once the extensions' flags are known.
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        parents=list(parents),
    )
    group = parser.add_argument_group("flags of the host")
    for option in OPTIONS:
        if option.metavar is None:
            group.add_argument(f"--{option.name}", action="store_true", help=option.help)
        else:
            group.add_argument(
                f"--{option.name}",
                nargs="+" if option.many else None,
                action="extend" if option.adds_up else "store",
                type=_argument_type(option),
                metavar=option.metavar,
                help=option.help.replace("%", "%%"),
            )
    group.add_argument(
        "--version",
        action="version",
        version=f"openedai {__version__}",
        help="show the version and exit",
    )
    return parser


def _argument_type(option: Option) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        try:
            return option.convert(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def _host_options(given: Mapping[str, Any], environ: Mapping[str, str]) -> HostOptions:
    values = from_environment(environ)
    for option in OPTIONS:
        if option.field in given:
            value = given[option.field]
            values[option.field] = tuple(value) if option.many else value
    # A name given twice is loaded once; the order is the order of setup.
    if "extensions" in values:
        values["extensions"] = tuple(dict.fromkeys(values["extensions"]))
    return HostOptions(**values)


def _unknown(unknown: Sequence[str], parser: argparse.ArgumentParser) -> str:
    """One line on arguments that are not declared. Values are left out: one of them may be a key."""
    flags = [text.split("=", 1)[0] for text in unknown if text.startswith("--")]
    if not flags:
        return f"{len(unknown)} argument(s) that belong to no flag (--help lists the flags)"
    known = [flag for action in parser._actions for flag in action.option_strings]
    nearest = difflib.get_close_matches(flags[0], known, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else "--help lists the flags"
    return f"unknown flag {flags[0]} ({hint})"
