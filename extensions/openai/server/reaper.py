"""Ends connections that hold something and give nothing: slow senders, slow readers, idle ones in a crowd."""

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

REAPER_INTERVAL_S = 0.5  # seconds between two looks, at most
FRESH = 1.0  # seconds for which a connection is not taken for idle, even in a crowd
FRESH_UNDER_PRESSURE = 0.25  # seconds, where others wait to be taken in


class Reaper:
    """Looks at all connections again and again, in a thread of its own."""

    def __init__(
        self, sockets: Mapping[int, Any], settings: Settings, *, crowd: int, idle: float
    ) -> None:
        """`sockets`: waitress's own map; `crowd`: from how many connections on idle ones are closed;
        `idle`: seconds after which one that asks for nothing is closed."""
        self._sockets = sockets
        self._stall = settings.stall_timeout
        self._receive = settings.receive_timeout
        self._crowd = crowd
        self._idle_s = idle
        self._stopping = False
        self._pressed = False
        self._wake = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="openai-reaper", daemon=True).start()

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()

    def make_room(self) -> None:
        """Others wait to be taken in: close idle connections now. From any thread."""
        if not self._pressed:
            self._pressed = True
            self._wake.set()

    def _run(self) -> None:
        pause = min(REAPER_INTERVAL_S, self._stall / 4, self._receive / 4)
        while not self._stopping:
            if self._wake.wait(pause):
                self._wake.clear()
            channels = [each for each in list(self._sockets.values()) if isinstance(each, Channel)]
            now = time.monotonic()
            for channel in channels:
                self._look(channel, now)
            self._hang_up_gone(channels)
            self._thin_out(channels, now)

    def _look(self, channel: Channel, now: float) -> None:
        if channel.lingering_until is not None:
            if now > channel.lingering_until:
                channel.hang_up()
        elif channel.is_stalled(now, self._stall):
            log.info("a client did not read its answer for %g s and is hung up on", self._stall)
            channel.hang_up()
        elif channel.is_too_slow(now, self._receive):
            channel.refuse_slow()
        elif channel.is_idle and not channel.came and now - channel.quiet_since > self._idle_s:
            channel.hang_up()

    def _hang_up_gone(self, channels: list[Channel]) -> None:
        """waitress does not read from a connection that has much to send or many requests waiting, and so
        does not see that the client has left."""
        deaf = {
            channel.socket.fileno(): channel
            for channel in channels
            if channel.requests and channel.socket is not None and not channel.readable()
        }
        if not (HUNG_UP and deaf):
            return
        poll = select.poll()
        for number in deaf:
            if number >= 0:
                poll.register(number, HUNG_UP)
        for number, _ in poll.poll(0):
            deaf[number].hang_up()

    def _thin_out(self, channels: list[Channel], now: float) -> None:
        """Close connections before there are as many as there may be: the idle ones first, then those
        whose request does not come, the oldest first."""
        pressed, self._pressed = self._pressed, False
        surplus = len(channels) - (self._crowd // 4 if pressed else self._crowd)
        if surplus <= 0:
            return
        fresh = FRESH_UNDER_PRESSURE if pressed else FRESH
        unused = [
            channel
            for channel in channels
            if channel.is_idle and now - max(channel.quiet_since, channel.begun) > fresh
        ]
        unused.sort(key=lambda channel: (bool(channel.came), channel.quiet_since))
        for channel in unused[:surplus]:
            channel.hang_up()
