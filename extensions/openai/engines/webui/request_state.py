"""The state that a webui's functions generate by, for one request."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..protocol import ChatMode, GenerateRequest
from .host import Loaded, custom_reply
from .known_model import KnownModel
from .ui_state import ui_settings

SEEDS = 2**31  # of the host, whose -1 is none


def state_of(
    loaded: Loaded,
    known: KnownModel,
    request: GenerateRequest,
    limit: int,
    rendered: ChatMode | None = None,
) -> dict[str, Any]:
    """Everything that the host reads of a request: its own settings and defaults, then what was asked and
    what hooks made of it. `rendered`: the UI that makes the prompt, where the state is for that."""
    chat_mode = rendered or request.chat_mode
    if rendered is None and chat_mode is not None and custom_reply() is None:
        # Only this uses what is known of a character, and loading it takes a while.
        chat_mode = replace(chat_mode, mode="instruct", character=None)
    state = {**ui_settings(chat_mode, known.template(loaded)), **request.sampling}
    if request.chat_mode is not None:
        state["mode"] = request.sampling.get("mode", request.chat_mode.mode)
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
