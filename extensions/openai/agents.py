"""Agents: list, get, make, replace and delete what the operator makes of the models. The server's own, for
admins.

Those of the operator's file are shown, and can be changed there only.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any, Literal, cast

import orjson
from typing_extensions import NotRequired, TypedDict

from .errors import AgentInFile, InvalidRequest, StoredObjectNotFound
from .generation.agents.agent import PREFIX, Agent
from .generation.agents.definition import NAME, AgentDefinition
from .schemas import bad_request
from .web.responses.response import Response, json_response
from .web.routing.routes import PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .state.agents import StoredAgent
    from .web.context import RequestContext

log = logging.getLogger("openedai")
MOST = 1000
"""Agents of the store."""


class AgentObject(TypedDict):
    """An agent."""

    id: str
    """What requests name as their model."""
    object: Literal["agent"]
    name: str
    description: str
    system: str
    model: str | None
    sampling: dict[str, Any]
    max_tokens: int
    tools: list[dict[str, Any]]
    hooks: list[str] | None
    keys: list[str]
    source: Literal["file", "store"]
    """Where it is, and can be changed."""
    created_at: NotRequired[int]
    updated_at: NotRequired[int]


class AgentList(TypedDict):
    """All agents: the file's in its order, then the store's by name."""

    object: Literal["list"]
    data: list[AgentObject]


class DeletedAgent(TypedDict):
    """The agent is deleted."""

    id: str
    object: Literal["agent.deleted"]
    deleted: bool


def list_agents(context: RequestContext) -> Response:
    """All agents, whichever keys may use them. One of the store with the name of one in the file is not
    shown."""
    in_file = context.services.agents.file.agents
    shown = [_of_file(agent) for agent in in_file.values()]
    if context.services.store.is_there:
        stored = context.services.store.agents.all()
        shown += [_of_store(each) for each in stored if each.name not in in_file]
    answer: AgentList = {"object": "list", "data": shown}
    return json_response(answer)


def get_agent(context: RequestContext, name: str) -> Response:
    """One agent."""
    in_file = context.services.agents.file.agents.get(name)
    if in_file is not None:
        return json_response(_of_file(in_file))
    stored = context.services.store.agents.get(name)
    if stored is None:
        raise StoredObjectNotFound(name)
    return json_response(_of_store(stored))


def put_agent(context: RequestContext, body: AgentDefinition, name: str) -> Response:
    """Make an agent, or replace the one with this name as a whole. The next request finds it, also on other
    servers that share the store."""
    if not re.fullmatch(NAME, name):
        raise bad_request.no_match("name", f"^{NAME}$")
    _check_not_in_file(context, name)
    Agent.of(name, body, context.services.settings)  # raises for what cannot be
    definition = orjson.dumps(body.model_dump(mode="json", exclude_unset=True))
    stored = context.services.store.agents.put(name, definition, most=MOST)
    if stored is None:
        raise InvalidRequest(
            f"There are {MOST} agents already; delete one first.", code="too_many_values"
        )
    log.info("the agent %s was made or replaced by %s", name, context.record.caller.name)
    return json_response(_of_store(stored))


def delete_agent(context: RequestContext, name: str) -> Response:
    """Delete an agent. Requests for it are a 404 from now on."""
    _check_not_in_file(context, name)
    if not context.services.store.agents.delete(name):
        raise StoredObjectNotFound(name)
    log.info("the agent %s was deleted by %s", name, context.record.caller.name)
    deleted: DeletedAgent = {"id": f"{PREFIX}:{name}", "object": "agent.deleted", "deleted": True}
    return json_response(deleted)


def _check_not_in_file(context: RequestContext, name: str) -> None:
    if name in context.services.agents.file.agents:
        raise AgentInFile(name)


def _of_file(agent: Agent) -> AgentObject:
    given = agent.definition.model_dump(mode="json", exclude_unset=True)
    return _shown(agent.name, given, "file")


def _of_store(stored: StoredAgent) -> AgentObject:
    shown = _shown(stored.name, orjson.loads(stored.definition), "store")
    return {**shown, "created_at": stored.created, "updated_at": stored.updated}


def _shown(name: str, given: dict[str, Any], source: Literal["file", "store"]) -> AgentObject:
    head = {"id": f"{PREFIX}:{name}", "object": "agent", "name": name}
    default = AgentDefinition().model_dump(mode="json")
    return cast(AgentObject, {**head, **default, **given, "source": source})


ALL, ONE = "/internal/agents", "/internal/agents/<name>"
ROUTES = endpoint(
    "agents",
    Route(
        *("GET", ALL, list_agents, "List agents"),
        PathPrefixes.API,
        answer=AgentList,
        scope="admin",
    ),
    Route(
        *("GET", ONE, get_agent, "Get an agent"),
        PathPrefixes.API,
        answer=AgentObject,
        scope="admin",
    ),
    Route(
        *("PUT", ONE, put_agent, "Make or replace an agent"),
        PathPrefixes.API,
        answer=AgentObject,
        body=AgentDefinition,
        scope="admin",
        example={"description": "Reviews code", "system": "You review code.", "max_tokens": 800},
    ),
    Route(
        *("DELETE", ONE, delete_agent, "Delete an agent"),
        PathPrefixes.API,
        answer=DeletedAgent,
        scope="admin",
    ),
)
