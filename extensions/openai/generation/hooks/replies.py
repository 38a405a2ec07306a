"""Answers of an extension in the model's place (`custom_generate_reply`), where the host does not call it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

from ...engines.callback_bridge import Emit, iterate_callback
from ...engines.protocol import Engine, Piece, Pieces, PromptUsage
from ...errors import InvalidRequest
from .state import State


def check_reply(*demands: object) -> None:
    """Raise InvalidRequest if the request demands what only the model itself can give."""
    if any(demands):
        raise InvalidRequest(
            "An extension answers in the model's place (custom_generate_reply), so neither the answer's form "
            'nor tools, log-probabilities or biases can be provided; "hooks": false leaves extensions out.'
        )


def reply(
    function: Callable[..., Iterable[Any]],
    engine: Engine,
    prompt: str,
    state: State,
    stops: Sequence[str],
    *,
    is_chat: bool,
) -> Pieces:
    """What the extension says, as it comes. Its tokens are counted by the engine's tokenizer.

    It yields the whole text so far; a text that no longer begins with what was sent is sent from where it
    grows again.
    """

    def count(text: str) -> int:
        return 0 if not text or engine.info.is_remote else len(engine.tokenize(text))

    def produce(emit: Emit[Piece | None]) -> None:
        told, whole = 0, ""
        said = iter(function(prompt, prompt, state, list(stops), is_chat=is_chat))
        try:
            for text in said:
                whole = str(text)
                if emit(Piece(whole[told:])):
                    return
                told = max(told, len(whole))
        finally:
            if isinstance(said, Generator):
                said.close()
        usage = PromptUsage(count(prompt))
        emit(Piece(tokens=count(whole), prompt=usage, finish="stop"))

    return iterate_callback(produce, own_thread=True)
