"""What the request for a response has to do with the store: what it goes on from, and what is kept of it.

Used by the endpoint `responses`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import orjson

from ..dialects.responses.errors import PREVIOUS
from ..dialects.responses.items import AnyItem, HostedItem, ItemReference
from ..dialects.responses.request import PromptFields, ResponsesRequest
from ..dialects.responses.response import Response
from ..dialects.responses.stored_items import from_store, to_store
from ..dialects.responses.truncation import Placed
from ..errors import PreviousResponseNotFound, StoredObjectNotFound, StoreUnavailable
from ..state.stored_response import StoredResponse

if TYPE_CHECKING:
    from ..state.responses import Responses
    from .context import RequestContext
    from .responses.streaming import OnComplete

NOT_KEPT = "Nothing of this key's requests is stored on this server. Send the whole conversation as 'input'."


class StoredConversation:
    """The conversation of one request: its own items, and those of the stored responses before them."""

    def __init__(self, context: RequestContext, body: PromptFields) -> None:
        """Raises PreviousResponseNotFound, StoredObjectNotFound for a reference, StoreUnavailable."""
        self._context = context
        self._owner = context.record.caller.owner
        self._may = context.services.store.keeps and context.record.caller.stores
        previous = body.previous_response_id
        self._earlier = [] if previous is None else self._before(previous)
        self._own = [(f"input[{at}]", self._known(at, item)) for at, item in enumerate(body.items)]
        self.items: list[Placed] = self._earlier + self._own

    def storing(self, body: ResponsesRequest) -> OnComplete[Response] | None:
        """What to do with the response when it is complete; None: it is not to be stored, or cannot be."""
        if body.store is False:
            return None
        if self._may and self._context.services.store.problem is None:
            return lambda response: self._keep(response, body)
        if body.store:
            self._context.record.ignored.append("store")
        return None

    @property
    def _responses(self) -> Responses:
        return self._context.services.store.responses

    def _before(self, id: str) -> list[Placed]:
        if not self._may:
            raise PreviousResponseNotFound(id, NOT_KEPT)
        try:
            turns = self._responses.conversation(self._owner, id)
        except StoredObjectNotFound:
            raise PreviousResponseNotFound(id) from None
        if turns[0].previous is not None:
            raise PreviousResponseNotFound(id, "A response that it goes on from is gone.")
        return [(PREVIOUS, item) for turn in turns for item in from_store(list(all_of(turn)))]

    def _known(self, at: int, item: AnyItem) -> AnyItem:
        """The item, or what it refers to."""
        if not isinstance(item, ItemReference):
            return item
        found: list[object] = []
        if self._may:
            try:
                there = all_of(self._responses.with_item(self._owner, item.id))
                found = [each for each in there if each["id"] == item.id]
            except StoredObjectNotFound:
                pass
        if not found:
            raise StoredObjectNotFound(item.id, param=f"input[{at}]")
        return from_store(found[-1:])[0]

    def _keep(self, response: Response, body: ResponsesRequest) -> None:
        taken = [item.id for _, item in self._earlier if not isinstance(item, HostedItem)]
        items = to_store((item for _, item in self._own), taken)
        stored = StoredResponse(
            response["id"],
            response["created_at"],
            response["model"],
            response["previous_response_id"],
            orjson.dumps(items),
            orjson.dumps(response),
            [item["id"] for item in (*items, *response["output"])],
        )
        try:
            self._responses.add(
                self._owner, stored, user=body.user, safety_identifier=body.safety_identifier
            )
        except (StoreUnavailable, StoredObjectNotFound):
            # The client has its answer nevertheless; that before it may have been deleted meanwhile.
            response["store"] = False


def all_of(stored: StoredResponse) -> Iterator[dict[str, object]]:
    """The items of its request, then its own."""
    yield from orjson.loads(stored.input)
    yield from orjson.loads(stored.response)["output"]
