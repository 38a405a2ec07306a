"""What the request for a response has to do with the store: what it goes on from, and what is kept of it.

Used by the endpoint `responses`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import orjson

from ..dialects.responses.errors import CONVERSATION, PREVIOUS
from ..dialects.responses.event_record import EventRecord
from ..dialects.responses.items import AnyItem, HostedItem, ItemReference
from ..dialects.responses.request import PromptFields, ResponsesRequest
from ..dialects.responses.response import Response
from ..dialects.responses.stored_items import from_store, to_store
from ..dialects.responses.truncation import Placed
from ..errors import (
    PreviousResponseNotFound,
    StoredObjectNotFound,
    StoreOff,
    StoreUnavailable,
)
from ..schemas import bad_request
from ..state.stored_response import LEASE_SECONDS, StoredResponse

if TYPE_CHECKING:
    from ..state.conversation_items import Writing
    from .context import RequestContext
    from .responses.streaming import OnComplete

NOT_KEPT = "Nothing of this key's requests is stored on this server. Send the whole conversation as 'input'."


class StoredConversation:
    """The conversation of one request: its own items, and what is stored of what came before them."""

    def __init__(self, context: RequestContext, body: PromptFields) -> None:
        """Raises PreviousResponseNotFound, StoredObjectNotFound for a conversation or a reference, StoreOff,
        StoreUnavailable."""
        self._context = context
        self._store = context.services.store
        self._owner = context.record.caller.owner
        self._may = self._store.keeps and context.record.caller.stores
        self._earlier = self._before(body)
        self._own = [(f"input[{at}]", self._known(at, item)) for at, item in enumerate(body.items)]
        self.items: list[Placed] = self._earlier + self._own
        self.record: EventRecord | None = None
        """Of the events that the response is streamed in, if it is stored."""

    def stores(self, body: ResponsesRequest) -> bool:
        """Whether the response is to be stored. Raises InvalidRequest where one in the background is not."""
        can = self._may and self._store.problem is None
        if body.background and not (can and body.store is not False):
            raise bad_request.unsupported("background", "is only possible for what is stored.")
        if body.store and not can:
            self._context.record.ignored.append("store")
        stored = can and body.store is not False
        self.record = EventRecord() if stored and body.stream and not body.background else None
        return stored

    def keeping(self, body: ResponsesRequest, *, store: bool) -> OnComplete[Response] | None:
        """What to do with the response when it is complete: `store` it, add it to its conversation."""
        if not store and body.conversation_id is None:
            return None
        return lambda response: self._keep(response, body)

    def _before(self, body: PromptFields) -> list[Placed]:
        if body.previous_response_id is not None:
            return [(PREVIOUS, item) for item in self._turns(body.previous_response_id)]
        if body.conversation_id is None:
            return []
        if not self._may:
            raise StoreOff
        try:
            items = self._store.conversations.items(self._owner, body.conversation_id)
        except StoredObjectNotFound:
            raise StoredObjectNotFound(body.conversation_id, param=CONVERSATION) from None
        return [(CONVERSATION, item) for item in from_store(items)]

    def _turns(self, id: str) -> Iterator[AnyItem]:
        """The items of a response and of all that it goes on from."""
        if not self._may:
            raise PreviousResponseNotFound(id, NOT_KEPT)
        try:
            turns = self._store.responses.conversation(self._owner, id)
        except StoredObjectNotFound:
            raise PreviousResponseNotFound(id) from None
        if turns[0].previous is not None:
            raise PreviousResponseNotFound(id, "A response that it goes on from is gone.")
        if turns[-1].is_under_way:
            raise PreviousResponseNotFound(id, "It is still being made in the background.")
        for turn in turns:
            yield from from_store(list(all_of(turn)))

    def _known(self, at: int, item: AnyItem) -> AnyItem:
        """The item, or what it refers to."""
        if not isinstance(item, ItemReference):
            return item
        found: list[object] = []
        if self._may:
            try:
                there = all_of(self._store.responses.with_item(self._owner, item.id))
                found = [each for each in there if each["id"] == item.id]
            except StoredObjectNotFound:
                pass
        if not found:
            raise StoredObjectNotFound(item.id, param=f"input[{at}]")
        return from_store(found[-1:])[0]

    @cached_property
    def _said(self) -> list[dict[str, Any]]:
        """The items of the request as they are stored."""
        taken = [item.id for _, item in self._earlier if not isinstance(item, HostedItem)]
        return to_store((item for _, item in self._own), taken)

    def begin(self, response: Response, body: ResponsesRequest) -> None:
        """Store a response that is about to be made in the background. Raises StoreUnavailable,
        StoredObjectNotFound."""
        until = int(time.time()) + LEASE_SECONDS
        stored = replace(self._stored(response), until=until)
        self._store.responses.add(self._owner, stored, also=None, **_person(body))

    def finish(self, response: Response, body: ResponsesRequest, events: bytes | None) -> bool:
        """Store what it has become; False if another has ended it. Raises StoreUnavailable."""
        ids = [item["id"] for item in response["output"]]
        stored = replace(self._stored(response), item_ids=ids, events=events)
        finish = self._store.responses.finish
        ended = response["status"] in ("completed", "incomplete")
        try:
            return finish(self._owner, stored, self._adding(response, body) if ended else None)
        except StoredObjectNotFound:  # its conversation was deleted meanwhile
            return finish(self._owner, stored)

    def _adding(self, response: Response, body: ResponsesRequest) -> Writing | None:
        """What adds the request and the response to their conversation."""
        if body.conversation_id is None:
            return None
        from ..state.conversation_items import adding  # with the database's library

        said = [*self._said, *map(dict, response["output"])]
        return adding(self._owner, body.conversation_id, said, **_person(body))

    def _stored(self, response: Response) -> StoredResponse:
        items = self._said
        return StoredResponse(
            response["id"],
            response["created_at"],
            response["model"],
            response["previous_response_id"],
            orjson.dumps(items),
            orjson.dumps(response),
            [item["id"] for item in (*items, *response["output"])],
        )

    def _keep(self, response: Response, body: ResponsesRequest) -> None:
        also = self._adding(response, body)
        events = None if self.record is None else self.record.whole()
        stored = replace(self._stored(response), events=events)
        try:
            if response["store"]:
                self._store.responses.add(self._owner, stored, also=also, **_person(body))
            elif also is not None:
                self._store.database.write(also)
        except (StoreUnavailable, StoredObjectNotFound):
            # The client has its answer nevertheless; what came before may have been deleted meanwhile.
            response["store"] = False


def _person(body: ResponsesRequest) -> dict[str, str | None]:
    return {"user": body.user, "safety_identifier": body.safety_identifier}


def all_of(stored: StoredResponse) -> Iterator[dict[str, object]]:
    """The items of its request, then its own."""
    yield from orjson.loads(stored.input)
    yield from orjson.loads(stored.response)["output"]
