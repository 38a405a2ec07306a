"""`openedai COMMAND`, or `python -m openedai COMMAND`; a model instead of a command runs it."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from openedai.commands import COMMANDS

PROGRAM = "openedai"
HELP = """\
usage: {program} COMMAND [arguments], or {program} MODEL

OpenAI's API for a local model.

commands:
{commands}

examples:
  openedai run                     the small demonstration model
  openedai model.gguf              any GGUF file, on http://127.0.0.1:5001/v1
  openedai chat "What can you do?" ask the server that runs

openedai COMMAND --help lists the flags of a command."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit status: 2 and one line on standard error for what is wrong."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        rows = (f"  {name:<10} {row.help}" for name, row in COMMANDS.items())
        print(HELP.format(program=PROGRAM, commands="\n".join(rows)))
        return 0
    name, rest = arguments[0], arguments[1:]
    if name == "--version":
        name = "version"
    if name not in COMMANDS:
        if not _is_for_run(name):
            print(f"error: {_unknown(name)}", file=sys.stderr)
            return 2
        name, rest = "run", arguments
    try:
        module = importlib.import_module(f"openedai.commands.{COMMANDS[name].module}")
        status = int(module.main(rest, f"{PROGRAM} {name}"))
        sys.stdout.flush()
        return status
    except ModuleNotFoundError as error:
        print(
            f"error: the package {error.name} is missing; install it, or start with `make run`",
            file=sys.stderr,
        )
        return 2
    except BrokenPipeError:
        # The reader (`| head`) has enough. Python would complain again when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _is_for_run(word: str) -> bool:
    """Whether a first word is a flag or a model."""
    is_file = word.lower().endswith(".gguf") or Path(word).exists()
    return word.startswith(("-", "hf:")) or is_file


def _unknown(word: str) -> str:
    nearest = difflib.get_close_matches(word, COMMANDS, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else f"{PROGRAM} --help lists the commands"
    if word.startswith("sk-"):
        return f"a key is no command ({hint})"
    return f"there is no command and no file {word!r} ({hint})"


if __name__ == "__main__":
    sys.exit(main())
