"""Files that messages name by their ids: in chats, Responses and Messages, with the official clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from flask.testing import FlaskClient
from sqlalchemy import update

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.settings import Settings
from extensions.openai.state.tables import files as files_table
from extensions.openai.web.app import create_app
from tests.conftest import sdk_on
from tests.support.api import Api
from tests.support.batches import file_of, lines_in, result_of
from tests.support.batches import line_of as batch_line
from tests.support.keys import headers_of
from tests.support.media import data_url, line, pdf, picture, user
from tests.support.reference import assert_anthropic_error, assert_envelope
from tests.test_messages import sdk_on as anthropic_on
from tests.test_stored_completions import client_of

NOTES = b"Rome has hills.\n"
SHOWN = '<file name="notes.txt">\nRome has hills.\n</file>\n'
NEVER = "file-" + "0" * 32


def in_chat(id: str, **more: Any) -> tuple[str, dict[str, Any]]:
    part = {"type": "file", "file": {"file_id": id, **more}}
    return "/v1/chat/completions", {"messages": user(part)}


def in_response(id: str, **more: Any) -> tuple[str, dict[str, Any]]:
    part = {"type": "input_file", "file_id": id, **more}
    return "/v1/responses", {"input": [{"role": "user", "content": [part]}]}


def in_message(id: str, **more: Any) -> tuple[str, dict[str, Any]]:
    part = {"type": "document", "source": {"type": "file", "file_id": id}, **more}
    return "/v1/messages", {"max_tokens": 99, "messages": user(part)}


def picture_in_response(id: str, **more: Any) -> tuple[str, dict[str, Any]]:
    part = {"type": "input_image", "file_id": id, **more}
    return "/v1/responses", {"input": [{"role": "user", "content": [part]}]}


def picture_in_message(id: str, **more: Any) -> tuple[str, dict[str, Any]]:
    part = {"type": "image", "source": {"type": "file", "file_id": id}, **more}
    return "/v1/messages", {"max_tokens": 9, "messages": user(part)}


Asking = Callable[..., tuple[str, dict[str, Any]]]
TEXTS = {
    in_chat: "messages[0].content[0].file.file_id",
    in_response: "input[0].content[0].file_id",
    in_message: "messages[0].content[0].source.file_id",
}
PICTURES = {
    picture_in_response: "input[0].content[0].file_id",
    picture_in_message: "messages[0].content[0].source.file_id",
}
texts = pytest.mark.parametrize(("asking", "param"), TEXTS.items())
pictures = pytest.mark.parametrize(("asking", "param"), PICTURES.items())


@pytest.fixture(scope="module")
def client() -> Iterator[FlaskClient]:
    yield client_of()


@pytest.fixture(scope="module")
def sdk(client: FlaskClient) -> Iterator[openai.OpenAI]:
    """Strict about what it is answered."""
    with sdk_on(client.application) as made:
        yield made


@pytest.fixture(scope="module")
def looking(seeing: Api) -> Iterator[FlaskClient]:
    """A client of a model that sees, with a store."""
    app = create_app(Settings(store="memory"), seeing.engine)
    yield app.test_client()
    app.extensions["openai"].store.close()


def ask(client: FlaskClient, asked: tuple[str, dict[str, Any]], **more: Any) -> Any:
    path, body = asked
    return client.post(path, json={"model": "echo", **body}, **more)


def upload(
    client: FlaskClient,
    content: bytes,
    name: str = "notes.txt",
    purpose: str = "user_data",
    **more: Any,
) -> str:
    """The id of the file."""
    return file_of(client, content, name, purpose=purpose, **more)


def refused(client: FlaskClient, asked: tuple[str, dict[str, Any]], status: int = 400) -> Any:
    answer = ask(client, asked)
    assert answer.status_code == status, answer.text
    if "messages" in asked[0]:
        assert_anthropic_error(answer.json, status=status)
        return answer.json["error"]
    return assert_envelope(answer.json, status=status)


def test_the_official_client_names_a_file(client: FlaskClient, sdk: openai.OpenAI) -> None:
    file = sdk.files.create(file=("notes.txt", NOTES), purpose="user_data")
    content: Any = [
        {"type": "text", "text": "What is in it?"},
        {"type": "file", "file": {"file_id": file.id}},
    ]
    chat = sdk.chat.completions.create(
        model="echo", messages=[{"role": "user", "content": content}], store=True
    )
    assert chat.choices[0].message.content == f"What is in it?{SHOWN}"
    # Not by the client, whose type for stored messages has no files.
    stored = client.get(f"/v1/chat/completions/{chat.id}/messages").json["data"][0]
    assert file.id in str(stored) and "Rome" not in str(stored)
    part: Any = {"type": "input_file", "file_id": file.id}
    first = sdk.responses.create(model="echo", input=[{"role": "user", "content": [part]}])
    assert "Rome has hills." in first.output_text
    [item] = sdk.responses.input_items.list(first.id).data
    assert file.id in item.model_dump_json() and "Rome" not in item.model_dump_json()
    second = sdk.responses.create(model="echo", input="And?", previous_response_id=first.id)
    assert second.usage is not None and first.usage is not None
    assert second.usage.input_tokens > first.usage.input_tokens
    sdk.files.delete(file.id)
    with pytest.raises(openai.NotFoundError) as caught:
        sdk.responses.create(model="echo", input="And?", previous_response_id=first.id)
    assert caught.value.param == "previous_response_id" and file.id in caught.value.message


def test_the_official_client_of_messages_names_a_file(
    client: FlaskClient, sdk: openai.OpenAI
) -> None:
    file = sdk.files.create(file=("a.pdf", pdf(line("A page."))), purpose="user_data")
    with anthropic_on(client.application) as claude:
        source: Any = {"type": "file", "file_id": file.id}
        content: Any = [{"type": "document", "source": source, "title": "b.pdf"}]
        message = claude.beta.messages.create(
            model="echo",
            max_tokens=99,
            messages=[{"role": "user", "content": content}],
            betas=["files-api-2025-04-14"],
        )
        assert message.content[0].type == "text"
        assert message.content[0].text == '<file name="b.pdf">\nA page.\n</file>\n'
        counted = claude.beta.messages.count_tokens(
            model="echo", messages=[{"role": "user", "content": content}]
        )
        assert counted.input_tokens == message.usage.input_tokens
        source["file_id"] = NEVER
        with pytest.raises(anthropic.NotFoundError) as caught:
            claude.beta.messages.create(
                model="echo", max_tokens=9, messages=[{"role": "user", "content": content}]
            )
        assert_anthropic_error(caught.value.body, status=404)


@pytest.mark.parametrize("purpose", ["vision", "user_data", "assistants"])
@pictures
def test_a_picture_is_the_same_as_one_that_is_sent(
    looking: FlaskClient, asking: Asking, param: str, purpose: str
) -> None:
    red, blue = (
        upload(looking, picture(colour), "a.png", purpose=purpose) for colour in ("red", "blue")
    )
    greedy = {"temperature": 0, "model": "seeing"}

    def said(asked: tuple[str, dict[str, Any]]) -> Any:
        answer = looking.post(asked[0], json={**asked[1], **greedy})
        assert answer.status_code == 200, answer.text
        blocks = answer.json.get("output", answer.json.get("content"))
        usage = answer.json["usage"]
        # In Messages the tokens of a prompt that were read before are not among the others.
        return blocks[0], usage["input_tokens"] + usage.get("cache_read_input_tokens", 0)

    path, sent = asking(red)
    part: Any = {"type": "input_image", "image_url": data_url(picture("red"), "image/png")}
    if path == "/v1/messages":
        whole = data_url(picture("red"), "image/png").partition(",")[2]
        source: Any = {"type": "base64", "media_type": "image/png", "data": whole}
        part = {"type": "image", "source": source}
        sent = {**sent, "messages": user(part)}
    else:
        sent = {"input": [{"role": "user", "content": [part]}]}
    (block, count), (sent_block, sent_count) = said(asking(red)), said((path, sent))
    name = "text" if path == "/v1/messages" else "content"
    assert block[name] == sent_block[name] and count == sent_count
    assert said(asking(blue))[1] == count


@texts
def test_a_name_of_the_request_counts(client: FlaskClient, asking: Asking, param: str) -> None:
    id = upload(client, NOTES, "other.txt")
    name = "title" if asking is in_message else "filename"
    assert (
        '<file name=\\"notes.txt\\">\\nRome' in ask(client, asking(id, **{name: "notes.txt"})).text
    )
    assert '<file name=\\"other.txt\\">\\nRome' in ask(client, asking(id)).text


@texts
def test_a_file_that_is_not_there(client: FlaskClient, asking: Asking, param: str) -> None:
    deleted, expired = (upload(client, NOTES, "a.txt") for _ in range(2))
    client.delete(f"/v1/files/{deleted}")
    database = client.application.extensions["openai"].store.database
    which = update(files_table).where(files_table.c.id == expired)
    database.write(lambda connection: connection.execute(which.values(expires=1)))
    for id in (deleted, expired, NEVER, "", "x\0", "\u00e9" * 500):
        error = refused(client, asking(id), 404)
        assert id[:100] in error["message"] and "no stored object" in error["message"]
        assert error.get("param", param) == param


@texts
def test_what_is_no_text(client: FlaskClient, asking: Asking, param: str) -> None:
    for content, name, purpose, said in (
        (NOTES, "a.jsonl", "batch", "the file's purpose is 'batch'"),
        (NOTES, "a.png", "vision", "the file's purpose is 'vision'"),
        (b"", "a.txt", "user_data", "it is empty"),
        (picture("red"), "a.png", "user_data", "not of a type that holds text"),
        (b"\x00\x01", "a.txt", "user_data", "neither text in UTF-8 nor a PDF"),
        (b"%PDF-broken", "a.txt", "user_data", "cannot be read"),
    ):
        id = upload(client, content, name, purpose=purpose)
        error = refused(client, asking(id))
        assert said in error["message"] and param in error["message"]


@pictures
def test_what_is_no_picture(
    looking: FlaskClient, client: FlaskClient, asking: Asking, param: str
) -> None:
    for content, purpose, said in (
        (picture("red"), "batch", "the file's purpose is 'batch'"),
        (NOTES, "vision", "it is none of PNG"),
        (b"", "vision", "it is empty"),
    ):
        id = upload(looking, content, "a.png", purpose=purpose)
        error = refused(looking, asking(id))
        assert said in error["message"] and param in error["message"]
    assert "no stored object" in refused(looking, asking(NEVER), 404)["message"]
    # Where the model sees nothing, no file is looked for.
    assert "takes no pictures" in refused(client, asking(NEVER))["message"]


def test_a_file_and_its_content_at_once(client: FlaskClient, looking: FlaskClient) -> None:
    id, url = upload(client, NOTES), data_url(NOTES, "text/plain")
    for asked in (in_chat(id, file_data=url), in_response(id, file_data=url)):
        assert refused(client, asked)["code"] == "invalid_parameter_combination"
    asked = picture_in_response(NEVER, image_url=data_url(picture("red"), "image/png"))
    assert refused(looking, asked)["code"] == "invalid_parameter_combination"


@texts
def test_bounds(asking: Asking, param: str) -> None:
    client = client_of(media_max_mb=1, max_body_mb=2, media_max_parts=4)
    mib = 1 << 20
    large = upload(client, b"a" * (mib + 1))
    assert "larger than 1 MiB" in refused(client, asking(large))["message"]
    whole = upload(client, b"a" * mib)
    path, body = asking(whole)
    first = body["input" if "input" in body else "messages"][0]
    first["content"] *= 3
    assert "more than 2 MiB together" in refused(client, (path, body))["message"]
    first["content"] = first["content"][:1] * 5
    assert "4 at most" in refused(client, (path, body))["message"]
    first["content"] = first["content"][:2]
    answer = ask(client, (path, body))
    assert answer.status_code == 400 and "tokens" in answer.text  # they were read


@texts
def test_files_of_another_key_are_as_what_never_was(
    tmp_path: Path, asking: Asking, param: str
) -> None:
    options = {"data_folder": str(tmp_path)}
    keys = headers_of(Settings(**options), "ann", "bob")  # type: ignore[arg-type]
    client = client_of(**options)
    id = upload(client, NOTES, headers=keys["ann"])
    assert "Rome" in ask(client, asking(id), headers=keys["ann"]).text
    answers = []
    for each in (id, NEVER):
        headers = {**keys["bob"], "x-request-id": "same"}
        answer = ask(client, asking(each), headers=headers)
        answers.append((answer.status_code, answer.text.replace(each, "ID")))
    assert answers[0] == answers[1] and answers[0][0] == 404


def test_without_a_store() -> None:
    client = create_app(Settings(store="off"), EchoEngine()).test_client()
    for asking in TEXTS:
        assert "Nothing is stored" in refused(client, asking(NEVER), 404)["message"]


def test_lines_of_batches_name_files(client: FlaskClient) -> None:
    id = upload(client, NOTES, "notes.txt")
    for asking in TEXTS:
        path, body = asking(id)
        content = batch_line("there", {"model": "echo", **body}, path)
        content += batch_line("gone", {"model": "echo", **asking(NEVER)[1]}, path)
        done = result_of(client, content, endpoint=path)
        [answered] = lines_in(client, done["output_file_id"])
        assert answered["custom_id"] == "there" and "Rome has hills." in str(answered["response"])
        [failed] = lines_in(client, done["error_file_id"])
        assert failed["custom_id"] == "gone" and failed["response"]["status_code"] == 404
