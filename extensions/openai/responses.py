"""Responses: answer a conversation as items; store, show and delete answers. Reference: "Responses"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

import orjson

from .dialects.responses.conversation import to_messages
from .dialects.responses.errors import envelope_of
from .dialects.responses.event_record import recorded_events
from .dialects.responses.request import (
    InputItemsQuery,
    InputTokensRequest,
    PromptFields,
    ResponseQuery,
    ResponsesRequest,
)
from .dialects.responses.response import (
    DeletedResponse,
    InputItems,
    InputTokens,
    Response,
    ResponseEvent,
)
from .dialects.responses.truncation import Placed, fitting
from .dialects.responses.writer import ResponseFold, ResponseWriter, response_events
from .errors import ErrorEnvelope
from .generation.plan import Asked, ChatPlan, Generation, Served, asked_of, asked_of_prompt
from .schemas import bad_request
from .web.background_response import BackgroundResponse, cancel, find
from .web.lists import list_of, page_of
from .web.responses import response as web
from .web.responses.dialects import Dialect
from .web.responses.sse import DataEvents, NamedEvents
from .web.responses.streaming import respond
from .web.routing.routes import MODEL, PathPrefixes, Route, endpoint
from .web.stored_conversation import StoredConversation, all_of

if TYPE_CHECKING:
    from .web.context import RequestContext


def create_response(context: RequestContext, body: ResponsesRequest) -> web.Response:
    """Answer the conversation with text, thoughts and calls."""
    body.check_input()
    conversation = StoredConversation(context, body)
    served = context.serve(body.model, body.timeout)
    if body.service_tier == "flex":
        context.priority = "batch"
    body = served.settled(body)
    asked = asked_of(body, alternatives="top_logprobs", logprobs="top_logprobs")
    plan = _plan(body, conversation.items, asked, served)
    plan = _fitting(body, plan, conversation.items, served, context.record.ignored)
    generation = plan.start(served)
    return _answer(context, body, generation, plan.tools.custom, conversation)


def get_response(context: RequestContext, query: ResponseQuery, response_id: str) -> web.Response:
    """One stored response, or the events that it is or was streamed in; 404 for one that was not stored, is
    deleted, or is another key's."""
    stored, running = find(context, response_id)
    if query.stream:
        after = -1 if query.starting_after is None else query.starting_after
        if running is not None and running.is_streamed:
            return running.follow(context, after)
        if stored.events is None:
            raise bad_request.unsupported("stream", "is not possible: there are no events of it.")
        events = recorded_events(stored.events, after)
        # mypy infers no union of so many types.
        return respond(context, events, stream=True, fold=ResponseFold())  # type: ignore[misc]
    if query.starting_after is not None:
        raise bad_request.unsupported("starting_after", "is only allowed together with 'stream'.")
    return web.json_response(orjson.loads(stored.response))


def delete_response(context: RequestContext, response_id: str) -> web.Response:
    """Delete a stored response. What was said in it stays for the responses that go on from it."""
    _, running = find(context, response_id)
    context.services.store.responses.delete(context.record.caller.owner, response_id)
    if running is not None:
        running.stop()
    deleted: DeletedResponse = {"id": response_id, "object": "response", "deleted": True}
    return web.json_response(deleted)


def cancel_response(context: RequestContext, response_id: str) -> web.Response:
    """End a response that is made in the background. One that has ended stays as it is."""
    return cancel(context, response_id)


def list_input_items(
    context: RequestContext, query: InputItemsQuery, response_id: str
) -> web.Response:
    """What a response was made from: the items of the responses before it, then those of its request."""
    owner = context.record.caller.owner
    *before, last = context.services.store.responses.conversation(owner, response_id)
    items = [*chain.from_iterable(map(all_of, before)), *orjson.loads(last.input)]
    return web.json_response(list_of(page_of(items, query.page)))


def count_input_tokens(context: RequestContext, body: InputTokensRequest) -> web.Response:
    """Count the tokens of the prompt that a response with these fields would have."""
    body.check_input()
    conversation = StoredConversation(context, body)
    served = context.serve(body.model, None)
    plan = _plan(body, conversation.items, asked_of_prompt(body), served)
    counted: InputTokens = {
        "object": "response.input_tokens",
        "input_tokens": plan.count_prompt(served),
    }
    return web.json_response(counted)


def _answer(
    context: RequestContext,
    body: ResponsesRequest,
    generation: Generation,
    custom: frozenset[str],
    conversation: StoredConversation,
) -> web.Response:
    """Answer with the events of a generation, or let them go on in the background."""
    store = conversation.stores(body)
    writer = ResponseWriter(generation, body, custom, store=store, record=conversation.record)
    events = response_events(generation, writer)
    if body.background:
        return BackgroundResponse(context, body, events, writer, conversation).answer()
    return respond(
        context,
        events,
        stream=bool(body.stream),
        fold=ResponseFold(),
        on_complete=conversation.keeping(body, store=store),
        telling=writer,
    )


def _plan(body: PromptFields, items: Sequence[Placed], asked: Asked, served: Served) -> ChatPlan:
    """The request in no dialect's words. Raises InvalidRequest for what contradicts itself or cannot be."""
    return ChatPlan(
        asked,
        partial(to_messages, body.instructions, items),
        tools=body.tool_plan,
        thinking=body.thinking_plan(served.info, served.thinking_budgets),
        about_text=asked.grammar_param.startswith("text"),
    )


def _fitting(
    body: PromptFields,
    plan: ChatPlan,
    items: Sequence[Placed],
    served: Served,
    ignored: list[str],
) -> ChatPlan:
    """The plan without the items that do not fit, where the request allows that; they are named."""
    if body.truncation != "auto":
        return plan

    def with_items(items: Sequence[Placed]) -> ChatPlan:
        return replace(plan, messages=partial(to_messages, body.instructions, items))

    def fits(items: Sequence[Placed]) -> bool:
        return with_items(items).count_prompt(served) < served.info.context_length

    kept = fitting(items, fits)
    left = Counter(where for where, _ in items) - Counter(where for where, _ in kept)
    ignored += left
    return with_items(kept) if left else plan


RESPONSES = Dialect(
    NamedEvents(
        frozenset({"response.completed", "response.incomplete", "response.failed"}),
        end=DataEvents.end,
    ),
    envelope_of,
    ErrorEnvelope,
)
ONE = "/responses/<response_id>"
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
    Route(
        *("GET", ONE, get_response, "Get a model response"),
        PathPrefixes.API,
        answer=Response,
        query=ResponseQuery,
    ),
    Route(
        *("DELETE", ONE, delete_response, "Delete a model response"),
        PathPrefixes.API,
        answer=DeletedResponse,
        scope="write",
    ),
    Route(
        *("POST", f"{ONE}/cancel", cancel_response, "Cancel a response"),
        PathPrefixes.API,
        answer=Response,
        scope="write",
    ),
    Route(
        *("GET", f"{ONE}/input_items", list_input_items, "List input items"),
        PathPrefixes.API,
        answer=InputItems,
        query=InputItemsQuery,
    ),
    dialect=RESPONSES,
)
