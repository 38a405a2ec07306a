"""The state that a webui's functions generate by, for one request."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..protocol import GenerateRequest, Page
from .host import Loaded, custom_reply
from .known_model import KnownModel
from .ui_state import page_settings

SEEDS = 2**31  # of the host, whose -1 is none


def state_of(
    loaded: Loaded,
    known: KnownModel,
    request: GenerateRequest,
    limit: int,
    rendered: Page | None = None,
) -> dict[str, Any]:
    """Everything that the host reads of a request: its own settings and defaults, then what was asked and
    what hooks made of it. `rendered`: the page that makes the prompt, where the state is for that."""
    page = rendered or request.page
    if rendered is None and page is not None and custom_reply() is None:
        # Only this uses what is known of a character, and loading it takes a while.
        page = replace(page, mode="instruct", character=None)
    state = {**page_settings(page, known.template(loaded)), **request.sampling}
    if request.page is not None:
        state["mode"] = request.sampling.get("mode", request.page.mode)
    state.update(
        max_new_tokens=limit,
        auto_max_new_tokens=False,
        truncation_length=known.context(loaded),
        seed=-1 if request.seed is None else request.seed % SEEDS,
        stream=True,
        # Stop strings are cut by this server: the host may show a part of one.
        custom_stopping_strings="",
        history={"internal": [], "visible": []},
    )
    return state
