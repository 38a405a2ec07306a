"""The items of a request, and what an engine gets of them."""

from __future__ import annotations

from typing import Any

import pytest

from extensions.openai.dialects.responses.conversation import to_messages
from extensions.openai.dialects.responses.request import ResponsesRequest
from extensions.openai.engines.protocol import Media, Message, ToolCall
from extensions.openai.errors import InvalidRequest
from extensions.openai.generation.media.reader import MediaReader
from extensions.openai.schemas.validation import check
from tests.support import media


def translated(*items: Any, **body: Any) -> list[Message]:
    request = check(ResponsesRequest, {"input": list(items), **body})
    placed = [(f"input[{at}]", item) for at, item in enumerate(request.items)]
    said = request.instructions, placed, lambda: MediaReader(("vision",))
    return list(to_messages(*said, names=request.tool_names))


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


def text(reply: str) -> dict[str, Any]:
    return {"type": "input_text", "text": reply}


def output(reply: str, **more: Any) -> dict[str, Any]:
    part = {"type": "output_text", "text": reply, "annotations": [], "logprobs": []}
    return {"type": "message", "role": "assistant", "content": [part], **more}


CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a":"é"}'}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "7"}
CALLED = ToolCall("c1", "f", '{"a":"é"}')


def test_a_text_is_a_message_of_the_users() -> None:
    request = check(ResponsesRequest, {"input": "Hi", "instructions": "Be brief."})
    reply = to_messages(request.instructions, [("input[0]", request.items[0])], MediaReader)
    assert list(reply) == [Message("system", "Be brief."), Message("user", "Hi")]


def test_texts() -> None:
    reply = translated(
        {"role": "developer", "content": "Be brief."},
        {"type": "message", "role": "user", "content": "Hi", "id": "msg_1", "status": "completed"},
        {"role": "assistant", "content": "Hello."},
        user(text("One."), text("Two.")),
        output("Three."),
        {"role": "system", "content": [text("Four.")]},
        user(text("Five.")),
    )
    assert reply == [
        Message("system", "Be brief."),
        Message("user", "Hi"),
        Message("assistant", "Hello."),
        Message("user", "One.\n\nTwo."),
        Message("assistant", "Three."),
        Message("system", "Four."),
        Message("user", "Five."),
    ]


def test_what_the_model_said_is_put_together_as_it_came() -> None:
    parts = [{"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": " b"}]
    assert translated({"role": "assistant", "content": parts})[0].content == "a b"


def test_one_turn_is_one_message() -> None:
    """A thought, a word and the calls behind them come from one answer of the model."""
    thought = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": "Look."}],
    }
    other = {**CALL, "call_id": "c2"}
    reply = translated(user(text("x")), thought, output("I call."), CALL, other, RESULT)
    assert reply[1:] == [
        Message(
            "assistant",
            "I call.",
            tool_calls=(CALLED, ToolCall("c2", "f", '{"a":"é"}')),
            reasoning="Look.",
        ),
        Message("tool", "7", tool_call_id="c1"),
    ]


@pytest.mark.parametrize(
    "items",
    [
        # Two words, or a thought behind a word or a call, begin another turn.
        (output("One."), output("Two.")),
        (
            output("One."),
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}]},
        ),
        (CALL, output("Two.")),
    ],
)
def test_what_begins_another_turn(items: tuple[Any, Any]) -> None:
    assert [message.role for message in translated(user(text("x")), *items)[1:]] == [
        "assistant"
    ] * 2


def test_a_call_without_a_word_has_no_text_and_a_thought_alone_an_empty_one() -> None:
    thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Look."}]}
    assert translated(user(text("x")), CALL)[1].content is None
    (_, alone, _) = translated(user(text("x")), thought, user(text("y")))
    assert (alone.content, alone.reasoning) == ("", "Look.")


def test_a_custom_tools_call_is_one_with_an_argument() -> None:
    call = {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": 'a "b"\n'}
    result = {"type": "custom_tool_call_output", "call_id": "c1", "output": [text("done")]}
    assert translated(user(text("x")), call, result)[1:] == [
        Message(
            "assistant", None, tool_calls=(ToolCall("c1", "patch", '{"input":"a \\"b\\"\\n"}'),)
        ),
        Message("tool", "done", tool_call_id="c1"),
    ]


def test_a_picture_in_a_message_and_in_a_result() -> None:
    picture = {
        "type": "input_image",
        "image_url": media.data_url(media.picture()),
        "detail": "auto",
    }
    result = {**RESULT, "output": [text("Here:"), picture]}
    reply = translated(user(text("Look:"), picture), CALL, result)
    for message, before in ((reply[0], "Look:"), (reply[2], "Here:")):
        words, seen = message.parts
        assert words == before and isinstance(seen, Media)


def test_a_file_is_its_text() -> None:
    file = {
        "type": "input_file",
        "filename": "a.txt",
        "file_data": media.data_url(b"One.", "text/plain"),
    }
    assert "One." in str(translated(user(file))[0].content)


@pytest.mark.parametrize(
    ("item", "param"),
    [
        (user({"type": "input_image", "file_id": "file-1"}), "input[0].content[0].file_id"),
        (user({"type": "input_image"}), "input[0].content[0].image_url"),
        (user({"type": "input_file", "file_id": "file-1"}), "input[0].content[0].file_id"),
        (user({"type": "input_file", "file_url": "http://a/b"}), "input[0].content[0].file_url"),
        (user({"type": "input_file", "filename": "x"}), "input[0].content[0].file_data"),
        (user({"type": "input_audio"}), "input[0].content[0].type"),
        ({"role": "tool", "content": "x"}, "input[0].role"),
        ({"type": "function_call", "name": "f", "arguments": "{}"}, "input[0].call_id"),
        ({"type": "nonsense"}, "input[0].type"),
        ("x", "input[0]"),
    ],
)
def test_what_cannot_be_is_refused_by_its_place(item: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        translated(item)
    assert caught.value.param == param


def test_a_result_without_a_call_id_belongs_to_the_call_before_it() -> None:
    reply = translated(user(text("x")), CALL, {"type": "function_call_output", "output": "7"})
    assert reply[2].tool_call_id == "c1"


def test_what_a_provider_did_is_left_out_and_named() -> None:
    search = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {}}
    items = [user(text("x")), search, user(text("y"))]
    request = check(ResponsesRequest, {"input": items})
    assert request.left_out == ["input[1].web_search_call"]
    assert [message.content for message in translated(*items)] == ["x", "y"]


def test_calls_have_the_names_that_the_model_knows() -> None:
    find = {"type": "function", "name": "find"}
    tools = [
        {"type": "namespace", "name": "crm", "tools": [find, {**find, "name": "f"}]},
        {"type": "namespace", "name": "web", "tools": [{**find, "type": "custom"}]},
    ]
    found = {"type": "custom_tool_call", "call_id": "c2", "name": "find", "input": "x"}
    reply = translated(
        {**CALL, "name": "find", "namespace": "crm"},
        {**CALL, "namespace": "crm"},
        {**found, "namespace": "web"},
        {**CALL, "name": "gone", "namespace": "old"},
        tools=tools,
    )
    names = [call.name for message in reply for call in message.tool_calls]
    assert names == ["crm__find", "f", "web__find", "gone"]
