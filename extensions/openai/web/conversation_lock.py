"""A conversation in which a response is being made: the next one waits, so that it goes on from all of it.

Used by the endpoint `responses`. The lock is a lease in the store: all servers of one store see it, and one
that is killed leaves none behind for long.
"""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING

from ..errors import ConversationLocked, RequestUnderWay, StoreUnavailable

if TYPE_CHECKING:
    from ..state.idempotency import Claim
    from .context import RequestContext

POLL_S = 0.1
KEY = "conversation\n"
"""What its lease is found by, with its id behind; no `Idempotency-Key` has a line break."""


class ConversationLock:
    """Held until it is closed, or the request has ended."""

    def __init__(self, context: RequestContext, id: str) -> None:
        """Wait for it; where the store cannot be written, nothing is locked, as nothing will be added. Raises
        ConversationLocked, and what ends a request early."""
        self._leases = context.services.store.idempotency
        self._claim: Claim | None = None
        try:
            self._claim = self._held(context, id)
        except StoreUnavailable:
            return  # it is in the log
        context.close_at_end(self)

    def close(self) -> None:
        """Only the first call has an effect."""
        if self._claim is None:
            return
        try:
            self._leases.release(self._claim)
        except StoreUnavailable:
            pass  # it is in the log; the lease ends by itself

    def _held(self, context: RequestContext, id: str) -> Claim:
        key = KEY + hashlib.sha256(id.encode()).hexdigest()  # ids may be of any length
        until = time.monotonic() + context.services.settings.conversation_wait
        while True:
            try:
                claim = self._leases.begin(context.record.caller.owner, key, "")
            except RequestUnderWay:
                if time.monotonic() >= until:
                    raise ConversationLocked(id) from None
                context.check_wanted()
                time.sleep(POLL_S)
                continue
            # A lease never becomes an object.
            assert not isinstance(claim, str)
            return claim
