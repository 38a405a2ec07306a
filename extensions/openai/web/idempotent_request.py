"""A request that stores something, and that its client may send again. Used by all endpoints that
store; their routes say so (`Route.once`).

Source of `Idempotency-Key`: draft-ietf-httpapi-idempotency-key-header-07. What is compared is the request as
it was understood, not its bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

import orjson

from ..errors import StoredObjectNotFound, StoreUnavailable
from ..schemas import bad_request
from ..schemas.validation import RequestModel
from .responses.response import Response, json_response

if TYPE_CHECKING:
    from ..state.idempotency import Claim
    from .context import RequestContext

KEY_HEADER = "HTTP_IDEMPOTENCY_KEY"
MAX_KEY_LENGTH = 255

Stored = TypeVar("Stored")


class IdempotentRequest(Generic[Stored]):
    """Belongs to the thread that answers the request. Without the header it does nothing."""

    def __init__(
        self,
        context: RequestContext,
        sent: RequestModel,
        get: Callable[[str], Stored],
        *,
        path_id: str | None = None,
    ) -> None:
        """Begin with the request as it was sent, and with the object's id in its path. `get` finds what an
        earlier request has stored.

        Raises RequestUnderWay, IdempotencyMismatch, InvalidRequest for a key that is none."""
        self._context = context
        self._store = context.services.store
        self._get = get
        self.claim: Claim | None = None
        """To be finished in the transaction that stores the answer."""
        self.earlier: Stored | None = None
        """What the same request, with its key, has stored before; it is to be answered again."""
        key = context.environ.get(KEY_HEADER)
        if key is not None and self._store.keeps and context.record.caller.stores:
            self._begin(_checked(key), _fingerprint(sent, context, path_id))

    def settle(self) -> None:
        """The answer is stored."""
        claim, self.claim = self.claim, None
        if claim is not None:
            self._store.idempotency.settle(claim)

    def close(self) -> None:
        """The request has ended: where nothing was stored, its key may be used again."""
        claim, self.claim = self.claim, None
        if claim is not None:
            try:
                self._store.idempotency.release(claim)
            except StoreUnavailable:
                pass  # it is in the log; the claim ends by itself

    def _begin(self, key: str, fingerprint: str) -> None:
        owner = self._context.record.caller.owner
        try:
            begun = self._store.idempotency.begin(owner, key, fingerprint)
            if not isinstance(begun, str):
                self.claim = begun
                self._context.close_at_end(self)
                return
            try:
                self.earlier = self._get(begun)
                return
            except StoredObjectNotFound:
                # It was deleted just now, and its key with it; or it has expired and is not swept yet.
                self._store.idempotency.forget(owner, key, begun)
        except StoreUnavailable:
            return  # it is in the log, and the answer says that it is not stored
        self._begin(key, fingerprint)


def stored_once(
    context: RequestContext,
    sent: RequestModel,
    store: Callable[[Claim | None], Stored],
    get: Callable[[str], Stored],
    shown: Callable[[Stored], object],
    *,
    path_id: str | None = None,
) -> Response:
    """Answer with what `store` makes, as `shown` shows it, or with what the same request has made before,
    which `get` finds by its id. `store` finishes the claim in its transaction.

    Raises RequestUnderWay, IdempotencyMismatch, InvalidRequest for a key that is none."""
    request = IdempotentRequest(context, sent, get, path_id=path_id)
    if request.earlier is not None:
        return sent_again(json_response(shown(request.earlier)))
    made = store(request.claim)
    request.settle()
    return json_response(shown(made))


def ignore_key(context: RequestContext) -> None:
    """Name the key as ignored: what this request stores is no answer that could be sent again."""
    if KEY_HEADER in context.environ:
        context.record.ignored.append("Idempotency-Key")


def sent_again(response: Response) -> Response:
    """The response to a request that was answered before; it says so."""
    response.headers["Idempotent-Replayed"] = "true"
    return response


def _checked(key: str) -> str:
    """Raises InvalidRequest."""
    if not 0 < len(key) <= MAX_KEY_LENGTH:
        raise bad_request.wrong_length(
            "Idempotency-Key", "string", len(key), low=1, high=MAX_KEY_LENGTH
        )
    return key


def _fingerprint(sent: RequestModel, context: RequestContext, path_id: str | None) -> str:
    """The same for requests that mean the same."""
    # pydantic warns of items whose kind is not in a field of theirs; it dumps them nevertheless.
    said = sent.model_dump(mode="json", exclude_unset=True, warnings=False)
    named = (type(sent).__name__, path_id, context.model)
    meant = [*named, context.agent_header, context.session_header, said]
    return hashlib.sha256(orjson.dumps(meant, option=orjson.OPT_SORT_KEYS)).hexdigest()
