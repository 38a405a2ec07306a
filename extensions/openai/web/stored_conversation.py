"""What the request for a response has to do with the store: what it goes on from, and what is kept of it.

Used by the endpoint `responses`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, TypedDict

import orjson

from ..dialects.responses.compaction import opened
from ..dialects.responses.encrypted_content import ContentSeal
from ..dialects.responses.errors import CONVERSATION, PREVIOUS
from ..dialects.responses.event_record import EventRecord
from ..dialects.responses.items import AnyItem, CompactionTrigger, HostedItem, ItemReference
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
from ..state.keyring import keyring_of
from ..state.stored_response import LEASE_SECONDS, StoredResponse

if TYPE_CHECKING:
    from ..state.conversation_items import Writing
    from .context import RequestContext
    from .conversation_lock import ConversationLock
    from .idempotent_request import IdempotentRequest
    from .responses.streaming import OnComplete

NOT_KEPT = "Nothing of this key's requests is stored on this server. Send the whole conversation as 'input'."


class StoredConversation:
    """The conversation of one request: its own items, and what is stored of what came before them."""

    def __init__(
        self,
        context: RequestContext,
        body: PromptFields,
        request: IdempotentRequest[Any] | None = None,
        lock: ConversationLock | None = None,
    ) -> None:
        """`request`: for whose key the response will stand, if it is stored; `lock`: held until it is.

        Raises PreviousResponseNotFound, StoredObjectNotFound for a conversation or a reference, StoreOff,
        StoreUnavailable."""
        self._context = context
        self._request, self._lock = request, lock
        self._store = context.services.store
        self._owner = context.record.caller.owner
        self._may = self._store.keeps and context.record.caller.stores
        self._earlier = self._before(body)
        self._own = [(f"input[{at}]", self._known(at, item)) for at, item in enumerate(body.items)]
        seal = content_seal(context)
        self.items = opened(self._earlier + self._own, seal.opened_conversation)
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

    def _unlock(self) -> None:
        """Before the client can know that the response is complete: it may ask for the next one at once."""
        if self._lock is not None:
            self._lock.close()

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
        """The item, or what it refers to; what is sealed in it is opened."""
        if not isinstance(item, ItemReference):
            return content_seal(self._context).opened(item, f"input[{at}]")
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
        unnamed = (HostedItem, CompactionTrigger)
        taken = [item.id for _, item in self._earlier if not isinstance(item, unnamed)]
        return to_store((item for _, item in self._own), taken)

    def begin(self, response: Response, body: ResponsesRequest, events: bytes | None) -> None:
        """Store a response that is about to be made in the background. Raises StoreUnavailable,
        StoredObjectNotFound."""
        until = int(time.time()) + LEASE_SECONDS
        stored = replace(self._stored(response), until=until, events=events)
        self._add(stored, body, also=None)

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
        finally:
            self._unlock()

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
                self._add(stored, body, also)
            elif also is not None:
                self._store.database.write(also)
        except (StoreUnavailable, StoredObjectNotFound):
            # The client has its answer nevertheless; what came before may have been deleted meanwhile.
            response["store"] = False
        self._unlock()

    def _add(self, stored: StoredResponse, body: ResponsesRequest, also: Writing | None) -> None:
        """Store a response; the key of its request stands for it from now on."""
        claim = None if self._request is None else self._request.claim
        self._store.responses.add(self._owner, stored, also=also, claim=claim, **_person(body))
        if self._request is not None:
            self._request.settle()


class _Person(TypedDict):
    user: str | None
    safety_identifier: str | None


def _person(body: ResponsesRequest) -> _Person:
    return {"user": body.user, "safety_identifier": body.safety_identifier}


def content_seal(context: RequestContext) -> ContentSeal:
    """For what the client keeps and cannot read."""
    return ContentSeal(partial(keyring_of, context.services.settings), context.record.caller.owner)


def all_of(stored: StoredResponse) -> Iterator[dict[str, object]]:
    """The items of its request, then its own."""
    yield from orjson.loads(stored.input)
    yield from orjson.loads(stored.response)["output"]
