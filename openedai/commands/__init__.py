"""COMMANDS: a row for each subcommand, whose module has `main(argv, program) -> exit status`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class CommandRow:
    """A subcommand."""

    help: str
    """What it does, as `openedai --help` lists it."""
    module: str
    """The module in this folder; it is imported for this command only."""


COMMANDS: Mapping[str, CommandRow] = {
    "run": CommandRow("load a model and serve it", "run"),
    "chat": CommandRow("talk to a server that runs", "chat"),
    "batch": CommandRow("answer a file of requests", "batch"),
    "models": CommandRow("list the models on this machine", "models"),
    "keys": CommandRow("make, list, rotate and revoke keys; who used how much", "keys"),
    "backup": CommandRow("copy keys, usage and store while a server runs", "backup"),
    "store": CommandRow("check, export, erase what clients have stored", "store"),
    "replay": CommandRow("send requests again that --debug wrote", "replay"),
    "password": CommandRow("print the hash of a password, for --password", "password"),
    "check": CommandRow("find out what would keep the server from starting", "check"),
    "version": CommandRow("print versions", "version"),
}
