"""Files of batches, and their ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import orjson
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

PATIENCE_S = 60.0
"""Only a test that fails waits so long."""


def line_of(custom_id: str, body: Any, url: str = "/v1/chat/completions") -> bytes:
    line = {"custom_id": custom_id, "method": "POST", "url": url, "body": body}
    return orjson.dumps(line) + b"\n"


def chat_line(custom_id: str, text: str, **more: Any) -> bytes:
    messages = [{"role": "user", "content": text}]
    return line_of(custom_id, {"model": "echo", "messages": messages, **more})


def upload(
    client: FlaskClient,
    content: bytes,
    name: str = "in.jsonl",
    *,
    purpose: str = "batch",
    **more: Any,
) -> TestResponse:
    """Send it as a file."""
    # The test client itself would leave a long form open.
    field = "--END\r\nContent-Disposition: form-data; name="
    parts = (
        f'{field}"purpose"\r\n\r\n{purpose}\r\n'.encode(),
        f'{field}"file"; filename="{name}"\r\n\r\n'.encode(),
        content,
        b"\r\n--END--\r\n",
    )
    kind = "multipart/form-data; boundary=END"
    form = b"".join(parts)
    return client.post("/v1/files", data=form, content_type=kind, buffered=True, **more)


def file_of(client: FlaskClient, content: bytes, name: str = "in.jsonl", **more: Any) -> str:
    """Upload it; its id."""
    sent = upload(client, content, name, **more)
    assert sent.status_code == 200, sent.data
    id: str = sent.get_json()["id"]
    return id


def batch_of(client: FlaskClient, content: bytes, **more: Any) -> Any:
    """A batch of chats with these lines, unless `more` says otherwise."""
    headers = more.pop("headers", {})
    body = {"endpoint": "/v1/chat/completions", "completion_window": "24h", **more}
    body.setdefault("input_file_id", file_of(client, content, headers=headers))
    return client.post("/v1/batches", json=body, headers=headers).get_json()


def read_lines(content: bytes) -> list[Any]:
    return [orjson.loads(line) for line in content.splitlines()]


def lines_in(client: FlaskClient, file: str | None, **more: Any) -> list[Any]:
    """The lines of an output or error file; none where there is no file."""
    if file is None:
        return []
    return read_lines(client.get(f"/v1/files/{file}/content", **more).data)


def settled(app: Flask) -> None:
    """Wait until no batch of the application has anything left to do."""
    assert app.extensions["openai"].batches.wait(PATIENCE_S)


def wait_for(client: FlaskClient, id: str, seen: Callable[[Any], bool], **more: Any) -> Any:
    """The batch, once it is so."""
    pause, ends = threading.Event(), time.monotonic() + PATIENCE_S
    while not seen(batch := client.get(f"/v1/batches/{id}", **more).get_json()):
        assert time.monotonic() < ends, batch
        pause.wait(0.01)
    return batch


def result_of(client: FlaskClient, content: bytes, **more: Any) -> Any:
    """A batch of chats with these lines, when it has ended."""
    made = batch_of(client, content, **more)
    settled(client.application)
    headers = more.get("headers", {})
    return client.get(f"/v1/batches/{made['id']}", headers=headers).get_json()
