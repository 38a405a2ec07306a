"""A request as a turn of a session: what was said before is read, and what is said now is kept.

Used by the endpoints that answer chats, in all dialects; a session keeps its messages as chats have them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from ..errors import ContextLengthExceeded, StoreOff, StoreUnavailable
from ..generation.chat.messages import ChatMessage, behind_instructions, with_ids
from ..generation.chat.request import ChatCompletionRequest
from ..generation.chat.session_history import instructions, preceding
from ..generation.compaction import SUMMARY, Bounds, summarised
from ..generation.events import Events
from ..generation.plan import ChatPlan, Generation, Served
from ..generation.usage import UsageCount
from ..limits.rate_limits import short_user
from ..schemas import bad_request
from .context import SESSION_HEADER
from .idempotent_request import IdempotentRequest, ignore_key
from .storing import MEDIA, NOT_STORED

if TYPE_CHECKING:
    from ..state.sessions import SessionKey, Turn
    from .context import RequestContext

MAX_NAME = 256
FULL, SHORTENED = 7 / 8, 1 / 2
"""Of the context. A prompt that is longer than the first loses its oldest turns until it is no longer than
the second: many at once, so that the next prompts begin as this one does, and the engine's cache has that."""
MESSAGES = TypeAdapter(list[ChatMessage])


@dataclass(frozen=True, slots=True)
class Said:
    """What a request says."""

    messages: Sequence[Mapping[str, Any]]
    """As chats have them."""
    user: str | None = None
    safety_identifier: str | None = None

    @classmethod
    def in_chat(cls, body: ChatCompletionRequest) -> Said:
        """Raises InvalidRequest for what a session has no place for."""
        if body.continue_final_message:
            raise bad_request.unsupported("continue_final_message", "cannot be used in a session.")
        sent = body.model_dump(mode="json", include={"messages"}, exclude_unset=True)
        return cls(sent["messages"], body.user, body.safety_identifier)


class SessionTurn:
    """The turn of one request. Belongs to the thread that answers it."""

    def __init__(
        self,
        context: RequestContext,
        key: SessionKey,
        said: Said,
        *,
        by_user: bool,
        request: IdempotentRequest[Turn] | None,
    ) -> None:
        """`by_user`: the user gives the session its name. `request`: the turn is the answer to it.

        Raises StoreOff, StoreUnavailable."""
        self._context, self._key, self._said, self._by_user = context, key, said, by_user
        self._request = request
        self._sessions = context.services.store.sessions
        self._sent = said.messages[instructions(said.messages) :]
        self._turns, self._begun, self._instead_of = self._before(self._sessions.turns(key))
        self._behind = 0
        self._left_out: tuple[Turn, ...] = ()
        self._summary: dict[str, str] | None = None
        """Stands for the turns that are left out."""

    @classmethod
    def of_chat(
        cls, context: RequestContext, body: ChatCompletionRequest, served: Served
    ) -> SessionTurn | None:
        """None for a chat that asks for no session: by a header or, if the operator says so, by its user."""
        name, by_user = session_asked_for(context), False
        if name is None:
            may = context.services.store.keeps and context.record.caller.stores
            if served.settings.sessions != "user" or not body.user or not may:
                return None
            name, by_user = short_user(body.user), True
        if not body.store:
            ignore_key(context)
        return cls.in_session(context, Said.in_chat(body), served, name, by_user=by_user)

    @classmethod
    def in_session(
        cls,
        context: RequestContext,
        said: Said,
        served: Served,
        name: str,
        *,
        by_user: bool = False,
        request: IdempotentRequest[Turn] | None = None,
    ) -> SessionTurn:
        """A turn of the session with this name."""
        from ..state.sessions import SessionKey  # with the database's library

        agent = "" if served.agent is None else served.agent.name
        key = SessionKey(context.record.caller.owner, agent, name)
        return cls(context, key, said, by_user=by_user, request=request)

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
        self._left_out, self._turns = self._turns[:low], self._turns[low:]
        self._plan_with = plan_with
        return plan(0)

    def start(self, plan: ChatPlan, served: Served, usage: UsageCount | None = None) -> Generation:
        """Start the answer. Where turns are left out the model summarises them first, which is counted too.

        Raises InvalidRequest."""
        if not self._left_out or served.settings.session_bound != "summary":
            return plan.start(served, usage)
        plan.start(served).events.close()  # raises what is wrong before anything is generated
        usage = UsageCount(plan.asked.n, self._context.record) if usage is None else usage
        return Generation(self._behind_summary(plan, served, usage), served.info, usage)

    def _behind_summary(self, plan: ChatPlan, served: Served, usage: UsageCount) -> Events:
        said = MESSAGES.validate_python([m for turn in self._left_out for m in turn.messages])
        talk = tuple(with_ids(behind_instructions((), said)))
        try:
            summary = yield from summarised(
                replace(plan, messages=lambda _: talk), served, Bounds.of(served), usage
            )
        except ContextLengthExceeded:
            summary = ""
        usage.set_aside()
        if summary:
            self._summary = {"role": "user", "content": SUMMARY + summary}
            kept = [message for turn in self._turns for message in turn.messages]
            earlier = [self._summary, *kept, *self._begun]
            plan = self._plan_with(MESSAGES.validate_python(earlier))
        yield from plan.start(served, usage).events

    def keep_chat(self, completion: Mapping[str, Any]) -> Mapping[str, bool] | None:
        """Keep the turn with its answer, the first one if there are several; say so where that fails."""
        return None if self.keep([completion["choices"][0]["message"]]) else NOT_STORED

    def keep(self, answers: Sequence[Mapping[str, Any]]) -> bool:
        """Keep the turn with its answer, in messages as chats have them; whether that worked."""
        from ..state.sessions import Change

        said = [*self._begun, *map(_text_only, self._sent), *map(_answer, answers)]
        settings, record = self._context.services.settings, self._context.record
        try:
            self._sessions.change(
                self._key,
                Change(said, self._instead_of, self._behind, self._summary),
                max_messages=settings.session_messages,
                user=self._said.user,
                safety_identifier=self._said.safety_identifier,
                named_by_user=self._by_user,
                claim=None if self._request is None else self._request.claim,
            )
        except StoreUnavailable:
            # The client has its answer nevertheless.
            record.ignored.append("session")
            return False
        if self._request is not None:
            self._request.settle()
        return True

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


def session_asked_for(context: RequestContext) -> str | None:
    """The name of the session that a header asks for; None if none does. Raises StoreOff, InvalidRequest."""
    name = context.session_header
    if name is None or context.services.settings.sessions == "off":
        return None
    if not (context.services.store.keeps and context.record.caller.stores):
        raise StoreOff
    if len(name) > MAX_NAME:
        raise bad_request.wrong_length(SESSION_HEADER, "string", len(name), low=1, high=MAX_NAME)
    return name


def _answer(message: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in message.items() if name != "refusal"}


def _text_only(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """A message without its pictures, sounds and files."""
    parts = message.get("content")
    if not isinstance(parts, list):
        return message
    kept = [part for part in parts if part["type"] not in MEDIA]
    return {**message, "content": kept if len(kept) else ""}
