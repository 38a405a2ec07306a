"""`openedai keys`: named keys, as `python -m extensions.openai keys` has them."""

from __future__ import annotations

from collections.abc import Sequence

from extensions.openai import __main__ as operator


def main(argv: Sequence[str], program: str) -> int:
    """Run one of the extension's own commands."""
    return operator.main([program.split()[-1], *argv], program.split()[0])
