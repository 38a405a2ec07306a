"""Responses: answer a conversation as items. Reference: "Responses". Nothing is kept yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from .dialects.responses.conversation import to_messages
from .dialects.responses.errors import envelope_of
from .dialects.responses.request import InputTokensRequest, PromptFields, ResponsesRequest
from .dialects.responses.response import InputTokens, Response, ResponseEvent
from .dialects.responses.truncation import Placed, fitting
from .dialects.responses.writer import ResponseFold, ResponseWriter, response_events
from .errors import ErrorEnvelope
from .generation.plan import Asked, ChatPlan, Served, asked_of, asked_of_prompt
from .web.responses import response as web
from .web.responses.dialects import Dialect
from .web.responses.sse import DataEvents, NamedEvents
from .web.responses.streaming import respond
from .web.routing.routes import MODEL, PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .web.context import RequestContext


def create_response(context: RequestContext, body: ResponsesRequest) -> web.Response:
    """Answer the conversation with text, thoughts and calls."""
    body.check_input()
    served = context.serve(body.model, body.timeout)
    if body.service_tier == "flex":
        context.priority = "batch"
    body = served.settled(body)
    asked = asked_of(body, alternatives="top_logprobs", logprobs="top_logprobs")
    plan = _fitting(body, _plan(body, asked, served), served, context.record.ignored)
    generation = plan.start(served)
    writer = ResponseWriter(generation, body, plan.tools.custom)
    events = response_events(generation, writer)
    return respond(context, events, stream=bool(body.stream), fold=ResponseFold(), telling=writer)


def count_input_tokens(context: RequestContext, body: InputTokensRequest) -> web.Response:
    """Count the tokens of the prompt that a response with these fields would have."""
    body.check_input()
    served = context.serve(body.model, None)
    plan = _plan(body, asked_of_prompt(body), served)
    counted: InputTokens = {
        "object": "response.input_tokens",
        "input_tokens": plan.count_prompt(served),
    }
    return web.json_response(counted)


def _plan(body: PromptFields, asked: Asked, served: Served) -> ChatPlan:
    """The request in no dialect's words. Raises InvalidRequest for what contradicts itself or cannot be."""
    return ChatPlan(
        asked,
        partial(to_messages, body.instructions, list(enumerate(body.items))),
        tools=body.tool_plan,
        thinking=body.thinking_plan(served.info, served.thinking_budgets),
        about_text=asked.grammar_param.startswith("text"),
    )


def _fitting(body: PromptFields, plan: ChatPlan, served: Served, ignored: list[str]) -> ChatPlan:
    """The plan without the items that do not fit, where the request allows that; they are named."""
    if body.truncation != "auto":
        return plan

    def with_items(items: Sequence[Placed]) -> ChatPlan:
        return replace(plan, messages=partial(to_messages, body.instructions, items))

    def fits(items: Sequence[Placed]) -> bool:
        return with_items(items).count_prompt(served) < served.info.context_length

    placed = list(enumerate(body.items))
    kept = fitting(placed, fits)
    left = {at for at, _ in placed} - {at for at, _ in kept}
    ignored += [f"input[{at}]" for at in sorted(left)]
    return with_items(kept) if left else plan


RESPONSES = Dialect(
    NamedEvents(
        frozenset({"response.completed", "response.incomplete", "response.failed"}),
        end=DataEvents.end,
    ),
    envelope_of,
    ErrorEnvelope,
)
ROUTES = endpoint(
    "responses",
    Route(
        "POST",
        "/responses",
        create_response,
        "Create a model response",
        PathPrefixes.API,
        answer=Response,
        body=ResponsesRequest,
        chunk=ResponseEvent,
        scope="write",
        example={"model": MODEL, "input": "What can you do?"},
    ),
    Route(
        "POST",
        "/responses/input_tokens",
        count_input_tokens,
        "Get input token counts",
        PathPrefixes.API,
        answer=InputTokens,
        body=InputTokensRequest,
        scope="write",
        example={"model": MODEL, "input": "What can you do?"},
    ),
    dialect=RESPONSES,
)
