"""Sessions of requests that are no chats: Messages and Responses, where a header asks for one.

Their conversations are translated for the engine in any case; what comes of that is compared with what the
session has, and kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ..engines.protocol import Message
from ..generation.chat.messages import ChatMessage, behind_instructions, with_ids
from ..generation.chat.session_history import as_said
from ..schemas import bad_request
from .idempotent_request import ignore_key
from .session_turn import Said, SessionTurn, session_asked_for

if TYPE_CHECKING:
    from ..generation.plan import ChatPlan, Served
    from .context import RequestContext


def in_session(
    context: RequestContext,
    plan: ChatPlan,
    served: Served,
    *,
    user: str | None,
    safety_identifier: str | None = None,
    stored: bool = False,
) -> tuple[ChatPlan, SessionTurn | None]:
    """The plan with what the session has before it, and the turn that it is; the plan as it is if no header
    asks for a session. `stored`: the answer is stored as well, with the request's idempotency key.

    Raises InvalidRequest, StoreOff, StoreUnavailable."""
    name = session_asked_for(context)
    if name is None:
        return plan, None
    if not stored:
        ignore_key(context)
    if plan.continues:
        raise bad_request.unsupported(
            "messages", "end with one of the assistant's, which cannot be continued in a session."
        )
    own = plan.messages(served.media_reader)
    said = Said([as_said(message) for message in own], user, safety_identifier)
    turn = SessionTurn.in_session(context, said, served, name)
    return turn.fitting(partial(_behind, plan, own), served), turn


def _behind(plan: ChatPlan, own: Sequence[Message], earlier: Sequence[ChatMessage]) -> ChatPlan:
    """The plan with earlier messages before its own, which were translated already."""
    messages = tuple(with_ids(behind_instructions(own, earlier)))
    return replace(plan, messages=lambda _: messages)
