"""Yields a model's answer as the text so far, for an extension of the host that reads it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from ...callback_bridge import Emit, iterate_callback

TEXT_INTERVAL_S = 0.02  # between two texts for an extension
LAST_STEP_TIMEOUT_S = 30.0  # for a model to finish its current step


def iterate_growing_text(
    text_so_far: Callable[[], str], produce: Callable[[Callable[[], bool]], object]
) -> Iterator[str]:
    """Yield the text so far as it grows, while `produce` generates it in its own thread and calls its
    argument after each piece to ask whether to stop.

    A fast model's pieces are yielded several at once: each yield costs two thread switches, and whatever the
    host and its extension do with a text.
    """
    closed, over = threading.Event(), threading.Event()

    def run(emit: Emit[bool]) -> None:
        last_signal = 0.0

        def signal_growth() -> bool:
            nonlocal last_signal
            now = time.monotonic()
            if now - last_signal >= TEXT_INTERVAL_S:
                last_signal = now
                emit(True)
            return closed.is_set()

        try:
            produce(signal_growth)
        finally:
            over.set()

    text, signals = "", iterate_callback(run, own_thread=True)
    try:
        for _ in signals:
            if len(text_so_far()) > len(text):
                text = text_so_far()
                yield text
    finally:
        closed.set()
        signals.close()
        over.wait(LAST_STEP_TIMEOUT_S)  # so that the model is free for the next request
    if len(text_so_far()) > len(text):
        yield text_so_far()
