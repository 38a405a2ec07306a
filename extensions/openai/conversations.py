"""Conversations: items that are kept together, and that responses go on from. Reference: "Conversations"."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

from .dialects.responses.items import AnyItem, InputItem, ItemReference
from .dialects.responses.request import Include, InputItemsQuery, ListQuery
from .dialects.responses.stored_items import to_store
from .generation.chat.request import Metadata
from .schemas import bad_request
from .schemas.validation import RequestModel
from .state.pages import Page
from .web.idempotent_request import stored_once
from .web.lists import list_of
from .web.responses.response import Response, json_response
from .web.routing.routes import PathPrefixes, Route, endpoint
from .web.stored_conversation import content_seal

if TYPE_CHECKING:
    from .state.conversations import Conversation
    from .state.idempotency import Claim
    from .web.context import RequestContext

MAX_ITEMS = 20
"""Of one request."""


class NewConversation(RequestModel):
    """Create a conversation."""

    items: list[InputItem] | None = Field(
        None, max_length=MAX_ITEMS, description="What it begins with."
    )
    metadata: Metadata | None = None


class ConversationUpdate(RequestModel):
    """What may be changed of a conversation."""

    metadata: Metadata | None = Field(
        description="Takes the place of all that was there; null is none."
    )


class NewItems(RequestModel):
    """Add items to a conversation."""

    items: list[InputItem] = Field(
        min_length=1, max_length=MAX_ITEMS, description="What is put behind all that is there."
    )


class ItemQuery(RequestModel):
    """How an item is to be answered."""

    include: list[Include] | None = Field(None, description="Taken and without effect.")


class ConversationObject(TypedDict):
    """A conversation, without its items."""

    id: str
    object: Literal["conversation"]
    created_at: int
    metadata: dict[str, str]


class DeletedConversation(TypedDict):
    """The conversation is deleted."""

    id: str
    object: Literal["conversation.deleted"]
    deleted: bool


class ConversationItems(TypedDict):
    """A page of items; the ids are empty texts on an empty page."""

    object: Literal["list"]
    data: list[dict[str, Any]]
    first_id: str
    last_id: str
    has_more: bool


class ConversationList(TypedDict):
    """A page of conversations; the ids are empty texts on an empty page."""

    object: Literal["list"]
    data: list[ConversationObject]
    first_id: str
    last_id: str
    has_more: bool


def create_conversation(context: RequestContext, body: NewConversation) -> Response:
    """Begin a conversation, which is kept until it is deleted."""
    stored, owner = context.store.conversations, _owner(context)

    def create(claim: Claim | None) -> Conversation:
        id, items = "conv_" + secrets.token_hex(24), _to_store(context, body.items or ())
        return stored.create(owner, id, body.metadata or {}, items, claim=claim)

    return stored_once(context, body, create, partial(stored.get, owner), _shown)


def list_conversations(context: RequestContext, query: ListQuery) -> Response:
    """The conversations of the caller, the latest first. Not OpenAI's."""
    page = context.store.conversations.listed(_owner(context), query.page)
    return json_response(list_of(page.map(_shown)))


def get_conversation(context: RequestContext, conversation_id: str) -> Response:
    """One conversation; 404 for one that is deleted, or is another key's."""
    return json_response(_shown(context.store.conversations.get(_owner(context), conversation_id)))


def update_conversation(
    context: RequestContext, body: ConversationUpdate, conversation_id: str
) -> Response:
    """Change the metadata, and nothing else."""
    metadata = body.metadata or {}
    changed = context.store.conversations.set_metadata(_owner(context), conversation_id, metadata)
    return json_response(_shown(changed))


def delete_conversation(context: RequestContext, conversation_id: str) -> Response:
    """Delete a conversation and its items. Responses that were made in it stay."""
    context.store.conversations.delete(_owner(context), conversation_id)
    deleted: DeletedConversation = {
        "id": conversation_id,
        "object": "conversation.deleted",
        "deleted": True,
    }
    return json_response(deleted)


def list_items(context: RequestContext, query: InputItemsQuery, conversation_id: str) -> Response:
    """The items of a conversation, the latest first."""
    page = context.store.conversations.page(_owner(context), conversation_id, query.page)
    return json_response(list_of(page))


def create_items(context: RequestContext, body: NewItems, conversation_id: str) -> Response:
    """Put items behind those that are there: all of them, or none."""
    stored, owner, id = context.store.conversations, _owner(context), conversation_id
    stored.get(owner, id)  # a key lives on where the conversation is deleted

    def add(claim: Claim | None) -> Sequence[Mapping[str, Any]]:
        return stored.add(owner, id, _to_store(context, body.items), claim=claim)

    added_before = partial(stored.added, owner, id)
    return stored_once(context, body, add, added_before, _listed, path_id=id)


def get_item(
    context: RequestContext, query: ItemQuery, conversation_id: str, item_id: str
) -> Response:
    """One item of a conversation."""
    return json_response(
        context.store.conversations.item(_owner(context), conversation_id, item_id)
    )


def delete_item(context: RequestContext, conversation_id: str, item_id: str) -> Response:
    """Delete an item; the answer is the conversation that it was in."""
    left = context.store.conversations.delete_item(_owner(context), conversation_id, item_id)
    return json_response(_shown(left))


def _owner(context: RequestContext) -> str:
    return context.record.caller.owner


def _shown(conversation: Conversation) -> ConversationObject:
    return {
        "id": conversation.id,
        "object": "conversation",
        "created_at": conversation.created,
        "metadata": dict(conversation.metadata),
    }


def _listed(items: Sequence[Mapping[str, Any]]) -> object:
    return list_of(Page(tuple(items), False))


def _to_store(context: RequestContext, items: Sequence[AnyItem]) -> list[dict[str, Any]]:
    """Raises InvalidRequest for an item that only refers to one, and for what was not sealed here."""
    for at, item in enumerate(items):
        if isinstance(item, ItemReference):
            raise bad_request.unsupported(f"items[{at}]", "refers to an item; send it whole.")
    seal = content_seal(context)
    return to_store(seal.opened(item, f"items[{at}]") for at, item in enumerate(items))


ONE = "/conversations/<conversation_id>"
ONE_ITEM = f"{ONE}/items/<item_id>"
GREETING = {"type": "message", "role": "user", "content": "Hello"}
ROUTES = endpoint(
    "conversations",
    Route(
        *("POST", "/conversations", create_conversation, "Create a conversation"),
        PathPrefixes.API,
        answer=ConversationObject,
        body=NewConversation,
        once=True,
        body_optional=True,
        scope="write",
        example={"items": [GREETING], "metadata": {"topic": "greeting"}},
    ),
    Route(
        *("GET", "/conversations", list_conversations, "List conversations"),
        PathPrefixes.API,
        answer=ConversationList,
        query=ListQuery,
    ),
    Route(
        *("GET", ONE, get_conversation, "Get a conversation"),
        PathPrefixes.API,
        answer=ConversationObject,
    ),
    Route(
        *("POST", ONE, update_conversation, "Update a conversation"),
        PathPrefixes.API,
        answer=ConversationObject,
        body=ConversationUpdate,
        scope="write",
        example={"metadata": {"topic": "greeting"}},
    ),
    Route(
        *("DELETE", ONE, delete_conversation, "Delete a conversation"),
        PathPrefixes.API,
        answer=DeletedConversation,
        scope="write",
    ),
    Route(
        *("GET", f"{ONE}/items", list_items, "List items"),
        PathPrefixes.API,
        answer=ConversationItems,
        query=InputItemsQuery,
    ),
    Route(
        *("POST", f"{ONE}/items", create_items, "Create items"),
        PathPrefixes.API,
        answer=ConversationItems,
        body=NewItems,
        once=True,
        scope="write",
        example={"items": [GREETING]},
    ),
    Route(
        *("GET", ONE_ITEM, get_item, "Retrieve an item"),
        PathPrefixes.API,
        answer=dict[str, Any],
        query=ItemQuery,
    ),
    Route(
        *("DELETE", ONE_ITEM, delete_item, "Delete an item"),
        PathPrefixes.API,
        answer=ConversationObject,
        scope="write",
    ),
)
