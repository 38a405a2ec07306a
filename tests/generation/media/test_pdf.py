"""PDF files in messages: their text reaches the model, and none can hold the server up."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from pypdf import PdfReader, PdfWriter

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.generation.media import pdf as pdf_module
from extensions.openai.generation.media import pdf_worker, worker
from extensions.openai.generation.media.pdf import PdfReader as Reader
from tests.support.api import Api
from tests.support.media import base64, data_url, file, line, pdf, user

TWO_PAGES = pdf(line("The first page."), line("The second one."))
TEXT = "The first page.\n\nThe second one."
SHOWN = f'<file name="report.pdf">\n{TEXT}\n</file>\n'
AT = "messages[0].content[0].file.file_data"
SLOW = pdf(b"BT /F 12 Tf " + b"1 0 0 1 0 0 Tm (a) Tj " * 300_000 + b"ET")
"""Some 20 KB, which take pypdf tens of seconds."""


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("chat/completions", {"messages": user(file(TWO_PAGES, "report.pdf"))}),
        (
            "responses",
            {
                "input": [
                    {
                        "role": "user",
                        "content": [
                            {
                                "type": "input_file",
                                "filename": "report.pdf",
                                "file_data": data_url(TWO_PAGES, "application/pdf"),
                            }
                        ],
                    }
                ]
            },
        ),
        (
            "messages",
            {
                "max_tokens": 500,
                "messages": user(
                    {
                        "type": "document",
                        "title": "report.pdf",
                        "source": {
                            "type": "base64",
                            "media_type": "application/pdf",
                            "data": base64(TWO_PAGES),
                        },
                    }
                ),
            },
        ),
    ],
    ids=["chat", "responses", "messages"],
)
def test_the_model_reads_the_text_of_all_pages(
    client: FlaskClient, path: str, body: dict[str, Any]
) -> None:
    """The echo engine says the user's text again."""
    answer = client.post(f"/v1/{path}", json={"model": "m", **body}).json
    if path == "chat/completions":
        said = answer["choices"][0]["message"]["content"]
    elif path == "responses":
        said = answer["output"][0]["content"][0]["text"]
    else:
        said = answer["content"][0]["text"]
    assert said == SHOWN


def test_a_file_that_takes_too_long_is_refused_and_named() -> None:
    """The process that reads it ends after its CPU time, whatever the file makes it do."""
    api = Api(EchoEngine(), media_pdf_seconds=0.4)
    body = {"model": "m", "messages": user(file(SLOW, "slow.pdf"))}
    error = api.client.post("/v1/chat/completions", json=body).json["error"]
    assert (error["param"], error["code"]) == (AT, "invalid_value")
    assert error["message"] == f"Invalid '{AT}': the PDF takes more than 0.4 seconds to read."


def test_a_broken_file_is_refused_and_named(client: FlaskClient) -> None:
    reply = client.post(
        "/v1/chat/completions", json={"model": "m", "messages": user(file(b"%PDF-1.4 x"))}
    )
    error = reply.json["error"]
    assert (reply.status_code, error["param"], error["code"]) == (400, AT, "invalid_value")
    assert error["message"] == f"Invalid '{AT}': the PDF cannot be read."


def test_a_reader_that_is_killed_while_it_answers_is_no_failure_of_the_server(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = tmp_path / "killed.py"
    script.write_text('import os\nos.write(1, b\'{"text": "a\')\nos.kill(os.getpid(), 9)\n')
    monkeypatch.setattr(pdf_module, "WORKER_SCRIPT", script)
    body = {"model": "m", "messages": user(file(TWO_PAGES))}
    error = client.post("/v1/chat/completions", json=body).json["error"]
    assert error["message"] == f"Invalid '{AT}': the PDF cannot be read."


def test_a_file_is_refused_without_the_package_and_where_the_operator_wants_none(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = {"model": "m", "messages": user(file(TWO_PAGES))}
    monkeypatch.setattr(pdf_module, "find_spec", lambda name: None)
    error = client.post("/v1/chat/completions", json=body).json["error"]
    assert (error["param"], error["code"]) == (AT, "unsupported_parameter")
    assert "pip install 'openedai[pdf]'" in error["message"]
    error = Api(EchoEngine(), media_pdf_pages=0).refused("chat/completions", **body)
    assert (error["param"], error["code"]) == (AT, "unsupported_parameter")


def test_a_client_that_leaves_ends_the_reading() -> None:
    """Both of a file, and of the wait for a place."""

    class Left(Exception):
        pass

    def leave() -> None:
        raise Left

    reader = Reader(cpu_seconds=60, check_wanted=leave)
    with pytest.raises(Left):
        reader.text(SLOW, "param")
    taken = [worker.places.acquire(timeout=50) for _ in range(worker.MAX_AT_ONCE)]
    try:
        assert all(taken), "a place was not given back"
        with pytest.raises(Left):
            reader.text(TWO_PAGES, "param")
    finally:
        for _ in taken:
            worker.places.release()


def encrypted(password: str) -> bytes:
    writer, made = PdfWriter(clone_from=PdfReader(BytesIO(TWO_PAGES))), BytesIO()
    writer.encrypt(user_password=password, owner_password="owner", algorithm="AES-128")
    writer.write(made)
    return made.getvalue()


@pytest.mark.parametrize(
    ("content", "pages", "characters", "answer"),
    [
        (TWO_PAGES, 2, len(TEXT) + 2, {"text": TEXT}),
        (TWO_PAGES, 1, 1000, {"problem": "pages"}),
        (TWO_PAGES, 2, len(TEXT), {"problem": "characters"}),
        (pdf(b"q Q"), 2, 1000, {"problem": "empty"}),
        (encrypted("secret"), 2, 1000, {"problem": "encrypted"}),
        (encrypted(""), 2, 1000, {"text": TEXT}),
    ],
    ids=["whole", "pages", "characters", "no text", "password", "empty password"],
)
def test_a_file_within_its_bounds_is_read(
    content: bytes, pages: int, characters: int, answer: dict[str, str]
) -> None:
    assert pdf_worker.read(content, pages, characters) == answer
