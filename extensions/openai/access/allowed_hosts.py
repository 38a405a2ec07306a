"""Which requests are allowed without a key: from this machine, to a loopback name, from a local page."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from functools import lru_cache

from ..configuration.sources import key_hint
from ..configuration.values import is_network
from ..errors import Forbidden, InvalidRequest
from ..settings import Settings, SettingsError
from .ip_addresses import as_address, is_loopback
from .keys import has_keys

HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?)(:\d{1,5})?", re.IGNORECASE)
LOOPBACK_ORIGIN = re.compile(
    r"https?://(([a-z0-9-]+\.)*localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?\Z", re.IGNORECASE
)


def bind_addresses(settings: Settings) -> tuple[str, ...]:
    """The addresses to listen on; none where there is only a unix socket. Raises SettingsError if that would
    expose the server without a key."""
    hosts = tuple(filter(None, map(str.strip, (settings.listen_host or "").split(","))))
    if not hosts and settings.listen:
        hosts = ("0.0.0.0",)
    elif not hosts and settings.unix_socket is None:
        hosts = ("127.0.0.1",)
    if not has_keys(settings) and not all(map(is_loopback, hosts)):
        flag = "--listen-host" if settings.listen_host else "--listen"
        raise SettingsError(f"{flag} lets other machines in, so it needs a key: {_hint(settings)}")
    if settings.public_api and not has_keys(settings):
        raise SettingsError(f"--public-api lets everyone in, so it needs a key: {_hint(settings)}")
    if settings.public_api and not hosts:
        raise SettingsError(
            "--public-api needs a port: leave out --unix-socket, or add --listen-host 127.0.0.1"
        )
    return hosts


def _hint(settings: Settings) -> str:
    """How to set a key."""
    hint = key_hint(settings)
    return hint or "add --api-key KEY (or set OPENEDAI_API_KEY), or --api-key generate"


def check_source(settings: Settings, host: str | None, origin: str | None) -> None:
    """Refuse DNS rebinding and hostile pages while there is no key. Raises Forbidden, and InvalidRequest for
    a malformed Host.

    `host` and `origin` are the request's headers. Every browser sends Host, so a request without it comes
    from a program, and is allowed.
    """
    name = "localhost" if host is None else host_name(host)
    if has_keys(settings):
        if name is None:
            raise InvalidRequest("The Host header of the request is malformed.")
        return
    if name is None or not is_allowed_host(name, settings.allowed_hosts):
        raise Forbidden(
            "Without a key this server answers requests to loopback names only. The operator can "
            "set a key (--api-key) or allow this host name (--allowed-hosts).",
            code="host_not_allowed",
        )
    if origin is not None and not is_allowed_origin(origin, settings.cors_origins):
        raise Forbidden(
            "Without a key this server does not answer pages of other origins. The operator can set "
            "a key (--api-key) or allow this origin (--cors-origins).",
            code="origin_not_allowed",
        )


@lru_cache(maxsize=1024)
def host_name(host: str) -> str | None:
    """The host of a Host header: lower case, without port, brackets and trailing dot; None if malformed."""
    found = HOST.fullmatch(host)
    if found is None:
        return None
    return found[1].strip("[]").removesuffix(".").lower() or None


def is_allowed_host(name: str, allowed: Sequence[str]) -> bool:
    """Whether a request may be addressed to this name (from `host_name`): a loopback name, or one that the
    list allows by name, `*.name`, address, network or `*`."""
    if is_loopback(name) or "*" in allowed or name in allowed:
        return True
    address = as_address(name)
    for entry in allowed:
        if address is None:
            if entry.startswith("*.") and name.endswith(entry[1:]):
                return True
        elif is_network(entry) and address in ipaddress.ip_network(entry):
            return True
    return False


def is_allowed_origin(origin: str, allowed: Sequence[str]) -> bool:
    """Whether pages of this origin may call: those of this machine, and those on the list."""
    return "*" in allowed or any(each.match(origin) for each in origin_patterns(allowed))


def origin_patterns(allowed: Sequence[str]) -> list[re.Pattern[str]]:
    """Patterns of which an origin must match one; `*` in an entry stands for any part of it."""
    # They end with \Z because flask-cors matches only at the beginning.
    return [
        LOOPBACK_ORIGIN,
        *(
            re.compile(re.escape(entry).replace(r"\*", r"[\w.:-]+") + r"\Z", re.IGNORECASE)
            for entry in allowed
            if entry != "*"
        ),
    ]
