"""For everybody: keyboard, screen readers, contrast, narrow and wide, and when the server goes away."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from tests.console.conftest import Open, Site, Start, sync_api

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
ALL = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
VIEWS = ("chat", "stored", "batches", "requests", "usage", "models", "keys")


def axe_on(page: Any, rules: list[str]) -> list[str]:
    found = axe.Axe().run(page, options={"runOnly": rules}).response["violations"]
    return [f"{each['id']}: {node['html'][:150]}" for each in found for node in each["nodes"]]


def say(page: Any, text: str) -> None:
    page.fill("#message", text)
    page.press("#message", "Enter")
    page.wait_for_selector(".message.assistant:last-child:not(.writing)")


@pytest.fixture
def unguarded(open_page: Open, site: Site) -> Any:
    """axe is put into the page, which the page's own policy would refuse."""
    return lambda **options: open_page(site.url, bypass_csp=True, **options)


@pytest.mark.parametrize(("scheme", "rules"), [("light", ALL), ("dark", ["color-contrast"])])
def test_axe_finds_nothing(unguarded: Any, scheme: str, rules: list[str]) -> None:
    findings = partial(axe_on, rules=rules)
    page = unguarded(color_scheme=scheme)
    page.wait_for_selector(".greeting .address")
    found = findings(page)
    page.locator("details.section", has_text="Output").locator("summary").click()
    page.get_by_label("Preset").select_option("own")
    page.get_by_label("Token probabilities").check()
    page.get_by_label("Keep in the store").evaluate("each => each.click()")
    say(page, "think")
    say(
        page,
        "# H\n\n- a `b`\n\n```py\nx\n```\n\n| a |\n| - |\n| 1 |\n\n[l](https://x.example) $x^2$",
    )
    say(page, "unlikely")
    page.get_by_role("button", name="Show tokens").last.click()
    say(page, "call")
    found += findings(page)
    page.get_by_role("button", name="Show as code").click()
    found += findings(page)
    page.get_by_role("button", name="Close", exact=True).last.click()
    for view in VIEWS[1:]:
        page.click(f"#view-{view}")
        page.wait_for_selector("main .table, main .row, main .empty-state, main .tiles")
        if view == "stored":
            page.click(".row >> nth=0")
            page.wait_for_selector(".transcript")
        found += findings(page)
    page.get_by_role("button", name="Make a key").click()
    assert found + findings(page) == []


def test_what_a_screen_reader_reads(page: Any) -> None:
    page.wait_for_selector(".panel-body select", state="attached")
    say(page, "think")
    sync_api.expect(page.locator("main")).to_match_aria_snapshot("""
        - main:
          - navigation "Chats in this tab"
          - heading "Chat" [level=1]
          - button "Show as code"
          - button "Settings" [expanded]
          - article "You":
            - heading "You" [level=2]
            - text: think
            - button "Edit"
          - article "talker":
            - heading "talker" [level=2]
            - group: Thoughts
            - paragraph: Then I answer.
            - button "Regenerate"
            - text: /2 tokens/
          - status
          - textbox "Message"
          - button "Send"
          - complementary "Settings":
            - combobox "Model"
            - textbox "System prompt"
    """)


@pytest.mark.parametrize("width", [390, 2560, 3840])
def test_nothing_is_wider_than_the_window(open_page: Open, site: Site, width: int) -> None:
    page = open_page(site.url, viewport={"width": width, "height": 800})
    page.wait_for_selector(".greeting .address")
    say(page, "W" * 300 + "\n\n```\n" + "c" * 300 + "\n```")
    for view in VIEWS:
        page.click(f"#view-{view}")
        page.wait_for_selector(f"#view-{view}[aria-current]")
        over = "document.documentElement.scrollWidth - innerWidth"
        assert page.evaluate(over) <= 0, view
        bar = "document.querySelector('.views').scrollWidth - document.querySelector('.views').clientWidth"
        assert page.evaluate(bar) <= 0, view
        main = "document.querySelector('main').scrollWidth - document.querySelector('main').clientWidth"
        assert page.evaluate(main) <= 0, view


def test_with_the_keyboard_only(page: Any) -> None:
    for _ in range(30):
        page.keyboard.press("Shift+Tab")
        if page.evaluate("document.activeElement.className") == "skip":
            break
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    seen = []
    for _ in range(14):
        page.keyboard.press("Tab")
        seen.append(
            page.evaluate(
                "document.activeElement.getAttribute('aria-label') ?? document.activeElement.innerText"
            )
        )
    assert seen.index("Show as code") < seen.index("Hello!") < seen.index("Message")
    page.focus("#message")
    page.keyboard.type("with keys")
    page.keyboard.press("Enter")
    page.wait_for_selector(".message.assistant:not(.writing)")
    assert page.evaluate("document.activeElement.id") == "message"
    assert page.inner_text("#live") == "The answer is complete"
    page.get_by_role("button", name="Show as code").focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open]")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="detached")
    assert "Show as code" in page.evaluate("document.activeElement.innerText")


def test_nothing_moves_where_that_is_asked_for(open_page: Open, site: Site) -> None:
    page = open_page(site.url, reduced_motion="reduce")
    page.wait_for_selector(".greeting .address")
    page.fill("#message", "count")
    page.press("#message", "Enter")
    page.wait_for_selector(".message.assistant")
    names = "[...document.querySelectorAll('*')].map(each => getComputedStyle(each).animationName)"
    assert set(page.evaluate(names)) == {"none"}


def test_the_theme_is_kept(page: Any) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Theme: as the system").click()
    page.get_by_role("button", name="Theme: light").click()
    dark = page.evaluate(ground)
    page.reload()
    page.wait_for_selector(".greeting")
    assert (light, dark, page.evaluate(ground)) == (
        "rgb(255, 255, 255)",
        dark,
        dark,
    ) and dark != light


def test_a_server_that_ends_and_comes_back(start: Start, open_page: Open) -> None:
    site = start()
    page = open_page(site.url)
    page.wait_for_selector(".greeting .address")
    page.fill("#message", "count")
    page.press("#message", "Enter")
    page.wait_for_selector(".assistant .text:has-text('3')")
    site.stop()
    page.wait_for_selector(".message.assistant .notice.bad")
    assert page.inner_text(".message.assistant > .text").startswith("0 1 2 3")
    page.fill("#message", "are you there?")
    page.press("#message", "Enter")
    page.wait_for_selector(".connection.bad")
    assert "does not answer" in page.inner_text(".connection")
    site.start()
    page.wait_for_selector(".connection.good")
    page.get_by_role("button", name="Try again").last.click()
    page.wait_for_selector(".assistant .text:has-text('are you there?')")
    assert page.locator(".notice.bad").count() == 1


def test_a_page_that_is_opened_while_the_model_loads(start: Start, open_page: Open) -> None:
    from extensions.openai.engines.swappable import SwappableEngine

    page = open_page(start(SwappableEngine()).url)
    page.wait_for_selector(".notices .notice")
    assert "loading" in page.inner_text(".notices") or "loaded" in page.inner_text(".notices")
    assert "No model is loaded." in page.inner_text(".greeting")
