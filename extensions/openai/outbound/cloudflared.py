"""The program `cloudflared`: finds or downloads it, and makes its command lines."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

NAME = "cloudflared"
MAX_AGE_S = 30 * 86400.0  # then a downloaded program is downloaded again
MAX_PROGRAM_BYTES = 200 << 20
READ_TIMEOUT_S = 30.0  # without a byte

# Ends the tunnel with us, however we end: Linux kills a process whose parent ended, if the process asked for
# that (PR_SET_PDEATHSIG, 1). So it must run some code before it becomes the other program.
LAUNCHER = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


class TunnelError(Exception):
    """The tunnel cannot be opened now. The message is one line."""


def command(program: Path, *, local: str, metrics: str, id: str | None) -> list[str]:
    """The command line of a tunnel to the URL `local`: a quick tunnel, or the one with this id or name.

    A token is passed in the environment (`environment`), as all users can read command lines.
    """
    named = [] if id is None else ["run"] if is_token(id) else ["run", id]
    flags = ["--no-autoupdate", "--metrics", metrics, "--url", local]
    line = [str(program), "tunnel", *flags, *named]
    if sys.platform == "linux" and sys.executable:
        return [sys.executable, "-ISc", LAUNCHER, str(os.getpid()), *line]
    return line


def environment(id: str | None) -> dict[str, str]:
    """The program's environment: without the server's settings, with the token if there is one."""
    ours = ("OPENEDAI_", "OPENAI_", "TUNNEL_TOKEN")
    passed = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return passed | ({"TUNNEL_TOKEN": id} if id is not None and is_token(id) else {})


def is_token(id: str) -> bool:
    """Whether this is a tunnel's token (base64 of JSON), not its id or name."""
    return id.startswith("eyJ") and len(id) > 64


def find(chosen: str | None, stopped: Callable[[], bool]) -> Path:
    """The program: the `chosen` one, the installed one, or one that is downloaded now.

    Raises TunnelError; `stopped` aborts a download.
    """
    if chosen is not None:
        found = shutil.which(chosen)
        if found is None:
            raise TunnelError(f"the program {chosen} (--cloudflared) does not exist")
        return Path(found)
    found = shutil.which(NAME)
    return Path(found) if found is not None else downloaded(folder(), stopped)


def folder() -> Path:
    """The folder of a downloaded program. Raises TunnelError if the user has no home folder."""
    try:
        return Path.home() / ".cache" / "openedai"
    except RuntimeError as error:
        raise TunnelError("there is no home folder to download cloudflared to") from error


def downloaded(folder: Path, stopped: Callable[[], bool]) -> Path:
    """The program in `folder`, downloaded if it is missing or old. Raises TunnelError."""
    target = folder / NAME
    if target.exists() and time.time() - target.stat().st_mtime < MAX_AGE_S:
        return target
    try:
        _download(address(), target, stopped)
    except (OSError, tarfile.TarError, TunnelError) as error:
        if target.exists():
            return target
        raise TunnelError(
            f"cloudflared is not installed and could not be downloaded ({_reason(error)}); "
            "install it, or name it with --cloudflared"
        ) from error
    return target


def address() -> str:
    """Cloudflare's URL of the program for this machine."""
    from flask_cloudflared import CLOUDFLARED_CONFIG  # slow to import and rarely needed

    system, machine = platform.system(), platform.machine()
    try:
        return str(CLOUDFLARED_CONFIG[system, machine]["url"])
    except KeyError:
        raise TunnelError(f"there is none for {system} on {machine}") from None


def _download(url: str, target: Path, stopped: Callable[[], bool]) -> None:
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = target.with_suffix(f".{os.getpid()}.part")
    try:
        with (
            urllib.request.urlopen(url, timeout=READ_TIMEOUT_S) as response,
            part.open("wb") as file,
        ):
            while data := response.read(1 << 16):
                file.write(data)
                if stopped():
                    raise TunnelError("stopped")
                if file.tell() > MAX_PROGRAM_BYTES:
                    raise TunnelError("it is too large")
            length = response.headers.get("content-length")
            if length is not None and int(length) != file.tell():
                raise TunnelError("it is incomplete")
        if url.endswith(".tgz"):
            _unpack(part)
        part.chmod(0o700)
        part.replace(target)
    except urllib.error.HTTPError as error:
        with error:
            raise TunnelError(f"HTTP {error.code}") from error
    finally:
        part.unlink(missing_ok=True)


def _unpack(archive: Path) -> None:
    """Replace an archive by the program in it."""
    with tarfile.open(archive) as tar:
        member = tar.extractfile(NAME) if NAME in tar.getnames() else None
        content = member.read(MAX_PROGRAM_BYTES) if member is not None else None
    if content is None:
        raise TunnelError("the archive does not contain cloudflared")
    archive.write_bytes(content)


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
    return str(reason).splitlines()[0]
