"""Responses: answer a conversation as items; store, show and delete answers. Reference: "Responses"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

import orjson

from .dialects.responses.compaction import Compaction, compacted_conversation, compacted_events
from .dialects.responses.conversation import answered, to_messages
from .dialects.responses.errors import envelope_of
from .dialects.responses.request import (
    CompactRequest,
    InputItemsQuery,
    InputTokensRequest,
    ListQuery,
    PromptFields,
    ResponseQuery,
    ResponsesRequest,
)
from .dialects.responses.response import (
    CompactedConversation,
    DeletedResponse,
    InputItems,
    InputTokens,
    Response,
    ResponseEvent,
    ResponseList,
)
from .dialects.responses.truncation import Placed, fitting
from .dialects.responses.writer import (
    ResponseEvents,
    ResponseFold,
    ResponseWriter,
    response_events,
)
from .errors import ErrorEnvelope
from .generation.chat.session_history import as_said
from .generation.plan import Asked, ChatPlan, Generation, Served, asked_of, asked_of_prompt
from .generation.usage import UsageCount
from .schemas import bad_request
from .web.background_response import BackgroundResponse, Found, cancel, find, follow_stored
from .web.context import SESSION_HEADER
from .web.conversation_lock import ConversationLock
from .web.idempotent_request import IdempotentRequest, ignore_key, sent_again
from .web.lists import list_of, page_of
from .web.responses import response as web
from .web.responses.dialects import Dialect
from .web.responses.sse import DataEvents, NamedEvents
from .web.responses.streaming import OnComplete, OneChunk, respond
from .web.routing.routes import MODEL, PathPrefixes, Route, endpoint
from .web.session_in_dialect import in_session
from .web.session_turn import SessionTurn, session_asked_for
from .web.stored_conversation import StoredConversation, all_of, content_seal

if TYPE_CHECKING:
    from .web.context import RequestContext


def create_response(context: RequestContext, body: ResponsesRequest) -> web.Response:
    """Answer the conversation with text, thoughts and calls."""
    body.check_input()
    _check_session(context, body)
    request = _idempotent(context, body)
    if request is not None and request.earlier is not None:
        stored, _ = request.earlier
        context.record.answer = stored.id
        return sent_again(_shown(context, request.earlier, stream=bool(body.stream)))
    if body.conversation_id is None or not context.services.store.keeps:
        return _create(context, body, StoredConversation(context, body, request))
    lock = ConversationLock(context, body.conversation_id)
    try:
        return _create(context, body, StoredConversation(context, body, request, lock))
    except BaseException:
        lock.close()
        raise


def list_responses(context: RequestContext, query: ListQuery) -> web.Response:
    """The stored responses of the caller, the latest first. Not OpenAI's."""
    page = context.store.responses.listed(context.record.caller.owner, query.page)
    return web.json_response(list_of(page.map(lambda stored: orjson.loads(stored.response))))


def get_response(context: RequestContext, query: ResponseQuery, response_id: str) -> web.Response:
    """One stored response, or the events that it is or was streamed in; 404 for one that was not stored, is
    deleted, or is another key's."""
    found = find(context, response_id)
    if query.starting_after is not None and not query.stream:
        context.record.ignored.append("starting_after")
    return _shown(context, found, stream=bool(query.stream), after=query.starting_after)


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


def compact_conversation(context: RequestContext, body: CompactRequest) -> web.Response:
    """Let the model summarise a conversation, and answer with items to go on from in its place."""
    body.check_input()
    conversation = StoredConversation(context, body)
    served = context.serve(body.model, None)
    if body.service_tier == "flex":
        context.priority = "batch"
    plan = _plan(body, conversation.items, asked_of_prompt(body), served)
    compaction = Compaction.of_all(partial(_with_items, body, plan), conversation.items, served)
    usage = UsageCount(1, context.record)
    seal = content_seal(context).conversation
    events = compacted_conversation(compaction, usage, seal)
    return respond(context, events, stream=False, fold=OneChunk[CompactedConversation]())


def count_input_tokens(context: RequestContext, body: InputTokensRequest) -> web.Response:
    """Count the tokens of the prompt that a response with these fields would have."""
    body.check_input()
    _check_session(context, body)
    conversation = StoredConversation(context, body)
    served = context.serve(body.model, None)
    plan = _plan(body, conversation.items, asked_of_prompt(body), served)
    plan, _ = _in_session(context, body, plan, served)
    counted: InputTokens = {
        "object": "response.input_tokens",
        "input_tokens": plan.count_prompt(served),
    }
    return web.json_response(counted)


def _idempotent(context: RequestContext, body: ResponsesRequest) -> IdempotentRequest[Found] | None:
    """The request with its `Idempotency-Key`, if the response is to be stored."""
    if body.store is not False:
        return IdempotentRequest(context, body, partial(find, context))
    if body.conversation_id is not None:
        ignore_key(context)  # there will be no response to answer with again
    return None


def _shown(
    context: RequestContext, found: Found, *, stream: bool, after: int | None = None
) -> web.Response:
    """A response as it is now, or the events that it is or was streamed in, behind this one."""
    stored, running = found
    if not stream:
        return web.json_response(orjson.loads(stored.response))
    after = -1 if after is None else after
    if running is not None and running.is_streamed:
        return running.follow(context, after)
    if stored.events is None:
        raise bad_request.unsupported("stream", "is not possible: there are no events of it.")
    return follow_stored(context, stored, after)


def _create(
    context: RequestContext, body: ResponsesRequest, conversation: StoredConversation
) -> web.Response:
    """Plan the answer, and begin it."""
    served = context.serve(body.model, body.timeout)
    if body.service_tier == "flex":
        context.priority = "batch"
    body = served.settled(body)
    asked = asked_of(body, alternatives="top_logprobs", logprobs="top_logprobs")
    plan = _plan(body, conversation.items, asked, served)
    plan, turn = _in_session(context, body, plan, served)
    return _answer(context, body, plan, conversation, served, turn)


def _answer(
    context: RequestContext,
    body: ResponsesRequest,
    plan: ChatPlan,
    conversation: StoredConversation,
    served: Served,
    turn: SessionTurn | None,
) -> web.Response:
    """Answer with the events of a generation, or let them go on in the background."""
    usage, seal = UsageCount(1, context.record), content_seal(context)

    def start(items: Sequence[Placed]) -> Generation:
        if turn is not None:
            return turn.start(plan, served, usage)
        fitting = _fitting(body, plan, items, served, context.record.ignored)
        return fitting.start(served, usage)

    compaction = None
    if turn is None:
        compaction = _compaction(body, plan, conversation.items, served)
    events_of: Callable[[ResponseWriter], ResponseEvents]
    if compaction is None:
        events_of = partial(response_events, start(conversation.items))
    else:
        then = None if body.asks_for_compaction else start
        events_of = partial(
            compacted_events, compaction, usage, seal.conversation, conversation.items, then
        )
    store = conversation.stores(body)
    sealed = "reasoning.encrypted_content" in (body.include or ())
    writer = ResponseWriter(
        usage,
        served.info,
        body,
        plan.tools.custom,
        store=store,
        record=conversation.record,
        seal=seal.thought if sealed else None,
    )
    events = events_of(writer)
    if body.background:
        return BackgroundResponse(context, body, events, writer, conversation).answer()
    return respond(
        context,
        events,
        stream=bool(body.stream),
        fold=ResponseFold(),
        on_complete=_keeping(conversation.keeping(body, store=store), turn, body),
        telling=writer,
    )


def _check_session(context: RequestContext, body: PromptFields) -> None:
    """Raises InvalidRequest for a request of a session that goes on from something else, or whose answer has
    no end that its client waits for."""
    if session_asked_for(context) is not None:
        for other in ("previous_response_id", "conversation", "background"):
            if getattr(body, other, None):
                raise bad_request.conflicting(SESSION_HEADER, other)
        if body.asks_for_compaction:
            raise bad_request.conflicting(SESSION_HEADER, "input")


def _in_session(
    context: RequestContext, body: PromptFields, plan: ChatPlan, served: Served
) -> tuple[ChatPlan, SessionTurn | None]:
    """The plan with what its session has before it, if a header asks for one."""
    said = {name: getattr(body, name, None) for name in ("user", "safety_identifier")}
    stored = getattr(body, "store", None) is not False
    plan, turn = in_session(context, plan, served, **said, stored=stored)
    if turn is not None:  # the session leaves out its oldest turns
        asked = {"truncation": body.truncation == "auto"}
        asked["context_management"] = bool(getattr(body, "context_management", None))
        context.record.ignored += [name for name, is_asked in asked.items() if is_asked]
    return plan, turn


def _keeping(
    store: OnComplete[Response] | None, turn: SessionTurn | None, body: ResponsesRequest
) -> OnComplete[Response] | None:
    """What is to be done with the whole response; None: nothing."""
    if turn is None:
        return store

    def keep(response: Response) -> None:
        if store is not None:
            store(response)
        said = answered(response, body.tool_names)
        if not turn.keep([as_said(message) for message in said]):
            response["store"] = False

    return keep


def _plan(body: PromptFields, items: Sequence[Placed], asked: Asked, served: Served) -> ChatPlan:
    """The request in no dialect's words. Raises InvalidRequest for what contradicts itself or cannot be."""
    return ChatPlan(
        asked,
        partial(to_messages, body.instructions, items, names=body.tool_names),
        tools=body.tool_plan(served.tools_for(body.tools)),
        thinking=body.thinking_plan(served.info, served.thinking_budgets),
        about_text=asked.grammar_param.startswith("text"),
    )


def _with_items(body: PromptFields, plan: ChatPlan, items: Sequence[Placed]) -> ChatPlan:
    """The plan for other items."""
    return replace(
        plan, messages=partial(to_messages, body.instructions, items, names=body.tool_names)
    )


def _fitting(
    body: PromptFields,
    plan: ChatPlan,
    items: Sequence[Placed],
    served: Served,
    ignored: list[str],
) -> ChatPlan:
    """The plan without the items that do not fit, where the request allows that; they are named."""
    plan_of = partial(_with_items, body, plan)
    if body.truncation != "auto":
        return plan_of(items)

    def fits(items: Sequence[Placed]) -> bool:
        return plan_of(items).count_prompt(served) < served.info.context_length

    kept = fitting(items, fits)
    left = Counter(where for where, _ in items) - Counter(where for where, _ in kept)
    ignored += left
    return plan_of(kept)


def _compaction(
    body: ResponsesRequest, plan: ChatPlan, items: Sequence[Placed], served: Served
) -> Compaction | None:
    """How the conversation is to be made shorter; None: it stays as it is."""
    plan_of = partial(_with_items, body, plan)
    if body.asks_for_compaction:
        return Compaction.of_all(plan_of, items[:-1], served)
    if not body.context_management:
        return None
    threshold = body.context_management[0].compact_threshold
    return Compaction.of_long(plan_of, items, served, threshold)


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
        once=True,
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
        usage=None,
        example={"model": MODEL, "input": "What can you do?"},
    ),
    Route(
        "POST",
        "/responses/compact",
        compact_conversation,
        "Compact a response",
        PathPrefixes.API,
        answer=CompactedConversation,
        body=CompactRequest,
        scope="write",
        example={"model": MODEL, "input": "What can you do?"},
    ),
    Route(
        *("GET", "/responses", list_responses, "List model responses"),
        PathPrefixes.API,
        answer=ResponseList,
        query=ListQuery,
    ),
    Route(
        *("GET", ONE, get_response, "Get a model response"),
        PathPrefixes.API,
        beside=True,
        answer=Response,
        query=ResponseQuery,
        chunk=ResponseEvent,
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
        beside=True,
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
