"""Users whom a trusted proxy has identified, and names in a header: `--trusted-user-header`.

The header counts only where the connection itself comes from one of `--trusted-proxies`; from anywhere else
it is removed. The proxy must replace what clients send under that name, and let in only users with a login.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ..errors import Forbidden, Unauthorized
from ..settings import Settings, SettingsError
from .allowed_hosts import host_name, is_allowed_origin
from .ip_addresses import as_address

USER = "openedai.user"
"""In a request's environment: the user whom a trusted proxy names."""
NAME = re.compile(r"[^\x00-\x20\x7f,;]{1,128}")
"""Without commas: two headers are joined by one, and one of them may be the client's own."""


class ProxyUsers:
    """Finds the user in a request's environment."""

    def __init__(self, settings: Settings) -> None:
        """Raises SettingsError where everybody could name a user."""
        if settings.trusted_user_header is not None:
            if not settings.trusted_proxies:
                raise SettingsError(
                    "setting trusted_user_header: --trusted-proxies must say whose it is"
                )
            if any(entry.isdecimal() for entry in settings.trusted_proxies):
                raise SettingsError(
                    "setting trusted_user_header: --trusted-proxies must be addresses or networks, as a "
                    "number trusts who connects from anywhere"
                )
            if settings.public_api:
                raise SettingsError(
                    "setting trusted_user_header: not with --public-api, whose tunnel connects from this "
                    "machine"
                )
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Trust the proxies of these settings."""
        name = settings.trusted_user_header
        self.header = None if name is None else "HTTP_" + name.upper().replace("-", "_")
        """Its name in an environment; None: there is none, and nothing is to be done."""
        entries = [entry for entry in settings.trusted_proxies if not entry.isdecimal()]
        self._networks = [ipaddress.ip_network(entry) for entry in entries]

    def adopt(self, environ: dict[str, Any]) -> None:
        """Move the name from the header to USER, if it comes from a trusted proxy; before the address of the
        connection is replaced."""
        assert self.header is not None
        name = environ.pop(self.header, None)
        if name:
            peer = as_address(environ.get("REMOTE_ADDR", ""))
            if peer is not None and any(peer in network for network in self._networks):
                environ[USER] = name


def proxy_user(settings: Settings, environ: Mapping[str, Any]) -> str | None:
    """The user whom a trusted proxy names; None: it names none.

    A browser sends what logs its user in with the requests of any page, so pages of others are refused.
    Raises Unauthorized for a name that is none, Forbidden."""
    sent = environ.get(USER)
    if sent is None:
        return None
    try:
        name = str(sent).encode("latin-1").decode().strip()
    except UnicodeError:
        name = ""
    if not NAME.fullmatch(name):
        raise Unauthorized("The proxy in front of this server names no valid user.")
    origin = environ.get("HTTP_ORIGIN")
    if origin is not None and not (_is_own(origin, environ) or _is_listed(origin, settings)):
        raise Forbidden(
            "For users of a proxy this server does not answer pages of other origins. The operator can "
            "allow this origin (--cors-origins).",
            code="origin_not_allowed",
        )
    return name


def _is_listed(origin: str, settings: Settings) -> bool:
    """Whether the operator names it; that any may read answers is no such name."""
    return "*" not in settings.cors_origins and is_allowed_origin(origin, settings.cors_origins)


def _is_own(origin: str, environ: Mapping[str, Any]) -> bool:
    """Whether a page is of the host that the request is for."""
    try:
        page = host_name(urlsplit(origin).netloc)
    except ValueError:
        return False
    return page is not None and page == host_name(environ.get("HTTP_HOST") or "")
