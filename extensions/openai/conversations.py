"""Conversations: items that are kept together, and that responses go on from. Reference: "Conversations"."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

from .dialects.responses.items import AnyItem, InputItem, ItemReference
from .dialects.responses.request import Include, InputItemsQuery
from .dialects.responses.stored_items import to_store
from .errors import StoreOff
from .generation.chat.request import Metadata
from .schemas import bad_request
from .schemas.validation import RequestModel
from .state.pages import Page
from .web.lists import list_of
from .web.responses.response import Response, json_response
from .web.routing.routes import PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .state.conversations import Conversation, Conversations
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


def create_conversation(context: RequestContext, body: NewConversation) -> Response:
    """Begin a conversation, which is kept until it is deleted."""
    id = "conv_" + secrets.token_hex(24)
    items = _to_store(body.items or ())
    created = _stored(context).create(_owner(context), id, body.metadata or {}, items)
    return json_response(_shown(created))


def get_conversation(context: RequestContext, conversation_id: str) -> Response:
    """One conversation; 404 for one that is deleted, or is another key's."""
    return json_response(_shown(_stored(context).get(_owner(context), conversation_id)))


def update_conversation(
    context: RequestContext, body: ConversationUpdate, conversation_id: str
) -> Response:
    """Change the metadata, and nothing else."""
    metadata = body.metadata or {}
    changed = _stored(context).set_metadata(_owner(context), conversation_id, metadata)
    return json_response(_shown(changed))


def delete_conversation(context: RequestContext, conversation_id: str) -> Response:
    """Delete a conversation and its items. Responses that were made in it stay."""
    _stored(context).delete(_owner(context), conversation_id)
    deleted: DeletedConversation = {
        "id": conversation_id,
        "object": "conversation.deleted",
        "deleted": True,
    }
    return json_response(deleted)


def list_items(context: RequestContext, query: InputItemsQuery, conversation_id: str) -> Response:
    """The items of a conversation, the latest first."""
    page = _stored(context).page(_owner(context), conversation_id, query.page)
    return json_response(list_of(page))


def create_items(context: RequestContext, body: NewItems, conversation_id: str) -> Response:
    """Put items behind those that are there: all of them, or none."""
    added = _stored(context).add(_owner(context), conversation_id, _to_store(body.items))
    return json_response(list_of(Page(tuple(added), False)))


def get_item(
    context: RequestContext, query: ItemQuery, conversation_id: str, item_id: str
) -> Response:
    """One item of a conversation."""
    return json_response(_stored(context).item(_owner(context), conversation_id, item_id))


def delete_item(context: RequestContext, conversation_id: str, item_id: str) -> Response:
    """Delete an item; the answer is the conversation that it was in."""
    left = _stored(context).delete_item(_owner(context), conversation_id, item_id)
    return json_response(_shown(left))


def _stored(context: RequestContext) -> Conversations:
    if not context.record.caller.stores:
        raise StoreOff
    return context.services.store.conversations


def _owner(context: RequestContext) -> str:
    return context.record.caller.owner


def _shown(conversation: Conversation) -> ConversationObject:
    return {
        "id": conversation.id,
        "object": "conversation",
        "created_at": conversation.created,
        "metadata": dict(conversation.metadata),
    }


def _to_store(items: Sequence[AnyItem]) -> list[dict[str, Any]]:
    """Raises InvalidRequest for an item that only refers to one."""
    for at, item in enumerate(items):
        if isinstance(item, ItemReference):
            raise bad_request.unsupported(f"items[{at}]", "refers to an item; send it whole.")
    return to_store(items)


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
        body_optional=True,
        scope="write",
        example={"items": [GREETING], "metadata": {"topic": "greeting"}},
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
