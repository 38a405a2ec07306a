"""Answers of loaders whose generation we take part in: pieces come from there, not from the host's text."""

from __future__ import annotations

import logging
from typing import Any

from ...failures import model_changed
from ..host import Loaded, host_reply
from ..loaders.base import LoaderJob, TokenAdapter, check_error

log = logging.getLogger("openedai")


def answer_by_tokens(
    adapter: TokenAdapter, loaded: Loaded, job: LoaderJob, state: dict[str, Any]
) -> bool:
    """Answer a request; False: incomplete, because the reader has left."""
    generation = adapter.attach(loaded, job, state)
    replies = host_reply(job.text, state)
    try:
        for _ in replies:
            if not generation.started:  # the host has another model now
                break
    except Exception as error:
        if not generation.finished:
            raise
        # The model may have been unloaded meanwhile; the answer is complete.
        log.debug("the host failed after the answer with %s", type(error).__name__)
    finally:
        replies.close()
    if generation.finished:
        return True
    if generation.reader_left:
        return False
    check_error(generation)
    raise model_changed()
