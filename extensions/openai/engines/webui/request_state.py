"""The state dictionary of one request for a webui's functions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..protocol import ChatMode, GenerateRequest
from .host import Loaded, custom_reply
from .known_model import KnownModel
from .ui_state import ui_settings

SEED_RANGE = 2**31  # of the host, where -1 means no seed


def state_of(
    loaded: Loaded,
    known: KnownModel,
    request: GenerateRequest,
    limit: int,
    rendered: ChatMode | None = None,
) -> dict[str, Any]:
    """All values that the host reads for a request: its settings and defaults, then the request's, as changed
    by hooks. `rendered`: the mode that the host renders the prompt in, if the state is for that."""
    mode = rendered or request.chat_mode
    if rendered is None and mode is not None and custom_reply() is None:
        # Nothing else uses the character, and loading it takes a while.
        mode = replace(mode, mode="instruct", character=None)
    state = {**ui_settings(mode, known.template(loaded)), **request.sampling}
    if request.chat_mode is not None:
        state["mode"] = request.sampling.get("mode", request.chat_mode.mode)
    state.update(
        max_new_tokens=limit,
        auto_max_new_tokens=False,
        truncation_length=known.context(loaded),
        seed=-1 if request.seed is None else request.seed % SEED_RANGE,
        stream=True,
        # This server handles stop strings: the host may show part of one.
        custom_stopping_strings="",
        history={"internal": [], "visible": []},
    )
    return state
