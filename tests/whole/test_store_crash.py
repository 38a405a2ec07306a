"""The server is killed while clients store things: nothing acknowledged is lost or half-written.

`make test-crash` does it 200 times.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from extensions.openai import __main__ as operator
from extensions.openai.schemas.figures import MAX_PLOTS
from extensions.openai.state.databases.sqlite_file import FILE
from extensions.openai.state.idempotency import LEASE_SECONDS
from tests.support.process import ServerProcess

ROUNDS = int(os.environ.get("CRASH_ROUNDS", "10"))
SECONDS_A_ROUND = 15
CLIENTS = 6
TURNS_OF_A_SESSION = 40
CHATS, FILES = "/v1/chat/completions", "/v1/files"
LONG = b"0123456789abcdef" * 50_000
"""Of a few chunks."""
FORM_HEAD = (
    b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nvision\r\n'
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
)


def connected(port: int) -> closing[http.client.HTTPConnection]:
    return closing(http.client.HTTPConnection("127.0.0.1", port, timeout=15))


class Clients:
    """Store chats until the server is gone, streamed and not, some with an idempotency key; one of the
    clients stores files."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.acknowledged: list[str] = []
        self.files: list[str] = []
        self._threads = [
            threading.Thread(target=self._run, args=(number,)) for number in range(CLIENTS)
        ]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()

    def _run(self, number: int) -> None:
        gone = contextlib.suppress(OSError, http.client.HTTPException)
        with connected(self._port) as connection, gone:
            for turn in range(100_000):
                if number:
                    self._store(connection, f"{number}-{turn}", stream=turn % 2 == 0)
                else:
                    self._upload(connection, LONG[turn:])

    def _store(self, connection: http.client.HTTPConnection, mark: str, *, stream: bool) -> None:
        body = {
            "model": "m",
            "messages": [{"role": "user", "content": mark * 50}],
            "store": True,
            "stream": stream,
            "metadata": {"mark": mark},
        }
        headers = {"Content-Type": "application/json"}
        if stream:
            headers["Idempotency-Key"] = f"{mark}-{time.time()}"
        connection.request("POST", CHATS, json.dumps(body), headers)
        with connection.getresponse() as answer:
            if not stream:
                self._acknowledge(json.loads(answer.read()))
                return
            while line := answer.readline():
                if b'"finish_reason":"' in line:
                    # From here on the client may take the answer for complete.
                    self._acknowledge(json.loads(line.removeprefix(b"data: ")))

    def _upload(self, connection: http.client.HTTPConnection, content: bytes) -> None:
        form = FORM_HEAD + content + b"\r\n--b--\r\n"
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        connection.request("POST", FILES, form, headers)
        with connection.getresponse() as answer:
            self.files.append(json.loads(answer.read())["id"])

    def _acknowledge(self, answer: Any) -> None:
        assert "store" not in answer, answer
        self.acknowledged.append(answer["id"])


def checked_ids(path: Path) -> list[str]:
    """All ids in the file, in their order, which must be whole."""
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        if not database.execute("SELECT * FROM sqlite_master").fetchall():
            return []  # killed before it was made
        for kind, table in (("chats", "chat_completions"), ("files", "files")):
            sums = f"SELECT owner, count(*), sum(bytes) FROM {table} GROUP BY owner"
            told = f"SELECT owner, objects, bytes FROM totals WHERE kind = '{kind}'"
            assert database.execute(sums).fetchall() == database.execute(told).fetchall()
        for messages, completion in database.execute(
            "SELECT messages, completion FROM chat_completions"
        ):
            assert json.loads(messages)[0]["role"] == "user"
            assert json.loads(completion)["choices"][0]["finish_reason"]
        ends = database.execute("SELECT until FROM idempotency WHERE object IS NULL").fetchall()
        assert all(end <= time.time() + LEASE_SECONDS for (end,) in ends)
        return [id for (id,) in database.execute("SELECT id FROM chat_completions ORDER BY seq")]


def whole_files(path: Path) -> set[str]:
    """All that clients may find: none of them lacks a byte."""
    content = "SELECT sum(length(data)) FROM file_chunks WHERE file = files.id"
    with closing(sqlite3.connect(path)) as database:
        if not database.execute("SELECT * FROM sqlite_master").fetchall():
            return set()
        query = f"SELECT id, bytes, ({content}) FROM files WHERE complete"
        found = database.execute(query).fetchall()
    assert all(said == there for _, said, there in found)
    return {id for id, _, _ in found}


def newest(port: int) -> list[str]:
    """As clients see them."""
    with connected(port) as connection:
        connection.request("GET", f"{CHATS}?order=desc&limit=100")
        return [each["id"] for each in json.loads(connection.getresponse().read())["data"]]


@pytest.mark.timeout(60 + ROUNDS * SECONDS_A_ROUND)
def test_killed_at_any_moment(tmp_path: Path) -> None:
    chance = random.Random()
    acknowledged: set[str] = set()
    files: set[str] = set()

    def start() -> ServerProcess:
        server = ServerProcess(
            *("--loader", "echo"), environment={"OPENEDAI_DATA_FOLDER": str(tmp_path)}
        )
        server.wait_until_ready()
        return server

    server = start()
    for _ in range(ROUNDS):
        clients = Clients(server.port)
        time.sleep(chance.uniform(0.1, 1.2))
        server.signal(signal.SIGKILL)
        clients.join()
        server.stop()
        acknowledged |= set(clients.acknowledged)
        found = checked_ids(tmp_path / FILE)
        assert acknowledged <= set(found)
        files |= set(clients.files)
        assert files <= whole_files(tmp_path / FILE)
        server = start()
        assert newest(server.port) == found[-100:][::-1]
    server.stop()
    assert len(acknowledged) > ROUNDS * CLIENTS and files  # it was under load


def test_what_it_made_in_the_background_has_failed(tmp_path: Path) -> None:
    environment = {"OPENEDAI_DATA_FOLDER": str(tmp_path)}
    server = ServerProcess(environment=environment)
    server.wait_until_ready()
    body = {"model": "m", "input": "Hello", "background": True, "ignore_eos": True}
    with connected(server.port) as connection:
        ids = [asked(connection, "POST", "/v1/responses", body)["id"] for _ in range(8)]
    server.signal(signal.SIGKILL)
    server.stop()
    with closing(sqlite3.connect(tmp_path / FILE)) as database:
        under_way = database.execute("SELECT id FROM responses WHERE until > 0").fetchall()
        assert under_way
        # Half a minute later.
        database.execute("UPDATE responses SET until = until - 60")
        database.commit()
    server = ServerProcess("--loader", "echo", environment=environment)
    server.wait_until_ready()
    with connected(server.port) as connection:
        found = {id: asked(connection, "GET", f"/v1/responses/{id}") for id in ids}
        page = asked(connection, "GET", f"/v1/responses/{ids[0]}/input_items")
    server.stop()
    for id, response in found.items():
        if (id,) in under_way:
            assert response["status"] == "failed"
            assert response["error"]["code"] == "server_error"
        else:
            assert response["status"] in ("completed", "incomplete")
    assert page["data"][0]["content"][0]["text"] == "Hello"


def asked(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: Any = None,
    headers: Mapping[str, str] = MappingProxyType({}),
) -> Any:
    sent = None if body is None else json.dumps(body)
    connection.request(method, path, sent, {"Content-Type": "application/json", **headers})
    with connection.getresponse() as answer:
        assert answer.status == 200, answer.read()
        return json.loads(answer.read())


class KeptByRequest:
    """Clients that keep plots, memories and turns of a session until the server is gone."""

    def __init__(self, port: int, round_: int) -> None:
        self._port, self._round = port, round_
        self.plots: list[str] = []
        self.memories: list[str] = []
        self.said: dict[str, list[str]] = {}
        """What each session was told, in its order."""
        works = (self._draw, self._remember, self._talk, self._talk)
        self._threads = [
            threading.Thread(target=self._run, args=(work, number))
            for number, work in enumerate(works)
        ]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    def _run(self, work: Callable[[http.client.HTTPConnection, int], None], number: int) -> None:
        gone = contextlib.suppress(OSError, http.client.HTTPException)
        with connected(self._port) as connection, gone:
            work(connection, number)

    def _draw(self, connection: http.client.HTTPConnection, number: int) -> None:
        said = {"model": "m", "messages": [{"role": "user", "content": "a table"}], "store": True}
        chat = asked(connection, "POST", CHATS, said)["id"]
        messages = f"{CHATS}/{chat}/messages"
        message = asked(connection, "GET", messages)["data"][0]["id"]
        for turn in range(MAX_PLOTS):
            figure = {"data": [{"type": "bar", "x": [self._round, turn], "y": [1, 2]}]}
            plot = asked(connection, "POST", f"{messages}/{message}/plots", {"figure": figure})
            self.plots.append(plot["id"])

    def _remember(self, connection: http.client.HTTPConnection, number: int) -> None:
        for turn in range(100_000):
            fact = {"agent": "companion", "user": f"{self._round}-{turn}", "text": f"fact {turn}"}
            self.memories.append(asked(connection, "POST", "/v1/memories", fact)["id"])

    def _talk(self, connection: http.client.HTTPConnection, number: int) -> None:
        for turn in range(100_000):
            name = f"{self._round}-{number}-{turn // TURNS_OF_A_SESSION}"
            said = self.said.setdefault(name, [])
            body = {"model": "m", "messages": [{"role": "user", "content": f"turn {turn}"}]}
            asked(connection, "POST", CHATS, body, {"x-openedai-session-key": name})
            said.append(f"turn {turn}")


def kept_ids(path: Path, table: str) -> set[str]:
    with closing(sqlite3.connect(path)) as database:
        return {id for (id,) in database.execute(f"SELECT id FROM {table}")}


def told_to(path: Path, session: str) -> list[str]:
    """What a session has of its user, each with an answer behind it."""
    query = """SELECT messages FROM session_turns WHERE session IN (SELECT id FROM sessions WHERE name = ?)
        ORDER BY seq"""
    told = []
    with closing(sqlite3.connect(path)) as database:
        for (messages,) in database.execute(query, (session,)):
            said, answer = json.loads(messages)
            assert (said["role"], answer["role"]) == ("user", "assistant") and answer["content"]
            told.append(said["content"])
    return told


@pytest.mark.timeout(60 + ROUNDS * SECONDS_A_ROUND)
def test_killed_while_plots_memories_and_turns_are_kept(tmp_path: Path) -> None:
    agents = tmp_path / "agents.yaml"
    agents.write_text("agents: {companion: {system: You remember., memory: true}}")
    data = tmp_path / "data"
    chance = random.Random()
    plots: set[str] = set()
    memories: set[str] = set()
    turns = 0
    for round_ in range(max(ROUNDS // 5, 1)):
        server = ServerProcess(
            *("--loader", "echo", "--agents", str(agents)),
            environment={"OPENEDAI_DATA_FOLDER": str(data)},
        )
        server.wait_until_ready()
        clients = KeptByRequest(server.port, round_)
        deadline = time.monotonic() + 50
        while not (
            memories or clients.memories
        ):  # before the first of all there is no store to check
            assert time.monotonic() < deadline, server.output
            time.sleep(0.01)
        time.sleep(chance.uniform(0.3, 1.2))
        server.signal(signal.SIGKILL)
        clients.join()
        server.stop()
        plots |= set(clients.plots)
        memories |= set(clients.memories)
        assert operator.main(["store", "check", "--data-folder", str(data)]) == 0
        assert plots <= kept_ids(data / FILE, "plots")
        assert memories <= kept_ids(data / FILE, "memories")
        for name, said in clients.said.items():
            # The last one may be there without its client's knowing.
            assert told_to(data / FILE, name)[: len(said)] == said
            turns += len(said)
    assert plots and memories and turns
