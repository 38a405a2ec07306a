"""Fetch a file from an http(s) address that a client has chosen.

A client must not reach through this server what only this server can reach. So every
connection, after a redirect too, is made to an address that was looked at, by number: what the name means
a moment later does not matter. No proxy, cookie or credential is used, and nothing is unpacked.
"""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address, ip_network
from socket import SOCK_STREAM, getaddrinfo
from string import punctuation
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin, urlsplit

from ..engines.callback_bridge import TICK_S, Emit, iterate_callback
from ..errors import InvalidRequest

if TYPE_CHECKING:
    import httpcore

MIB = 1 << 20
PORTS = {"http": 80, "https": 443}  # others only where `hosts` names them
REDIRECTS = 3
REDIRECT_STATUS = (301, 302, 303, 307, 308)
ADDRESSES_TRIED = 3
LONGEST = 4096  # characters of an address
HOST = re.compile(r"[a-z0-9_.-]{1,253}|[0-9a-f:.]{2,45}")

IPV6_UNICAST = ip_network(
    "2000::/3"
)  # IPv4-mapped, NAT64, link-local and other addresses lie outside
NEVER = tuple(
    map(
        ip_network,
        # Tunnels that lead to IPv4; addresses of clouds' own services that look public.
        ("2001::/23", "2002::/16", "192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32"),
    )
)

NOWHERE = "no public address answers there."
"""The same words for a name that does not exist, one that leads inside, and one that does not answer:
they say nothing about the inner network."""


@dataclass(frozen=True, slots=True)
class FetchRules:
    """What may be fetched."""

    public: bool = False
    """From any public address."""
    hosts: Collection[str] = ()
    """`name` or `name:port`: hosts that are fetched from wherever they are."""
    max_bytes: int = 20 * MIB
    seconds: float = 10.0
    """For all files of one request together."""

    def admits(self, host: str, port: int) -> bool:
        """Whether a host is on the list; without a port it is there for the usual ones."""
        shown = f"[{host}]" if ":" in host else host
        return f"{shown}:{port}" in self.hosts or (shown in self.hosts and port in PORTS.values())


class Fetcher:
    """Fetches the files of one request."""

    def __init__(self, rules: FetchRules, check_wanted: Callable[[], None]) -> None:
        """`check_wanted` is called every `callback_bridge.TICK_S` seconds; what it raises ends the fetch."""
        self._rules = rules
        self._check_wanted = check_wanted
        self._deadline: float | None = None

    def get(self, url: str, param: str) -> bytes:
        """The bytes at an address. Raises InvalidRequest that names `param`, where there are none."""
        if self._deadline is None:
            self._deadline = time.monotonic() + self._rules.seconds
        deadline, rules = self._deadline, self._rules

        def produce(emit: Emit[bytes | None]) -> None:
            def check() -> None:
                if emit(None) or time.monotonic() > deadline:
                    raise _Late

            emit(_follow(url, rules, _Clock(deadline, check)))

        try:
            received = iterate_callback(produce)
            try:
                for data in received:
                    self._check_wanted()
                    if data is not None:
                        return data
                    # Asking for a name's address cannot be ended, so it is left behind.
                    if time.monotonic() > deadline + TICK_S:
                        raise _Late
                raise _Late
            finally:
                received.close()
        except _Late:
            why = f"it did not arrive within {rules.seconds:g} seconds."
            raise _refused(param, why, "failed_to_download_image") from None
        except _Refused as error:
            raise _refused(param, error.why, error.code) from None


class _Late(Exception):
    """The time is over, or the client no longer waits."""


class _Refused(Exception):
    """Nothing is fetched from there."""

    def __init__(self, why: str, code: str = "failed_to_download_image") -> None:
        super().__init__(why)
        self.why = why
        self.code = code


@dataclass(frozen=True, slots=True)
class _Clock:
    deadline: float
    check: Callable[[], None]
    """Raises _Late when it is time to stop."""

    @property
    def left(self) -> float:
        """Seconds, above 0. Raises _Late when there are none."""
        self.check()
        return max(0.001, self.deadline - time.monotonic())


@dataclass(frozen=True, slots=True)
class _Address:
    """An http(s) address, taken apart and found sane."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def text(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.target}"


def _follow(url: str, rules: FetchRules, clock: _Clock) -> bytes:
    """The bytes at an address, or where it redirects to."""
    address = _parse(url, rules)
    for _ in range(REDIRECTS + 1):
        found = _request(address, rules, clock)
        if isinstance(found, bytes):
            return found
        address = _parse(urljoin(address.text, found), rules)
    raise _Refused(f"it redirects more than {REDIRECTS} times.")


def _parse(url: str, rules: FetchRules) -> _Address:
    code = "invalid_image_url"
    if len(url) > LONGEST or re.search(r"[\x00-\x20\x7f\\]", url):
        raise _Refused("it is no valid address.", code)
    try:
        parts = urlsplit(url)
        port = parts.port or PORTS.get(parts.scheme, 0)
        host = (parts.hostname or "").encode("idna").decode().removesuffix(".").lower()
    except ValueError:
        raise _Refused("it is no valid address.", code) from None
    if parts.scheme not in PORTS or not HOST.fullmatch(host):
        raise _Refused("it is no valid http(s) address.", code)
    if parts.username is not None or parts.password is not None:
        raise _Refused("an address with a user name or password is not taken.", code)
    if not rules.admits(host, port):
        if not rules.public:
            raise _Refused("this server does not fetch from that host.", code)
        if port not in PORTS.values():
            raise _Refused("this server does not fetch from that port.", code)
    query = f"?{parts.query}" if parts.query else ""
    target = quote((parts.path or "/") + query, safe=punctuation)
    return _Address(parts.scheme, host, port, target)


def _request(address: _Address, rules: FetchRules, clock: _Clock) -> bytes | str:
    """The body of the answer, or the address that it redirects to."""
    import httpcore

    usual = address.port == PORTS[address.scheme]
    host = f"[{address.host}]" if ":" in address.host else address.host
    headers: dict[bytes | str, bytes | str] = {
        "Host": host if usual else f"{host}:{address.port}",
        "User-Agent": "openedai",
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }
    url = httpcore.URL(
        scheme=address.scheme.encode(),
        host=address.host.encode(),
        port=address.port,
        target=address.target.encode(),
    )
    network = _guarded_network(rules, clock)
    try:
        with (
            httpcore.ConnectionPool(max_connections=1, network_backend=network) as pool,
            pool.stream("GET", url, headers=headers) as response,
        ):
            said = {name.lower(): value.decode("latin-1") for name, value in response.headers}
            if response.status in REDIRECT_STATUS and b"location" in said:
                return said[b"location"]
            if response.status != 200:
                raise _Refused(f"the address answered with status {response.status}.")
            if said.get(b"content-encoding", "identity").lower() != "identity":
                raise _Refused("the address answered with compressed content.")
            return _read(response.iter_stream(), said.get(b"content-length", ""), rules)
    except httpcore.TimeoutException:
        raise _Late from None
    except (httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError, OSError, ValueError):
        raise _Refused(NOWHERE) from None


def _read(body: Iterable[bytes], length: str, rules: FetchRules) -> bytes:
    too_large = _Refused(f"it is larger than {rules.max_bytes // MIB} MiB.", "image_file_too_large")
    if length.isdecimal() and int(length[:20]) > rules.max_bytes:
        raise too_large
    data = bytearray()
    for piece in body:
        data += piece
        if len(data) > rules.max_bytes:
            raise too_large
    return bytes(data)


def _guarded_network(rules: FetchRules, clock: _Clock) -> httpcore.NetworkBackend:
    """The network as far as it may be reached; its streams end when the clock says so."""
    import httpcore

    class Stream(httpcore.NetworkStream):
        def __init__(self, inner: httpcore.NetworkStream) -> None:
            self._inner = inner

        def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            while True:
                try:
                    return self._inner.read(max_bytes, min(TICK_S, clock.left))
                except httpcore.ReadTimeout:
                    continue

        def write(self, buffer: bytes, timeout: float | None = None) -> None:
            self._inner.write(buffer, clock.left)

        def close(self) -> None:
            self._inner.close()

        def start_tls(
            self,
            ssl_context: ssl.SSLContext,
            server_hostname: str | None = None,
            timeout: float | None = None,
        ) -> httpcore.NetworkStream:
            try:
                return Stream(self._inner.start_tls(ssl_context, server_hostname, clock.left))
            except _Late:
                self.close()  # httpcore closes it for errors of its own only
                raise

        def get_extra_info(self, info: str) -> Any:
            return self._inner.get_extra_info(info)

    class Network(httpcore.NetworkBackend):
        def connect_tcp(
            self,
            host: str,
            port: int,
            timeout: float | None = None,
            local_address: str | None = None,
            socket_options: Iterable[Any] | None = None,
        ) -> httpcore.NetworkStream:
            admitted = rules.admits(host, port)
            for number in _addresses(host, port, admitted):
                try:
                    stream = httpcore.SyncBackend().connect_tcp(number, port, clock.left)
                except (httpcore.ConnectError, httpcore.ConnectTimeout):
                    continue
                if admitted or not _is_own(stream):
                    return Stream(stream)
                stream.close()
            raise _Refused(NOWHERE)

    return Network()


def _addresses(host: str, port: int, admitted: bool) -> list[str]:
    """The addresses of a name that may be connected to, by number."""
    try:
        found = getaddrinfo(host, port, type=SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    numbers = dict.fromkeys(str(entry[4][0]) for entry in found)
    return [number for number in numbers if admitted or is_public(number)][:ADDRESSES_TRIED]


def is_public(number: str) -> bool:
    """Whether an IP address is one of the internet at large."""
    address = ip_address(number)
    if isinstance(address, IPv6Address) and address not in IPV6_UNICAST:
        return False
    if any(address in network for network in NEVER if network.version == address.version):
        return False
    return address.is_global and not address.is_multicast


def _is_own(stream: httpcore.NetworkStream) -> bool:
    """Whether a connection leads to this very machine, by one of its public addresses."""
    client, server = stream.get_extra_info("client_addr"), stream.get_extra_info("server_addr")
    return bool(client[0] == server[0])


def _refused(param: str, why: str, code: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid '{param}': {why}", param=param, code=code)
