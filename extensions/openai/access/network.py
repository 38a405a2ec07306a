"""Who may reach the server without a key: this machine, by a loopback name, from a page of its own."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

from ..errors import Forbidden
from ..settings import Settings, SettingsError
from .keys import has_keys

# Ends with \Z because flask-cors asks for a match at the beginning only.
LOOPBACK_ORIGIN = re.compile(
    r"https?://(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?\Z", re.IGNORECASE
)


def is_loopback(host: str) -> bool:
    """Whether a host name or address (IPv6 with or without brackets) can only mean this machine."""
    host = host.strip("[]").rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bind_address(settings: Settings) -> str:
    """The address to listen on. Raises SettingsError where that would open the server by accident."""
    host = settings.listen_host or ("0.0.0.0" if settings.listen else "127.0.0.1")
    if not has_keys(settings) and not is_loopback(host):
        flag = "--listen-host" if settings.listen_host else "--listen"
        raise SettingsError(
            f"{flag} lets other machines in, so it needs a key: add --api-key KEY "
            "(or set OPENEDAI_API_KEY)"
        )
    if settings.public_api:
        if not has_keys(settings):
            raise SettingsError(
                "--public-api lets everybody in, so it needs a key: add --api-key KEY "
                "(or set OPENEDAI_API_KEY)"
            )
        raise SettingsError(
            "--public-api is not there yet: use a tunnel of your own to the API's port"
        )
    return host


def check_source(settings: Settings, host: str | None, origin: str | None) -> None:
    """Refuse DNS rebinding and hostile pages while there is no key. Raises Forbidden.

    `host` and `origin` are the request's headers. Every browser sends Host, so a request without one
    is a program's, and is let in.
    """
    if has_keys(settings):
        return
    name = "localhost" if host is None else _name(host)
    if not (is_loopback(name) or name in settings.allowed_hosts):
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


def is_allowed_origin(origin: str, allowed: Sequence[str]) -> bool:
    """Whether a browser page of this origin may call: a page of this machine, or one on the list."""
    return (
        "*" in allowed or LOOPBACK_ORIGIN.fullmatch(origin) is not None or origin.lower() in allowed
    )


def _name(host: str) -> str:
    """The host of a Host header, without its port, in small letters; empty where it is malformed."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""
