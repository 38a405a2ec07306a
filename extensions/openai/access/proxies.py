"""Where a request really comes from when it comes through proxies, as the trusted ones report it.

Headers that say so (`X-Forwarded-For`, `-Proto`, `-Host`, `-Prefix`) are believed from trusted proxies only.
The application never sees them: it finds what they say in the places where it looks in any case.
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

HOST_SENT = "openedai.host_sent"
"""In a request's environment: its own Host header, where a proxy has reported another one."""

PREFIX = re.compile(r"(/[\w.~-]+)+")
HEADERS = ("FOR", "PROTO", "HOST", "PREFIX", "PORT", "BY", "SERVER")
"""The last parts of what is taken away."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Which proxies are believed."""

    networks: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    count: int = 0
    """So many in front of us are, wherever they are."""

    @classmethod
    def of(cls, entries: Sequence[str], *, tunnel: bool = False) -> Trust:
        """What the setting `trusted_proxies` says. The server's own `tunnel` comes from this machine."""
        networks = [ipaddress.ip_network(entry) for entry in entries if not entry.isdecimal()]
        if tunnel:
            networks += [ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1")]
        return cls(tuple(networks), max([int(e) for e in entries if e.isdecimal()], default=0))

    def hops(self, peer: str, forwarded: Sequence[str]) -> tuple[int, str]:
        """How many proxies are to be believed, and the client's address.

        `peer` is the address of the connection, `forwarded` what X-Forwarded-For lists, the client first.
        """
        client, believed = peer, 0
        for following in (*reversed(forwarded), None):
            address = as_address(client)
            if not (believed < self.count or (address is not None and self._has(address))):
                break
            believed += 1
            # What is no address was not written by a trusted proxy, so the one before it is the last.
            if following is None or (named := _address(following)) is None:
                break
            client = named
        return believed, client

    def _has(self, address: IPAddress) -> bool:
        return any(address in network for network in self.networks)


class TrustedProxies:
    """A WSGI application in front of another one."""

    def __init__(self, app: Callable[..., Iterable[bytes]], settings: Settings) -> None:
        self._app = app
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Trust whom these settings name; may be called at any time."""
        self._trust = Trust.of(settings.trusted_proxies, tunnel=settings.public_api)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        self.adopt(environ)
        return self._app(environ, start_response)

    def adopt(self, environ: dict[str, Any]) -> None:
        """Put what trusted proxies say where the application looks, and take the headers away."""
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
    """The address in a part of X-Forwarded-For, which may have a port; None where there is none."""
    bare = text[1:].partition("]")[0] if text.startswith("[") else text
    if bare.count(":") == 1:
        bare = bare.partition(":")[0]
    address = as_address(bare)
    return None if address is None else str(address)
