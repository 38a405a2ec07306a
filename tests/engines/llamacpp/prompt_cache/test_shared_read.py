"""A prompt is read once, whoever asks for it: choices, prompts that begin alike, requests that come together.

Counted in the tokens that llama.cpp says it has computed (`prompt_n` of its timings).
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.engines.protocol import CacheUse, GenerateRequest, PromptUsage
from tests.support.api import Api
from tests.support.random_architectures import (
    write_hybrid_model,
    write_recurrent_model,
    write_sliding_window_model,
)
from tests.support.random_model import write_model

GREEDY = {"temperature": 0.0}
BEGINNING = 1200  # tokens of a long prompt; in these models each letter is one
LATE = 50.0
CHOICES = 4  # as many as slots


class Counted:
    """An engine whose calls are counted."""

    def __init__(self, engine: LlamaCppEngine) -> None:
        self.engine = engine
        self.computed: list[int] = []
        """The prompt tokens of each call."""
        self.on_progress: Callable[[], object] = lambda: None
        self._complete = engine.model.complete
        engine.model.complete = self._call

    def _call(self, body: bytes, receive: Callable[[bytes], bool]) -> object:
        last = 0

        def watched(data: bytes) -> bool:
            nonlocal last
            chunk = orjson.loads(data)
            if "prompt_progress" in chunk:
                progress = chunk["prompt_progress"]
                last = progress["processed"] - progress["cache"]
                self.on_progress()
            elif "timings" in chunk:
                last = chunk["timings"]["prompt_n"]
            return receive(data)

        result = self._complete(body, watched)
        self.computed.append(last)
        return result

    def answer(self, request: GenerateRequest) -> tuple[str, PromptUsage]:
        text, usage = "", None
        for piece in self.engine.generate(request):
            if piece is not None:
                text, usage = text + piece.text, piece.prompt or usage
        assert usage is not None
        return text, usage

    def together(self, requests: list[GenerateRequest]) -> list[tuple[str, PromptUsage]]:
        """The answers to requests of which the first one is being read when the others come."""
        reading, waiting = threading.Event(), len(requests) - 1

        def hold() -> None:
            reading.set()
            until = time.monotonic() + LATE
            while self.following() < waiting and time.monotonic() < until:
                time.sleep(0.001)
            self.on_progress = lambda: None

        self.on_progress = hold
        with ThreadPoolExecutor(len(requests)) as pool:
            answers = [pool.submit(self.answer, requests[0])]
            assert reading.wait(LATE)
            answers += [pool.submit(self.answer, request) for request in requests[1:]]
            return [answer.result(LATE) for answer in answers]

    def following(self) -> int:
        return self.engine.cache.readings.following

    def held(self) -> tuple[threading.Event, threading.Event]:
        """The next prompt that is read sets the first event, and waits for the second one."""
        reading, go = threading.Event(), threading.Event()

        def hold() -> None:
            reading.set()
            assert go.wait(LATE)

        self.on_progress = hold
        return reading, go

    def all_slots_are_free(self) -> bool:
        return wait_until(lambda: len(self.engine.cache.slots.idle()) == CHOICES)


def wait_until(happened: Callable[[], bool]) -> bool:
    until = time.monotonic() + LATE
    while not happened() and time.monotonic() < until:
        time.sleep(0.001)
    return happened()


WRITERS = {
    "dense": write_model,
    "window": write_sliding_window_model,
    "hybrid": write_hybrid_model,
    "recurrent": write_recurrent_model,
}


@pytest.fixture(scope="module", params=WRITERS)
def any_counted(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Counted]:
    path: Path = WRITERS[request.param](tmp_path_factory.mktemp("models") / "model.gguf")
    engine = LlamaCppEngine(path, name="random", parallel=4)
    yield Counted(engine)
    engine.close()


@pytest.fixture(scope="module")
def counted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counted]:
    engine = LlamaCppEngine(
        write_model(tmp_path_factory.mktemp("models") / "model.gguf"), name="random", parallel=4
    )
    yield Counted(engine)
    engine.close()


def text(number: int, length: int) -> str:
    """One of many texts of different beginnings."""
    drawn = random.Random(number)
    return f"{number}: " + "".join(drawn.choices("abcdfgijklmnop ", k=length))


def test_choices_read_their_prompt_once(any_counted: Counted) -> None:
    counted, prompt = any_counted, text(1, BEGINNING)
    counted.computed.clear()
    request = GenerateRequest(prompt, 6, GREEDY, cache=CacheUse(choices=4, group=1))
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(counted.answer, [request] * 4))
    # A sliding window needs some tokens again at the end, and a character that the limit cuts is asked for.
    computed = sum(counted.computed)
    alone, usage = counted.answer(GenerateRequest(prompt, 6, GREEDY, seed=1))
    assert {text for text, _ in answers} == {alone}, "as without anything known"
    assert usage.cached == 0 and computed < usage.tokens + 4 * 20
    assert {found.tokens for _, found in answers} == {usage.tokens}
    assert min(found.cached for _, found in answers) == 0, "this request has read it itself"


def test_requests_that_come_together_read_their_beginning_once(any_counted: Counted) -> None:
    counted, shared = any_counted, text(3, BEGINNING)
    requests = [GenerateRequest(shared + text(at, 30), 6, GREEDY) for at in range(4)]
    counted.computed.clear()
    answers = counted.together(requests)
    assert sum(counted.computed) < BEGINNING + 4 * 100
    fresh = [
        counted.answer(GenerateRequest(request.prompt, 6, GREEDY, seed=1))[0]
        for request in requests
    ]
    assert [text for text, _ in answers] == fresh, "as without anything known"


def test_a_follower_goes_on_when_the_reader_leaves(counted: Counted) -> None:
    shared = text(4, BEGINNING)
    reading, go = threading.Event(), threading.Event()

    def hold() -> None:
        reading.set()
        assert go.wait(LATE)

    counted.on_progress = hold
    first = counted.engine.generate(GenerateRequest(shared + "a", 6, GREEDY))
    assert next(first) is None
    assert reading.wait(LATE)
    counted.on_progress = lambda: None
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(counted.answer, GenerateRequest(shared + "b", 6, GREEDY))
        until = time.monotonic() + LATE
        while not counted.following() and time.monotonic() < until:
            time.sleep(0.001)
        first.close()
        go.set()
        assert answer.result(LATE)[1].tokens == len(shared) + 1


def test_a_choice_that_is_cancelled_frees_its_slot(any_counted: Counted) -> None:
    counted, prompt = any_counted, text(20, 500)
    request = GenerateRequest(prompt, 12, GREEDY, cache=CacheUse(choices=CHOICES, group=20))
    leaving = counted.engine.generate(replace(request, max_tokens=1000))
    with ThreadPoolExecutor(CHOICES) as pool:
        others = [pool.submit(counted.answer, request) for _ in range(CHOICES - 1)]
        assert any(piece is not None for piece in leaving), "it has begun to answer"
        leaving.close()
        texts = {other.result(LATE)[0] for other in others}
    assert counted.all_slots_are_free()
    alone = GenerateRequest(prompt, 12, GREEDY, seed=1)
    assert texts == {counted.answer(alone)[0]}, "as without anything known"
    with ThreadPoolExecutor(CHOICES) as pool:
        again = [found for found, _ in pool.map(counted.answer, [request] * CHOICES)]
    assert set(again) == texts, "also in the slot of the one that left"


@pytest.mark.parametrize("staying", [CHOICES - 1, 0])
def test_a_client_that_hangs_up_during_a_fork(any_counted: Counted, staying: int) -> None:
    """The choice that reads for all is left, and some or all of those that wait for it."""
    counted, prompt = any_counted, text(30 + staying, BEGINNING)
    request = GenerateRequest(prompt, 6, GREEDY, cache=CacheUse(choices=CHOICES, group=30))
    reading, go = counted.held()
    left = [counted.engine.generate(request)]
    assert next(left[0]) is None and reading.wait(LATE)
    counted.on_progress = lambda: None
    with ThreadPoolExecutor(CHOICES) as pool:
        answers = [pool.submit(counted.answer, request) for _ in range(staying)]
        left += [counted.engine.generate(request) for _ in range(CHOICES - 1 - staying)]
        assert all(next(each) is None for each in left[1:])
        assert wait_until(lambda: counted.following() == CHOICES - 1)
        for each in left:
            each.close()
        go.set()
        texts = {answer.result(LATE)[0] for answer in answers}
    assert counted.all_slots_are_free() and counted.following() == 0
    expected, _ = counted.answer(GenerateRequest(prompt, 6, GREEDY, seed=1))
    assert texts <= {expected} and bool(texts) == bool(staying)
    assert counted.answer(request)[0] == expected


def test_unrelated_requests_make_one_call_each(counted: Counted) -> None:
    counted.computed.clear()
    requests = [GenerateRequest(text(10 + at, 600), 6, GREEDY) for at in range(4)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(counted.answer, requests))
    # Characters that the limit cuts are asked for, at a few tokens each.
    read = sorted(computed for computed in counted.computed if computed > 4)
    assert read == sorted(usage.tokens - usage.cached for _, usage in answers)


def test_choices_have_their_own_seeds_and_repeat(counted: Counted) -> None:
    prompt = text(5, 400)

    def choices(group: int) -> list[str]:
        requests = [
            GenerateRequest(
                prompt, 8, {"temperature": 1.5}, seed=seed, cache=CacheUse(choices=4, group=group)
            )
            for seed in range(4)
        ]
        with ThreadPoolExecutor(4) as pool:
            return [text for text, _ in pool.map(counted.answer, requests)]

    first = choices(11)
    assert len(set(first)) > 1
    counted.computed.clear()
    assert choices(12) == first, "read again, not taken from what was known"
    assert sum(counted.computed) < 2 * 400


def test_choices_of_the_api(counted: Counted) -> None:
    """Counts, indices, log-probabilities, stop strings and grammars, streamed and not."""
    api = Api(counted.engine)
    prompt = text(6, 500)
    body: dict[str, Any] = {"prompt": prompt, "n": 3, "max_tokens": 6, "temperature": 0}
    counted.computed.clear()
    answer = api.complete(prompt, n=3, max_tokens=6, temperature=0, logprobs=2)
    assert sum(counted.computed) < 2 * 500
    usage = answer["usage"]
    assert usage["prompt_tokens"] == 503 and usage["completion_tokens"] == 3 * 6
    assert usage["prompt_tokens_details"]["cached_tokens"] == 0
    texts = [choice["text"] for choice in api.complete(**body)["choices"]]
    assert len(set(texts)) == 1 and [c["index"] for c in answer["choices"]] == [0, 1, 2]
    assert all(len(c["logprobs"]["token_logprobs"]) for c in answer["choices"])
    streamed = ["", "", ""]
    for chunk in api.chunks("completions", **body):
        for choice in chunk["choices"]:
            streamed[choice["index"]] += choice["text"]
    assert streamed == texts
    stop = texts[0][:1]
    cut = api.complete(prompt, n=3, max_tokens=6, temperature=0, stop=stop)
    assert {choice["finish_reason"] for choice in cut["choices"]} == {"stop"}
    assert {choice["text"] for choice in cut["choices"]} == {texts[0].partition(stop)[0]}
    counted.computed.clear()
    ruled = api.complete(text(7, 500), n=3, max_tokens=6, grammar='root ::= ("yes" | "no")')
    assert {choice["text"] for choice in ruled["choices"]} <= {"yes", "no"}
    assert sum(counted.computed) < 2 * 500


def test_prompts_of_a_list_that_begin_alike(counted: Counted) -> None:
    api, shared = Api(counted.engine), text(8, BEGINNING)
    counted.computed.clear()
    prompts = [shared + text(at, 20) for at in range(3)]
    answer = api.complete(prompts, max_tokens=4, temperature=0)
    assert answer["usage"]["prompt_tokens"] == sum(map(len, prompts))
    assert sum(counted.computed) < 2 * BEGINNING
