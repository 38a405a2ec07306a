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

HELP = "_help"

EPILOG = """\
examples:
  {prog}                               the small demonstration model
  {prog} -m model.gguf --ctx-size 16384
  OPENEDAI_API_KEY=... {prog} -m hf:OWNER/REPO:Q4_K_M --listen

Every flag can be given in the environment instead, as OPENEDAI_<NAME>
(OPENEDAI_CTX_SIZE). docs/settings.md says more. Exit status: 0 after Ctrl-C or
SIGTERM, 2 when the start is refused."""

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
    argv: Sequence[str], environ: Mapping[str, str] = os.environ, prog: str = "server.py"
) -> tuple[HostOptions, bool]:
    """The host's options and whether help was asked for; unknown flags are left for `read`.

    Exits with status 0 after printing, when `--version` is given. Raises HostError.
    """
    given, _ = _parser(prog).parse_known_args(argv)
    return _host_options(vars(given), environ), HELP in vars(given)


def declare_flags(
    name: str, add_arguments: Callable[[argparse.ArgumentParser], Any]
) -> ExtensionFlags:
    """Let the extension `name` declare its flags. Whatever it raises passes through."""
    parser = OneLineParser(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    # argparse has no public way to name the default group; under this title the flags are listed.
    parser._optionals.title = f"Extension {name}"
    add_arguments(parser)
    # A default would look as if the flag had been given, and would then win over the environment.
    parser._defaults.clear()
    for action in parser._actions:
        action.default = argparse.SUPPRESS
    return ExtensionFlags(name, parser, frozenset(action.dest for action in parser._actions))


def build_parser(extensions: Sequence[ExtensionFlags], prog: str = "server.py") -> OneLineParser:
    """The full parser. Raises argparse.ArgumentError when two of them declare the same flag."""
    return _parser(prog, [extension.parser for extension in extensions])


def read(
    argv: Sequence[str],
    extensions: Sequence[ExtensionFlags],
    environ: Mapping[str, str] = os.environ,
    prog: str = "server.py",
) -> tuple[HostOptions, dict[str, Flags]]:
    """The host's options, and by extension name the flags that were given.

    A word of its own is the model. Exits with status 0 after printing, when `--help` is given. Raises
    HostError.
    """
    parser = build_parser(extensions, prog)
    namespace, unknown = parser.parse_known_args(argv)
    given = vars(namespace)
    if HELP in given:
        parser.print_help()
        parser.exit()
    if unknown:
        given["model"] = _bare_model(unknown, parser, given.get("model"))
    flags = {
        extension.name: {dest: given[dest] for dest in extension.dests if dest in given}
        for extension in extensions
    }
    return _host_options(given, environ), flags


def _parser(prog: str, extensions: Sequence[argparse.ArgumentParser] = ()) -> OneLineParser:
    """Flags of the model first, then those of extensions, then those of the program."""
    model, program = (_host_flags(of_model) for of_model in (True, False))
    return OneLineParser(
        prog=prog,
        usage=f"{prog} [MODEL] [flags]",
        description="Load a local model and serve it through extensions, by default as OpenAI's API.",
        epilog=EPILOG.format(prog=prog),
        formatter_class=_Help,
        add_help=False,
        # An abbreviation could mean something else once the extensions' flags are known.
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
        parents=[model, *extensions, program],
    )


def _host_flags(of_model: bool) -> OneLineParser:
    parser = OneLineParser(add_help=False, argument_default=argparse.SUPPRESS)
    group = parser.add_argument_group("Model" if of_model else "Program")
    for option in OPTIONS:
        if option.of_model != of_model:
            continue
        names = [*([option.short] if option.short else []), f"--{option.name}"]
        if option.metavar is None:
            group.add_argument(*names, action="store_true", help=option.help)
        else:
            group.add_argument(
                *names,
                nargs="+" if option.many else None,
                action="extend" if option.adds_up else "store",
                type=_argument_type(option),
                metavar=option.metavar,
                help=option.help.replace("%", "%%"),
            )
    if not of_model:
        group.add_argument(
            "--version",
            action="version",
            version=f"openedai {__version__}",
            help="show the version and exit",
        )
        group.add_argument(
            "-h", "--help", action="store_true", dest=HELP, help="show this text and exit"
        )
    return parser


class _Help(argparse.RawDescriptionHelpFormatter):
    """Help for 80 columns, however wide the terminal is."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=26, width=79)


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


def _bare_model(unknown: Sequence[str], parser: argparse.ArgumentParser, model: str | None) -> str:
    """The model that is named without a flag. Raises HostError for any other unknown argument.

    What follows an unknown flag may be a key and is not repeated, nor is what looks like one.
    """
    flags = [text.split("=", 1)[0] for text in unknown if text.startswith("-")]
    if flags:
        known = [flag for action in parser._actions for flag in action.option_strings]
        nearest = difflib.get_close_matches(flags[0], known, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else "--help lists the flags"
        raise HostError(f"unknown flag {flags[0]} ({hint})")
    if any(text.startswith("sk-") for text in unknown):
        raise HostError("an argument looks like a key but has no flag; keys go after --api-key")
    if model is not None or len(unknown) > 1:
        words = ", ".join(map(repr, unknown))
        raise HostError(f"unknown argument {words}: only one model can be given")
    return unknown[0]
