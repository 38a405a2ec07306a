"""Answers of loaders that yield the whole text so far: we cut pieces from it and count tokens."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from ...failures import model_changed, text_changed
from ...protocol import BAN, Finish, Piece, PromptUsage
from ..findings import supports_stop_event
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
    """Emit an answer. `check_open` raises once the engine closes."""
    stop = threading.Event()
    if supports_stop_event():
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
            # An extension's text may still change; of other text only an incomplete last character.
            if not rewrites:
                new, shown = _delta(shown, text)
                total = min(job.limit, count.so_far(counted, new)) if new else counted
                tokens, counted = total - counted, total
                if job.emit(Piece(new, tokens=tokens, prompt=prompt)):
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
        raise model_changed()
    if not rewrites and not text.startswith(shown):
        raise text_changed()
    exact = count.of(text)
    total = min(job.limit, max(counted, exact))
    # For an extension's text we cannot know whether the limit ended it.
    ended_by_limit = exact >= job.limit and not rewrites
    finish: Finish = "length" if ended_by_limit else "stop"
    if ended_by_limit:
        total = job.limit
    job.emit(Piece(text[len(shown) :], tokens=total - counted, prompt=prompt, finish=finish))


def _delta(shown: str, text: str) -> tuple[str, str]:
    """The text to add to `shown`, and the text shown then; an incomplete last character is held back."""
    ready = text.rstrip("\N{REPLACEMENT CHARACTER}")
    if not ready.startswith(shown):
        return "", shown  # the host removed text, but may add it again
    return ready[len(shown) :], ready
