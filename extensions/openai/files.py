"""Files: upload, list, get, read and delete files, which batches and other endpoints work with."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from pydantic import Field
from typing_extensions import NotRequired, TypedDict
from werkzeug.http import parse_range_header

from .errors import BatchFileInUse, RangeNotSatisfiable
from .schemas import bad_request
from .schemas.forms import Upload
from .schemas.validation import RequestModel
from .state.pages import Order, PageQuery
from .web.idempotent_request import stored_once
from .web.lists import list_of
from .web.responses.response import Response, json_response
from .web.routing.routes import PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .state.files import StoredFile
    from .state.idempotency import Claim
    from .web.context import RequestContext

MEBIBYTE = 1 << 20
MAX_NAME = 512
MAX_PAGE = 10_000
BATCH_SECONDS = 30 * 86400
"""After which input files of batches expire, unless their client says another time."""
Purpose = Literal["assistants", "batch", "user_data", "vision"]


class ExpiresAfter(RequestModel):
    """When a file expires."""

    anchor: Literal["created_at"] = Field(description="From when the seconds are counted.")
    seconds: int = Field(ge=3600, le=2_592_000, description="Seconds until the file expires.")


class NewFileForm(RequestModel):
    """A file to keep."""

    file: Upload = Field(description="The file.")
    purpose: Purpose = Field(description="What the file is for.")
    expires_after: ExpiresAfter | None = Field(
        None,
        description="When the file expires: `expires_after[anchor]`, `expires_after[seconds]`. By default "
        "those for batches do after 30 days, and others never.",
    )


class FilesQuery(RequestModel):
    """Which part of the list to answer."""

    after: str | None = Field(None, description="The `id` that the page begins behind.")
    limit: int | None = Field(
        None, ge=1, le=MAX_PAGE, description=f"Files on the page. Default {MAX_PAGE}."
    )
    order: Order | None = Field(None, description="`desc`: the latest first (default); or `asc`.")
    purpose: str | None = Field(None, description="With this purpose only.")

    @property
    def page(self) -> PageQuery:
        return PageQuery(self.after, self.limit or MAX_PAGE, self.order or "desc")


class FileObject(TypedDict):
    """A file, without its content."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: NotRequired[int]
    filename: str
    purpose: str
    status: Literal["processed"]


class FileList(TypedDict):
    """A page of files; the ids are empty texts on an empty page."""

    object: Literal["list"]
    data: list[FileObject]
    first_id: str
    last_id: str
    has_more: bool


class DeletedFile(TypedDict):
    """The file is deleted."""

    id: str
    object: Literal["file"]
    deleted: bool


def create_file(context: RequestContext, body: NewFileForm) -> Response:
    """Keep a file, until it is deleted or expires."""
    from .state.files import NewFile

    files, owner = context.store.files, context.record.caller.owner
    upload, name = body.file, body.file.filename or "file"
    if len(name) > MAX_NAME:
        raise bad_request.wrong_length("file", "string", len(name), high=MAX_NAME)
    expires = expires_at(body.purpose, body.expires_after)
    new = NewFile(name, upload.content_type, body.purpose, upload.size, expires)
    most = max_bytes(context)

    def add(claim: Claim | None) -> StoredFile:
        return files.add(owner, new, upload.parts(), most=most, claim=claim)

    return stored_once(context, body, add, partial(files.get, owner), shown)


def list_files(context: RequestContext, query: FilesQuery) -> Response:
    """The files of the caller's key, the latest first."""
    files, owner = context.store.files, context.record.caller.owner
    page = files.list(owner, query.page, purpose=query.purpose)
    return json_response(list_of(page.map(shown)))


def get_file(context: RequestContext, file_id: str) -> Response:
    """A file without its content; 404 for one that is deleted, has expired, or is another key's."""
    return json_response(shown(context.store.files.get(context.record.caller.owner, file_id)))


def get_content(context: RequestContext, file_id: str) -> Response:
    """The content of a file, or a part of it: the header `Range` is honoured."""
    files, owner = context.store.files, context.record.caller.owner
    file = files.get(owner, file_id)
    first, end = _asked_for(context, file)
    headers = {
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, no-store",
        "Content-Disposition": _attachment(file.name),
        "Content-Length": str(end - first),
        "Content-Type": "application/octet-stream",
        "ETag": f'"{file.id}"',
        "X-Content-Type-Options": "nosniff",
    }
    if end - first == file.size:
        return Response(files.read(owner, file_id), headers=headers)
    headers["Content-Range"] = f"bytes {first}-{end - 1}/{file.size}"
    return Response(files.read(owner, file_id, first, end - first), 206, headers=headers)


def delete_file(context: RequestContext, file_id: str) -> Response:
    """Delete a file and its content; 409 while a batch works with it."""
    store, owner = context.store, context.record.caller.owner
    if (batch := store.batches.uses(owner, file_id)) is not None:
        raise BatchFileInUse(batch)
    store.files.delete(owner, file_id)
    deleted: DeletedFile = {"id": file_id, "object": "file", "deleted": True}
    return json_response(deleted)


def shown(file: StoredFile) -> FileObject:
    """A file as the reference shows it."""
    answer: FileObject = {
        "id": file.id,
        "object": "file",
        "bytes": file.size,
        "created_at": file.created,
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
    }
    if file.expires is not None:
        answer["expires_at"] = file.expires
    return answer


def expires_at(purpose: Purpose, after: ExpiresAfter | None) -> int | None:
    """Unix seconds."""
    if after is not None:
        return int(time.time()) + after.seconds
    return int(time.time()) + BATCH_SECONDS if purpose == "batch" else None


def max_bytes(context: RequestContext) -> int:
    """Of all files of a key; 0 for any number."""
    megabytes: int = context.services.settings.store_megabytes["files"]
    return megabytes * MEBIBYTE


def _asked_for(context: RequestContext, file: StoredFile) -> tuple[int, int]:
    """From where to where, of what RFC 9110 (14) lets a server answer with one part; else the whole file.

    Raises RangeNotSatisfiable."""
    asked = parse_range_header(context.environ.get("HTTP_RANGE"))
    still = context.environ.get("HTTP_IF_RANGE") in (None, f'"{file.id}"')
    if asked is None or asked.units != "bytes" or len(asked.ranges) != 1 or not still:
        return 0, file.size
    last, behind = asked.ranges[0]
    if last < 0 and behind is None:  # so many last bytes, or all if there are fewer
        return max(0, file.size + last), file.size
    found = asked.range_for_length(file.size)
    if found is None:
        raise RangeNotSatisfiable(file.size)
    return found[0], found[1]


def _attachment(name: str) -> str:
    """RFC 6266: for programs that know ASCII only, and for others."""
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\' else "_" for c in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='', errors='replace')}"


ONE = "/files/<file_id>"
ROUTES = endpoint(
    "files",
    Route(
        *("POST", "/files", create_file, "Upload a file"),
        PathPrefixes.API,
        answer=FileObject,
        body=NewFileForm,
        body_format="form",
        takes_files=True,
        once=True,
        scope="write",
    ),
    Route(
        *("GET", "/files", list_files, "List files"),
        PathPrefixes.API,
        answer=FileList,
        query=FilesQuery,
    ),
    Route(
        *("GET", ONE, get_file, "Get a file"),
        PathPrefixes.API,
        answer=FileObject,
    ),
    Route(
        *("GET", f"{ONE}/content", get_content, "Get the content of a file"),
        PathPrefixes.API,
        media="application/octet-stream",
    ),
    Route(
        *("DELETE", ONE, delete_file, "Delete a file"),
        PathPrefixes.API,
        answer=DeletedFile,
        scope="write",
    ),
)
