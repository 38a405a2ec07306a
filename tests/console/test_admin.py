"""Requests, usage, models and keys in the console."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from extensions.openai.access.key_files import KeyFiles
from extensions.openai.access.signed_keys import Grant
from tests.console.conftest import Open, Site, Start
from tests.support.resident_models import library_of_two

VIEWS = ["Chat", "Stored", "Batches", "Requests", "Usage", "Models", "Keys"]


def ask(site: Site, text: str, **more: Any) -> httpx.Response:
    body = {"model": "talker", "messages": [{"role": "user", "content": text}], **more}
    return httpx.post(f"{site.url}v1/chat/completions", json=body, timeout=60)


def views(page: Any) -> list[str]:
    page.wait_for_selector(".views a")
    names: list[str] = page.locator(".views a").all_inner_texts()
    return [name.strip() for name in names]


def test_requests_come_as_they_are_asked(site: Site, open_page: Open) -> None:
    ask(site, "the secret words", user="ann")
    page = open_page(f"{site.url}#/requests")
    page.wait_for_selector("td:has-text('POST /v1/chat/completions')")
    assert "secret words" not in page.content()
    row = page.locator("tbody tr").first.inner_text()
    assert "talker" in row and "ann" in row and "200" in row
    ask(site, "hi", temperature=-1)
    page.wait_for_selector("td:has-text('decimal_below_min_value')")
    page.get_by_label("Errors only").check()
    assert page.locator(".badge.good").count() == 0
    page.fill("input[type=search]", "nothing like it")
    assert page.inner_text(".page .empty") == "No requests yet."


@pytest.mark.parametrize("view", ["requests", "batches"])
def test_a_view_that_is_left_before_it_is_shown_asks_no_more(
    view: str, site: Site, open_page: Open
) -> None:
    page = open_page("about:blank")
    page.clock.install()
    asked: list[Any] = []
    address = re.compile(r"/v1/(internal/queue|batches)")
    page.route(address, lambda route: asked.append(route))
    with page.expect_request(address):
        page.goto(f"{site.url}#/{view}")
    page.evaluate("location.hash = '#/models'")
    page.wait_for_selector("h1:text-is('Models')")
    with page.expect_response(address):
        asked[0].continue_()
    for _ in range(3):
        page.clock.run_for(10_000)
        page.evaluate("fetch('v1/models').then((answer) => answer.text())")
    assert len(asked) == 1


def test_what_was_said_is_shown_where_it_is_kept(start: Start, open_page: Open) -> None:
    site = start(debug=True)
    ask(site, "the secret words")
    page = open_page(f"{site.url}#/requests")
    page.get_by_role("button", name="POST /v1/chat/completions").first.click()
    page.locator("dialog pre").first.wait_for()
    sent, answered = page.locator("dialog pre").all_inner_texts()
    assert "the secret words" in sent and '"finish_reason": "stop"' in answered


def test_a_running_request_is_shown_and_stopped(site: Site, open_page: Open) -> None:
    talk = open_page(site.url)
    talk.wait_for_selector(".greeting .address")
    talk.fill("#message", "count")
    talk.press("#message", "Enter")
    talk.wait_for_selector(".assistant .text:has-text('3')")
    page = open_page(f"{site.url}#/requests")
    page.wait_for_selector(".badge:text-is('writing')")
    page.get_by_role("button", name="Stop").click()
    talk.wait_for_selector(".message.assistant:not(.writing)")
    assert "tokens" in talk.inner_text(".stats")


def test_usage_by_day_and_what_is_now(site: Site, open_page: Open) -> None:
    ask(site, "count me", user="ann")
    page = open_page(f"{site.url}#/usage")
    page.wait_for_selector(".chart rect.c0")
    assert page.inner_text(".legend") == "talker"
    tiles = page.inner_text(".tiles")
    assert "of 4" in tiles and "B\nUptime" in tiles and "OK" in tiles
    page.get_by_label("By", exact=True).select_option("user")
    page.wait_for_selector(".legend li:has-text('ann')")
    page.get_by_label("Count").select_option("requests")
    page.wait_for_selector(".chart svg[aria-label^=Requests]")
    page.click(".numbers summary")
    assert "ann" in page.inner_text(".numbers table")
    month = page.get_by_role("region", name="This month").locator("table").inner_text()
    assert "talker" in month and "local" in month


def test_models_and_why_no_other_can_be_loaded(site: Site, open_page: Open) -> None:
    page = open_page(f"{site.url}#/models")
    page.wait_for_selector(".page .table td")
    assert "talker" in page.inner_text(".page .table >> nth=0")
    assert "cannot load others" in page.inner_text(".page .empty")


def test_models_on_request(start: Start, open_page: Open) -> None:
    library = library_of_two()
    page = open_page(f"{start(library=library).url}#/models")
    section = page.locator("section[aria-label='Loaded on request']")

    def row(name: str, *words: str) -> Any:
        found = section.locator(f"tr:has(strong:text-is('{name}'))")
        for word in words:
            found.locator(f".badge:text-is('{word}')").wait_for()
        return found

    row("a", "not loaded").get_by_role("button", name="Load", exact=True).click()
    row("a", "loaded").get_by_role("button", name="Keep loaded").click()
    row("a", "loaded", "pinned")
    row("b", "not loaded").get_by_role("button", name="Load", exact=True).click()
    section.locator(".notice.bad").wait_for()
    row("a", "pinned").get_by_role("button", name="Let go").click()
    row("a", "loaded").get_by_role("button", name="Unload").click()
    row("a", "not loaded").get_by_role("button", name="Delete").click()
    page.locator("dialog").get_by_role("button", name="Delete").click()
    section.locator(".notice.bad").wait_for()
    assert library.deleted == []  # the operator's file names it
    row("b").get_by_role("button", name="Delete").click()
    page.locator("dialog").get_by_role("button", name="Delete").click()
    page.locator("dialog").wait_for(state="detached")
    section.locator(".notice").wait_for(state="detached")
    assert library.deleted == ["b"]
    library.residents.close()


def test_a_download_shows_how_far_it_is(start: Start, open_page: Open) -> None:
    library = library_of_two()
    page = open_page(f"{start(library=library).url}#/models")
    section = page.locator("section[aria-label='Loaded on request']")
    box = section.get_by_label("Download", exact=True).and_(page.locator("input"))
    box.fill("hf:some/model")
    box.press("Enter")
    bar = section.locator("progress[value='7']")
    bar.wait_for()
    assert bar.get_attribute("max") == "10"
    library.may_end.set()
    section.locator(".notice:text-is('fetched can be used.')").wait_for()
    library.fault = "there is no such file"
    box.fill("hf:some/other")
    box.press("Enter")
    section.locator(".notice.bad:text-is('there is no such file')").wait_for()
    box.fill("some/other")
    box.press("Enter")
    section.locator(".notice.bad:has-text('model')").wait_for()
    library.residents.close()


def test_the_first_key_is_made_and_used(start: Start, open_page: Open) -> None:
    site = start()
    page = open_page(f"{site.url}#/keys")
    page.get_by_role("button", name="Make a key").click()
    dialog = page.locator("dialog")
    assert "first key" in dialog.inner_text()
    dialog.get_by_label("Name").fill("root")
    dialog.get_by_label("admin").check()
    dialog.get_by_role("button", name="Make a key").click()
    page.wait_for_selector(".secret code")
    key = page.inner_text(".secret code")
    assert (
        key.startswith("sk-root-")
        and httpx.get(f"{site.url}v1/models", timeout=60).status_code == 401
    )
    page.get_by_role("button", name="Close").click()
    page.wait_for_selector("td:has-text('root')")
    assert key not in page.content() and "sk-" not in page.url
    page.get_by_role("button", name="Make a key").click()
    dialog.get_by_label("Name").fill("root")
    dialog.get_by_role("button", name="Make a key").click()
    page.wait_for_selector("dialog .notice.bad")
    assert "There is a key root already" in dialog.inner_text()
    dialog.get_by_label("Name").fill("guest")
    dialog.locator("summary").click()
    dialog.get_by_label("Requests a minute").fill("5")
    dialog.get_by_role("button", name="Make a key").click()
    page.wait_for_selector(".secret code")
    guest = page.inner_text(".secret code")
    page.get_by_role("button", name="Close").click()
    row = page.locator("tr", has_text="guest")
    assert "rpm 5" in row.inner_text()
    row.get_by_role("button", name="Revoke").click()
    page.locator("dialog").get_by_role("button", name="Revoke").click()
    page.wait_for_selector("tr:has-text('guest') .badge.bad")
    headers = {"Authorization": f"Bearer {guest}"}
    assert httpx.get(f"{site.url}v1/models", headers=headers, timeout=60).status_code == 401


def test_a_wrong_key_then_one_without_rights(start: Start, open_page: Open, tmp_path: Any) -> None:
    files = KeyFiles(tmp_path)
    files.create(Grant("", "root", frozenset({"admin"})))
    key = files.create(Grant("", "ann", frozenset({"read", "write"})))
    site = start()
    page = open_page(f"{site.url}#/keys")
    page.wait_for_selector("dialog[open]")
    assert "needs a key" in page.inner_text("dialog")
    page.get_by_label("Key", exact=True).fill("sk-wrong")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog .notice:has-text('does not accept')")
    page.get_by_label("Key", exact=True).fill(key)
    page.keyboard.press("Enter")
    assert views(page) == VIEWS[:5]
    page.wait_for_selector("#view-chat[aria-current]")
    assert page.evaluate("sessionStorage.getItem('openedai.key')") == key
    assert page.evaluate("localStorage.getItem('openedai.key')") is None and "sk-" not in page.url
    page.get_by_role("button", name="API key").click()
    assert "You are ann: read, write." in page.inner_text("dialog")
    page.get_by_label("Remember it").check()
    page.get_by_label("Key", exact=True).fill(key)
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog", state="detached")
    assert page.evaluate("localStorage.getItem('openedai.key')") == key


def test_who_may_only_read_cannot_write(start: Start, open_page: Open, tmp_path: Any) -> None:
    key = KeyFiles(tmp_path).create(Grant("", "reader", frozenset({"read"})))
    page = open_page(start().url)
    page.get_by_label("Key", exact=True).fill(key)
    page.keyboard.press("Enter")
    assert views(page) == VIEWS[1:5]


def test_without_keys_this_machine_may_all(site: Site, open_page: Open) -> None:
    page = open_page(site.url)
    assert views(page) == VIEWS
    page.get_by_role("button", name="API key").click()
    assert "No key is needed from this machine." in page.inner_text("dialog")
