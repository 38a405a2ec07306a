"""Messages: answer a conversation for Anthropic's clients. Reference: Anthropic's "Messages"."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from .dialects.messages.conversation import ThoughtsBack, answered, to_messages
from .dialects.messages.errors import OVERLOADED, AnthropicError, envelope_of, status_of
from .dialects.messages.message import AnthropicMessage, MessageEvent, TokenCount
from .dialects.messages.request import ConversationFields, CountTokensRequest, MessagesRequest
from .dialects.messages.signatures import ThoughtSigner
from .dialects.messages.writer import MessageFold, MessageWriter, message_events
from .generation.chat.session_history import as_said
from .generation.plan import Asked, ChatPlan, Served, asked_of, asked_of_prompt
from .models import ANTHROPIC_HEADER
from .state.keyring import keyring_of
from .web.responses.dialects import Dialect
from .web.responses.response import Response, json_response
from .web.responses.sse import NamedEvents
from .web.responses.streaming import respond
from .web.routing.routes import MODEL, PathPrefixes, Route, endpoint
from .web.session_in_dialect import in_session
from .web.session_turn import SessionTurn
from .web.storing import NOT_STORED

if TYPE_CHECKING:
    from .web.context import RequestContext


def create_message(context: RequestContext, body: MessagesRequest) -> Response:
    """Answer the conversation; a last message of the assistant's is continued."""
    served = context.serve(body.model, body.timeout)
    body = served.settled(body)
    thoughts = _thoughts_of(context)
    asked = asked_of(body, alternatives="n_probs", logprobs="n_probs")
    plan = _plan(body, asked, served, thoughts)
    plan, turn = in_session(context, plan, served, user=body.end_user)
    generation = plan.start(served) if turn is None else turn.start(plan, served)
    writer = MessageWriter(
        generation,
        thoughts.signer,
        max_tokens=body.max_tokens,
        stops=body.stops,
        hides_thoughts=body.hides_thoughts,
    )
    events = message_events(generation, writer)
    # mypy infers no union of so many types.
    return respond(  # type: ignore[misc]
        context,
        events,
        stream=bool(body.stream),
        fold=MessageFold(),
        on_complete=None if turn is None else partial(_keep, turn),
    )


def count_message_tokens(context: RequestContext, body: CountTokensRequest) -> Response:
    """Count the tokens of the prompt that a message with these fields would have."""
    served = context.serve(body.model, None)
    plan = _plan(body, asked_of_prompt(body), served, _thoughts_of(context))
    plan, _ = in_session(context, plan, served, user=None)
    count: TokenCount = {"input_tokens": plan.count_prompt(served)}
    return json_response(count)


def _plan(
    body: ConversationFields, asked: Asked, served: Served, thoughts: ThoughtsBack
) -> ChatPlan:
    """The request in no dialect's words. Raises InvalidRequest for what contradicts itself or cannot be."""
    tools = body.tool_plan(served.tools)
    deferred = {tool.name: tool for tool in tools.shown if tool.name in tools.deferred}
    return ChatPlan(
        asked,
        partial(to_messages, body, deferred, thoughts),
        continues=body.messages[-1].role == "assistant",
        tools=tools,
        thinking=body.thinking_plan(served.info, served.thinking_budgets),
        about_text=asked.grammar_param.startswith("output_"),
    )


def _keep(turn: SessionTurn, message: AnthropicMessage) -> Mapping[str, bool] | None:
    """Keep the turn with its answer; say so where that fails."""
    return None if turn.keep([as_said(answered(message))]) else NOT_STORED


def _thoughts_of(context: RequestContext) -> ThoughtsBack:
    signer = ThoughtSigner(keyring_of(context.services.settings), context.record.caller.owner)
    return ThoughtsBack(signer, context.record.ignored)


ANTHROPIC = Dialect(
    NamedEvents(frozenset({"message_stop"}), b'event: ping\ndata: {"type":"ping"}\n\n'),
    envelope_of,
    AnthropicError,
    status_of,
    statuses={OVERLOADED: "As many requests wait as may wait."},
    head=lambda request_id: {"request-id": request_id, "anthropic-version": "2023-06-01"},
    client_header=ANTHROPIC_HEADER,
)
GREETING = {"role": "user", "content": "Hello"}
ROUTES = endpoint(
    "messages",
    Route(
        "POST",
        "/messages",
        create_message,
        "Create a message",
        PathPrefixes.API,
        answer=AnthropicMessage,
        body=MessagesRequest,
        chunk=MessageEvent,
        cached=True,
        scope="write",
        example={"model": MODEL, "max_tokens": 64, "messages": [GREETING]},
    ),
    Route(
        "POST",
        "/messages/count_tokens",
        count_message_tokens,
        "Count tokens in a message",
        PathPrefixes.API,
        answer=TokenCount,
        body=CountTokensRequest,
        scope="write",
        usage=None,
        example={"model": MODEL, "messages": [GREETING]},
    ),
    dialect=ANTHROPIC,
)
