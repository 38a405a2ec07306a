"""An answer with addresses of pictures, for a request that comes again with its `Idempotency-Key`.

The answer is kept as a file of its key, as long as its pictures are: some addresses, and what the model said.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

from ..schemas.validation import RequestModel
from . import picture_links
from .idempotent_request import IdempotentRequest, sent_again
from .responses.response import Response, json_response

if TYPE_CHECKING:
    from .context import RequestContext

PURPOSE = "image_answer"


class PictureAnswer:
    """The answer of one request. Belongs to the thread that answers it."""

    def __init__(self, context: RequestContext, sent: RequestModel) -> None:
        """Begin with the request as it was sent. Raises RequestUnderWay, IdempotencyMismatch, InvalidRequest
        for a key that is none."""
        self._context = context
        self._request = IdempotentRequest(context, sent, self._get)

    @property
    def earlier(self) -> Response | None:
        """What the same request, with its key, was answered before."""
        earlier = self._request.earlier
        return None if earlier is None else sent_again(json_response(earlier))

    def keep(self, whole: Mapping[str, Any]) -> None:
        """Keep the answer, if the request has a key. Raises the errors of the store."""
        claim = self._request.claim
        if claim is None:
            return
        from ..state.files import NewFile  # with the database's library

        data, expires = orjson.dumps(whole), int(time.time()) + picture_links.SECONDS
        new = NewFile("images.json", "application/json", PURPOSE, len(data), expires)
        self._context.store.files.add(self._context.record.caller.owner, new, [data], claim=claim)
        self._request.settle()

    def _get(self, id: str) -> Mapping[str, Any]:
        """Raises StoredObjectNotFound, also where one of the pictures is deleted."""
        files, owner = self._context.store.files, self._context.record.caller.owner
        whole: Mapping[str, Any] = orjson.loads(b"".join(files.read(owner, id)))
        for each in whole["data"]:
            _, here, picture = each.get("url", "").partition(f"{picture_links.PATH}/")
            if here and picture.startswith("file-"):
                files.get(owner, picture)
        return whole
