"""An answer with addresses of pictures, for a request that comes again with its `Idempotency-Key`.

The answer is kept as a file of its key, as long as its pictures are: some addresses, and what the model said.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

from ..engines.pictures import Picture
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
        self._files: list[str] = []
        """Its pictures that are kept here; those of another server are not."""
        self._request = IdempotentRequest(context, sent, self._get)

    @property
    def earlier(self) -> Response | None:
        """What the same request, with its key, was answered before."""
        earlier = self._request.earlier
        return None if earlier is None else sent_again(json_response(earlier))

    def link(self, picture: Picture) -> Picture:
        """As `picture_links.linked`."""
        linked = picture_links.linked(self._context, picture)
        if linked is not picture:
            self._files.append(str(linked.url).rpartition("/")[2])
        return linked

    def keep(self, whole: Mapping[str, Any]) -> None:
        """Keep the answer, if the request has a key. Raises the errors of the store."""
        claim = self._request.claim
        if claim is None:
            return
        from ..state.files import NewFile  # with the database's library

        data = orjson.dumps({"answer": whole, "files": self._files})
        expires = int(time.time()) + picture_links.SECONDS
        new = NewFile("images.json", "application/json", PURPOSE, len(data), expires)
        self._context.store.files.add(self._context.record.caller.owner, new, [data], claim=claim)
        self._request.settle()

    def _get(self, id: str) -> Mapping[str, Any]:
        """Raises StoredObjectNotFound, also where one of the pictures is deleted."""
        files, owner = self._context.store.files, self._context.record.caller.owner
        kept: dict[str, Any] = orjson.loads(b"".join(files.read(owner, id)))
        for each in kept["files"]:
            files.get(owner, each)
        answer: Mapping[str, Any] = kept["answer"]
        return answer
