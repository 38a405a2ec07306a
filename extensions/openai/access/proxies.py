"""Applies the headers of trusted proxies: a request's real address, scheme, host and prefix.

`X-Forwarded-For`, `-Proto`, `-Host` and `-Prefix` are used from trusted proxies only. The application never
sees the headers: their values are put into the standard variables of WSGI.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..settings import Settings
from .allowed_hosts import host_name
from .ip_addresses import IPAddress, as_address
from .proxy_users import ProxyUsers

HOST_SENT = "openedai.host_sent"
"""In a request's environment: its own Host header, if a proxy reported another one."""

PREFIX = re.compile(r"(/[\w.~-]+)+")
HEADERS = ("FOR", "PROTO", "HOST", "PREFIX", "PORT", "BY", "SERVER")
"""The suffixes of the `X-Forwarded-` headers that are removed."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Which proxies are trusted."""

    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    count: int = 0
    """How many proxies in front of us are trusted at any address."""

    @classmethod
    def of(cls, entries: Sequence[str], *, tunnel: bool = False) -> Trust:
        """From the setting `trusted_proxies`. The server's own `tunnel` connects from this machine."""
        networks = [ipaddress.ip_network(entry) for entry in entries if not entry.isdecimal()]
        if tunnel:
            networks += [ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1")]
        return cls(tuple(networks), max([int(e) for e in entries if e.isdecimal()], default=0))

    def hops(self, peer: str, forwarded: Sequence[str]) -> tuple[int, str]:
        """How many proxies are trusted, and the client's address.

        `peer` is the connection's address, `forwarded` the X-Forwarded-For list, the client first.
        """
        client, trusted = peer, 0
        for following in (*reversed(forwarded), None):
            address = as_address(client)
            if not (trusted < self.count or (address is not None and self._has(address))):
                break
            trusted += 1
            # A trusted proxy writes valid addresses, so stop at an invalid one.
            if following is None or (named := _address(following)) is None:
                break
            client = named
        return trusted, client

    def _has(self, address: IPAddress) -> bool:
        return any(address in network for network in self.networks)


class TrustedProxies:
    """WSGI middleware."""

    def __init__(self, app: Callable[..., Iterable[bytes]], settings: Settings) -> None:
        self._app = app
        self.users = ProxyUsers(settings)
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Trust the proxies of these settings; may be called at any time."""
        self.users.configure(settings)
        self._trust = Trust.of(settings.trusted_proxies, tunnel=settings.public_api)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.adopt(environ)
        return self._app(environ, start_response)

    def adopt(self, environ: dict[str, Any]) -> None:
        """Move the values of trusted proxies' headers to WSGI's variables, and remove the headers."""
        if self.users.header is not None and self.users.header in environ:
            self.users.adopt(environ)
        forwarded = {name: environ.pop(f"HTTP_X_FORWARDED_{name}", "") for name in HEADERS}
        if not any(forwarded.values()):
            return
        parts = {
            name: [each.strip() for each in value.split(",")] for name, value in forwarded.items()
        }
        addresses = [part for part in parts["FOR"] if part]
        hops, client = self._trust.hops(environ.get("REMOTE_ADDR", ""), addresses)
        if hops:
            environ["REMOTE_ADDR"] = client
            _adopt(environ, {name: each[-min(hops, len(each))] for name, each in parts.items()})


def _adopt(environ: dict[str, Any], forwarded: dict[str, str]) -> None:
    if (scheme := forwarded["PROTO"].lower()) in ("http", "https"):
        environ["wsgi.url_scheme"] = scheme
    if host_name(forwarded["HOST"]) is not None:
        environ[HOST_SENT] = environ.get("HTTP_HOST")
        environ["HTTP_HOST"] = forwarded["HOST"]
    if PREFIX.fullmatch(prefix := forwarded["PREFIX"].rstrip("/")):
        environ["SCRIPT_NAME"] = prefix


def _address(text: str) -> str | None:
    """The address in an X-Forwarded-For entry, which may have a port; None if invalid."""
    bare = text[1:].partition("]")[0] if text.startswith("[") else text
    if bare.count(":") == 1:
        bare = bare.partition(":")[0]
    address = as_address(bare)
    return None if address is None else str(address)
