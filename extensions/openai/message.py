"""Message: one turn in the session of a user, a text for a text. Not OpenAI's; off by default."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import Field
from typing_extensions import NotRequired, TypedDict

from .chat import Fold, start_chat
from .dialects.chat_shapes import ChatCompletionChunk
from .generation.chat.request import ChatCompletionRequest
from .schemas.validation import RequestModel
from .web.idempotent_request import IdempotentRequest, sent_again
from .web.responses.response import Response, json_response
from .web.responses.streaming import respond
from .web.routing.routes import PathPrefixes, Route, endpoint
from .web.session_turn import Said, SessionTurn

if TYPE_CHECKING:
    from .web.context import RequestContext


class MessageRequest(RequestModel):
    """Say something to the model."""

    text: str = Field(min_length=1, description="What the user says.")
    user_id: str = Field(
        min_length=1, max_length=256, description="The user, whose session it is a turn of."
    )

    @property
    def end_user(self) -> str:
        return self.user_id

    @property
    def prompt(self) -> str:
        """What limits of tokens are estimated by."""
        return self.text


class MessageAnswer(TypedDict):
    """What the model says."""

    text: str
    store: NotRequired[bool]
    """False if the turn could not be kept."""


def create_message(context: RequestContext, body: MessageRequest) -> Response:
    """Answer a text of a user, who is remembered: what was said before is read first.

    The loaded model answers, or the agent that a header names.
    """
    sessions, owner = context.store.sessions, context.record.caller.owner
    request = IdempotentRequest(context, body, partial(sessions.turn, owner))
    if request.earlier is not None:
        return sent_again(json_response(_text_of(request.earlier.messages[-1])))
    said = {"role": "user", "content": body.text}
    chat = ChatCompletionRequest.model_validate({"messages": [said], "user": body.user_id})
    served = context.serve(context.services.models.loaded().name, None)
    chat = served.settled(chat)
    turn = SessionTurn.in_session(
        *(context, Said.in_chat(chat), served, body.user_id), by_user=True, request=request
    )
    chunks, fold = start_chat(chat, served, turn)
    return respond(
        context,
        chunks,
        stream=False,
        fold=_TextOf(fold),
        on_complete=lambda _: turn.keep_chat(fold.whole()),
    )


class _TextOf:
    """The text of the answer that chunks add up to."""

    def __init__(self, fold: Fold) -> None:
        self._fold = fold

    def add(self, chunk: ChatCompletionChunk) -> None:
        self._fold.add(chunk)

    @property
    def has_ended(self) -> bool:
        return self._fold.has_ended

    def whole(self) -> MessageAnswer:
        return _text_of(self._fold.whole()["choices"][0]["message"])


def _text_of(answer: Mapping[str, Any]) -> MessageAnswer:
    return {"text": answer["content"] or ""}


ROUTES = endpoint(
    "message",
    Route(
        *("POST", "/message", create_message, "Say something"),
        PathPrefixes.ROOT,
        answer=MessageAnswer,
        body=MessageRequest,
        once=True,
        scope="write",
        example={"text": "What can you do?", "user_id": "ann"},
    ),
)
