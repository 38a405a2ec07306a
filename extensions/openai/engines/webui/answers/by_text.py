"""Answers of loaders that hand over the whole text so far: pieces are cut from it, tokens are counted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from ...failures import taken_away, text_changed
from ...protocol import BAN, Finish, Piece, PromptUsage
from ..findings import knows_stop_event
from ..host import Loaded, custom_reply, host_module, host_reply
from ..loaders.base import LoaderJob, TextAdapter
from .token_count import TokenCount


def answer_by_text(
    adapter: TextAdapter,
    loaded: Loaded,
    job: LoaderJob,
    state: dict[str, Any],
    count: TokenCount,
    check_open: Callable[[], None],
) -> None:
    """Emit an answer. `check_open` raises once the engine ends."""
    stop = threading.Event()
    if knows_stop_event():
        state["stop_event"] = stop
    if job.request.logit_bias:
        state["logit_bias"] = {
            str(token): adapter.banned if bias <= BAN else bias
            for token, bias in job.request.logit_bias
        }
    rewrites = custom_reply() is not None
    prompt: PromptUsage | None = PromptUsage(len(job.tokens))
    text = shown = ""
    counted = 0
    replies = host_reply(job.text, state)
    try:
        for text in replies:
            # What an extension generates may still change; of others the tail of a character.
            if not rewrites:
                new, shown = _grown(shown, text)
                now = min(job.limit, count.so_far(counted, new)) if new else counted
                fresh, counted = now - counted, now
                if job.emit(Piece(new, tokens=fresh, prompt=prompt)):
                    stop.set()
                    return
                prompt = None
            elif job.emit(None):
                stop.set()
                return
            check_open()
    finally:
        stop.set()
        replies.close()
    if not text and host_module("shared").model is not loaded.model:
        raise taken_away()
    if not rewrites and not text.startswith(shown):
        raise text_changed()
    whole = count.of(text)
    total = min(job.limit, max(counted, whole))
    # It is unknown whether the limit ended what an extension has generated.
    ended_by_limit = whole >= job.limit and not rewrites
    finish: Finish = "length" if ended_by_limit else "stop"
    if ended_by_limit:
        total = job.limit
    job.emit(Piece(text[len(shown) :], tokens=total - counted, prompt=prompt, finish=finish))


def _grown(shown: str, text: str) -> tuple[str, str]:
    """What a longer text adds to what is shown, and what is shown then; the tail of a character waits."""
    ready = text.rstrip("\N{REPLACEMENT CHARACTER}")
    if not ready.startswith(shown):
        return "", shown  # a host that takes text back may still give it again
    return ready[len(shown) :], ready
