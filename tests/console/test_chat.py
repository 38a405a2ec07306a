"""The chat of the console, used as a person uses it."""

from __future__ import annotations

import json
import subprocess
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from extensions.openai.engines.protocol import Capability
from tests.console.conftest import Open, Site, Start
from tests.console.talking_engine import TalkingEngine
from tests.support.media import picture, tone

ANSWER = ".message.assistant"


def say(page: Any, text: str) -> None:
    page.fill("#message", text)
    page.press("#message", "Enter")


def answered(page: Any, count: int = 1) -> str:
    """The text of the last answer, once it is complete."""
    page.wait_for_selector(f":nth-match({ANSWER}:not(.writing), {count})")
    return str(page.inner_text(f":nth-match({ANSWER}, {count}) > .text")).strip()


def setting(page: Any, label: str) -> Any:
    return page.get_by_label(label, exact=True)


def open_section(page: Any, title: str) -> None:
    section = page.locator("details.section", has=page.locator("summary", has_text=title))
    if section.get_attribute("open") is None:
        section.locator("summary").click()


def sent(page: Any, act: Any) -> dict[str, Any]:
    """The body of the request for an answer that an act makes."""
    with page.expect_request("**/v1/chat/completions") as found:
        act()
    body: dict[str, Any] = found.value.post_data_json
    return body


def test_a_question_and_its_answer(page: Any) -> None:
    body = sent(page, lambda: say(page, "Hello there"))
    assert body["stream"] is True and body["messages"] == [
        {"role": "user", "content": "Hello there"}
    ]
    assert set(body) == {"model", "messages", "stream", "stream_options"}
    assert answered(page) == "Hello there"
    stats = page.inner_text(".stats")
    assert "2 tokens" in stats and "tokens/s" in stats and "first token" in stats
    assert "prompt 7, 3 of it cached" in stats
    assert page.title() == "Chat · OpenedAI"


def test_a_stream_is_stopped(page: Any) -> None:
    say(page, "count")
    page.wait_for_selector(".assistant .text:has-text('5')")
    page.keyboard.press("Escape")
    text = answered(page)
    assert text.startswith("0 1 2 3 4 5") and "stopped" in page.inner_text(".stats")
    page.wait_for_timeout(60)
    assert answered(page) == text
    say(page, "and now?")
    assert answered(page, 2) == "and now?"


def test_answer_again_keeps_both_versions(page: Any) -> None:
    say(page, "one")
    answered(page)
    page.locator(ANSWER).get_by_role("button", name="Regenerate").click()
    page.wait_for_selector(".versions")
    assert page.inner_text(".versions") == "2 / 2"
    page.get_by_role("button", name="Previous version").click()
    assert page.inner_text(".versions") == "1 / 2"


def test_edit_a_question_and_go_back_to_the_first(page: Any) -> None:
    say(page, "first")
    answered(page)
    page.locator(".message.user").get_by_role("button", name="Edit").click()
    page.fill(".editing", "second")
    body = sent(page, lambda: page.get_by_role("button", name="Send the new text").click())
    assert body["messages"] == [{"role": "user", "content": "second"}]
    assert answered(page) == "second"
    page.locator(".message.user").get_by_role("button", name="Previous version").click()
    assert answered(page) == "first"


def test_an_answer_is_edited_and_goes_on_as_the_user_has_it(page: Any) -> None:
    say(page, "first")
    answered(page)
    page.locator(ANSWER).get_by_role("button", name="Edit").click()
    page.fill(".editing", "my own")
    page.get_by_role("button", name="Keep the new text").click()
    assert answered(page) == "my own"
    body = sent(page, lambda: say(page, "next"))
    assert [each["content"] for each in body["messages"]] == ["first", "my own", "next"]


def test_branch_into_a_new_chat(page: Any) -> None:
    say(page, "one")
    answered(page)
    say(page, "two")
    answered(page, 2)
    page.locator(ANSWER).first.get_by_role("button", name="Continue from here").click()
    assert page.locator(".message").count() == 2
    body = sent(page, lambda: say(page, "three"))
    assert [each["content"] for each in body["messages"]] == ["one", "one", "three"]
    assert page.locator(".chats li").count() == 2


def test_a_reload_keeps_the_chats_of_the_tab_and_another_tab_has_none(
    page: Any, site: Site, open_page: Open
) -> None:
    say(page, "remember me")
    answered(page)
    page.reload()
    assert answered(page) == "remember me"
    other = open_page(site.url)
    other.wait_for_selector(".greeting")
    assert other.locator(".message").count() == 0


def test_what_is_set_is_sent(page: Any) -> None:
    setting(page, "System prompt").fill("Be brief.")
    setting(page, "Preset").select_option("own")
    setting(page, "Temperature").fill("0.3")
    setting(page, "Top P").fill("0.9")
    setting(page, "Max tokens").fill("50")
    setting(page, "Seed").fill("7")
    setting(page, "Stop sequences").fill("END\nSTOP")
    open_section(page, "Output")
    setting(page, "Thinking").select_option("off")
    open_section(page, "Server")
    setting(page, "Keep in the store").check()
    setting(page, "Session").fill("kitchen")
    with page.expect_request("**/v1/chat/completions") as found:
        say(page, "hi")
    body = found.value.post_data_json
    wanted = {
        "temperature": 0.3,
        "top_p": 0.9,
        "max_tokens": 50,
        "seed": 7,
        "stop": ["END", "STOP"],
    }
    assert body.items() >= {**wanted, "enable_thinking": False, "store": True}.items()
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert found.value.headers["x-openedai-session-key"] == "kitchen"
    assert answered(page) == "hi"


@pytest.mark.parametrize(
    ("preset", "values"),
    [
        ("exact", {"temperature": 0}),
        ("creative", {"temperature": 1.2, "min_p": 0.05}),
        ("default", {}),
    ],
)
def test_a_preset_says_what_it_means_and_is_sent(page: Any, preset: str, values: Any) -> None:
    setting(page, "Preset").select_option(preset)
    assert len(page.inner_text(".section[open] > .hint")) > 20
    body = sent(page, lambda: say(page, "hi"))
    assert {
        name: body[name] for name in ("temperature", "min_p", "top_p") if name in body
    } == values


def test_a_tool_is_called_and_its_result_typed(page: Any) -> None:
    open_section(page, "Output")
    page.get_by_role("button", name="Insert an example").click()
    say(page, "call")
    page.wait_for_selector(".results textarea")
    assert page.inner_text(".calls .language") == "get_weather"
    assert json.loads(page.inner_text(".calls pre")) == {"city": "Rome"}
    setting(page, "Result of get_weather").fill("sunny")
    body = sent(page, lambda: page.get_by_role("button", name="Send the results").click())
    call, result = body["messages"][1:]
    assert call["tool_calls"][0]["function"] == {
        "name": "get_weather",
        "arguments": '{"city": "Rome"}',
    }
    assert result == {
        "role": "tool",
        "tool_call_id": call["tool_calls"][0]["id"],
        "content": "sunny",
    }
    assert answered(page, 2) == "sunny"


def test_wrong_json_is_named_where_it_is_typed(page: Any) -> None:
    open_section(page, "Output")
    setting(page, "JSON schema").fill('{"type": ')
    setting(page, "JSON schema").blur()
    assert "Not valid JSON" in page.inner_text(".problem:not(:empty)")
    setting(page, "JSON schema").fill('{"type": "object"}')
    setting(page, "JSON schema").blur()
    assert page.locator(".problem:not(:empty)").count() == 0
    body = sent(page, lambda: say(page, "{}"))
    schema = {"name": "answer", "schema": {"type": "object"}}
    assert body["response_format"] == {"type": "json_schema", "json_schema": schema}


def test_thoughts_are_folded_away(page: Any) -> None:
    say(page, "think")
    assert answered(page) == "Then I answer."
    assert not page.is_visible(".thoughts .text")
    page.click(".thoughts summary")
    assert page.inner_text(".thoughts .text strong") == "think"


def test_probabilities_are_colours_and_alternatives(page: Any) -> None:
    open_section(page, "Output")
    setting(page, "Token probabilities").check()
    say(page, "unlikely")
    assert answered(page) == "sure perhaps odd"
    page.get_by_role("button", name="Show tokens").click()
    shades = page.eval_on_selector_all(".token", "all => all.map(each => each.className)")
    assert shades[:3] == ["token p0", "token p2", "token p4"]
    page.hover(".token.p2")
    assert "40 %" in page.inner_text(".token-detail") and "else" in page.inner_text(".token-detail")
    page.focus(".tokens")
    page.keyboard.press("ArrowRight")
    assert "2.0 %" in page.inner_text(".token-detail")


def test_a_picture_is_dropped_where_the_model_can_see(start: Start, open_page: Open) -> None:
    page = open_page(start(TalkingEngine("seer", Capability.VISION)).url)
    page.wait_for_selector(".greeting .address")
    drop(page, "red.png", "image/png", picture())
    page.wait_for_selector(".composer .chip img")
    body = sent(page, lambda: say(page, "what is it?"))
    text, image = body["messages"][0]["content"]
    assert text == {"type": "text", "text": "what is it?"}
    assert image["image_url"]["url"].startswith("data:image/png;base64,")
    page.wait_for_selector(".message.user .media img")
    assert page.get_attribute(".message.user .media img", "alt") == "Picture: red.png"


def test_a_sound_is_dropped_where_the_model_can_hear(start: Start, open_page: Open) -> None:
    page = open_page(start(TalkingEngine("hearer", Capability.AUDIO)).url)
    page.wait_for_selector(".panel-body select", state="attached")
    drop(page, "tone.wav", "audio/wav", tone(seconds=0.1))
    page.wait_for_selector(".composer .chip")
    body = sent(page, lambda: say(page, "what is it?"))
    text, sound = body["messages"][0]["content"]
    assert text == {"type": "text", "text": "what is it?"}
    data = sound["input_audio"]
    assert data["format"] == "wav" and b64decode(data["data"]) == tone(seconds=0.1)
    page.wait_for_selector(".message.user .media audio")
    drop(page, "film.mp4", "video/mp4", b"film")
    page.wait_for_selector(".notice")
    assert "film.mp4" in page.inner_text(".notice span")


def test_a_model_without_eyes_says_so_and_a_text_goes_along(page: Any) -> None:
    drop(page, "red.png", "image/png", picture())
    page.wait_for_selector(".notice")
    assert page.inner_text(".notice span") == "This model takes no pictures."
    drop(page, "notes.txt", "text/plain", b"remember the milk")
    page.wait_for_selector(".composer .chip")
    body = sent(page, lambda: say(page, "read"))
    assert body["messages"][0]["content"][1]["text"] == "notes.txt:\n\nremember the milk"


def drop(page: Any, name: str, kind: str, data: bytes) -> None:
    transfer = page.evaluate_handle(
        """([name, kind, data]) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(data)], name, {type: kind}));
            return transfer;
        }""",
        [name, kind, list(data)],
    )
    page.dispatch_event(".chat", "drop", {"dataTransfer": transfer})


def test_show_as_code_is_a_program_that_works(page: Any, tmp_path: Path) -> None:
    """What is shown for a shell and for Python is run as it stands."""
    say(page, 'It\'s "quoted" & $HOME\nå 😀')
    answered(page)
    setting(page, "Preset").select_option("exact")
    page.get_by_role("button", name="Show as code").click()
    command = page.inner_text("#code-panel pre")
    ran = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=50, check=True
    )
    content = json.loads(ran.stdout)["choices"][0]["message"]["content"]
    assert content == 'It\'s "quoted" & $HOME\nå 😀'
    page.get_by_role("tab", name="Python").click()
    program = page.inner_text("#code-panel pre")
    assert "temperature=0," in program and 'api_key="unused"' in program
    compile(program, "shown", "exec")
    page.keyboard.press("ArrowRight")
    assert 'from "openai"' in page.inner_text("#code-panel pre")


def test_an_error_is_shown_and_can_be_tried_again(page: Any) -> None:
    open_section(page, "Output")
    setting(page, "Tools").fill('[{"type": "function"}]')
    say(page, "hi")
    page.wait_for_selector(".notice.bad")
    assert "tools[0].function" in page.inner_text(".notice.bad")
    setting(page, "Tools").fill("")
    page.get_by_role("button", name="Try again").click()
    page.wait_for_selector(".stats:has-text('tokens')")
    assert answered(page) == "hi"


def test_below_a_prefix(start: Start, open_page: Open) -> None:
    site = start(api_prefix="/deep/down")
    for url in (site.url, site.url.rstrip("/")):
        page = open_page(url)
        page.wait_for_selector(".greeting .address")
        assert page.inner_text(".address code") == f"{site.url}v1"
        say(page, "hi")
        assert answered(page) == "hi"


def test_what_is_said_before_the_models_are_known_waits_for_them(
    site: Site, open_page: Open
) -> None:
    page = open_page("about:blank")
    held: list[Any] = []
    page.route("**/v1/models", lambda route: held.append(route))
    page.goto(site.url)
    page.wait_for_selector(".greeting .address")
    assert "No model" not in page.inner_text(".greeting")
    say(page, "hi")
    page.wait_for_selector(".message.user")
    assert not page.query_selector(ANSWER)
    held.pop().continue_()
    assert answered(page) == "hi"


def test_agents_are_models_to_choose(start: Start, open_page: Open, tmp_path: Path) -> None:
    agents = tmp_path / "agents.yaml"
    agents.write_text("agents:\n  cook:\n    description: Cooks.\n    system: You cook.\n")
    page = open_page(start(agents=str(agents)).url)
    page.wait_for_selector("optgroup", state="attached")
    setting(page, "Model").select_option("agent:cook")
    body = sent(page, lambda: say(page, "hi"))
    assert body["model"] == "agent:cook" and answered(page) == "hi"
