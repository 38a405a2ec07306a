"""An endpoint of the tests: notes that are uploaded, replaced, read and deleted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import BinaryIO, Literal

from pydantic import Field
from typing_extensions import TypedDict

from extensions.openai.errors import NotFound
from extensions.openai.schemas.forms import Upload
from extensions.openai.schemas.validation import RequestModel
from extensions.openai.web.context import RequestContext
from extensions.openai.web.responses.response import Response, json_response
from extensions.openai.web.routing.routes import PathPrefixes, Route, endpoint

PART = 64 << 10  # bytes


class NoteForm(RequestModel):
    """A note that is sent as a form."""

    title: str = Field(min_length=1, description="What it is called.")
    weight: float | None = Field(None, ge=0, le=1)
    pinned: bool | None = None
    tags: list[str] | None = Field(None, max_length=3)
    file: Upload = Field(description="What it says.")
    pictures: list[Upload] | None = None
    user: str | None = None


class Note(TypedDict):
    """What is kept of a note."""

    id: str
    title: str
    weight: float | None
    pinned: bool | None
    tags: list[str]
    filename: str
    bytes: int
    sha256: str
    pictures: list[str]


class NoteDeleted(TypedDict):
    id: str
    deleted: Literal[True]


class Notes:
    """The notes, and the routes to them."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[Note, bytes]] = {}
        self.files: list[BinaryIO] = []
        """All that were uploaded."""

    def create_note(self, context: RequestContext, body: NoteForm) -> Response:
        """Keep a note."""
        uploads = [body.file, *(body.pictures or ())]
        self.files += [upload.file for upload in uploads]
        data = body.file.file.read()
        assert len(data) == body.file.size
        note: Note = {
            "id": f"note-{len(self.kept) + 1}",
            "title": body.title,
            "weight": body.weight,
            "pinned": body.pinned,
            "tags": body.tags or [],
            "filename": body.file.filename,
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "pictures": [f"{each.content_type} {each.size}" for each in body.pictures or ()],
        }
        self.kept[note["id"]] = note, data
        return json_response(note)

    def read_note(self, context: RequestContext, id: str) -> Response:
        """What a note says, as it was sent."""
        _, data = self._found(id)

        def parts() -> Iterator[bytes]:
            for at in range(0, len(data), PART):
                yield data[at : at + PART]

        return Response(parts(), content_type="application/octet-stream")

    def replace_note(self, context: RequestContext, id: str, body: BinaryIO) -> Response:
        """Let a note say something else."""
        note, _ = self._found(id)
        digest, data = hashlib.sha256(), bytearray()
        while part := body.read(PART):
            digest.update(part)
            data += part
        note = {**note, "bytes": len(data), "sha256": digest.hexdigest()}
        self.kept[id] = note, bytes(data)
        return json_response(note)

    def delete_note(self, context: RequestContext, id: str) -> Response:
        """Forget a note."""
        self._found(id)
        del self.kept[id]
        deleted: NoteDeleted = {"id": id, "deleted": True}
        return json_response(deleted)

    def _found(self, id: str) -> tuple[Note, bytes]:
        if id not in self.kept:
            raise NotFound("There is no such note.", param="id")
        return self.kept[id]

    @property
    def routes(self) -> tuple[Route, ...]:
        api = PathPrefixes.API
        return endpoint(
            "notes",
            Route(
                *("POST", "/notes", self.create_note, "Create a note", api, Note),
                body=NoteForm,
                body_format="form",
                scope="write",
            ),
            Route(
                *("GET", "/notes/<id>/content", self.read_note, "Read a note", api),
                media="application/octet-stream",
            ),
            Route(
                *("POST", "/notes/<id>/content", self.replace_note, "Replace a note", api, Note),
                body_format="bytes",
                scope="write",
            ),
            Route(
                *("DELETE", "/notes/<id>", self.delete_note, "Delete a note", api, NoteDeleted),
                scope="write",
            ),
        )
