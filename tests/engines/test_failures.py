"""What an engine fails of after it has taken a request: a 5xx that says what to do, and quotes nothing."""

from __future__ import annotations

import logging

import pytest

from extensions.openai.engines.failures import (
    failure_from,
    failure_of,
    model_changed,
    no_job,
    not_scored,
    text_changed,
    unreachable,
)
from extensions.openai.engines.llamacpp.stream_reader import to_api_error
from extensions.openai.errors import APIError, ContextLengthExceeded, InvalidRequest

SECRET = "the prompt about my bank"


class OutOfMemoryError(RuntimeError):
    """As torch names it."""


CASES: list[tuple[APIError, int, str]] = [
    # What llama.cpp's server says (tools/server/server-context.cpp, update_slots).
    (failure_of("Context size has been exceeded."), 503, "engine_out_of_memory"),
    (failure_of("failed to find a memory slot for batch"), 503, "engine_out_of_memory"),
    (failure_of("Invalid input batch."), 500, "decode_failed"),
    (failure_of("Compute error."), 500, "decode_failed"),
    (failure_of("Loading model"), 503, "model_loading"),
    # What Python and torch raise.
    (failure_from(MemoryError()), 503, "engine_out_of_memory"),
    (failure_from(RuntimeError("std::bad_alloc")), 503, "engine_out_of_memory"),
    (failure_from(OutOfMemoryError(f"CUDA out of memory. {SECRET}")), 503, "engine_out_of_memory"),
    (failure_from(RuntimeError(f"CUDA error: device-side assert {SECRET}")), 500, "decode_failed"),
    (failure_from(KeyError(SECRET)), 500, "engine_failed"),
    (failure_of(SECRET), 500, "engine_failed"),
    (not_scored(), 500, "engine_failed"),
    (no_job(), 500, "engine_failed"),
    (text_changed(), 500, "engine_failed"),
    (unreachable(), 503, "engine_unreachable"),
    (model_changed(), 503, "model_changed"),
]


@pytest.mark.parametrize(("error", "status", "code"), CASES, ids=lambda each: str(each)[:40])
def test_each_has_its_code_and_says_what_to_do(error: APIError, status: int, code: str) -> None:
    assert (error.status, error.code) == (status, code)
    assert "again" in error.message.lower()
    assert SECRET not in error.message
    if error.code == "engine_failed":
        assert "operator" in error.message
    if status == 503:
        assert int(error.headers["Retry-After"]) > 0


def test_the_log_quotes_no_prompt(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "openedai"):
        failure_from(RuntimeError(SECRET))
    assert "RuntimeError" in caplog.text and SECRET not in caplog.text


def test_an_error_that_is_ours_stays_so() -> None:
    error = InvalidRequest("no", param="prompt")
    assert failure_from(error) is error


@pytest.mark.parametrize(
    "output",
    [
        {"code": 400, "message": "no"},
        {"type": "exceed_context_size_error", "n_prompt_tokens": 9, "n_ctx": 5, "code": 400},
    ],
)
def test_a_request_that_was_taken_is_not_blamed(output: dict[str, object]) -> None:
    assert isinstance(to_api_error(output, "prompt"), (InvalidRequest, ContextLengthExceeded))
    assert to_api_error(output, "prompt", late=True).status == 500
