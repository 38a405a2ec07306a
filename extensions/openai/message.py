"""Message: one turn in the session of a user, a text for a text. Not OpenAI's; off by default."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field
from typing_extensions import NotRequired, TypedDict

from .chat import ChatCompletionChunk, Fold, start_chat
from .errors import StoreOff
from .generation.chat.request import ChatCompletionRequest
from .schemas.validation import RequestModel
from .web.responses.response import Response
from .web.responses.streaming import respond
from .web.routing.routes import PathPrefixes, Route, endpoint
from .web.session_turn import SessionTurn

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
    if not (context.services.store.keeps and context.record.caller.stores):
        raise StoreOff
    said = {"role": "user", "content": body.text}
    chat = ChatCompletionRequest.model_validate({"messages": [said], "user": body.user_id})
    served = context.serve(context.services.models.loaded().name, None)
    chat = served.settled(chat)
    turn = SessionTurn.in_session(context, chat, served, body.user_id)
    chunks, fold = start_chat(chat, served, turn)
    return respond(
        context,
        chunks,
        stream=False,
        fold=_TextOf(fold),
        on_complete=lambda _: turn.keep(fold.whole()),
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
        return {"text": self._fold.whole()["choices"][0]["message"]["content"] or ""}


ROUTES = endpoint(
    "message",
    Route(
        *("POST", "/message", create_message, "Say something"),
        PathPrefixes.ROOT,
        answer=MessageAnswer,
        body=MessageRequest,
        scope="write",
        example={"text": "What can you do?", "user_id": "ann"},
    ),
)
