"""Fetches a file from an http(s) URL that a client has chosen.

A client must not use this server to reach hosts that only this server can reach. So every connection, also
after a redirect, is made to a checked IP address; the name is not resolved again. No proxy, cookie or
credential is used, and nothing is decompressed.
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
PORTS = {"http": 80, "https": 443}  # others only if `hosts` lists them
MAX_REDIRECTS = 3
REDIRECT_STATUSES = (301, 302, 303, 307, 308)
MAX_ADDRESSES = 3  # of a name that are tried
MAX_URL_CHARS = 4096
HOST = re.compile(r"[a-z0-9_.-]{1,253}|[0-9a-f:.]{2,45}")

IPV6_UNICAST = ip_network("2000::/3")  # excludes IPv4-mapped, NAT64, link-local and other addresses
FORBIDDEN_NETWORKS = tuple(
    map(
        ip_network,
        # IPv6 transition tunnels; cloud providers' internal services on addresses that look public.
        ("2001::/23", "2002::/16", "192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32"),
    )
)

UNREACHABLE = "no public address answers there."
"""The same message for names that do not exist, are internal, or do not answer, so that it reveals nothing
about the internal network."""


@dataclass(frozen=True, slots=True)
class FetchRules:
    """What may be fetched."""

    public: bool = False
    """Allow all public addresses."""
    hosts: Collection[str] = ()
    """`name` or `name:port`: hosts that are allowed at any address."""
    max_bytes: int = 20 * MIB
    seconds: float = 10.0
    """For all files of one request together."""

    def admits(self, host: str, port: int) -> bool:
        """Whether `hosts` lists a host; without a port, for the default ones."""
        shown = f"[{host}]" if ":" in host else host
        return f"{shown}:{port}" in self.hosts or (shown in self.hosts and port in PORTS.values())


class Fetcher:
    """Fetches the files of one request."""

    def __init__(self, rules: FetchRules, check_wanted: Callable[[], None]) -> None:
        """`check_wanted` is called every `callback_bridge.TICK_S` seconds; its exceptions end the fetch."""
        self._rules = rules
        self._check_wanted = check_wanted
        self._deadline: float | None = None

    def get(self, url: str, param: str) -> bytes:
        """The bytes at a URL. Raises InvalidRequest for `param` if it cannot be fetched."""
        if self._deadline is None:
            self._deadline = time.monotonic() + self._rules.seconds
        deadline, rules = self._deadline, self._rules

        def produce(emit: Emit[bytes | None]) -> None:
            def check() -> None:
                if emit(None) or time.monotonic() > deadline:
                    raise _TimedOut

            emit(_follow(url, rules, _Clock(deadline, check)))

        try:
            received = iterate_callback(produce)
            try:
                for data in received:
                    self._check_wanted()
                    if data is not None:
                        return data
                    # Name resolution cannot be cancelled, so its thread is abandoned.
                    if time.monotonic() > deadline + TICK_S:
                        raise _TimedOut
                raise _TimedOut
            finally:
                received.close()
        except _TimedOut:
            why = f"it did not arrive within {rules.seconds:g} seconds."
            raise _refused(param, why, "failed_to_download_image") from None
        except _Refused as error:
            raise _refused(param, error.why, error.code) from None


class _TimedOut(Exception):
    """The time is up, or the client no longer waits."""


class _Refused(Exception):
    """The URL is not fetched."""

    def __init__(self, why: str, code: str = "failed_to_download_image") -> None:
        super().__init__(why)
        self.why = why
        self.code = code


@dataclass(frozen=True, slots=True)
class _Clock:
    deadline: float
    check: Callable[[], None]
    """Raises _TimedOut when it is time to stop."""

    @property
    def remaining(self) -> float:
        """Seconds, above 0. Raises _TimedOut if there are none."""
        self.check()
        return max(0.001, self.deadline - time.monotonic())


@dataclass(frozen=True, slots=True)
class _Address:
    """A parsed and checked http(s) URL."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def text(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.target}"


def _follow(url: str, rules: FetchRules, clock: _Clock) -> bytes:
    """The bytes at a URL, after following redirects."""
    address = _parse(url, rules)
    for _ in range(MAX_REDIRECTS + 1):
        found = _request(address, rules, clock)
        if isinstance(found, bytes):
            return found
        address = _parse(urljoin(address.text, found), rules)
    raise _Refused(f"it redirects more than {MAX_REDIRECTS} times.")


def _parse(url: str, rules: FetchRules) -> _Address:
    code = "invalid_image_url"
    if len(url) > MAX_URL_CHARS or re.search(r"[\x00-\x20\x7f\\]", url):
        raise _Refused("it is not a valid URL.", code)
    try:
        parts = urlsplit(url)
        port = parts.port or PORTS.get(parts.scheme, 0)
        host = (parts.hostname or "").encode("idna").decode().removesuffix(".").lower()
    except ValueError:
        raise _Refused("it is not a valid URL.", code) from None
    if parts.scheme not in PORTS or not HOST.fullmatch(host):
        raise _Refused("it is not a valid http(s) URL.", code)
    if parts.username is not None or parts.password is not None:
        raise _Refused("a URL with a user name or password is not accepted.", code)
    if not rules.admits(host, port):
        if not rules.public:
            raise _Refused("this server does not fetch from that host.", code)
        if port not in PORTS.values():
            raise _Refused("this server does not fetch from that port.", code)
    query = f"?{parts.query}" if parts.query else ""
    target = quote((parts.path or "/") + query, safe=punctuation)
    return _Address(parts.scheme, host, port, target)


def _request(address: _Address, rules: FetchRules, clock: _Clock) -> bytes | str:
    """The response body, or the URL that it redirects to."""
    import httpcore

    is_default_port = address.port == PORTS[address.scheme]
    host = f"[{address.host}]" if ":" in address.host else address.host
    headers: dict[bytes | str, bytes | str] = {
        "Host": host if is_default_port else f"{host}:{address.port}",
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
            received = {name.lower(): value.decode("latin-1") for name, value in response.headers}
            if response.status in REDIRECT_STATUSES and b"location" in received:
                return received[b"location"]
            if response.status != 200:
                raise _Refused(f"the address answered with status {response.status}.")
            if received.get(b"content-encoding", "identity").lower() != "identity":
                raise _Refused("the address answered with compressed content.")
            return _read(response.iter_stream(), received.get(b"content-length", ""), rules)
    except httpcore.TimeoutException:
        raise _TimedOut from None
    except (httpcore.NetworkError, httpcore.ProtocolError, ssl.SSLError, OSError, ValueError):
        raise _Refused(UNREACHABLE) from None


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
    """A network backend that connects to allowed addresses only, and obeys the clock."""
    import httpcore

    class Stream(httpcore.NetworkStream):
        def __init__(self, inner: httpcore.NetworkStream) -> None:
            self._inner = inner

        def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
            while True:
                try:
                    return self._inner.read(max_bytes, min(TICK_S, clock.remaining))
                except httpcore.ReadTimeout:
                    continue

        def write(self, buffer: bytes, timeout: float | None = None) -> None:
            self._inner.write(buffer, clock.remaining)

        def close(self) -> None:
            self._inner.close()

        def start_tls(
            self,
            ssl_context: ssl.SSLContext,
            server_hostname: str | None = None,
            timeout: float | None = None,
        ) -> httpcore.NetworkStream:
            try:
                return Stream(self._inner.start_tls(ssl_context, server_hostname, clock.remaining))
            except _TimedOut:
                self.close()  # httpcore closes it only for its own errors
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
                    stream = httpcore.SyncBackend().connect_tcp(number, port, clock.remaining)
                except (httpcore.ConnectError, httpcore.ConnectTimeout):
                    continue
                if admitted or not _is_own(stream):
                    return Stream(stream)
                stream.close()
            raise _Refused(UNREACHABLE)

    return Network()


def _addresses(host: str, port: int, admitted: bool) -> list[str]:
    """The allowed IP addresses of a name."""
    try:
        found = getaddrinfo(host, port, type=SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    numbers = dict.fromkeys(str(entry[4][0]) for entry in found)
    return [number for number in numbers if admitted or is_public(number)][:MAX_ADDRESSES]


def is_public(number: str) -> bool:
    """Whether an IP address belongs to the public internet."""
    address = ip_address(number)
    if isinstance(address, IPv6Address) and address not in IPV6_UNICAST:
        return False
    if any(address in each for each in FORBIDDEN_NETWORKS if each.version == address.version):
        return False
    return address.is_global and not address.is_multicast


def _is_own(stream: httpcore.NetworkStream) -> bool:
    """Whether a connection leads to this machine, through one of its public addresses."""
    client, server = stream.get_extra_info("client_addr"), stream.get_extra_info("server_addr")
    return bool(client[0] == server[0])


def _refused(param: str, why: str, code: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid '{param}': {why}", param=param, code=code)
