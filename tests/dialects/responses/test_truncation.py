"""What `truncation: auto` leaves out."""

from __future__ import annotations

from typing import Any

import pytest

from extensions.openai.dialects.responses.request import ResponsesRequest
from extensions.openai.dialects.responses.truncation import fitting
from extensions.openai.schemas.validation import check

SYSTEM = {"role": "system", "content": "s"}
USER = {"role": "user", "content": "u"}
ASSISTANT = {"role": "assistant", "content": "a"}
CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
RESULT = {"type": "function_call_output", "call_id": "c", "output": "r"}


def kept(items: list[Any], most: int) -> tuple[list[int], int]:
    """Which items are kept where so many fit, and how often it was tried."""
    request = check(ResponsesRequest, {"input": items})
    tried = 0

    def fits(placed: Any) -> bool:
        nonlocal tried
        tried += 1
        return len(placed) <= most

    placed = [(str(at), item) for at, item in enumerate(request.items)]
    return [int(at) for at, _ in fitting(placed, fits)], tried


@pytest.mark.parametrize(
    ("items", "most", "wanted"),
    [
        ([USER, ASSISTANT, USER], 3, [0, 1, 2]),
        ([USER, ASSISTANT, USER], 2, [1, 2]),
        ([USER, ASSISTANT, USER], 1, [2]),
        # Instructions stay, and so does the last question, even if they do not fit.
        ([SYSTEM, USER, ASSISTANT, USER], 2, [0, 3]),
        ([SYSTEM, USER, ASSISTANT, USER], 1, [0, 3]),
        ([USER, ASSISTANT, USER, ASSISTANT], 1, [2, 3]),
        # A call and its result go together.
        ([USER, CALL, RESULT, USER], 2, [3]),
        ([USER, CALL, RESULT, USER], 3, [1, 2, 3]),
        ([USER, CALL, RESULT], 2, [0, 1, 2]),
        ([], 0, []),
        ([ASSISTANT, ASSISTANT], 1, [1]),
    ],
)
def test_the_oldest_items_are_left_out(items: list[Any], most: int, wanted: list[int]) -> None:
    assert kept(items, most)[0] == wanted


def test_it_is_tried_a_few_times_only() -> None:
    left, tried = kept([USER, ASSISTANT] * 500 + [USER], 17)
    assert left == list(range(984, 1001)) and tried <= 12
