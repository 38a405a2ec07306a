"""Stored chats: list, read, change, delete what was created with `store`. Reference: "Chat completions"."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import orjson
from pydantic import Field
from typing_extensions import NotRequired, TypedDict

from .dialects.chat_shapes import ChatCompletion
from .generation.chat.request import Metadata
from .schemas.validation import RequestModel
from .state.pages import Order, PageQuery
from .web.lists import list_of, page_of
from .web.responses.response import Response, json_response
from .web.routing.routes import PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .state.chat_completions import ChatCompletions
    from .state.stored_chat import StoredChat
    from .web.context import RequestContext

DEFAULT_PAGE, MAX_PAGE = 20, 100


class PartOfList(RequestModel):
    """Which part of a list to answer."""

    after: str | None = Field(None, description="The `id` that the page begins behind.")
    limit: int | None = Field(
        None, ge=1, le=MAX_PAGE, description="Objects on the page. Default 20."
    )
    order: Order | None = Field(
        None, description="`asc`: in the order in which they were stored (default); or `desc`."
    )

    @property
    def page(self) -> PageQuery:
        return PageQuery(self.after, self.limit or DEFAULT_PAGE, self.order or "asc")


class ListQuery(PartOfList):
    """The filters of the list."""

    model: str | None = Field(None, description="Answered by this model only.")
    metadata: Metadata | None = Field(
        None, description="With these pairs among their metadata: `metadata[key]=value`."
    )


class MetadataUpdate(RequestModel):
    """What may be changed of a stored chat."""

    metadata: Metadata | None = Field(
        description="Takes the place of all that was there; null is none."
    )


class StoredCompletion(ChatCompletion):
    """A chat completion, with what its request asked for."""

    request_id: str
    tool_choice: Any
    seed: int | None
    top_p: float | None
    temperature: float | None
    presence_penalty: float | None
    frequency_penalty: float | None
    input_user: str | None
    tools: list[dict[str, Any]] | None
    response_format: dict[str, Any] | None


class StoredMessage(TypedDict):
    """A message that was sent, or that is an answer."""

    id: str
    role: str
    content: str | None
    """Null where it was sent as parts, and where there are only calls."""
    content_parts: list[dict[str, Any]] | None
    name: str | None
    refusal: str | None
    tool_calls: NotRequired[list[dict[str, Any]]]
    tool_call_id: NotRequired[str | None]
    function_call: NotRequired[dict[str, Any]]
    reasoning_content: NotRequired[str]


class CompletionList(TypedDict):
    """A page of stored chats; the ids are empty texts on an empty page."""

    object: Literal["list"]
    data: list[StoredCompletion]
    first_id: str
    last_id: str
    has_more: bool


class MessageList(TypedDict):
    """A page of the messages of one chat: what was sent, then what was answered."""

    object: Literal["list"]
    data: list[StoredMessage]
    first_id: str
    last_id: str
    has_more: bool


class Deleted(TypedDict):
    """The chat is deleted."""

    object: Literal["chat.completion.deleted"]
    id: str
    deleted: bool


def list_chat_completions(context: RequestContext, query: ListQuery) -> Response:
    """The chats that the caller's key has stored."""
    found = _stored(context).list(
        _owner(context), query.page, model=query.model, metadata=query.metadata
    )
    return json_response(list_of(found.map(_shown)))


def get_chat_completion(context: RequestContext, completion_id: str) -> Response:
    """One stored chat; 404 for one that was not stored, is deleted, or is another key's."""
    return json_response(_shown(_stored(context).get(_owner(context), completion_id)))


def update_chat_completion(
    context: RequestContext, body: MetadataUpdate, completion_id: str
) -> Response:
    """Change the metadata, and nothing else."""
    changed = _stored(context).set_metadata(_owner(context), completion_id, body.metadata or {})
    return json_response(_shown(changed))


def delete_chat_completion(context: RequestContext, completion_id: str) -> Response:
    """Delete a stored chat for good."""
    _stored(context).delete(_owner(context), completion_id)
    answer: Deleted = {
        "object": "chat.completion.deleted",
        "id": completion_id,
        "deleted": True,
    }
    return json_response(answer)


def list_chat_completion_messages(
    context: RequestContext, query: PartOfList, completion_id: str
) -> Response:
    """The messages that were sent, and those of the answers, each with an id."""
    chat = _stored(context).get(_owner(context), completion_id)
    messages = [_message(id, message) for id, message in chat.said().items()]
    return json_response(list_of(page_of(messages, query.page)))


def _stored(context: RequestContext) -> ChatCompletions:
    return context.services.store.chat_completions


def _owner(context: RequestContext) -> str:
    return context.record.caller.owner


def _shown(chat: StoredChat) -> StoredCompletion:
    completion: StoredCompletion = orjson.loads(chat.completion)
    completion["metadata"] = dict(chat.metadata)
    return completion


def _message(id: str, message: dict[str, Any]) -> StoredMessage:
    content = message.get("content")
    as_parts = isinstance(content, list)
    shown: StoredMessage = {
        "id": id,
        "role": message["role"],
        "content": None if as_parts else content,
        "content_parts": content if as_parts else None,
        "name": message.get("name"),
        "refusal": message.get("refusal"),
    }
    if message.get("tool_calls"):
        shown["tool_calls"] = [_call(call) for call in message["tool_calls"]]
    if message.get("function_call"):
        shown["function_call"] = _function(message["function_call"])
    if "tool_call_id" in message:
        shown["tool_call_id"] = message["tool_call_id"]
    if message.get("reasoning_content"):
        shown["reasoning_content"] = message["reasoning_content"]
    return shown


def _call(call: dict[str, Any]) -> dict[str, Any]:
    """A call as the reference has it; clients leave out what is clear."""
    full = {**call, "id": call.get("id") or "", "type": call.get("type", "function")}
    if "function" in full:
        full["function"] = _function(full["function"])
    return full


def _function(function: dict[str, Any]) -> dict[str, Any]:
    arguments = function.get("arguments") or ""
    if not isinstance(arguments, str):
        arguments = orjson.dumps(arguments).decode()
    return {**function, "arguments": arguments}


ONE = "/chat/completions/<completion_id>"

ROUTES = endpoint(
    "stored_chats",
    Route(
        *("GET", "/chat/completions", list_chat_completions, "List stored chat completions"),
        PathPrefixes.API,
        answer=CompletionList,
        query=ListQuery,
    ),
    Route(
        *("GET", ONE, get_chat_completion, "Get a stored chat completion"),
        PathPrefixes.API,
        answer=StoredCompletion,
    ),
    Route(
        *("POST", ONE, update_chat_completion, "Update a stored chat completion"),
        PathPrefixes.API,
        answer=StoredCompletion,
        body=MetadataUpdate,
        scope="write",
        example={"metadata": {"topic": "greeting"}},
    ),
    Route(
        *("DELETE", ONE, delete_chat_completion, "Delete a stored chat completion"),
        PathPrefixes.API,
        answer=Deleted,
        scope="write",
    ),
    Route(
        *("GET", f"{ONE}/messages", list_chat_completion_messages, "List its messages"),
        PathPrefixes.API,
        answer=MessageList,
        query=PartOfList,
    ),
)
