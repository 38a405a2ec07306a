"""The clock is set back while objects are stored: nothing is ordered by it, and its decisions hold."""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest
from sqlalchemy import select

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.errors import RequestUnderWay
from extensions.openai.settings import Settings
from extensions.openai.state.idempotency import KEPT_SECONDS, Claim, Idempotency
from extensions.openai.state.retention import Retention, Sweeper
from extensions.openai.state.store import Store
from extensions.openai.state.stored_chat import StoredChat
from extensions.openai.state.tables import idempotency
from extensions.openai.state.users import export
from extensions.openai.web.app import create_app
from tests.state.test_chat_completions import chat, ids

DAY, HOUR = 86400, 3600
CHATS = "/v1/chat/completions"


class Clock:
    """In place of the machine's: it runs only when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_900_000_000.0
        monkeypatch.setattr(time, "time", lambda: self.now)

    def move(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def stored(clock: Clock, id: str, **metadata: str) -> StoredChat:
    """As an answer of this moment is."""
    return StoredChat(id, int(clock.now), "m", metadata, chat(id).messages, b"{}")


def test_lists_pages_and_exports_keep_their_order(store: Store, clock: Clock) -> None:
    for number in range(12):
        store.chat_completions.add("local", stored(clock, f"c{number}", k="v"), user="ann")
        clock.move(-HOUR if number % 3 else 1)
    order = [f"c{number}" for number in range(12)]
    assert ids(store)[0] == order == ids(store, order="desc")[0][::-1]
    assert ids(store, metadata={"k": "v"})[0] == order
    seen: list[str] = []
    while page := ids(store, limit=5, **({"after": seen[-1]} if seen else {}))[0]:
        seen += page
        clock.move(-DAY)
    assert seen == order
    # A page may begin behind what was deleted at a later time than now.
    store.chat_completions.delete("local", "c4")
    clock.move(-HOUR)
    assert ids(store, limit=2, after="c4")[0] == ["c5", "c6"]
    lines = map(orjson.loads, export(store.database, user="ann"))
    assert [line["id"] for line in lines] == [name for name in order if name != "c4"]


def test_nothing_goes_early_and_the_oldest_goes_first(store: Store, clock: Clock) -> None:
    def sweep(**most: int) -> int:
        retention = Retention({"chats": 7}, {"chats": most.get("bytes", 0)})
        return Sweeper(store.database, lambda: retention).sweep()

    store.chat_completions.add("local", stored(clock, "before"))
    clock.move(-30 * DAY)
    store.chat_completions.add("local", stored(clock, "after"))
    assert sweep() == 0
    clock.move(6 * DAY)
    assert sweep() == 0
    # By size the one that was stored first, whatever its time says.
    assert sweep(bytes=40) == 1 and ids(store)[0] == ["after"]
    clock.move(2 * DAY)
    assert sweep() == 1


def test_a_request_stays_under_way_and_its_key_ends(store: Store, clock: Clock) -> None:
    keys = Idempotency(store.database, renewal=0.01)
    claim = keys.begin("local", "k", "p")
    assert isinstance(claim, Claim)
    clock.move(-2 * DAY)
    with pytest.raises(RequestUnderWay):
        keys.begin("local", "k", "p")
    _until_renewed(store, clock)
    with pytest.raises(RequestUnderWay):
        keys.begin("local", "k", "p")
    store.chat_completions.add("local", stored(clock, "a"), claim=claim)
    keys.settle(claim)
    clock.move(-HOUR)
    assert keys.begin("local", "k", "p") == "a"
    clock.move(HOUR + KEPT_SECONDS + 1)
    again = keys.begin("local", "k", "p")
    assert isinstance(again, Claim)
    keys.close()


def _until_renewed(store: Store, clock: Clock) -> None:
    """Its server has said in today's time that the request is under way."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        with store.database.read() as connection:
            until = connection.execute(select(idempotency.c.until)).scalar_one()
        if until < clock.now + HOUR:
            return
        time.sleep(0.01)
    raise AssertionError("it was not renewed")


def test_clients_see_their_chats_in_order(clock: Clock) -> None:
    app = create_app(Settings(store="memory"), EchoEngine())
    client = app.test_client()

    def ask(key: str) -> Any:
        message = {"role": "user", "content": key}
        body = {"model": "m", "messages": [message], "store": True}
        answer = client.post(CHATS, json=body, headers={"Idempotency-Key": key})
        assert answer.status_code == 200, answer.text
        return answer.json

    made = []
    for number in range(6):
        made.append(ask(f"k{number}"))
        clock.move(-HOUR)
    assert [each["created"] for each in made] == sorted((e["created"] for e in made), reverse=True)
    order = [each["id"] for each in made]
    page = client.get(f"{CHATS}?limit=4").json
    rest = client.get(f"{CHATS}?limit=4&after={page['last_id']}").json
    assert [each["id"] for each in (*page["data"], *rest["data"])] == order
    assert page["has_more"] and not rest["has_more"]
    assert [ask(f"k{number}")["id"] for number in range(6)] == order  # answered once each
