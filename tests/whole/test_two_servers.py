"""Two server processes on one PostgreSQL: what one makes in the background, the other shows and ends."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.postgres import PostgresServer
from tests.support.process import ServerProcess
from tests.support.reference import named_events, response_events
from tests.support.wire import Wire, ask

PATH = "/v1/responses"
LONG = {"model": "m", "input": "Hello", "background": True, "stream": True, "ignore_eos": True}
STOPS_WITHIN = 10.0
"""Seconds, on a machine that is busy with other tests; it looks once a second."""


@pytest.fixture(scope="module")
def ports(postgres_server: PostgresServer) -> Iterator[tuple[int, int]]:
    environment = {"OPENEDAI_STORE": postgres_server.new_database()}
    servers = [ServerProcess(*each, environment=environment) for each in ((), ("--loader", "echo"))]
    for server in servers:
        server.wait_until_ready()
    yield servers[0].port, servers[1].port
    for server in servers:
        server.stop()


def running(port: int) -> int:
    return int(json.loads(ask(port, "GET", "/v1/internal/queue").body)["running"])


def test_the_other_server_shows_events_as_they_come(ports: tuple[int, int]) -> None:
    here, other = ports
    with Wire(here) as wire, Wire(other) as follower:
        wire.request("POST", PATH, LONG | {"max_output_tokens": 600})
        wire.head()
        data = next(wire.chunks())
        path = f"{PATH}/{named_events(data)[0]['response']['id']}?stream=true"
        follower.request("GET", f"{path}&starting_after=1")
        assert follower.head()[1] == 200
        followed = b"".join(follower.chunks())
        events = response_events(data + b"".join(wire.chunks()))
    last: Any = events[-1]
    assert last["type"] == "response.incomplete"
    assert last["response"]["usage"]["output_tokens"] == 600
    # Past its answer the tiny model may fall into tokens of bytes that are no text, which have no event.
    assert len(events) > 100
    assert response_events(followed) == events[2:]


def test_the_other_server_ends_it(ports: tuple[int, int]) -> None:
    here, other = ports
    with Wire(here) as wire, Wire(other) as follower:
        wire.request("POST", PATH, LONG)
        wire.head()
        id = named_events(next(wire.chunks()))[0]["response"]["id"]
        follower.request("GET", f"{PATH}/{id}?stream=true")
        follower.head()
        seen = b""
        while b"output_text.delta" not in seen:
            seen += next(follower.chunks())
        assert running(here) == 1  # these are live
        assert ask(other, "POST", f"{PATH}/{id}/cancel").json()["status"] == "cancelled"
        end = time.monotonic() + STOPS_WITHIN
        while running(here):
            assert time.monotonic() < end, "it goes on"
            time.sleep(0.05)
        last: Any = response_events(seen + b"".join(follower.chunks()))[-1]
        assert (last["type"], last["response"]["status"]) == ("response.failed", "cancelled")
    for port in ports:
        assert ask(port, "GET", f"{PATH}/{id}").json()["status"] == "cancelled"
