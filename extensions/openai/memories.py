"""Memories: list, add, read and delete what agents remember of users. Not OpenAI's."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from pydantic import Field
from typing_extensions import TypedDict

from .errors import InvalidRequest
from .generation.agents.agent import PREFIX
from .generation.agents.memory import MAX_CHARACTERS, MAX_FACTS
from .schemas import bad_request
from .schemas.validation import RequestModel
from .stored_completions import PartOfList
from .web.idempotent_request import stored_once
from .web.lists import list_of
from .web.responses.response import Response, json_response
from .web.routing.routes import PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .state.idempotency import Claim
    from .state.memories import Fact
    from .web.context import RequestContext


class MemoriesQuery(PartOfList):
    """The filters of the list."""

    agent: str | None = Field(None, description="Of this agent only.")
    user: str | None = Field(None, description="Of this user only.")


class NewMemory(RequestModel):
    """A fact about a user, for an agent that remembers."""

    agent: str = Field(min_length=1, max_length=64, description="The agent's name.")
    user: str = Field(min_length=1, max_length=256, description="The user that it is about.")
    text: str = Field(
        min_length=1,
        max_length=MAX_CHARACTERS,
        pattern=r"\S",
        description="The fact. Line ends and several spaces become one space.",
    )


class Memory(TypedDict):
    """A fact about a user."""

    id: str
    object: Literal["memory"]
    agent: str
    user: str
    text: str
    source: Literal["model", "extension", "api"]
    """Who said that it is to be remembered."""
    created_at: int


class MemoryList(TypedDict):
    """A page of facts; the ids are empty texts on an empty page."""

    object: Literal["list"]
    data: list[Memory]
    first_id: str
    last_id: str
    has_more: bool


class DeletedMemory(TypedDict):
    """The fact is forgotten."""

    id: str
    object: Literal["memory.deleted"]
    deleted: bool


def list_memories(context: RequestContext, query: MemoriesQuery) -> Response:
    """What agents remember of the users of the caller's key, in the order in which it was saved."""
    owner = context.record.caller.owner
    found = context.store.memories.list(owner, query.page, agent=query.agent, user=query.user)
    return json_response(list_of(found.map(_shown)))


def create_memory(context: RequestContext, body: NewMemory) -> Response:
    """Let an agent remember a fact. What it remembers already is answered as it is."""
    from .state.memories import MemoryKey

    memories = context.store.memories
    caller = context.record.caller
    agent = context.services.agents.chosen(f"{PREFIX}:{body.agent}", None, caller)
    if agent is None or not agent.definition.memory:
        raise bad_request.unsupported("agent", "remembers nothing.")
    key = MemoryKey(caller.owner, agent.name, body.user)

    def add(claim: Claim | None) -> Fact:
        text = " ".join(body.text.split())
        fact = memories.add(key, text, "api", most=MAX_FACTS, claim=claim)
        if fact is None:
            raise InvalidRequest(
                f"This agent remembers {MAX_FACTS} facts of this user, and no more; delete one first.",
                code="too_many_values",
            )
        return fact

    return stored_once(context, body, add, partial(memories.get, caller.owner), _shown)


def get_memory(context: RequestContext, memory_id: str) -> Response:
    """One fact; 404 for one that is deleted, or is another key's."""
    return json_response(_shown(context.store.memories.get(context.record.caller.owner, memory_id)))


def delete_memory(context: RequestContext, memory_id: str) -> Response:
    """Forget a fact."""
    context.store.memories.delete(context.record.caller.owner, memory_id)
    deleted: DeletedMemory = {"id": memory_id, "object": "memory.deleted", "deleted": True}
    return json_response(deleted)


def _shown(fact: Fact) -> Memory:
    return {
        "id": fact.id,
        "object": "memory",
        "agent": fact.agent,
        "user": fact.user,
        "text": fact.text,
        "source": fact.source,
        "created_at": fact.created,
    }


ALL, ONE = "/memories", "/memories/<memory_id>"
ROUTES = endpoint(
    "memories",
    Route(
        *("GET", ALL, list_memories, "List memories"),
        PathPrefixes.API,
        answer=MemoryList,
        query=MemoriesQuery,
    ),
    Route(
        *("POST", ALL, create_memory, "Add a memory"),
        PathPrefixes.API,
        answer=Memory,
        body=NewMemory,
        once=True,
        scope="write",
        example={"agent": "companion", "user": "ann", "text": "Ann has a cat."},
    ),
    Route(
        *("GET", ONE, get_memory, "Get a memory"),
        PathPrefixes.API,
        answer=Memory,
    ),
    Route(
        *("DELETE", ONE, delete_memory, "Delete a memory"),
        PathPrefixes.API,
        answer=DeletedMemory,
        scope="write",
    ),
)
