"""The server's timeouts and limits. Tests use other values."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Of one server. Times are in seconds."""

    connections: int = 900
    """Open at once, including idle ones; below the usual limit on open files."""
    idle_connection: float = 60.0
    """After which an idle connection is closed."""
    idle_thread: float = 10.0
    """After which an idle thread ends, except MIN_THREADS."""
    linger_silence: float = 2.0
    """Without data from a refused client, after which its connection is closed."""
    linger_total: float = 10.0
    """For which a refused client may continue to send."""
    ending: float = 3.0
    """For answers to write their last event when the server stops."""
    final_request: float = 0.2
    """Then, for new requests on open connections."""
    flushing: float = 1.5
    """Then, to send what was written to the clients."""


DEFAULT_LIMITS = ServerLimits()
