"""End users: what is stored of one, to hand out and to erase. The server's own, for admins.

A user is what requests say in `user` or `safety_identifier`. What the store keeps of one is meant here; the
numbers of their usage stay as long as `--usage-days` says.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from pydantic import Field

from .access.key_files import KeyFiles, KeysError
from .errors import InvalidRequest
from .schemas.validation import RequestModel
from .state.operations.erasure import Erasure
from .web.responses.response import Response, json_response
from .web.routing.routes import PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .web.context import RequestContext


class WhichKey(RequestModel):
    """Users of which key."""

    api_key_id: str | None = Field(
        None, description="The user of the key with this name only. Default: of all keys."
    )


def erase_user(context: RequestContext, query: WhichKey, user: str) -> Response:
    """Erase all that is stored of an end user, for good. A user who has nothing is erased as well.

    With `--answer-cache` all answers that are kept are forgotten.
    """
    from .state import users

    cache = context.services.answer_cache
    if cache is not None:
        cache.clear()  # it does not know whose answers it has
    database = context.services.store.database
    receipt = users.erase_with_receipt(
        database, user=user, key=query.api_key_id, owners=_owners(context, query)
    )
    return json_response(receipt)


def export_user(context: RequestContext, query: WhichKey, user: str) -> Response:
    """All that is stored of an end user, as lines of JSON, oldest first."""
    from .state import users

    lines = users.export(context.services.store.database, user=user, owners=_owners(context, query))
    # What fails at once keeps its status.
    first = next(lines, b"")
    return Response(chain([first], lines), content_type=LINES)


def _owners(context: RequestContext, query: WhichKey) -> frozenset[str] | None:
    """Raises InvalidRequest for the name of no key."""
    if query.api_key_id is None:
        return None
    try:
        return KeyFiles.of(context.services.settings).owners(query.api_key_id)
    except KeysError as error:
        raise InvalidRequest(
            f"Invalid 'api_key_id': {error}.", param="api_key_id", code="invalid_value"
        ) from None


LINES = "application/jsonl; charset=utf-8"

ROUTES = endpoint(
    "users",
    Route(
        *("DELETE", "/internal/users/<path:user>", erase_user, "Erase a user"),
        PathPrefixes.API,
        answer=Erasure,
        query=WhichKey,
        scope="admin",
    ),
    Route(
        *("GET", "/internal/users/<path:user>/export", export_user, "Export a user"),
        PathPrefixes.API,
        query=WhichKey,
        scope="admin",
        media=LINES,
    ),
)
