"""Where another server listens: http(s)://HOST:PORT/PATH, or unix:///PATH/OF/SOCKET."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Address:
    """A parsed address."""

    scheme: str
    """`http` or `https`."""
    host: str
    port: int
    path: str
    """Before the paths of endpoints, without a final slash."""
    socket: str | None = None
    """The unix socket to connect to, instead of host and port."""

    @property
    def authority(self) -> str:
        """The value of the header Host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        """Where it is, for logs: neither its path nor its query, which may hold a secret."""
        return f"unix:{self.socket}" if self.socket else f"{self.scheme}://{self.authority}"


def parse_address(text: str, *, default_path: str = "") -> Address:
    """Raises ValueError with what was expected. `default_path`: where the address has none."""
    parts = urlsplit(text.strip())
    if parts.scheme == "unix":
        if parts.netloc or not parts.path.startswith("/"):
            raise ValueError("unix:///PATH/OF/SOCKET was expected")
        return Address("http", "localhost", 80, default_path, parts.path)
    if parts.scheme not in PORTS or not parts.hostname:
        raise ValueError("http://HOST:PORT, https://HOST or unix:///PATH/OF/SOCKET was expected")
    if parts.username is not None or parts.password is not None:
        raise ValueError("an address holds no user name or password; use `key_env` or `headers`")
    path = parts.path.rstrip("/") or default_path
    path = f"{path}?{parts.query}" if parts.query else path
    port = parts.port or PORTS[parts.scheme]
    return Address(parts.scheme, parts.hostname, port, path)
