"""Closes connections that only use resources: slow senders, slow readers, and idle ones when many are
open."""

from __future__ import annotations

import logging
import select
import threading
import time
from collections.abc import Mapping
from typing import Any

from ..settings import Settings
from .channel import Channel
from .socket_state import HUNG_UP

log = logging.getLogger("openedai")

REAPER_INTERVAL_S = 0.5  # at most, between two checks
MIN_IDLE_S = 1.0  # before an idle connection is closed, even when many are open
MIN_IDLE_UNDER_PRESSURE_S = 0.25  # the same when others wait to be accepted


class Reaper:
    """Checks all connections periodically, in its own thread."""

    def __init__(
        self, sockets: Mapping[int, Any], settings: Settings, *, evict_above: int, idle: float
    ) -> None:
        """`sockets`: waitress's own map; `evict_above`: with more connections, idle ones are closed early;
        `idle`: seconds after which idle ones are closed anyway."""
        self._sockets = sockets
        self._stall = settings.stall_timeout
        self._receive = settings.receive_timeout
        self._evict_above = evict_above
        self._idle_s = idle
        self._stopping = False
        self._under_pressure = False
        self._wake = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="openai-reaper", daemon=True).start()

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()

    def close_idle(self) -> None:
        """Close idle connections now, because others wait to be accepted. Thread-safe."""
        if not self._under_pressure:
            self._under_pressure = True
            self._wake.set()

    def _run(self) -> None:
        pause = min(REAPER_INTERVAL_S, self._stall / 4, self._receive / 4)
        while not self._stopping:
            if self._wake.wait(pause):
                self._wake.clear()
            channels = [each for each in list(self._sockets.values()) if isinstance(each, Channel)]
            now = time.monotonic()
            for channel in channels:
                self._check(channel, now)
            self._close_disconnected(channels)
            self._evict(channels, now)

    def _check(self, channel: Channel, now: float) -> None:
        if channel.lingering_until is not None:
            if now > channel.lingering_until:
                channel.hang_up()
        elif channel.is_stalled(now, self._stall):
            log.info("a client did not read its answer for %g s and is disconnected", self._stall)
            channel.hang_up()
        elif channel.is_too_slow(now, self._receive):
            channel.refuse_slow()
        elif (
            channel.is_idle
            and not channel.bytes_received
            and now - channel.quiet_since > self._idle_s
        ):
            channel.hang_up()

    def _close_disconnected(self, channels: list[Channel]) -> None:
        """Close connections whose client has left. waitress does not notice that while much data or many
        requests wait, because it does not read then."""
        unread = {
            channel.socket.fileno(): channel
            for channel in channels
            if channel.requests and channel.socket is not None and not channel.readable()
        }
        if not (HUNG_UP and unread):
            return
        poll = select.poll()
        for number in unread:
            if number >= 0:
                poll.register(number, HUNG_UP)
        for number, _ in poll.poll(0):
            unread[number].hang_up()

    def _evict(self, channels: list[Channel], now: float) -> None:
        """Close connections before the maximum is reached: first idle ones, then those with an incomplete
        request, the oldest first."""
        pressure, self._under_pressure = self._under_pressure, False
        surplus = len(channels) - (self._evict_above // 4 if pressure else self._evict_above)
        if surplus <= 0:
            return
        min_idle = MIN_IDLE_UNDER_PRESSURE_S if pressure else MIN_IDLE_S
        unused = [
            channel
            for channel in channels
            if channel.is_idle
            and now - max(channel.quiet_since, channel.request_started) > min_idle
        ]
        unused.sort(key=lambda channel: (bool(channel.bytes_received), channel.quiet_since))
        for channel in unused[:surplus]:
            channel.hang_up()
