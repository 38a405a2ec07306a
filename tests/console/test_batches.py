"""Batches in the console."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.console.conftest import Open, Start


def lines(*said: str) -> str:
    """A file with a request for each text."""
    body = [{"model": "talker", "messages": [{"role": "user", "content": each}]} for each in said]
    return "".join(
        json.dumps(
            {"custom_id": f"c{at}", "method": "POST", "url": "/v1/chat/completions", "body": each}
        )
        + "\n"
        for at, each in enumerate(body)
    )


def begin(page: Any, file: Path, text: str) -> Any:
    """Start a batch, and return its row."""
    file.write_text(text)
    before = page.locator("tbody tr").count()
    page.get_by_label("File").set_input_files(file)
    page.get_by_role("button", name="Start a batch").click()
    page.locator(f"tbody tr:nth-child({before + 1})").wait_for()
    return page.locator("tbody tr").first


def state(row: Any, text: str) -> None:
    row.locator(f".badge:text-is('{text}')").wait_for()


def test_a_batch_is_answered_and_saved(start: Start, open_page: Open, tmp_path: Path) -> None:
    page = open_page(f"{start().url}#/batches")
    page.wait_for_selector(".empty-state")
    row = begin(page, tmp_path / "two.jsonl", lines("first", "second"))
    state(row, "complete")
    assert "2 of 2" in row.inner_text()
    with page.expect_download() as download:
        row.get_by_role("button", name="Answers").click()
    download.value.save_as(tmp_path / "answers.jsonl")
    answers = [json.loads(each) for each in (tmp_path / "answers.jsonl").read_text().splitlines()]
    said = {
        each["custom_id"]: each["response"]["body"]["choices"][0]["message"]["content"]
        for each in answers
    }
    assert said == {"c0": "first", "c1": "second"}
    row = begin(page, tmp_path / "wrong.jsonl", "nonsense\n")
    state(row, "failed")
    assert "Line 1: " in row.inner_text()


def test_a_batch_is_paused_and_cancelled(start: Start, open_page: Open, tmp_path: Path) -> None:
    page = open_page(f"{start().url}#/batches")
    page.wait_for_selector(".empty-state")
    row = begin(page, tmp_path / "endless.jsonl", lines("count"))
    state(row, "running")
    row.get_by_role("button", name="Pause").click()
    state(row, "paused")
    row.get_by_role("button", name="Resume").click()
    state(row, "running")
    row.get_by_role("button", name="Stop").click()
    page.locator("dialog").get_by_role("button", name="Stop").click()
    state(row, "cancelled")
    assert row.get_by_role("button", name="Pause").count() == 0
