"""The one error of the host, and how a user sees it."""

import sys


class HostError(Exception):
    """The start is refused for a reason the user can act on.

    `str(error)` is one complete line, without a key in it. `host.main` reports it and exits with
    status 2.
    """


def report(line: str) -> None:
    """Print one line to standard error, after `error: ` unless it says so itself."""
    prefix = "" if line.lower().startswith("error") else "error: "
    print(f"{prefix}{line}", file=sys.stderr, flush=True)
