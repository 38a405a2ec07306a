"""Messages on the wire, and what an engine gets of them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from extensions.openai.dialects.messages.conversation import ThoughtsBack, to_messages
from extensions.openai.dialects.messages.request import MessagesRequest
from extensions.openai.dialects.messages.signatures import ThoughtSigner
from extensions.openai.engines.protocol import Media, Message, ToolCall
from extensions.openai.errors import InvalidRequest
from extensions.openai.generation.media.reader import MediaReader
from extensions.openai.schemas.validation import check
from extensions.openai.state.keyring import Keyring
from tests.support import media

KEYS = Keyring([b"k" * 32])
SIGNER = ThoughtSigner(KEYS, "local")


def parsed(messages: list[Any], **body: Any) -> MessagesRequest:
    return check(MessagesRequest, {"max_tokens": 5, "messages": messages, **body})


def translated(
    *messages: Any, ignored: list[str] | None = None, tools: Any = None, **body: Any
) -> list[Message]:
    request = parsed(list(messages), tools=tools, **body)
    plan = request.tool_plan()
    deferred = {tool.name: tool for tool in plan.shown if tool.name in plan.deferred}
    thoughts = ThoughtsBack(SIGNER, [] if ignored is None else ignored)
    return list(to_messages(request, deferred, thoughts, lambda: MediaReader(("vision",))))


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def text(output: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": output, **more}


def test_texts() -> None:
    output = translated(
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello."},
        user(text("One."), text("Two.", cache_control={"type": "ephemeral"})),
        system="Be brief.",
    )
    assert output == [
        Message("system", "Be brief."),
        Message("user", "Hi"),
        Message("assistant", "Hello."),
        Message("user", "One.\n\nTwo."),
    ]


def test_a_message_of_the_system_says_the_same_as_text_and_as_blocks() -> None:
    """claude-code sends a list while it is the last message, and a string from then on."""
    for content in ("Skills.", [text("Skills.", cache_control={"type": "ephemeral"})]):
        output = translated(
            {"role": "user", "content": "x"}, {"role": "system", "content": content}
        )
        assert output[1] == Message("system", "Skills.")


def test_the_block_that_differs_between_sessions_is_left_out() -> None:
    blocks = [
        text("x-anthropic-billing-header: cc_version=2.1.332.abc;"),
        text("You are"),
        text("it."),
    ]
    output = translated({"role": "user", "content": "x"}, system=blocks)
    assert output[0] == Message("system", "You are\n\nit.")
    assert parsed([{"role": "user", "content": "x"}], system=blocks).left_out == ["system[0]"]


def test_a_call_its_thought_and_its_result() -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": "é"}}
    thought = {"type": "thinking", "thinking": "Look.", "signature": SIGNER.sign("Look.")}
    output = translated(
        {"role": "user", "content": "x"},
        assistant(thought, text("I call."), call),
        user({"type": "tool_result", "tool_use_id": "toolu_1", "content": "7"}, text("Go on.")),
    )
    assert output[1:] == [
        Message(
            "assistant",
            "I call.",
            tool_calls=(ToolCall("toolu_1", "f", '{"a":"é"}'),),
            reasoning="Look.",
        ),
        Message("tool", "7", tool_call_id="toolu_1"),
        Message("user", "Go on."),
    ]


def test_a_call_without_a_word_has_no_text() -> None:
    call = {"type": "tool_use", "id": "1", "name": "f", "input": {}}
    assert translated(user(text("x")), assistant(call), user(text("y")))[1].content is None


@pytest.mark.parametrize(
    ("content", "reported"),
    [
        (None, ""),
        ([], ""),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "a\n\nb"),
        (
            [{"type": "document", "source": {"type": "text", "data": "x"}, "title": "t.md"}],
            '<file name="t.md">\nx\n</file>\n',
        ),
        (
            [
                {
                    "type": "search_result",
                    "source": "https://e.org",
                    "title": "T",
                    "content": [{"type": "text", "text": "found"}],
                }
            ],
            "T\nhttps://e.org\nfound",
        ),
    ],
)
def test_results(content: Any, reported: str) -> None:
    result = {"type": "tool_result", "tool_use_id": "1", "content": content, "is_error": True}
    (output,) = translated(user(result))
    assert output == Message("tool", reported, tool_call_id="1")


def test_what_the_user_says_around_results_stays_in_its_order() -> None:
    result = {"type": "tool_result", "tool_use_id": "1", "content": "r"}
    output = translated(user(text("a"), result, text("b")))
    assert [(m.role, m.content) for m in output] == [("user", "a"), ("tool", "r"), ("user", "b")]


DEFERRED = {"name": "grep", "description": "Find.", "input_schema": {"type": "object"}}


def test_a_deferred_tool_is_described_where_it_is_named() -> None:
    reference = {"type": "tool_reference", "tool_name": "grep"}
    result = {"type": "tool_result", "tool_use_id": "1", "content": [reference]}
    tools = [{**DEFERRED, "defer_loading": True}, {**DEFERRED, "name": "read"}]
    request = parsed([user(result)], tools=tools)
    assert [tool.name for tool in request.tool_plan().listed] == ["read"]
    assert [tool.name for tool in request.tool_plan().shown] == ["grep", "read"]
    (output,) = translated(user(result), tools=tools)
    assert orjson.loads(output.content or "") == {
        "type": "function",
        "function": {"name": "grep", "description": "Find.", "parameters": {"type": "object"}},
    }


def test_a_deferred_tool_that_nothing_names_is_none() -> None:
    request = parsed([user(text("x"))], tools=[{**DEFERRED, "defer_loading": True}])
    assert request.tool_plan().shown == ()


@pytest.mark.parametrize("signature", [None, "", "Eq8B", ThoughtSigner(KEYS, "bob").sign("Look.")])
def test_a_thought_that_this_server_did_not_sign_is_not_shown_again(signature: Any) -> None:
    ignored: list[str] = []
    thought = {"type": "thinking", "thinking": "Look.", "signature": signature}
    output = translated(
        user(text("x")), assistant(thought, text("y")), user(text("z")), ignored=ignored
    )
    assert output[1] == Message("assistant", "y")
    assert ignored == ["messages[1].content[0].thinking"]


def test_a_thought_whose_text_was_not_sent_is_in_its_signature() -> None:
    thought = {"type": "thinking", "thinking": "", "signature": SIGNER.carry("Look.")}
    output = translated(user(text("x")), assistant(thought, text("y")), user(text("z")))
    assert output[1].reasoning == "Look."


def test_pictures_keep_their_places() -> None:
    url = media.image(media.picture())["image_url"]["url"]
    source = {"type": "base64", "media_type": "image/png", "data": url.partition(",")[2]}
    picture = {"type": "image", "source": source}
    (output,) = translated(user(text("a"), picture, text("b"), text("c")))
    assert [part if isinstance(part, str) else type(part) for part in output.parts] == [
        "a",
        Media,
        "b\n\nc",
    ]
    assert output.content == "ab\n\nc"


def test_what_a_provider_did_itself_is_left_out() -> None:
    search = {"type": "server_tool_use", "id": "1", "name": "web_search", "input": {}}
    found = {"type": "web_search_tool_result", "tool_use_id": "1", "content": []}
    output = [user(text("x")), assistant(search, found, text("y"))]
    assert translated(*output)[1] == Message("assistant", "y")
    assert parsed(output).left_out == [
        "messages[1].content[0].server_tool_use",
        "messages[1].content[1].web_search_tool_result",
    ]


PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="}


@pytest.mark.parametrize(
    ("block", "param"),
    [
        ({"type": "zz"}, "messages[0].content[0].type"),
        ({"type": "text"}, "messages[0].content[0].text"),
        ({"type": "document", "source": PDF}, "messages[0].content[0].source.data"),
        (
            {"type": "document", "source": {"type": "url", "url": "https://e.org/a.pdf"}},
            "messages[0].content[0].source.url",
        ),
        (
            {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
            "messages[0].content[0].source.file_id",
        ),
        (
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "!"}},
            "messages[0].content[0].source.data",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_its_place(block: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        translated(user(block))
    assert caught.value.param == param
