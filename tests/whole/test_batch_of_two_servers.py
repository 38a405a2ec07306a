"""Two server processes on one PostgreSQL share a batch: no line is answered twice, and one goes on with the
lines of another one that was killed."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.batches import line_of, read_lines
from tests.support.postgres import PostgresServer
from tests.support.process import ServerProcess

CHAT = "/v1/chat/completions"
PATIENCE_S = 100.0
"""Only a test that fails waits so long."""
SLOW, FAST = "openedai-tiny", "echo"
"""The models of the two servers. The slow one begins; the other one finds the batch."""


@pytest.fixture(scope="module")
def servers(postgres_server: PostgresServer) -> Iterator[dict[str, ServerProcess]]:
    environment = {"OPENEDAI_STORE": postgres_server.new_database()}
    made = {
        SLOW: ServerProcess(environment=environment),
        FAST: ServerProcess("--loader", "echo", environment=environment),
    }
    for server in made.values():
        server.wait_until_ready()
    yield made
    for server in made.values():
        server.stop()


@pytest.fixture
def clients(servers: dict[str, ServerProcess]) -> Iterator[dict[str, httpx.Client]]:
    made = {
        name: httpx.Client(base_url=each.url, timeout=PATIENCE_S) for name, each in servers.items()
    }
    yield made
    for client in made.values():
        client.close()


def begin(client: httpx.Client, lines: int, tokens: int) -> str:
    """A batch whose lines have so many tokens; its id."""
    messages = [{"role": "user", "content": "Hi"}]
    body = {"model": "any", "messages": messages, "max_tokens": tokens, "ignore_eos": True}
    content = b"".join(line_of(f"{n}", body) for n in range(lines))
    form: Any = {"data": {"purpose": "batch"}, "files": {"file": ("in.jsonl", content)}}
    file = client.post("/v1/files", **form).json()["id"]
    new = {"input_file_id": file, "endpoint": CHAT, "completion_window": "24h"}
    return str(client.post("/v1/batches", json=new).json()["id"])


def wait_for(seen: Callable[[], Any]) -> Any:
    """What is seen, once it is something."""
    ends = time.monotonic() + PATIENCE_S
    while not (found := seen()):
        assert time.monotonic() < ends, "it does not come"
        time.sleep(0.05)
    return found


def completed(client: httpx.Client, id: str) -> Any:
    """The batch, once it has ended."""

    def seen() -> Any:
        batch = client.get(f"/v1/batches/{id}").json()
        return batch if batch["status"] not in ("validating", "in_progress") else None

    done = wait_for(seen)
    assert done["status"] == "completed" and done["error_file_id"] is None
    return done


def models_of(client: httpx.Client, batch: Any) -> Counter[str]:
    """How many lines each model answered, of which no name comes twice."""
    lines = read_lines(client.get(f"/v1/files/{batch['output_file_id']}/content").content)
    total = batch["request_counts"]["total"]
    assert sorted(int(line["custom_id"]) for line in lines) == list(range(total))
    return Counter(line["response"]["body"]["model"] for line in lines)


def answered(client: httpx.Client) -> int:
    """How many chats a server has begun to answer, as its metrics have it."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return sum(
        int(sample.value)
        for family in families
        for sample in family.samples
        if sample.name == "openedai_requests_total" and sample.labels["route"] == f"POST {CHAT}"
    )


def test_each_line_is_answered_by_one_of_them(clients: dict[str, httpx.Client]) -> None:
    slow, fast = clients[SLOW], clients[FAST]
    batch = completed(fast, begin(slow, 200, 200))
    by = models_of(slow, batch)
    assert by.keys() == {SLOW, FAST}
    assert (answered(slow), answered(fast)) == (by[SLOW], by[FAST])


def test_lines_of_one_that_is_killed(
    servers: dict[str, ServerProcess], clients: dict[str, httpx.Client]
) -> None:
    slow, fast = clients[SLOW], clients[FAST]
    before = answered(fast)
    id = begin(slow, 40, 3000)
    wait_for(lambda: slow.get("/v1/internal/queue").json()["running"])
    servers[SLOW].signal(signal.SIGKILL)
    servers[SLOW].wait(PATIENCE_S)
    by = models_of(fast, completed(fast, id))
    assert by[FAST] == answered(fast) - before and by[FAST] + by[SLOW] == 40
    assert by[FAST] >= 8, "those that were under way among them"
