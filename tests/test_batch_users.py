"""What files of batches say of an end user: exported, and erased without the other lines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from flask.testing import FlaskClient
from sqlalchemy import Connection, delete, event, func, select, update

from extensions.openai.settings import Settings
from extensions.openai.state import batch_users
from extensions.openai.state import files as module
from extensions.openai.state.database import Backend
from extensions.openai.state.encryption import Row
from extensions.openai.state.operations import consistency
from extensions.openai.state.tables import batches, file_chunks, files
from extensions.openai.web.app import create_app
from tests.support.batches import (
    batch_of,
    chat_line,
    file_of,
    line_of,
    lines_in,
    result_of,
    settled,
)
from tests.support.keys import headers_of
from tests.support.paced import PacedEngine
from tests.support.postgres import PostgresServer
from tests.test_stored_completions import client_of

USERS = "/v1/internal/users"
SECRET = "a-marked-prompt-4711"
ADMIN = {"Authorization": "Bearer admin"}


@pytest.fixture(params=["sqlite", "encrypted sqlite", "memory"])
def where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    *encrypted, name = request.param.split()
    if encrypted:
        monkeypatch.setenv("OPENEDAI_STORE_ENCRYPTION", "true")
    if name == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        return server.new_database()
    return str(name)


everywhere = pytest.mark.parametrize(
    "where",
    ["sqlite", "encrypted sqlite", "memory", "postgresql", "encrypted postgresql"],
    indirect=True,
)


@pytest.fixture
def client(where: str, tmp_path: Path) -> Any:
    made = client_of(store=where, data_folder=str(tmp_path))
    yield made
    made.application.extensions["openai"].store.close()


def content() -> bytes:
    """Lines of ann, some of them long, of bob and of none."""
    lines = [
        chat_line("ann-1", f"{SECRET} one", user="ann"),
        chat_line("bob-1", "of bob", user="bob"),
        chat_line("ann-2", f"{SECRET} two", safety_identifier="ann", temperature="hot"),
        chat_line("ann-3", SECRET + " long" * 500, user="ann"),
        chat_line("ann-4", f"{SECRET} escaped").replace(b'"temperature"', b""),
        chat_line("none", "of none"),
    ]
    lines[4] = lines[4].replace(b'"body":{', b'"body":{"us\\u0065r":"\\u0061nn",')
    return b"\xef\xbb\xbf" + b"".join(lines).replace(b"\n", b"\r\n")


def exported(client: FlaskClient, user: str, **more: Any) -> list[Any]:
    answer = client.get(f"{USERS}/{user}/export", **more)
    assert answer.status_code == 200
    return [orjson.loads(line) for line in answer.data.splitlines()]


def erased(client: FlaskClient, user: str, query: str = "", **more: Any) -> tuple[int, int]:
    deleted = client.delete(f"{USERS}/{user}{query}", **more).json["deleted"]
    return deleted["batch_requests"], deleted["batch_results"]


def backend_of(client: FlaskClient) -> Backend:
    backend: Backend = client.application.extensions["openai"].store.database.backend
    return backend


def lines_of(client: FlaskClient, batch: Any) -> dict[str, list[Any]]:
    names = ("output_file_id", "error_file_id")
    return {name: lines_in(client, batch[name]) for name in names}


@everywhere
def test_what_is_of_a_user_is_exported_and_erased(
    client: FlaskClient, where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK_BYTES", 300)
    monkeypatch.setattr(batch_users, "TOGETHER", 3)
    done = result_of(client, content())
    assert done["request_counts"] == {"total": 6, "completed": 5, "failed": 1}
    files = [done[f"{name}_file_id"] for name in ("input", "output", "error")]
    sizes = [client.get(f"/v1/files/{file}").json["bytes"] for file in files]
    before = lines_of(client, done)
    found = exported(client, "ann")
    asked = [each["line"]["custom_id"] for each in found if each["kind"] == "batch_requests"]
    got = {each["line"]["custom_id"]: each for each in found if each["kind"] == "batch_results"}
    assert asked == ["ann-1", "ann-2", "ann-3", "ann-4"] and got.keys() == set(asked)
    assert got["ann-3"]["line"]["response"]["body"]["choices"][0]["message"]["content"]
    assert {each["file"] for each in found} == set(files) and len(found) == 8
    assert erased(client, "ann") == (4, 4)
    assert erased(client, "ann") == (0, 0) and exported(client, "ann") == []
    assert [client.get(f"/v1/files/{file}").json["bytes"] for file in files] == sizes
    after = lines_of(client, done)
    for name, lines in before.items():
        assert len(after[name]) == len(lines)
        for old, new in zip(lines, after[name], strict=True):
            if old["custom_id"].startswith("ann"):
                assert new["custom_id"] is None and new["error"]["code"] == "erased"
            else:
                assert new == old
    left = client.get(f"/v1/files/{files[0]}/content").data
    lines = [orjson.loads(line) for line in left.splitlines() if line.strip()]
    assert [line["custom_id"] for line in lines] == ["bob-1", "none"]
    store = client.application.extensions["openai"].store
    assert consistency.check(store.database).faults == ()
    with store.database.backend.engine.begin() as connection:
        stored = connection.execute(select(file_chunks)).mappings().all()
    assert stored and not [row for row in stored if SECRET.encode() in row["data"]]
    assert not [row for row in stored if "ann" in (row["end_user"], row["safety_identifier"])]
    if where == "sqlite":
        there = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert there and not [path for path in there if SECRET.encode() in path.read_bytes()]
    again = result_of(client, b"", input_file_id=files[0])
    assert again["request_counts"] == {"total": 2, "completed": 2, "failed": 0}


def test_an_input_that_is_gone_takes_no_result_with_it(client: FlaskClient) -> None:
    done = result_of(client, content())
    client.delete(f"/v1/files/{done['input_file_id']}")
    assert erased(client, "ann") == (0, 4)
    assert [line["custom_id"] for line in lines_in(client, done["error_file_id"])] == [None]


def as_an_older_version(client: FlaskClient, batch: Any, name: str) -> None:
    """Store the results once more as it did: without users, and some of them together in a chunk."""
    data = client.get(f"/v1/files/{batch[name]}/content").data
    first, *others = data.splitlines(keepends=True)
    store, owner = client.application.extensions["openai"].store, "local"

    def write(connection: Connection) -> None:
        file = module.begin_growing(connection, owner, "old.jsonl", "batch_output", None)
        for chunk in (first + b"".join(others[:2]), *others[2:]):
            assert module.append(connection, owner, file, chunk)
        this = batches.c.id == batch["id"]
        connection.execute(update(batches).where(this).values({name.removesuffix("_id"): file}))

    store.database.write(write)
    client.delete(f"/v1/files/{batch[name]}")


@everywhere
def test_results_that_an_older_version_has_stored(client: FlaskClient) -> None:
    done = result_of(client, content())
    for name in ("output_file_id", "error_file_id"):
        as_an_older_version(client, done, name)
    done = client.get(f"/v1/batches/{done['id']}").json
    before = lines_of(client, done)
    assert sum(map(len, before.values())) == 6
    found = [each for each in exported(client, "ann") if each["kind"] == "batch_results"]
    names = [each["line"]["custom_id"] for each in found]
    assert sorted(names) == ["ann-1", "ann-2", "ann-3", "ann-4"]
    assert {each["file"] for each in found} == {done["output_file_id"], done["error_file_id"]}
    assert erased(client, "ann") == (4, 4)
    assert erased(client, "ann") == (0, 0) and exported(client, "ann") == []
    for name, lines in lines_of(client, done).items():
        for old, new in zip(before[name], lines, strict=True):
            if old["custom_id"].startswith("ann"):
                assert new["custom_id"] is None and new["error"]["code"] == "erased"
            else:
                assert new == old


def test_results_of_an_older_version_whose_file_is_deleted(client: FlaskClient) -> None:
    done = result_of(client, content())
    as_an_older_version(client, done, "output_file_id")
    done = client.get(f"/v1/batches/{done['id']}").json
    client.delete(f"/v1/files/{done['output_file_id']}")
    assert erased(client, "ann") == (4, 1)  # of the error file


def test_a_file_that_is_deleted_meanwhile(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, there = file_of(client, content()), file_of(client, content())
    blank = batch_users.blank

    def deleted_before(connection: Connection, row: Row, places: Any) -> None:
        if row["id"] == gone:
            connection.execute(update(files).where(files.c.id == gone).values(complete=False))
        blank(connection, row, places)
        assert row["id"] == there

    monkeypatch.setattr(batch_users, "blank", deleted_before)
    assert erased(client, "ann") == (4, 0)


def test_requests_are_overwritten_together(client: FlaskClient) -> None:
    """To find a line that is open by its place is to look at all of them."""
    lines = [chat_line(f"{n}", "x", user="bob" if n % 50 == 7 else "ann") for n in range(450)]
    file, statements = file_of(client, b"".join(lines)), list[str]()

    def note(_: Any, __: Any, statement: str, *others: Any) -> None:
        statements.append(statement.split(" SET ")[0])

    engine = backend_of(client).engine
    event.listen(engine, "before_cursor_execute", note)
    assert erased(client, "ann") == (441, 0)
    event.remove(engine, "before_cursor_execute", note)
    assert statements.count("UPDATE batch_lines") == 5  # 100 in each
    assert statements.count("UPDATE file_chunks") == 10 + 4  # runs of ann's, some in two of these
    left = client.get(f"/v1/files/{file}/content").data.splitlines(keepends=True)
    assert [line if line.strip() else b"" for line in left] == [
        line if n % 50 == 7 else b"" for n, line in enumerate(lines)
    ]
    assert [*map(len, left)] == [*map(len, lines)]


def test_results_are_looked_for_once(client: FlaskClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each transaction goes on behind the one before: no index finds them."""
    monkeypatch.setattr(batch_users, "TOGETHER", 3)
    done = result_of(client, b"".join(chat_line(f"{n}", "x", user="ann") for n in range(9)))
    begun = list[Any]()

    def note(_: Any, __: Any, statement: str, parameters: Any, *others: Any) -> None:
        if statement.startswith("SELECT file_chunks.seq") and "end_user = " in statement:
            begun.append(parameters[2])

    engine = backend_of(client).engine
    event.listen(engine, "before_cursor_execute", note)
    assert erased(client, "ann") == (9, 9)
    event.remove(engine, "before_cursor_execute", note)
    assert len(begun) == 4 and begun == sorted({*begun})
    errors = [line["error"]["code"] for line in lines_in(client, done["output_file_id"])]
    assert errors == ["erased"] * 9


def test_results_in_files_that_are_being_deleted(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks of a file go in any order, and a server may be killed while they do."""
    monkeypatch.setattr(module, "CHUNK_BYTES", 100)
    done = result_of(client, content())
    output, backend = file_chunks.c.file == done["output_file_id"], backend_of(client)
    with backend.writer.begin() as connection:
        which = select(func.min(file_chunks.c.at)).where(output, file_chunks.c.end_user == "ann")
        first = connection.execute(which).scalar_one()
        connection.execute(delete(file_chunks).where(output, file_chunks.c.at <= first))
    results = [each for each in exported(client, "ann") if each["kind"] == "batch_results"]
    assert len(results) == 3
    assert erased(client, "ann") == (4, 4) and exported(client, "ann") == []


def test_files_of_which_there_is_no_batch(client: FlaskClient) -> None:
    file = file_of(client, content())
    other = file_of(client, content(), purpose="user_data")
    assert erased(client, "ann") == (4, 0)
    assert SECRET.encode() not in client.get(f"/v1/files/{file}/content").data
    assert client.get(f"/v1/files/{other}/content").data == content()


def test_users_of_messages(client: FlaskClient) -> None:
    said = [{"role": "user", "content": SECRET}]
    body = {"model": "echo", "max_tokens": 9, "messages": said, "metadata": {"user_id": "ann"}}
    path, unnamed = "/v1/messages", {**body, "user": ""}
    result_of(client, line_of("a", body, path) + line_of("b", unnamed, path), endpoint=path)
    assert erased(client, "ann") == (2, 2)


def test_a_batch_that_is_under_way(tmp_path: Path) -> None:
    engine = PacedEngine(parallel=4)
    engine.gate.clear()
    client = create_app(Settings(store="memory", batch_lines=2), engine).test_client()
    lines = [
        chat_line(f"{who}-{n}", f"{who} {n}", user=who) for n in "12345" for who in ("ann", "bob")
    ]
    made = batch_of(client, b"".join(lines))
    assert engine.wait_for_active(2)
    assert erased(client, "ann") == (5, 0)
    engine.gate.set()
    settled(client.application)
    done = client.get(f"/v1/batches/{made['id']}").json
    assert done["status"] == "completed"
    assert done["request_counts"] == {"total": 10, "completed": 5, "failed": 5}
    found = lines_of(client, done)
    assert {line["custom_id"] for line in found["output_file_id"]} == {f"bob-{n}" for n in "12345"}
    assert [line["error"]["code"] for line in found["error_file_id"]] == ["erased"] * 5
    assert exported(client, "ann") == []


def test_a_cancelled_batch_of_which_lines_were_erased(tmp_path: Path) -> None:
    engine = PacedEngine(parallel=4)
    engine.gate.clear()
    client = create_app(Settings(store="memory", batch_lines=1), engine).test_client()
    made = batch_of(client, b"".join(chat_line(f"{n}", "x", user="ann") for n in range(5)))
    assert engine.wait_for_active(1)
    erased(client, "ann")
    client.post(f"/v1/batches/{made['id']}/cancel")
    engine.gate.set()
    settled(client.application)
    done = client.get(f"/v1/batches/{made['id']}").json
    assert done["status"] == "cancelled" and done["request_counts"]["failed"] == 5
    lines = lines_in(client, done["error_file_id"])
    assert [line["custom_id"] for line in lines] == [None] * 5


def test_of_one_key_only(tmp_path: Path) -> None:
    options = {"data_folder": str(tmp_path), "admin_key": "admin", "rpm": 0}
    keys = headers_of(Settings(**options), "ann", "bob")  # type: ignore[arg-type]
    client = client_of(**options)
    for headers in keys.values():
        result_of(client, chat_line("a", SECRET, user="u"), headers=headers)
    assert len(exported(client, "u", headers=ADMIN)) == 4
    of_one = {"query_string": {"api_key_id": "ann"}, "headers": ADMIN}
    assert len(exported(client, "u", **of_one)) == 2
    assert erased(client, "u", "?api_key_id=ann", headers=ADMIN) == (1, 1)
    assert len(exported(client, "u", headers=ADMIN)) == 2
    assert erased(client, "u", headers=ADMIN) == (1, 1)
