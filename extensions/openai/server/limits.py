"""How long the server waits for what, and how much it holds. Tests choose others."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """Of one server. Times are seconds."""

    connections: int = 900
    """Open at once, most of them idle; below the usual limit on open files."""
    idle_connection: float = 60.0
    """After which a connection that asks for nothing is closed."""
    idle_thread: float = 10.0
    """After which a thread ends that has nothing to do, beyond those that are kept."""
    lingering: float = 2.0
    """Of silence, for which a client that was refused may go on sending."""
    lingering_at_most: float = 10.0
    """In all."""
    ending: float = 3.0
    """That answers have to write their last event when the server stops."""
    final_request: float = 0.2
    """Then, for requests of connections that are open."""
    flushing: float = 1.5
    """Then, for what is written to reach the clients."""


DEFAULT_LIMITS = ServerLimits()
