"""`return_progress`: how far the prompt of a stream is read."""

from __future__ import annotations

from typing import Any

import pytest

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.generation.prompt_progress import ProgressReporter
from extensions.openai.observability.record import RequestRecord
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from extensions.openai.web.context import RequestContext
from extensions.openai.web.responses.streaming import comment_of
from tests.support.api import Api
from tests.support.reference import fold_chat, sse_chunks

WORDS = " ".join(f"word{number}" for number in range(350))
PATHS: dict[str, Any] = {
    "completions": lambda text: {"prompt": text},
    "chat/completions": lambda text: {"messages": [{"role": "user", "content": text}]},
}


def of(read: int, *, total: int = 100, cache: int = 0, time_ms: int = 5) -> dict[str, int]:
    return {"total": total, "cache": cache, "processed": read, "time_ms": time_ms}


def test_what_is_new_is_reported_once() -> None:
    record = RequestRecord()
    reporter = ProgressReporter(record)
    assert reporter.new() is None and reporter.end() is None
    record.note_progress(of(40) | {"more": 1})
    assert reporter.new() == of(40) and reporter.new() is None
    record.note_progress(of(30))  # of another prompt
    assert reporter.new() is None
    record.note_progress(of(100, time_ms=9))
    assert reporter.new() == of(100, time_ms=9)
    record.prompt_tokens = 100
    assert reporter.end() is None and reporter.new() is None


def test_the_end_is_reported_where_nothing_else_was() -> None:
    record = RequestRecord(started=1.0, admitted=2.0, prompt_tokens=7, cached_tokens=3)
    reporter = ProgressReporter(record)
    found = reporter.end()
    assert found is not None and found["time_ms"] >= 0
    assert found == {"total": 7, "cache": 3, "processed": 7, "time_ms": found["time_ms"]}
    assert reporter.end() is None


@pytest.mark.parametrize("path", PATHS)
def test_a_long_prompt(path: str, tiny: Api) -> None:
    body = {"max_tokens": 4, "return_progress": True, **PATHS[path](f"{path} {WORDS}")}
    chunks = tiny.chunks(path, stream_options={"include_usage": True}, **body)
    found = [chunk["prompt_progress"] for chunk in chunks if "prompt_progress" in chunk]
    total = chunks[-1]["usage"]["prompt_tokens"]
    assert len(found) > 1 and {each["total"] for each in found} == {total}
    read = [each["processed"] for each in found]
    assert read == sorted(set(read)) and read[-1] == total
    times = [each["time_ms"] for each in found]
    assert times == sorted(times)
    begun = [chunk for chunk in chunks if chunk["choices"] and "prompt_progress" not in chunk]
    assert chunks.index(begun[0]) == len(found)
    # Its slot is given back behind the last chunk.
    assert isinstance(tiny.engine, LlamaCppEngine) and tiny.engine.cache.slots.wait_until_empty(50)
    again = tiny.chunks(path, **body)
    assert again[0]["prompt_progress"]["cache"] > total // 2


@pytest.mark.parametrize("path", PATHS)
def test_each_engine_reports_the_end(path: str) -> None:
    client = create_app(Settings(store="memory"), EchoEngine()).test_client()
    asked = {"model": "m", "stream": True, **PATHS[path]("Hello there")}
    answer = client.post(f"/v1/{path}", json={**asked, "return_progress": True})
    (first, *others) = sse_chunks(answer.data)
    total = first["prompt_progress"]["total"]
    assert first["prompt_progress"] == of(total, total=total, time_ms=0) | {
        "time_ms": first["prompt_progress"]["time_ms"]
    }
    assert all("prompt_progress" not in each for each in others)
    plain = sse_chunks(client.post(f"/v1/{path}", json=asked).data)
    assert all("prompt_progress" not in each for each in plain)


def test_the_answer_is_the_same(tiny: Api) -> None:
    body = {"max_tokens": 8, "temperature": 0, **PATHS["chat/completions"]("one two three")}
    plain = fold_chat(tiny.chunks("chat/completions", **body))
    told = tiny.chunks("chat/completions", return_progress=True, **body)
    assert fold_chat(told)["choices"] == plain["choices"]


def test_without_a_stream_it_has_no_effect(tiny: Api) -> None:
    body = {"model": "m", "max_tokens": 2, "return_progress": True}
    whole = tiny.client.post("/v1/chat/completions", json=body | PATHS["chat/completions"]("Hi"))
    assert whole.status_code == 200 and "prompt_progress" not in whole.json


def test_a_comment_says_it_during_a_long_silence() -> None:
    app = create_app(Settings(store="memory"), EchoEngine())
    context = RequestContext.of(app.extensions["openai"], {})
    assert comment_of(context) is None
    context.record.note_progress(of(43))
    assert comment_of(context) == b": reading the prompt, 43 %\n\n"
    context.record.add_tokens(1)
    assert comment_of(context) is None
