"""`timings`: how long the parts of an answer took, under the names of llama.cpp's server."""

from __future__ import annotations

from typing import Any

import pytest

from extensions.openai.generation.timings import timings_of
from extensions.openai.observability.record import RequestRecord
from tests.support.api import Api

PATHS: dict[str, dict[str, Any]] = {
    "completions": {"prompt": "one two three"},
    "chat/completions": {"messages": [{"role": "user", "content": "one two three"}]},
}


def test_times_and_rates_of_a_record() -> None:
    record = RequestRecord(
        started=10.0,
        admitted=10.5,
        first_token=11.5,
        last_token=13.5,
        prompt_tokens=120,
        cached_tokens=20,
        completion_tokens=11,
    )
    assert timings_of(record) == {
        "cache_n": 20,
        "prompt_n": 100,
        "prompt_ms": 1000.0,
        "prompt_per_second": 100.0,
        "predicted_n": 11,
        "predicted_ms": 2000.0,
        "predicted_per_second": 5.0,
        "queue_ms": 500.0,
    }
    nothing = timings_of(RequestRecord(started=10.0))
    assert nothing["prompt_per_second"] is nothing["predicted_per_second"] is None


@pytest.mark.parametrize("path", PATHS)
def test_on_request_in_each_chunk_and_in_the_whole_answer(path: str, tiny: Api) -> None:
    body = {"max_tokens": 8, "temperature": 0, **PATHS[path]}
    timed = {**body, "timings_per_token": True}
    whole = tiny.client.post(f"/v1/{path}", json={"model": "x", **timed}).json
    usage, timings = whole["usage"], whole["timings"]
    assert timings["predicted_n"] == usage["completion_tokens"]
    assert timings["prompt_n"] + timings["cache_n"] == usage["prompt_tokens"]
    assert timings["prompt_ms"] > 0 and timings["predicted_ms"] > 0
    counts = [chunk["timings"]["predicted_n"] for chunk in tiny.chunks(path, **timed)]
    assert counts == sorted(counts) and counts[-1] == usage["completion_tokens"] > counts[0]
    assert all("timings" not in chunk for chunk in tiny.chunks(path, **body))
