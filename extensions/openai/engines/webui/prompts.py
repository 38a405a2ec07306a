"""Renders a conversation for a webui's model, with its template or with the host's own prompt builder."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ...errors import InvalidRequest
from ..chat_template import BadTemplate, ChatTemplate, TemplateTraits, cached_template
from ..protocol import ChatRequest, GenerateRequest
from .host import Loaded, host_module
from .known_model import KnownModel
from .request_state import state_of
from .ui_state import chosen_source, mode_of, ui_dialogue, with_media_marks

log = logging.getLogger("openedai")

UNLIMITED_TOKENS = 2**30


class PromptBuilder:
    """Renders prompts. Thread-safe."""

    def __init__(
        self, now: Callable[[], tuple[Loaded, KnownModel]], *, message_repair: bool
    ) -> None:
        """`now` looks up the loaded model."""
        self._now, self._repair = now, message_repair

    def traits(self) -> TemplateTraits | None:
        """The traits of the model's own template; None if it cannot be used."""
        loaded, known = self._now()
        try:
            return self._template(known.template(loaded), known).traits
        except BadTemplate:  # each chat reports it
            return None

    def render(self, request: ChatRequest) -> str:
        """As an engine's `render`."""
        mark = self._now()[1].view.mark
        if mode_of(request) == "instruct":
            return self._template_for(request).render(request, media_mark=mark)
        messages = tuple(with_media_marks(message, mark) for message in request.messages)
        request = replace(request, messages=messages)
        state, text = ui_dialogue(self._ui_state(request), request)
        try:
            prompt = host_module("chat").generate_chat_prompt(text, state, history=state["history"])
        except Exception as error:
            log.exception("the web UI failed to render the prompt")
            why = f"The web UI cannot render these messages ({type(error).__name__})."
            raise InvalidRequest(why, param="messages") from None
        return str(prompt)

    def turn_ends(self, request: ChatRequest) -> tuple[str, ...]:
        """As an engine's `turn_ends`."""
        if mode_of(request) == "instruct":
            return self._template_for(request).turn_ends()
        state = ui_dialogue(self._ui_state(request), request)[0]
        return tuple(each for each in host_module("chat").get_stopping_strings(state) if each)

    def _template_for(self, request: ChatRequest) -> ChatTemplate:
        loaded, known = self._now()
        chosen = chosen_source(request)
        source = known.template(loaded) if chosen is None else chosen
        try:
            return self._template(source, known)
        except BadTemplate as error:
            why = f"The model's chat template cannot be used: {error}."
            raise InvalidRequest(why, param="messages") from None

    def _template(self, source: str, known: KnownModel) -> ChatTemplate:
        return cached_template(source, **known.special(), repair=self._repair)

    def _ui_state(self, request: ChatRequest) -> dict[str, Any]:
        """The state for the UI's own prompt builder."""
        plain = GenerateRequest("", 1, request.sampling, request.seed)
        loaded, known = self._now()
        state = state_of(loaded, known, plain, 1, request.chat_mode)
        # A prompt that does not fit is refused by us, never cut by the host.
        unlimited = {"truncation_length": UNLIMITED_TOKENS, "chat_prompt_size": UNLIMITED_TOKENS}
        return state | unlimited
