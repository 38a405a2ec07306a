"""Addresses of pictures that were made here: kept in the store for a while, open to all who know the address.

Browsers and chat programs fetch a picture without a key, as they do from OpenAI. The address has the id of a
file, which is random and cannot be guessed; the file is its key's own, counts among its bytes, and expires.
"""

from __future__ import annotations

import binascii
import time
from base64 import b64decode
from typing import TYPE_CHECKING

from ..engines.pictures import HEAD_BYTES, Picture, picture_type
from ..errors import EngineFailed, InvalidRequest
from ..schemas import bad_request

if TYPE_CHECKING:
    from .context import RequestContext

PURPOSE = "image_output"
PATH = "/images/files"
VERSION = "/v1"
SECONDS = 3600
"""After which a picture is not found any more, as the reference has it."""
MEBIBYTE = 1 << 20


def check_links(context: RequestContext) -> None:
    """Raises InvalidRequest where nothing is kept for the caller."""
    if not (context.services.store.keeps and context.record.caller.stores):
        raise _without_store()


def linked(context: RequestContext, picture: Picture) -> Picture:
    """The same picture, with an address in place of its bytes. Raises InvalidRequest, EngineFailed, and the
    errors of the store."""
    if picture.base64 is None:
        return picture
    check_links(context)
    from ..state.files import NewFile  # with the database's library

    try:
        data = b64decode(picture.base64, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    kind = picture_type(data[:HEAD_BYTES])
    if kind is None:
        raise EngineFailed("The model made a file that is no picture.")
    name = f"image.{kind.removeprefix('image/')}"
    new = NewFile(name, kind, PURPOSE, len(data), int(time.time()) + SECONDS)
    most = context.services.settings.store_megabytes["files"] * MEBIBYTE
    file = context.store.files.add(context.record.caller.owner, new, [data], most=most)
    return Picture(None, f"{context.base_url}{VERSION}{PATH}/{file.id}", picture.revised_prompt)


def _without_store() -> InvalidRequest:
    return bad_request.unsupported(
        "response_format", "`url` needs the store, which keeps nothing here; ask for `b64_json`."
    )
