"""What a route may be besides JSON in and out: deleted, uploaded as a form, sent and read as bytes."""

from __future__ import annotations

import hashlib
import threading
import time
import tracemalloc
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import EnvironBuilder, create_environ, run_wsgi_app

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.settings import Settings
from extensions.openai.web import multipart
from extensions.openai.web.app import create_app
from extensions.openai.web.multipart import MAX_FORM_FIELD_BYTES, MAX_FORM_PARTS
from tests.conftest import Serve
from tests.support.reference import assert_envelope
from tests.support.wire import Answer, ask
from tests.web.notes import Notes

FORM = "multipart/form-data"
MIB = 1 << 20
NAMELESS = b"--x\r\nContent-Disposition: form-data\r\n\r\nA note\r\n--x--\r\n"


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def client(notes: Notes) -> FlaskClient:
    return client_of(notes)


def client_of(notes: Notes, **options: Any) -> FlaskClient:
    return create_app(Settings(**options), EchoEngine(), routes=notes.routes).test_client()


def form(data: bytes = b"hello", **fields: Any) -> dict[str, Any]:
    return {"title": "A note", "file": (BytesIO(data), "note.txt"), **fields}


def encoded(fields: dict[str, Any]) -> tuple[bytes, str]:
    """A body and its type."""
    builder = EnvironBuilder(method="POST", data=fields, content_type=FORM)
    try:
        environ = builder.get_environ()
        with environ["wsgi.input"] as body:
            return body.read(), environ["CONTENT_TYPE"]
    finally:
        builder.close()


def post(client: FlaskClient, fields: dict[str, Any], **headers: str) -> Any:
    body, content_type = encoded(fields)
    # Buffered, the answer is sent to its end, as a server does.
    return client.post(
        "/v1/notes", data=body, content_type=content_type, headers=headers, buffered=True
    )


def refused(answer: Any, status: int = 400) -> dict[str, Any]:
    assert answer.status_code == status, answer.data
    return assert_envelope(answer.json, status=status)


def ask_form(port: int, fields: dict[str, Any]) -> Answer:
    body, content_type = encoded(fields)
    return ask(port, "POST", "/v1/notes", body, Content_Type=content_type)


def eventually(condition: Callable[[], bool]) -> bool:
    """A request ends after its client has the answer."""
    until = time.monotonic() + 5
    while not condition() and time.monotonic() < until:
        time.sleep(0.01)
    return condition()


def test_a_thing_is_uploaded_read_replaced_and_deleted(serve: Serve, notes: Notes) -> None:
    """Over TCP, as clients do it."""
    port = serve(EchoEngine(), routes=notes.routes).port
    data = bytes(range(256)) * 1000
    answer = ask_form(port, form(data, weight="0.5", pinned="true"))
    assert answer.status == 200, answer.body
    note = answer.json()
    assert (note["bytes"], note["filename"]) == (len(data), "note.txt")
    assert note["sha256"] == hashlib.sha256(data).hexdigest()
    assert (note["title"], note["weight"], note["pinned"]) == ("A note", 0.5, True)
    path = f"/v1/notes/{note['id']}"
    read = ask(port, "GET", f"{path}/content")
    assert read.body == data and read.headers["content-type"] == "application/octet-stream"
    replaced = ask(port, "POST", f"{path}/content", data[::-1], Content_Type="text/plain")
    assert replaced.json()["sha256"] == hashlib.sha256(data[::-1]).hexdigest()
    assert ask(port, "GET", f"{path}/content").body == data[::-1]
    deleted = ask(port, "DELETE", path)
    assert deleted.json() == {"id": note["id"], "deleted": True}
    assert "x-request-id" in deleted.headers
    again = ask(port, "DELETE", path)
    assert assert_envelope(again.json(), status=404)["param"] == "id"


def test_lists_come_as_several_parts(client: FlaskClient) -> None:
    pictures = [(BytesIO(b"x" * size), f"{size}.png", "image/png") for size in (1, 70_000)]
    answer = post(client, form() | {"tags[]": ["a,b", "c"], "pictures": pictures})
    assert answer.json["tags"] == ["a,b", "c"]
    assert answer.json["pictures"] == ["image/png 1", "image/png 70000"]


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"title": "A note"}, "missing_required_parameter", "file"),
        ({"title": "A note", "file": "no file"}, "invalid_type", "file"),
        (form(title=(BytesIO(b"x"), "title.txt")), "invalid_type", "title"),
        (form(weight="heavy"), "invalid_type", "weight"),
        (form(weight="2.5"), "decimal_above_max_value", "weight"),
        (form(pinned="perhaps"), "invalid_type", "pinned"),
        (form(tags=["a", "b", "c", "d"]), "array_above_max_length", "tags"),
        (form(pined="true"), "unknown_parameter", "pined"),
    ],
)
def test_what_is_wrong_with_a_field_is_named(
    client: FlaskClient, fields: dict[str, Any], code: str, param: str
) -> None:
    error = refused(post(client, fields))
    assert (error["code"], error["param"]) == (code, param)


def test_unknown_fields_are_named_to_the_client(client: FlaskClient) -> None:
    answer = post(client, form(something="else"))
    assert answer.status_code == 200 and answer.headers["x-openedai-ignored"] == "something"


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b"{}", "application/json", 415, "unsupported_content_type"),
        (b"", "", 415, "unsupported_content_type"),
        (b"title=x", "application/x-www-form-urlencoded", 415, "unsupported_content_type"),
        (b"--x\r\n", f"{FORM}", 400, "invalid_form"),
        (b"--x\r\nContent-Disposition: form-data; name=", f"{FORM}; boundary=x", 400, "invalid_form"),
        (b"no form", f"{FORM}; boundary=x", 400, "invalid_form"),
        (NAMELESS, f"{FORM}; boundary=x", 400, "invalid_form"),
    ],
)  # fmt: skip
def test_a_body_that_is_no_form(
    client: FlaskClient, body: bytes, content_type: str, status: int, code: str
) -> None:
    answer = client.post("/v1/notes", data=body, content_type=content_type, buffered=True)
    assert refused(answer, status)["code"] == code


@pytest.mark.parametrize(
    "fields",
    [
        {f"field{at}": "x" for at in range(MAX_FORM_PARTS + 1)},
        {"title": "x" * (MAX_FORM_FIELD_BYTES + 1)},
    ],
    ids=["parts", "field"],
)
def test_a_form_is_bounded(client: FlaskClient, fields: dict[str, Any]) -> None:
    assert refused(post(client, form(**fields)))["code"] == "too_many_values"


def test_a_body_is_bounded_in_every_format(notes: Notes) -> None:
    client = client_of(notes, max_body_mb=1)
    assert post(client, form()).status_code == 200
    large = b"x" * (MIB + 1)
    for answer in (post(client, form(large)), client.post("/v1/notes/note-1/content", data=large)):
        error = refused(answer, 413)
        assert error["code"] == "request_too_large" and "1 MiB" in error["message"]


def test_files_lie_on_disk_and_are_closed_at_the_end(notes: Notes) -> None:
    """Memory for what was uploaded is bounded, whatever its size."""
    client = client_of(notes, max_body_mb=64)
    pictures = [(BytesIO(b"p" * 8 * MIB), "large.png") for _ in range(6)]
    body, content_type = encoded(form(pictures=pictures))
    environ = {
        **create_environ("/v1/notes", method="POST"),
        "CONTENT_TYPE": content_type,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": BytesIO(body),
    }
    tracemalloc.start()
    try:
        parts, status, _ = run_wsgi_app(client.application, environ, buffered=True)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert status == "200 OK", list(parts)
    assert peak < 4 * MIB, peak
    assert len(notes.files) == 7 and all(file.closed for file in notes.files)


def test_files_of_a_form_that_is_refused_are_closed(
    notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []
    real = multipart.SpooledFile

    def spool(size: int, dir: str | None) -> Any:
        opened.append(real(size, dir=dir))
        return opened[-1]

    monkeypatch.setattr(multipart, "SpooledFile", spool)
    refused(post(client_of(notes), form(weight="heavy")))
    assert opened and all(file.closed for file in opened)


def test_a_full_disk_is_told_without_its_path(
    notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, content_type = encoded(form(b"x" * MIB))
    monkeypatch.setattr(multipart, "folder_for_temporary_files", lambda _: Path("/nowhere/at/all"))
    answer = client_of(notes).post("/v1/notes", data=body, content_type=content_type, buffered=True)
    assert answer.status_code == 503 and "nowhere" not in answer.text
    assert assert_envelope(answer.json)["code"] == "request_memory_full"


def test_limits_of_users_count_forms_by_their_user(notes: Notes) -> None:
    client = client_of(notes, api_key="k", user_limits={"rpm": 1})
    key = {"Authorization": "Bearer k"}
    assert post(client, form(user="ann"), **key).status_code == 200
    assert post(client, form(user="bob"), **key).status_code == 200
    assert post(client, form(user="ann"), **key).status_code == 429


def test_every_method_needs_its_scope(notes: Notes) -> None:
    client = client_of(notes, api_key="k")
    for method, path in (("DELETE", "/v1/notes/x"), ("POST", "/v1/notes")):
        assert refused(client.open(path, method=method), 401)["code"] == "invalid_api_key"
    preflight = client.options(
        "/v1/notes/x",
        headers={"Origin": "http://localhost:1", "Access-Control-Request-Method": "DELETE"},
    )
    assert "DELETE" in preflight.headers["Access-Control-Allow-Methods"]


def test_other_methods_are_refused(client: FlaskClient) -> None:
    answer = client.get("/v1/notes/x")
    assert refused(answer, 405)["code"] == "method_not_supported"
    assert set(answer.headers["Allow"].split(", ")) == {"DELETE", "OPTIONS"}


def test_many_uploads_at_once(serve: Serve, notes: Notes) -> None:
    port = serve(EchoEngine(), routes=notes.routes).port
    answers: list[Answer] = []
    threads = [
        threading.Thread(target=lambda: answers.append(ask_form(port, form(b"x" * 300_000))))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [answer.status for answer in answers] == [200] * 8
    assert eventually(lambda: all(file.closed for file in notes.files))


def test_the_document_describes_them(client: FlaskClient) -> None:
    document = client.get("/openapi.json").json
    create = document["paths"]["/v1/notes"]["post"]
    (content,) = create["requestBody"]["content"].items()
    assert content[0] == FORM
    fields = document["components"]["schemas"]["NoteForm"]["properties"]
    assert fields["file"]["type"] == "string" and fields["file"]["format"] == "binary"
    several = document["paths"]["/v1/notes/{id}/content"]
    raw = several["post"]["requestBody"]["content"]["application/octet-stream"]["schema"]
    assert raw == {"type": "string", "format": "binary"}
    assert "application/octet-stream" in several["get"]["responses"]["200"]["content"]
    delete = document["paths"]["/v1/notes/{id}"]["delete"]
    assert "requestBody" not in delete and {"200", "401", "404"} <= set(delete["responses"])
