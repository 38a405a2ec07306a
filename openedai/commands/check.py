"""`openedai check [flags of run]`: what would keep the server from starting, and how to mend it.

Nothing is started, downloaded or written.
"""

from __future__ import annotations

import http.client
import os
import platform
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from extensions.openai.access.allowed_hosts import bind_addresses
from extensions.openai.access.key_files import KeyFiles, KeysError
from extensions.openai.access.keys import has_keys
from extensions.openai.configuration.flags import add_arguments
from extensions.openai.configuration.sources import key_hint, load
from extensions.openai.engines import registry
from extensions.openai.generation.sampling.policy import read_policy
from extensions.openai.settings import Settings, SettingsError
from extensions.openai.system.data_folder import data_folder
from host import command_line, settings_file
from host.errors import HostError
from host.folders import ROOT
from host.models import hub, model_files
from host.options import HostOptions

NAME = "openai"  # the folder of the extension
LISTS = ("extensions/openai/requirements.txt", "host/requirements.txt")
HEALTH_TIMEOUT_S = 2.0


HELP = """usage: {program} [flags of run]

Find out what would keep the server from starting, and how to mend it. Nothing
is started, downloaded or written. It takes the flags of `openedai run`, and
reads the environment and the settings file as a start does. Exit status 1
where something is wrong."""


class Wrong(Exception):
    """Something would not work; the message says what is wrong and how to mend it."""


@dataclass(frozen=True, slots=True)
class Start:
    """What a start with the same flags would have to go by."""

    options: HostOptions
    flags: Mapping[str, Any]
    settings: Settings


def main(argv: Sequence[str], program: str) -> int:
    """Print a line for each check; exit status 1 when one fails."""
    if {"-h", "--help"} & set(argv):
        print(HELP.format(program=program))
        return 0
    faults = 0
    for name, check in (("python", _python), ("packages", _packages)):
        faults += not _passes(name, check)
    try:
        start = _start(argv, program)
    except (HostError, SettingsError, Wrong) as error:
        _print("WRONG", "settings", str(error))
        return 1
    _print("ok", "settings", _changed(start.settings))
    checks: Mapping[str, Callable[[Start], str]] = {
        "address": _address,
        "port": _port,
        "keys": _keys,
        "data folder": _data_folder,
        "parameters": _parameters,
        "model": _model,
    }
    for name, check_start in checks.items():
        faults += not _passes(name, lambda check=check_start: check(start))  # type: ignore[misc]
    return 1 if faults else 0


def _passes(name: str, check: Callable[[], str]) -> bool:
    try:
        _print("ok", name, check())
        return True
    except (HostError, SettingsError, KeysError, Wrong) as error:
        _print("WRONG", name, str(error))
    except OSError as error:
        _print("WRONG", name, f"{error.filename}: {error.strerror}")
    return False


def _print(state: str, name: str, text: str) -> None:
    print(f"{state:<6}{name:<13}{text}")


def _start(argv: Sequence[str], program: str) -> Start:
    flags = command_line.declare_flags(NAME, add_arguments)
    options, given = command_line.read(argv, [flags], prog=program)
    params: Mapping[str, Any] = {}
    if options.settings:
        content = settings_file.read(options.settings)
        params = settings_file.params_for(NAME, content, options.extensions)
    return Start(options, given[NAME], load(params, given[NAME]))


def _changed(settings: Settings) -> str:
    fields = Settings.model_fields.items()
    names = [name for name, field in fields if getattr(settings, name) != field.default]
    return f"not as by default: {', '.join(names)}" if names else "all as by default"


def _python() -> str:
    if sys.version_info < (3, 10):  # noqa: UP036
        raise Wrong(f"Python 3.10 or newer is needed, this is {platform.python_version()}")
    return platform.python_version()


def _packages() -> str:
    faults = list(_wrong_packages())
    if faults:
        raise Wrong(f"{', '.join(faults)}; install again: pip install {ROOT}, or make setup")
    return "all there"


def _wrong_packages() -> Iterator[str]:
    for file in LISTS:
        for line in (ROOT / file).read_text(encoding="utf-8").splitlines():
            if not line.strip() or line.startswith("#"):
                continue
            wanted = Requirement(line)
            try:
                found = version(wanted.name)
            except PackageNotFoundError:
                yield f"{wanted.name} is missing"
                continue
            if not wanted.specifier.contains(found, prereleases=True):
                yield f"{wanted.name} {found} is not {wanted.specifier}"


def _address(start: Start) -> str:
    settings = start.settings
    hosts = bind_addresses(settings)
    host = " and ".join((*hosts, *filter(None, [settings.unix_socket])))
    locked = "with a key" if has_keys(settings) else "without a key, on this machine only"
    return f"{host}, {locked}"


def _port(start: Start) -> str:
    settings = start.settings
    port, hosts = settings.api_port, bind_addresses(settings)
    if not hosts:
        return f"none, but the unix socket {settings.unix_socket}"
    if port == 0:
        return "a free one"
    for host in hosts:
        if (served := _served_at(host, port)) is not None:
            return served
    return f"{port} is free"


def _served_at(host: str, port: int) -> str | None:
    """What answers at this address; None: nothing, it can be had. Raises Wrong if it cannot."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
    except socket.gaierror as error:
        raise Wrong(f"--listen-host {host} is no address here: {error.strerror}") from None
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if _answers_health(port):
                return f"{port} has a server that answers; a second one needs another --port"
            raise Wrong(
                f"port {port} cannot be used ({error.strerror}); take another with --port"
            ) from None
    return None


def _answers_health(port: int) -> bool:
    """Whether an API's server listens there on this machine; a loading one answers 503."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HEALTH_TIMEOUT_S)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status in (200, 503)
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _keys(start: Start) -> str:
    files = KeyFiles.of(start.settings)
    try:
        files.secret()
        secret, entries = files.secret(), files.entries()
    except KeysError as error:
        raise Wrong(
            f"{error} in {files.folder}; a restored backup of the folder mends it"
        ) from None
    now = time.time()
    valid = sum(entry.valid(now) for entry in entries) if secret is not None else 0
    needs_named = secret is not None and not (start.settings.api_key or start.settings.password)
    if entries and not valid and needs_named:
        raise Wrong(
            "requests need a key and none is valid; make one with openedai keys create, or delete "
            f"keys.json and keys.secret in {files.folder} to do without"
        )
    hint = key_hint(start.settings)
    named = f"{valid} of {len(entries)} named keys are valid" if entries else "no named keys"
    return f"{named} ({hint})" if hint else named


def _data_folder(start: Start) -> str:
    folder = data_folder(start.settings)
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not there.is_dir():
        raise Wrong(f"{there} is no folder; name another with --data-folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise Wrong(
            f"{there} cannot be written by this user; run as its owner, or change the owner"
        )
    if there != folder:
        return f"{folder} (made at the first start)"
    foreign = [file.name for file in folder.iterdir() if not os.access(file, os.R_OK)]
    if foreign:
        raise Wrong(
            f"{folder}: this user cannot read {', '.join(sorted(foreign))}; change the owner"
        )
    if os.name == "posix" and folder.stat().st_mode & 0o077:
        raise Wrong(f"others can read {folder}; mend it with: chmod 700 {folder}")
    return str(folder)


def _parameters(start: Start) -> str:
    read_policy(start.settings)
    return "defaults, limits and presets are well-formed"


def _model(start: Start) -> str:
    options = start.options
    if options.model.startswith("hf:") and not _is_there(options):
        hub.Request.parse(options.model)
        return f"{options.model} is not here yet; the start downloads it to {options.model_dir}"
    spec = model_files.model_spec(options)
    if spec.path is None:
        return f"none is read by the loader {spec.loader}"
    problem = registry.fault(spec)
    if problem:
        raise Wrong(f"{problem} Name another one with --model; openedai models lists them")
    return f"{spec.name} ({_short(spec.path)})"


def _is_there(options: HostOptions) -> bool:
    request = hub.Request.parse(options.model)
    return hub.is_complete(request, options.model_dir)


def _short(path: Path) -> str:
    home = str(Path.home())
    return f"~{str(path)[len(home) :]}" if str(path).startswith(home + os.sep) else str(path)
