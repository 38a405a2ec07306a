"""Sessions: list, read and delete what the server keeps of chats that are turns of one. Not OpenAI's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict

from .stored_completions import PartOfList
from .web.lists import list_of
from .web.responses.response import Response, json_response
from .web.routing.routes import PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .state.sessions import Session
    from .web.context import RequestContext


class SessionsQuery(PartOfList):
    """The filters of the list."""

    session: str | None = Field(None, description="With this name only.")
    agent: str | None = Field(
        None, description="With this agent only; an empty text: without an agent."
    )


class SessionObject(TypedDict):
    """A session, without what was said."""

    id: str
    object: Literal["session"]
    session: str
    """Its name: what the header or the `user` of requests says."""
    agent: str | None
    created_at: int
    last_used_at: int


class SessionWithMessages(SessionObject):
    """A session with what was said, the oldest first."""

    messages: list[dict[str, Any]]


class SessionList(TypedDict):
    """A page of sessions; the ids are empty texts on an empty page."""

    object: Literal["list"]
    data: list[SessionObject]
    first_id: str
    last_id: str
    has_more: bool


class DeletedSession(TypedDict):
    """The session is deleted."""

    id: str
    object: Literal["session.deleted"]
    deleted: bool


def list_sessions(context: RequestContext, query: SessionsQuery) -> Response:
    """The sessions of the caller's key, in the order in which they began."""
    owner = context.record.caller.owner
    found = context.store.sessions.list(owner, query.page, agent=query.agent, name=query.session)
    return json_response(list_of(found.map(_shown)))


def get_session(context: RequestContext, session_id: str) -> Response:
    """A session and what was said in it; 404 for one that is deleted, or is another key's."""
    session, turns = context.store.sessions.get(context.record.caller.owner, session_id)
    messages = [message for turn in turns for message in turn.messages]
    answer: SessionWithMessages = {**_shown(session), "messages": messages}
    return json_response(answer)


def delete_session(context: RequestContext, session_id: str) -> Response:
    """Delete a session and all that was said in it. The next request with its name begins another one."""
    context.store.sessions.delete(context.record.caller.owner, session_id)
    deleted: DeletedSession = {"id": session_id, "object": "session.deleted", "deleted": True}
    return json_response(deleted)


def _shown(session: Session) -> SessionObject:
    return {
        "id": session.id,
        "object": "session",
        "session": session.name,
        "agent": session.agent or None,
        "created_at": session.created,
        "last_used_at": session.used,
    }


ONE = "/sessions/<session_id>"
ROUTES = endpoint(
    "sessions",
    Route(
        *("GET", "/sessions", list_sessions, "List sessions"),
        PathPrefixes.API,
        answer=SessionList,
        query=SessionsQuery,
    ),
    Route(
        *("GET", ONE, get_session, "Get a session"),
        PathPrefixes.API,
        answer=SessionWithMessages,
    ),
    Route(
        *("DELETE", ONE, delete_session, "Delete a session"),
        PathPrefixes.API,
        answer=DeletedSession,
        scope="write",
    ),
)
