"""The error of a server that cannot listen."""


class StartError(Exception):
    """The server cannot start; the message is one clear line."""
