"""Sounds in messages as texts, for a chat model that hears nothing: by the model for transcriptions.

Clients send a conversation again with each turn, so the last transcripts are kept in memory, each for its
owner alone.
"""

from __future__ import annotations

import hashlib
import math
import threading
from collections import OrderedDict
from io import BytesIO

from ...engines.protocol import Engine, Media, run_on
from ...engines.sounds import SoundFile, Transcriber, TranscriptionTask
from ...limits.active_requests import ActiveRequest
from ...limits.scheduler import Scheduler

MAX_KEPT = 256
MAX_KEPT_CHARACTERS = 16_384
"""Of one of them."""


class Transcripts:
    """The texts of sounds. Thread-safe."""

    def __init__(self) -> None:
        self._kept: OrderedDict[bytes, str] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, sound: Media, engine: Engine, scheduler: Scheduler, request: ActiveRequest) -> str:
        """What is said in a sound, by `engine`. Raises the errors of the scheduler and the engine, and those
        of `request.check_wanted`."""
        name = engine.info.model
        about = f"{request.record.caller.owner}\0{name}\0".encode()
        key = hashlib.sha256(about + sound.data).digest()
        with self._lock:
            known = self._kept.get(key)
        if known is None:
            known = _written(sound, engine, scheduler, request)
        if len(known) <= MAX_KEPT_CHARACTERS:
            self._keep(key, known)
        return known

    def _keep(self, key: bytes, text: str) -> None:
        with self._lock:
            self._kept[key] = text
            self._kept.move_to_end(key)
            if len(self._kept) > MAX_KEPT:
                self._kept.popitem(last=False)


def _written(sound: Media, engine: Engine, scheduler: Scheduler, request: ActiveRequest) -> str:
    file = SoundFile(BytesIO(sound.data), len(sound.data), ".wav")
    texts: list[str] = []
    seconds = 0.0
    with request.request_side_slot(scheduler, engine.info.parallel) as ticket:
        while not ticket.granted and not ticket.wait():
            request.check_wanted()
        parts = run_on(engine, Transcriber, lambda able: able.transcribe(TranscriptionTask(file)))
        try:
            for part in parts:
                request.check_wanted()
                if part is not None:
                    texts.append(part.text)
                    seconds = part.seconds or seconds
        finally:
            parts.close()
            if seconds:
                request.record.heard.append((engine.info.model, math.ceil(seconds)))
    return "".join(texts).strip()
