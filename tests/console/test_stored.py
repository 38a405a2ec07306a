"""What is stored, opened in the console."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.console.conftest import Open, Site, Start

BARS = {
    "data": [{"type": "bar", "name": "people", "x": ["Rome", "Paris"], "y": [2.8, 2.1]}],
    "layout": {"title": {"text": "Cities"}},
}
MANY = 1000


def store(site: Site, text: str, **metadata: str) -> str:
    body = {
        "model": "talker",
        "store": True,
        "metadata": metadata,
        "messages": [{"role": "user", "content": text}],
    }
    answer = httpx.post(f"{site.url}v1/chat/completions", json=body, timeout=60)
    return str(answer.json()["id"])


def add_plot(site: Site, chat: str, figure: Any) -> None:
    path = f"{site.url}v1/chat/completions/{chat}/messages"
    message = httpx.get(path, timeout=60).json()["data"][-1]["id"]
    assert (
        httpx.post(f"{path}/{message}/plots", json={"figure": figure}, timeout=60).status_code
        == 200
    )


@pytest.fixture
def stored(start: Start) -> Site:
    site = start()
    store(site, "What is **bold**?", title="About letters")
    add_plot(site, store(site, "Which cities?"), BARS)
    return site


def open_stored(open_page: Open, site: Site, **options: Any) -> Any:
    page = open_page(f"{site.url}#/stored", **options)
    page.wait_for_selector(".row, .list .empty-state")
    return page


def test_search_open_and_go_on(stored: Site, open_page: Open) -> None:
    page = open_stored(open_page, stored)
    assert page.locator(".row .title").all_inner_texts() == ["Which cities?", "About letters"]
    page.fill("input[type=search]", "LETTERS")
    page.wait_for_selector(".row >> nth=0")
    assert page.locator(".row .title").all_inner_texts() == ["About letters"]
    page.click(".row")
    assert page.inner_text(".transcript .user .text") == "What is **bold**?"
    assert page.inner_text(".transcript .assistant strong") == "bold"
    page.get_by_role("button", name="Continue in a chat").click()
    page.wait_for_selector(".thread .message")
    with page.expect_request("**/v1/chat/completions") as found:
        page.fill("#message", "more")
        page.press("#message", "Enter")
    sent = [each["content"] for each in found.value.post_data_json["messages"]]
    assert sent == ["What is **bold**?", "What is **bold**?", "more"]


def test_export_and_delete(stored: Site, open_page: Open, tmp_path: Path) -> None:
    page = open_stored(open_page, stored)
    page.click(".row >> text=About letters")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    download.value.save_as(tmp_path / "chat.json")
    exported = json.loads((tmp_path / "chat.json").read_text())
    assert [each["content"] for each in exported["messages"]] == ["What is **bold**?"] * 2
    page.locator(".detail").get_by_role("button", name="Delete").click()
    page.locator("dialog").get_by_role("button", name="Delete").click()
    page.wait_for_selector(".detail .empty-state")
    left = httpx.get(f"{stored.url}v1/chat/completions", timeout=60).json()["data"]
    assert [each["choices"][0]["message"]["content"] for each in left] == ["Which cities?"]


def test_a_plot_is_drawn_where_it_can_reach_nothing(stored: Site, open_page: Open) -> None:
    page = open_stored(open_page, stored)
    page.click(".row >> text=Which cities?")
    page.wait_for_selector(".plot.drawn", timeout=40_000)
    frame = page.frames[1]
    assert frame.locator(".bars .point").count() == 2
    assert frame.evaluate("self.origin") == "null"


def test_a_plot_that_cannot_be_drawn_is_a_table(stored: Site, open_page: Open) -> None:
    page = open_stored(open_page, stored)
    page.route("**/console/plot.html", lambda route: route.fulfill(
        content_type="text/html", body="<script>parent.postMessage('failed', '*')</script>"
    ))  # fmt: skip
    page.click(".row >> text=Which cities?")
    page.wait_for_selector(".plot table")
    cells = page.locator(".plot td").all_inner_texts()
    assert cells == ["Rome", "2.8", "Paris", "2.1"]
    assert page.inner_text(".plot figcaption") == "Cities"


def test_conversations_sessions_and_responses(start: Start, open_page: Open) -> None:
    site = start()
    item = {"type": "message", "role": "user", "content": "In a conversation"}
    httpx.post(
        f"{site.url}v1/conversations",
        json={"items": [item], "metadata": {"topic": "tea"}},
        timeout=60,
    )
    httpx.post(
        f"{site.url}v1/chat/completions",
        json={"model": "talker", "messages": [{"role": "user", "content": "In a session"}]},
        headers={"x-openedai-session-key": "kitchen"},
        timeout=60,
    )
    httpx.post(
        f"{site.url}v1/responses", json={"model": "talker", "input": "A response"}, timeout=60
    )
    page = open_stored(open_page, site)
    page.get_by_role("button", name="Conversations").click()
    page.click(".row >> text=tea")
    page.wait_for_selector(".transcript .text")
    assert page.inner_text(".transcript .text") == "In a conversation"
    page.get_by_role("button", name="Sessions").click()
    page.click(".row >> text=kitchen")
    page.wait_for_selector(".transcript .assistant .text:has-text('In a session')")
    assert page.locator(".transcript .text").all_inner_texts() == ["In a session"] * 2
    page.get_by_role("button", name="Responses").click()
    page.click(".row >> text=A response")
    page.wait_for_selector(".transcript .assistant .text:has-text('A response')")
    assert page.locator(".transcript .text").all_inner_texts() == ["A response"] * 2


def test_a_thousand_chats(start: Start, open_page: Open) -> None:
    """As the API lists them; to store them takes longer than to look at them."""
    site = start()
    chat = httpx.get(f"{site.url}v1/chat/completions/{store(site, 'chat')}", timeout=60).json()

    def page_of(route: Any) -> None:
        after = int(httpx.URL(route.request.url).params.get("after", "chat-0").split("-")[1])
        data = [
            {**chat, "id": f"chat-{number}", "metadata": {"title": f"Chat {number}"}}
            for number in range(after + 1, min(after + 100, MANY) + 1)
        ]
        last = data[-1]["id"]
        listed = {"object": "list", "data": data, "first_id": data[0]["id"], "last_id": last}
        route.fulfill(json={**listed, "has_more": after + 100 < MANY})

    page = open_page(site.url)
    page.route("**/v1/chat/completions?*", page_of)
    page.click("#view-stored")
    page.wait_for_selector(".row")
    assert page.locator(".row").count() == 100
    page.get_by_role("button", name="Show more").click()
    page.wait_for_selector(":nth-match(.row, 200)", state="attached")
    page.fill("input[type=search]", "Chat 987")
    page.wait_for_selector(".row .title:text-is('Chat 987')")
    page.fill("input[type=search]", "")
    page.wait_for_selector(f":nth-match(.row, {MANY})", state="attached")
    took = page.evaluate(
        """() => new Promise(resolve => {
            const list = document.querySelector('.list'), began = performance.now();
            list.scrollTop = list.scrollHeight;
            requestAnimationFrame(() => requestAnimationFrame(() => resolve(performance.now() - began)));
        })"""
    )
    assert page.locator(".row .title").last.inner_text() == f"Chat {MANY}" and took < 20_000


def test_nothing_is_stored(start: Start, open_page: Open) -> None:
    page = open_stored(open_page, start())
    assert "No chats are stored" in page.inner_text(".empty-state >> nth=0")
    off = open_page(f"{start(store='off').url}#/stored")
    off.wait_for_selector(".stored .empty-state")
    assert "keeps nothing" in off.inner_text(".stored .empty-state")
