"""The error of the host."""


class HostError(Exception):
    """The start is refused for a reason the user can act on.

    `str(error)` is one complete line, without a key in it. `host.main` reports it and exits with
    status 2.
    """


class Reported(HostError):
    """The start is refused, and what was wrong has been reported already."""
