"""Limits to the unit, counted in memory and in a real Redis, by one thread and by many."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar

import pytest

from extensions.openai.access.caller import Caller, Limits
from extensions.openai.completions import CompletionRequest
from extensions.openai.errors import LimitsUnavailable, QuotaExceeded, RateLimited, UnitsLimited
from extensions.openai.limits.rate_limits import Limiter, short_user
from extensions.openai.limits.storage import CountStorage
from extensions.openai.observability.record import RequestRecord
from extensions.openai.settings import Settings
from tests.support import redis
from tests.support.process import free_port

NOON = 1_800_000_000.0 - 1_800_000_000 % 86400 + 43200  # of some day, in the middle of a month


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.RedisServer]:
    if not redis.available():
        pytest.skip(redis.MISSING)
    server = redis.RedisServer(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


@pytest.fixture(params=["memory", "redis"])
def limiter(request: pytest.FixtureRequest) -> Iterator[Limiter]:
    if request.param == "memory":
        yield Limiter(Settings())
        return
    server: redis.RedisServer = request.getfixturevalue("redis_server")
    import redis as client

    with client.Redis(port=server.port) as connection:
        connection.flushall()
    limiter = Limiter(Settings(limits_storage=server.url))
    yield limiter
    limiter.storage.close()


def by(name: str = "alice", *, users: Limits | None = None, **limits: int) -> RequestRecord:
    caller = Caller(name, frozenset({"write"}), limits=limits, user_limits=users or {})
    return RequestRecord(caller=caller)


def ask(limiter: Limiter, record: RequestRecord, tokens: int = 0, user: str | None = None) -> Any:
    admission = limiter.admission(record)
    try:
        admission.count_request(user)
        admission.take(CompletionRequest(model="m", prompt="", max_tokens=tokens))
    except Exception:
        admission.close()
        raise
    return admission


def spend(
    limiter: Limiter, prompt: int, answer: int, expected: int, **limits: Any
) -> dict[str, str]:
    """The headers after a request that has used so many tokens."""
    record = by(**limits)
    admission = ask(limiter, record, expected)
    record.prompt_tokens, record.completion_tokens = prompt, answer
    admission.close()
    return dict(admission.headers)


class TestRequests:
    def test_to_the_unit(self, limiter: Limiter) -> None:
        for left in (2, 1, 0):
            headers = ask(limiter, by(rpm=3)).headers
            assert headers["x-ratelimit-limit-requests"] == "3"
            assert headers["x-ratelimit-remaining-requests"] == str(left)
            assert headers["x-ratelimit-reset-requests"] in ("1m0s", "59.999s", "59.998s") or (
                headers["x-ratelimit-reset-requests"].startswith("59.9")
            )
        with pytest.raises(RateLimited) as caught:
            ask(limiter, by(rpm=3))
        error = caught.value
        assert (error.status, error.type, error.code) == (429, "requests", "rate_limit_exceeded")
        assert "Limit 3, Used 3, Requested 1" in error.message and "alice" in error.message
        assert error.headers["Retry-After"] in ("59", "60")
        assert 50_000 < int(error.headers["retry-after-ms"]) <= 60_000
        ask(limiter, by("bob", rpm=3))  # another key

    def test_a_window_that_moves(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Never more than the limit in any 60 seconds, wherever they begin."""
        limiter, now = Limiter(Settings()), [NOON]
        monkeypatch.setattr(time, "time", lambda: now[0])
        ask(limiter, by(rpm=2))
        now[0] += 50
        ask(limiter, by(rpm=2))
        now[0] += 5
        with pytest.raises(RateLimited) as caught:
            ask(limiter, by(rpm=2))
        assert caught.value.headers["Retry-After"] == "5"
        now[0] += 6
        headers = ask(limiter, by(rpm=2)).headers
        assert headers["x-ratelimit-remaining-requests"] == "0"
        with pytest.raises(RateLimited) as caught:
            ask(limiter, by(rpm=2))
        assert caught.value.headers["Retry-After"] == "49"

    def test_64_threads(self, limiter: Limiter) -> None:
        assert race(lambda: ask(limiter, by(rpm=100)), 64, 5) == 100

    def test_no_limit_has_no_header(self, limiter: Limiter) -> None:
        for _ in range(100):
            assert ask(limiter, by(rpm=0, tpm=0), 1000).headers == {}


class TestTokens:
    def test_what_may_be_needed_is_taken_and_then_set_right(self, limiter: Limiter) -> None:
        record = by(tpm=1000)
        admission = ask(limiter, record, 400)
        assert admission.headers["x-ratelimit-limit-tokens"] == "1000"
        assert admission.headers["x-ratelimit-remaining-tokens"] == "600"
        record.prompt_tokens, record.completion_tokens = 30, 12
        admission.settle()
        assert admission.headers["x-ratelimit-remaining-tokens"] == "958"
        admission.close()
        admission.close()
        assert admission.headers["x-ratelimit-remaining-tokens"] == "958"
        assert spend(limiter, 0, 0, 100, tpm=1000)["x-ratelimit-remaining-tokens"] == "958"
        # An answer that is longer than was thought counts in full.
        assert spend(limiter, 100, 400, 100, tpm=1000)["x-ratelimit-remaining-tokens"] == "458"
        assert spend(limiter, 400, 200, 100, tpm=1000)["x-ratelimit-remaining-tokens"] == "0"
        with pytest.raises(UnitsLimited) as caught:
            ask(limiter, by(tpm=1000), 1)
        error = caught.value
        assert (error.status, error.type, error.code) == (429, "tokens", "rate_limit_exceeded")
        assert "Limit 1000, Used 1142, Requested 1." in error.message
        assert 1 <= int(error.headers["Retry-After"]) <= 60
        ask(limiter, by(tpm=1000), 0)  # what needs none is not refused

    def test_a_refused_request_takes_nothing(self, limiter: Limiter) -> None:
        held = ask(limiter, by(tpm=100), 60)
        for _ in range(5):
            with pytest.raises(UnitsLimited):
                ask(limiter, by(tpm=100), 41)
        assert ask(limiter, by(tpm=100), 40).headers["x-ratelimit-remaining-tokens"] == "0"
        held.close()
        assert ask(limiter, by(tpm=100), 60).headers["x-ratelimit-remaining-tokens"] == "0"

    def test_what_can_never_be_is_not_tried_again(self, limiter: Limiter) -> None:
        with pytest.raises(UnitsLimited, match="too large") as caught:
            ask(limiter, by(tpm=100), 101)
        assert caught.value.headers == {"x-should-retry": "false"}

    def test_64_threads(self, limiter: Limiter) -> None:
        def one() -> None:
            record = by(tpm=10_000)
            admission = ask(limiter, record, 30)
            record.prompt_tokens = 25
            admission.close()

        assert race(one, 64, 5) == 320
        left = ask(limiter, by(tpm=10_000)).headers["x-ratelimit-remaining-tokens"]
        assert left == str(10_000 - 320 * 25)

    def test_64_threads_for_the_last_tokens(self, limiter: Limiter) -> None:
        assert race(lambda: ask(limiter, by(tpm=1000), 10), 64, 5) == 100

    def test_a_minute_ends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        limiter, now = Limiter(Settings()), [NOON]
        monkeypatch.setattr(time, "time", lambda: now[0])
        record = by(tpm=100)
        admission = ask(limiter, record, 100)
        now[0] += 30.5
        with pytest.raises(UnitsLimited) as caught:
            ask(limiter, by(tpm=100), 1)
        assert caught.value.headers["retry-after-ms"] == "29500"
        now[0] += 30
        assert ask(limiter, by(tpm=100), 10).headers["x-ratelimit-remaining-tokens"] == "90"
        # Tokens of a minute that is over are not given back to this one.
        admission.close()
        headers = ask(limiter, by(tpm=100), 10).headers
        assert headers["x-ratelimit-remaining-tokens"] == "80"
        assert headers["x-ratelimit-reset-tokens"] == "1m0s"


class TestConcurrent:
    def test_places_are_given_back(self, limiter: Limiter) -> None:
        first, second = ask(limiter, by(concurrent=2)), ask(limiter, by(concurrent=2))
        with pytest.raises(RateLimited, match="concurrent requests: Limit 2"):
            ask(limiter, by(concurrent=2))
        first.close()
        first.close()
        third = ask(limiter, by(concurrent=2))
        with pytest.raises(RateLimited):
            ask(limiter, by(concurrent=2))
        second.close()
        third.close()
        assert limiter.storage.running == {}

    def test_64_threads(self, limiter: Limiter) -> None:
        held = []
        assert race(lambda: held.append(ask(limiter, by(concurrent=10))), 64, 5) == 10


class TestMonths:
    def test_a_budget(self, limiter: Limiter) -> None:
        spend(limiter, 300, 300, 10, monthly_tokens=1000)
        ask(limiter, by(monthly_tokens=1000), 300)
        with pytest.raises(QuotaExceeded) as caught:
            ask(limiter, by(monthly_tokens=1000), 101)
        error = caught.value
        assert (error.status, error.type, error.code) == (429, *["insufficient_quota"] * 2)
        assert "1000 tokens a month, of which 900 are used" in error.message
        assert error.headers == {"x-should-retry": "false"}

    def test_it_begins_with_what_was_used_before_the_start(self) -> None:
        asked: list[tuple[str, str | None, float]] = []

        def spent(name: str, user: str | None, since: float) -> int:
            asked.append((name, user, since))
            return 900

        limiter = Limiter(Settings(), spent)
        ask(limiter, by(monthly_tokens=1000), 50)
        with pytest.raises(QuotaExceeded):
            ask(limiter, by(monthly_tokens=1000), 51)
        ((name, user, since),) = asked
        first = datetime.now(timezone.utc).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        assert (name, user, since) == ("alice", None, first.timestamp())

    @pytest.mark.parametrize("month", range(1, 13))
    def test_the_calendar(self, monkeypatch: pytest.MonkeyPatch, month: int) -> None:
        end = datetime(2028 + month // 12, month % 12 + 1, 1, tzinfo=timezone.utc).timestamp()
        limiter, now = Limiter(Settings()), [end - 1]
        monkeypatch.setattr(time, "time", lambda: now[0])
        ask(limiter, by(monthly_tokens=10), 10)
        with pytest.raises(QuotaExceeded):
            ask(limiter, by(monthly_tokens=10), 1)
        now[0] = end
        ask(limiter, by(monthly_tokens=10), 10)


class TestUsers:
    USERS: ClassVar[Limits] = {"rpm": 1, "tpm": 50, "concurrent": 2}

    def test_each_user_has_its_own(self, limiter: Limiter) -> None:
        for user in ("u1", "u2", "u3"):
            ask(limiter, by(rpm=10, tpm=1000, users=self.USERS), 20, user)
        with pytest.raises(RateLimited, match="this user of the key alice"):
            ask(limiter, by(rpm=10, tpm=1000, users=self.USERS), 20, "u1")
        # What a user was refused takes nothing away from the key, and the user is not told to others.
        headers = ask(limiter, by(rpm=10, tpm=1000)).headers
        assert headers["x-ratelimit-remaining-requests"] == "6"
        assert headers["x-ratelimit-remaining-tokens"] == "940"

    def test_headers_tell_of_what_is_scarcer(self, limiter: Limiter) -> None:
        headers = ask(limiter, by(rpm=10, tpm=30, users=self.USERS), 20, "u1").headers
        assert headers["x-ratelimit-limit-requests"] == "1"
        assert headers["x-ratelimit-limit-tokens"] == "30"
        assert headers["x-ratelimit-remaining-tokens"] == "10"

    def test_the_key_s_limits_hold_for_all_of_them(self, limiter: Limiter) -> None:
        ask(limiter, by(rpm=1, users=self.USERS), 0, "u1")
        with pytest.raises(RateLimited, match="for the key alice"):
            ask(limiter, by(rpm=1, users=self.USERS), 0, "u2")

    def test_no_two_accounts_are_one(self, limiter: Limiter) -> None:
        ask(limiter, by("a", users=self.USERS), 0, "b")
        ask(limiter, by("a", users=self.USERS), 0, "b:c")
        ask(limiter, by("a", users=self.USERS), 0, "b" * 70 + "1")
        ask(limiter, by("a", users=self.USERS), 0, "b" * 70 + "2")
        ask(limiter, by("a", rpm=1))

    def test_long_names_are_short_and_different(self) -> None:
        long, other = "u" * 100, "u" * 99 + "v"
        assert len(short_user(long)) == 64 and short_user(long) != short_user(other)
        assert short_user("u" * 64) == "u" * 64


class TestClocks:
    """A clock that is set right by an hour, in either direction, locks no caller out."""

    @pytest.mark.parametrize("hours", [-1, 1])
    def test_jumps(self, monkeypatch: pytest.MonkeyPatch, hours: int) -> None:
        limiter, now = Limiter(Settings()), [NOON]
        monkeypatch.setattr(time, "time", lambda: now[0])
        limits: dict[str, Any] = {"rpm": 2, "tpm": 100, "monthly_tokens": 1000}
        held = [ask(limiter, by(**limits), 50) for _ in range(2)]
        with pytest.raises(RateLimited):
            ask(limiter, by(**limits), 1)
        now[0] += hours * 3600
        headers = ask(limiter, by(**limits), 60).headers
        assert headers["x-ratelimit-remaining-requests"] == "1"
        assert headers["x-ratelimit-remaining-tokens"] == "40"
        assert headers["x-ratelimit-reset-tokens"] == "1m0s"
        for each in held:
            each.close()
        assert 40 <= int(ask(limiter, by(**limits)).headers["x-ratelimit-remaining-tokens"]) <= 100
        with pytest.raises(RateLimited) as caught:
            ask(limiter, by(**limits))
        assert int(caught.value.headers["Retry-After"]) <= 60


class TestStorage:
    def test_servers_share_one(self, redis_server: redis.RedisServer) -> None:
        one, other = (Limiter(Settings(limits_storage=redis_server.url)) for _ in range(2))
        ask(one, by("shared", rpm=2, tpm=100), 60)
        ask(other, by("shared", rpm=2, tpm=100), 40)
        with pytest.raises(RateLimited):
            ask(one, by("shared", rpm=2))
        one.storage.close()
        other.storage.close()
        import redis as client

        with client.Redis(port=redis_server.port) as connection:
            assert len(connection.client_list()) == 1  # the one that asks

    def test_one_that_does_not_answer_lets_nobody_in(
        self, caplog: pytest.LogCaptureFixture, tmp_path: Path
    ) -> None:
        if not redis.available():
            pytest.skip(redis.MISSING)
        url = f"redis://:geheim@127.0.0.1:{free_port()}"
        limiter = Limiter(Settings(limits_storage=url))
        for _ in range(3):
            with pytest.raises(LimitsUnavailable) as caught:
                ask(limiter, by(rpm=2, concurrent=5))
        assert caught.value.status == 503 and "Retry-After" in caught.value.headers
        assert limiter.storage.running == {}
        lines = [each for each in caplog.messages if "limits cannot be counted" in each]
        assert len(lines) == 1 and "geheim" not in caplog.text

    def test_one_that_comes_back(self, tmp_path: Path) -> None:
        if not redis.available():
            pytest.skip(redis.MISSING)
        server = redis.RedisServer(tmp_path)
        try:
            limiter = Limiter(Settings(limits_storage=server.url))
            record = by(rpm=5, tpm=100)
            admission = ask(limiter, record, 50)
            server.stop()
            record.prompt_tokens = 10
            admission.close()  # which cannot be counted, and has no effect
            with pytest.raises(LimitsUnavailable):
                ask(limiter, by(rpm=5, tpm=100), 50)
            server.start()
            ask(limiter, by(rpm=5, tpm=100), 50)
            limiter.storage.close()
        finally:
            server.stop()


def test_it_is_forgotten_who_asked_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    storage, now = CountStorage(Settings(), remembered=10), [NOON]
    limiter = Limiter(Settings(), storage=storage)
    monkeypatch.setattr(time, "time", lambda: now[0])
    for at in range(50):
        now[0] += 30
        ask(limiter, by(f"key{at}", rpm=5))
    assert 0 < storage.remembered <= 11


def race(work: Callable[[], object], threads: int, each: int) -> int:
    """How often `work` was not refused, when many threads do it at once."""
    done, begin = [0] * threads, threading.Barrier(threads)

    def run(at: int) -> None:
        begin.wait(30)
        for _ in range(each):
            try:
                work()
                done[at] += 1
            except RateLimited:
                pass  # what is counted is the others

    workers = [threading.Thread(target=run, args=(at,)) for at in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(done)
