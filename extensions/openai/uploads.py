"""Uploads: upload a file in parts, in any order and side by side, and put it together."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from pydantic import Field
from typing_extensions import TypedDict

from .errors import BodyTooLarge, StoredObjectNotFound
from .files import (
    MAX_NAME,
    MEBIBYTE,
    ExpiresAfter,
    FileObject,
    Purpose,
    expires_at,
    max_bytes,
    shown,
)
from .schemas.forms import Upload as UploadedPart
from .schemas.validation import RequestModel
from .web.idempotent_request import stored_once
from .web.responses.response import Response, json_response
from .web.routing.routes import PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .state.files import StoredFile
    from .state.idempotency import Claim
    from .state.uploads import Upload
    from .web.context import RequestContext

MAX_BYTES = 8 << 30
MAX_PART_BYTES = 64 << 20
MAX_PARTS = 10_000


class NewUpload(RequestModel):
    """A file that is to come in parts."""

    filename: str = Field(min_length=1, max_length=MAX_NAME, description="The name of the file.")
    purpose: Purpose = Field(description="What the file is for.")
    bytes: int = Field(ge=0, le=MAX_BYTES, description="How many bytes the file will have.")
    mime_type: str = Field(min_length=1, max_length=255, description="The type of the file.")
    expires_after: ExpiresAfter | None = Field(
        None, description="When the file expires that is made of it, as for files."
    )


class PartForm(RequestModel):
    """A part of the file."""

    data: UploadedPart = Field(description="The bytes of the part, 64 MiB at most.")


class UploadCompletion(RequestModel):
    """Which parts make the file."""

    part_ids: list[str] = Field(
        max_length=MAX_PARTS, description="The ids of its parts, in their order in the file."
    )
    md5: str | None = Field(
        None,
        pattern=r"[0-9a-fA-F]{32}",
        description="The MD5 of the whole content, to be compared.",
    )


class UploadObject(TypedDict):
    """An upload; `file` is there when it is completed."""

    id: str
    object: Literal["upload"]
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: Literal["pending", "completed", "cancelled"]
    file: FileObject | None


class PartObject(TypedDict):
    """A part of an upload."""

    id: str
    object: Literal["upload.part"]
    created_at: int
    upload_id: str


def create_upload(context: RequestContext, body: NewUpload) -> Response:
    """Begin to upload a file in parts. It has an hour until it is completed."""
    from .state.files import NewFile

    uploads, owner = context.store.uploads, context.record.caller.owner
    expires = expires_at(body.purpose, body.expires_after)
    new = NewFile(body.filename, body.mime_type, body.purpose, body.bytes, expires)

    def create(claim: Claim | None) -> UploadObject:
        return _shown(uploads.create(owner, new, most=max_bytes(context), claim=claim))

    def created(file: str) -> UploadObject:
        """As it is now: it may be completed."""
        try:
            return _shown(uploads.of_file(owner, file))
        except StoredObjectNotFound:
            return _completed(context.store.files.get(owner, file))

    return stored_once(context, body, create, created, lambda upload: upload)


def add_part(context: RequestContext, body: PartForm, upload_id: str) -> Response:
    """Add a part; the order of parts is said when the upload is completed."""
    uploads, owner = context.store.uploads, context.record.caller.owner
    if body.data.size > MAX_PART_BYTES:
        raise BodyTooLarge(f"A part has {MAX_PART_BYTES // MEBIBYTE} MiB at most.", param="data")
    id, created = uploads.add(owner, upload_id, body.data.parts(), body.data.size)
    part: PartObject = {
        "id": id,
        "object": "upload.part",
        "created_at": created,
        "upload_id": upload_id,
    }
    return json_response(part)


def complete_upload(context: RequestContext, body: UploadCompletion, upload_id: str) -> Response:
    """Make the file of its parts."""
    uploads, owner = context.store.uploads, context.record.caller.owner

    def complete(claim: Claim | None) -> StoredFile:
        return uploads.complete(owner, upload_id, body.part_ids, md5=body.md5, claim=claim)

    find = partial(context.store.files.get, owner)
    return stored_once(context, body, complete, find, _completed, path_id=upload_id)


def cancel_upload(context: RequestContext, upload_id: str) -> Response:
    """Delete an upload and its parts."""
    cancelled = context.store.uploads.cancel(context.record.caller.owner, upload_id)
    return json_response({**_shown(cancelled), "status": "cancelled"})


def _completed(file: StoredFile) -> UploadObject:
    from .state.uploads import completed

    return {**_shown(completed(file)), "status": "completed", "file": shown(file)}


def _shown(upload: Upload) -> UploadObject:
    return {
        "id": upload.id,
        "object": "upload",
        "bytes": upload.file.size,
        "created_at": upload.created,
        "expires_at": upload.ends,
        "filename": upload.file.name,
        "purpose": upload.file.purpose,
        "status": "pending",
        "file": None,
    }


ONE = "/uploads/<upload_id>"
ROUTES = endpoint(
    "uploads",
    Route(
        *("POST", "/uploads", create_upload, "Create an upload"),
        PathPrefixes.API,
        answer=UploadObject,
        body=NewUpload,
        once=True,
        scope="write",
        example={
            "filename": "long.jsonl",
            "purpose": "batch",
            "bytes": 1024,
            "mime_type": "application/jsonl",
        },
    ),
    Route(
        *("POST", f"{ONE}/parts", add_part, "Add a part"),
        PathPrefixes.API,
        answer=PartObject,
        body=PartForm,
        body_format="form",
        takes_files=True,
        scope="write",
    ),
    Route(
        *("POST", f"{ONE}/complete", complete_upload, "Complete an upload"),
        PathPrefixes.API,
        answer=UploadObject,
        body=UploadCompletion,
        once=True,
        scope="write",
        example={"part_ids": []},
    ),
    Route(
        *("POST", f"{ONE}/cancel", cancel_upload, "Cancel an upload"),
        PathPrefixes.API,
        answer=UploadObject,
        scope="write",
    ),
)
