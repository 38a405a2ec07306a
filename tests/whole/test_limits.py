"""Limits on a real server, as the official client meets them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.observability.record import RequestRecord
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.support import redis
from tests.support.process import ROOT, ServerProcess
from tests.support.wire import Wire

MESSAGES: Any = [{"role": "user", "content": "one two three four five six"}]


class Limited:
    """A server, and keys for it."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.environment = {"OPENEDAI_DATA_FOLDER": str(folder)}
        self.arguments = arguments
        self.clients: list[openai.OpenAI] = []
        self.start()

    def start(self) -> None:
        self.server = ServerProcess(
            "--loader", "echo", *self.arguments, environment=self.environment
        )
        self.server.wait_until_ready()

    def key(self, name: str, *arguments: str) -> openai.OpenAI:
        """A client with a new key of that name."""
        command = [sys.executable, "-m", "extensions.openai", "keys", "create", "--name", name]
        done = subprocess.run(
            [*command, *arguments],
            env=os.environ | self.environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        return self.client(done.stdout.strip())

    def client(self, key: str) -> openai.OpenAI:
        client = openai.OpenAI(base_url=f"{self.server.url}/v1", api_key=key, max_retries=0)
        self.clients.append(client)
        return client

    def stop(self) -> None:
        for client in self.clients:
            client.close()
        self.server.stop()


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Limited]:
    options = ("--api-key", "k", "--admin-key", "root", "--strict-models")
    running = Limited(tmp_path_factory.mktemp("limited"), *options)
    yield running
    running.stop()


def chat(client: openai.OpenAI, **more: Any) -> Any:
    return client.chat.completions.with_raw_response.create(model="echo", messages=MESSAGES, **more)


def test_requests_a_minute(limited: Limited) -> None:
    client = limited.key("requests", "--rpm", "3")
    for left in ("2", "1", "0"):
        headers = chat(client).headers
        assert headers["x-ratelimit-limit-requests"] == "3"
        assert headers["x-ratelimit-remaining-requests"] == left
        assert headers["x-ratelimit-reset-requests"].endswith("s")
    with pytest.raises(openai.RateLimitError) as caught:
        chat(client)
    error = caught.value
    assert (error.code, error.type, error.param) == ("rate_limit_exceeded", "requests", None)
    assert 1 <= int(error.response.headers["retry-after"]) <= 60
    assert error.response.headers["x-ratelimit-remaining-requests"] == "0"
    with pytest.raises(openai.RateLimitError):  # of every endpoint that needs a key
        client.models.list()
    assert chat(limited.client("k")).headers.get("x-ratelimit-limit-requests") is None


def test_named_keys_have_60_requests_a_minute_unless_they_say(limited: Limited) -> None:
    assert chat(limited.key("default")).headers["x-ratelimit-limit-requests"] == "60"
    headers = chat(limited.key("endless", "--rpm", "0")).headers
    assert "x-ratelimit-limit-requests" not in headers


def test_tokens_a_minute_right_to_the_unit(limited: Limited) -> None:
    client = limited.key("tokens", "--rpm", "0", "--tpm", "600")
    left = 600
    for _ in range(3):
        answer = chat(client, max_tokens=50)
        left -= answer.parse().usage.total_tokens
        assert answer.headers["x-ratelimit-limit-tokens"] == "600"
        assert answer.headers["x-ratelimit-remaining-tokens"] == str(left)
        assert answer.headers["x-ratelimit-reset-tokens"].endswith("s")
    # A stream has its headers before its tokens: they tell what was taken for it.
    stream = client.chat.completions.with_raw_response.create(
        model="echo",
        messages=MESSAGES,
        stream=True,
        stream_options={"include_usage": True},
        max_tokens=9,
    )
    assert left - 40 < int(stream.headers["x-ratelimit-remaining-tokens"]) < left - 9
    used = [chunk.usage for chunk in stream.parse() if chunk.usage][-1].total_tokens
    # A request that may need no tokens at all shows what is left.
    shown = client.completions.with_raw_response.create(model="echo", prompt="", max_tokens=0)
    left -= used + shown.parse().usage.total_tokens
    assert shown.headers["x-ratelimit-remaining-tokens"] == str(left)
    with pytest.raises(openai.RateLimitError) as caught:
        chat(client, max_tokens=599)
    assert (caught.value.code, caught.value.type) == ("rate_limit_exceeded", "tokens")


def test_a_month_s_tokens_survive_a_restart(tmp_path: Path) -> None:
    limited = Limited(tmp_path)
    try:
        client = limited.key("month", "--rpm", "0", "--monthly-tokens", "100")
        used = chat(client, max_tokens=20).parse().usage.total_tokens
        assert used < 100
        limited.server.stop()
        limited.start()
        again = limited.client(client.api_key)
        with pytest.raises(openai.RateLimitError) as caught:
            for _ in range(10):
                used += chat(again, max_tokens=20).parse().usage.total_tokens
        assert (caught.value.code, caught.value.type) == (
            "insufficient_quota",
            "insufficient_quota",
        )
        assert caught.value.response.headers["x-should-retry"] == "false"
        assert f"of which {used} are used" in caught.value.message
        total = again.get("/usage", cast_to=object)
        assert total["data"][0]["total_tokens"] == used
    finally:
        limited.stop()


def test_concurrent_requests(tmp_path: Path, limited: Limited) -> None:
    client = limited.key("parallel", "--rpm", "0", "--concurrent", "1")
    long: Any = [{"role": "user", "content": "word " * 400}]
    with Wire(limited.server.port) as wire:
        wire.request(
            "POST",
            "/v1/chat/completions",
            {"model": "echo", "messages": long, "stream": True, "n": 128},
            {"Authorization": f"Bearer {client.api_key}"},
        )
        time.sleep(0.5)  # nothing is read, so it holds its place
        with pytest.raises(openai.RateLimitError, match="concurrent") as caught:
            chat(client)
        assert caught.value.response.headers["retry-after"] == "1"
        assert limited.client("k").models.list().data
    for _ in range(100):  # the client has left, and its place is free
        try:
            chat(client)
            return
        except openai.RateLimitError:
            time.sleep(0.1)
    raise AssertionError("the place was never given back")


def test_who_has_an_answer_may_ask_again_at_once() -> None:
    """Its place is free before the client has read the end, so that it is never one too many."""
    app = create_app(Settings(concurrent=1), EchoEngine())
    body = {"model": "echo", "messages": MESSAGES}
    for more in ({}, {"stream": True}, {}, {"stream": True}):
        answer = app.test_client().post("/v1/chat/completions", json=body | more, buffered=False)
        assert answer.status_code == 200, "the one before has been sent, though it is not closed"
        for part in answer.response:
            if b"[DONE]" in part:
                break


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("more", "error"),
    [
        ({"messages": [{"role": "user", "content": "word " * 4000}]}, openai.BadRequestError),
        ({"model": "other"}, openai.NotFoundError),
        ({"temperature": -1}, openai.BadRequestError),
    ],
)
def test_a_refused_request_gives_its_tokens_and_its_place_back(
    limited: Limited, more: Any, error: type[openai.APIStatusError], stream: bool
) -> None:
    name = f"refused-{error.__name__}-{len(str(more))}-{int(stream)}"
    client = limited.key(name, "--rpm", "9", "--tpm", "90000", "--concurrent", "1")
    body = {"model": "echo", "messages": MESSAGES, "max_tokens": 50, **more}
    with pytest.raises(error) as caught:
        client.chat.completions.create(**body, stream=stream)
    headers = caught.value.response.headers
    assert headers["x-ratelimit-remaining-requests"] == "8"
    assert headers.get("x-ratelimit-remaining-tokens", "90000") == "90000"
    shown = client.completions.with_raw_response.create(model="echo", prompt="", max_tokens=0)
    left = 90000 - shown.parse().usage.total_tokens
    assert shown.headers["x-ratelimit-remaining-tokens"] == str(left)


def test_users_of_a_key(limited: Limited) -> None:
    client = limited.key("users", "--rpm", "10", "--user-limits", "rpm=2,tpm=500")
    for user in ("u1", "u1", "u2"):
        chat(client, user=user)
    with pytest.raises(openai.RateLimitError, match="this user of the key users"):
        chat(client, user="u1")
    assert chat(client, user="u2").headers["x-ratelimit-limit-requests"] == "2"
    assert chat(client).headers["x-ratelimit-remaining-requests"] == "5"


def test_64_clients_at_once(limited: Limited) -> None:
    client = limited.key("crowd", "--rpm", "40")
    outcomes: list[int] = []

    def work() -> None:
        for _ in range(2):
            try:
                outcomes.append(chat(client).status_code)
            except openai.RateLimitError as error:
                outcomes.append(error.status_code)

    threads = [threading.Thread(target=work) for _ in range(64)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (outcomes.count(200), outcomes.count(429)) == (40, 88)


def test_the_client_that_waits_gets_through(limited: Limited) -> None:
    """With its own retries the official client follows Retry-After; here the wait is short."""
    client = limited.key("patient", "--rpm", "0", "--concurrent", "1").with_options(max_retries=5)
    threads = [
        threading.Thread(target=lambda: done.append(chat(client).status_code)) for _ in range(3)
    ]
    done: list[int] = []
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [200, 200, 200]


def test_limits_of_the_shared_key_change_with_the_settings(tmp_path: Path) -> None:
    import signal

    file = tmp_path / "settings.yaml"
    file.write_text("openai-api_key: k\nopenai-rpm: 100\nopenai-tpm: 5000\n")
    limited = Limited(tmp_path, "--settings", str(file))
    try:
        headers = chat(limited.client("k")).headers
        assert headers["x-ratelimit-limit-requests"] == "100"
        assert headers["x-ratelimit-limit-tokens"] == "5000"
        file.write_text("openai-api_key: k\nopenai-rpm: 1\n")
        limited.server.signal(signal.SIGHUP)
        for _ in range(200):
            if "settings read again" in limited.server.output:
                break
            time.sleep(0.05)
        with pytest.raises(openai.RateLimitError):
            chat(limited.client("k"))
    finally:
        limited.stop()


def test_a_client_that_leaves_pays_for_what_it_got() -> None:
    app = create_app(Settings(tpm=5000, rpm=10), EchoEngine())
    client = app.test_client()
    ended: list[RequestRecord] = []
    app.extensions["openai"].observers.append(ended.append)
    body = {
        "model": "echo",
        "messages": [{"role": "user", "content": "word " * 200}],
        "max_tokens": 900,
    }
    answer = client.post("/v1/chat/completions", json={**body, "stream": True}, buffered=False)
    taken = int(answer.headers["x-ratelimit-remaining-tokens"])
    pieces = iter(answer.response)
    for _ in range(5):
        next(pieces)
    answer.close()
    (record,) = ended
    used = record.prompt_tokens + record.completion_tokens
    assert record.cancelled and 0 < record.completion_tokens < 200 and taken < 5000 - 900
    shown = client.post("/v1/completions", json={"model": "echo", "prompt": "", "max_tokens": 0})
    left = 5000 - used - shown.json["usage"]["total_tokens"]
    assert shown.headers["x-ratelimit-remaining-tokens"] == str(left)
    shown.close()


def test_two_servers_share_a_redis(tmp_path: Path) -> None:
    if not redis.available():
        pytest.skip(redis.MISSING)
    store = redis.RedisServer(tmp_path)
    arguments = ("--limits-storage", store.url)
    one = Limited(tmp_path, *arguments)
    other = Limited(tmp_path, *arguments)
    try:
        client = one.key("shared", "--rpm", "3", "--tpm", "1000")
        there = other.client(client.api_key)
        left = [
            chat(each).headers["x-ratelimit-remaining-requests"] for each in (client, there, client)
        ]
        assert left == ["2", "1", "0"]
        with pytest.raises(openai.RateLimitError):
            chat(there)
        store.stop()
        with pytest.raises(openai.InternalServerError) as caught:
            chat(there)
        assert (caught.value.status_code, caught.value.code) == (503, "limits_unavailable")
        for _ in range(100):
            if "limits cannot be counted" in other.server.output:
                break
            time.sleep(0.05)
        assert "limits cannot be counted" in other.server.output
    finally:
        for each in (one, other):
            each.stop()
        if store.process.poll() is None:
            store.stop()
