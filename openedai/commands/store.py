"""`openedai store`: check, export and erase what is stored, change the server's keys."""

from __future__ import annotations

from collections.abc import Sequence

from extensions.openai.state.operations import commands


def main(argv: Sequence[str], program: str) -> int:
    """Run one of the store's own commands."""
    return commands.main(argv, program)
