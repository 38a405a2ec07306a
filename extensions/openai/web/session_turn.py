"""A chat as a turn of a session: what was said before is read, and what is said now is kept.

Used by the endpoint `chat`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from ..errors import StoreOff, StoreUnavailable
from ..generation.chat.messages import ChatMessage
from ..generation.chat.request import ChatCompletionRequest
from ..generation.chat.session_history import instructions, preceding
from ..generation.plan import ChatPlan, Served
from ..limits.rate_limits import short_user
from ..schemas import bad_request
from .context import SESSION_HEADER
from .storing import MEDIA, NOT_STORED

if TYPE_CHECKING:
    from ..state.sessions import SessionKey, Turn
    from .context import RequestContext

MAX_NAME = 256
FULL, SHORTENED = 7 / 8, 1 / 2
"""Of the context. A prompt that is longer than the first loses its oldest turns until it is no longer than
the second: many at once, so that the next prompts begin as this one does, and the engine's cache has that."""
MESSAGES = TypeAdapter(list[ChatMessage])


class SessionTurn:
    """The turn of one request. Belongs to the thread that answers it."""

    def __init__(
        self,
        context: RequestContext,
        key: SessionKey,
        body: ChatCompletionRequest,
        *,
        by_user: bool,
    ) -> None:
        """`by_user`: the user gives the session its name.

        Raises InvalidRequest, StoreOff, StoreUnavailable."""
        if body.continue_final_message:
            raise bad_request.unsupported("continue_final_message", "cannot be used in a session.")
        self._context, self._key, self._body, self._by_user = context, key, body, by_user
        self._sessions = context.services.store.sessions
        sent = body.model_dump(mode="json", include={"messages"}, exclude_unset=True)["messages"]
        self._sent = sent[instructions(sent) :]
        self._turns, self._begun, self._instead_of = self._before(self._sessions.turns(key))
        self._behind = 0

    @classmethod
    def of(
        cls, context: RequestContext, body: ChatCompletionRequest, served: Served
    ) -> SessionTurn | None:
        """None for a request that asks for no session."""
        settings, caller = served.settings, context.record.caller
        if settings.sessions == "off":
            return None
        name = context.session_header
        by_user = name is None
        may = context.services.store.keeps and caller.stores
        if name is None:
            if settings.sessions != "user" or not body.user or not may:
                return None
            name = short_user(body.user)
        elif not may:
            raise StoreOff
        elif len(name) > MAX_NAME:
            raise bad_request.wrong_length(
                SESSION_HEADER, "string", len(name), low=1, high=MAX_NAME
            )
        return cls.in_session(context, body, served, name, by_user=by_user)

    @classmethod
    def in_session(
        cls,
        context: RequestContext,
        body: ChatCompletionRequest,
        served: Served,
        name: str,
        *,
        by_user: bool = True,
    ) -> SessionTurn:
        """A turn of the session with this name."""
        from ..state.sessions import SessionKey  # with the database's library

        agent = "" if served.agent is None else served.agent.name
        key = SessionKey(context.record.caller.owner, agent, name)
        return cls(context, key, body, by_user=by_user)

    def fitting(
        self, plan_with: Callable[[Sequence[ChatMessage]], ChatPlan], served: Served
    ) -> ChatPlan:
        """The plan of the request with the session before it, as far as the context has place for that."""

        def plan(first: int) -> ChatPlan:
            said = [message for turn in self._turns[first:] for message in turn.messages]
            return plan_with(MESSAGES.validate_python([*said, *self._begun]))

        whole, length = plan(0), served.info.context_length
        if not self._turns or whole.count_prompt(served) <= length * FULL:
            return whole
        low, high = 1, len(self._turns)
        while low < high:
            middle = (low + high) // 2
            if plan(middle).count_prompt(served) <= length * SHORTENED:
                high = middle
            else:
                low = middle + 1
        self._behind = self._turns[low - 1].seq
        return plan(low)

    def keep(self, completion: Mapping[str, Any]) -> Mapping[str, bool] | None:
        """Keep the turn with its answer, the first one if there are several; say so where that fails."""
        from ..state.sessions import Change

        answer = _answer(completion["choices"][0]["message"])
        said = [*self._begun, *map(_text_only, self._sent), answer]
        settings, record = self._context.services.settings, self._context.record
        try:
            self._sessions.change(
                self._key,
                Change(said, self._instead_of, self._behind),
                max_messages=settings.session_messages,
                user=self._body.user,
                safety_identifier=self._body.safety_identifier,
                named_by_user=self._by_user,
            )
        except StoreUnavailable:
            # The client has its answer nevertheless.
            record.ignored.append("session")
            return NOT_STORED
        return None

    def _before(
        self, turns: tuple[Turn, ...]
    ) -> tuple[tuple[Turn, ...], list[dict[str, Any]], int | None]:
        """The turns that precede what is sent; the beginning of the turn that it goes on with; the number of
        the first turn that this one stands for, None if it comes behind all."""
        history = [message for turn in turns for message in turn.messages]
        left = preceding(history, self._sent)
        if left == len(history) and self._sent and self._sent[0]["role"] != "user" and turns:
            # Results of calls: they belong to the turn that made these.
            return turns[:-1], list(turns[-1].messages), turns[-1].seq
        for at, turn in enumerate(turns):
            if left < len(turn.messages):
                return turns[:at], list(turn.messages[:left]), turn.seq
            left -= len(turn.messages)
        return turns, [], None


def _answer(message: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in message.items() if name != "refusal"}


def _text_only(message: dict[str, Any]) -> dict[str, Any]:
    """A message without its pictures, sounds and files."""
    parts = message.get("content")
    if not isinstance(parts, list):
        return message
    kept = [part for part in parts if part["type"] not in MEDIA]
    return message | {"content": kept if len(kept) else ""}
