"""Messages as clients send them, and as engines take them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.engines.protocol import ChatRequest, Media, Message, ToolCall
from extensions.openai.errors import InvalidRequest
from extensions.openai.generation.chat.messages import ChatMessage, to_engine
from extensions.openai.generation.chat.request import ChatCompletionRequest
from extensions.openai.generation.media.reader import MediaReader
from extensions.openai.schemas.validation import check
from tests.support import media
from tests.support.random_model import TEMPLATE, write_model

ADAPTER: TypeAdapter[list[Any]] = TypeAdapter(list[ChatMessage])


def engine_messages(*messages: dict[str, Any]) -> tuple[Message, ...]:
    return to_engine(ADAPTER.validate_python(list(messages)))


@pytest.mark.parametrize(
    ("message", "plain"),
    [
        ({"role": "system", "content": "s"}, Message("system", "s")),
        ({"role": "developer", "content": "d"}, Message("system", "d")),
        ({"role": "user", "content": "u", "name": "ann"}, Message("user", "u", "ann")),
        ({"role": "assistant", "content": "a"}, Message("assistant", "a")),
        ({"role": "assistant", "refusal": "no"}, Message("assistant", "no")),
        (
            {"role": "assistant", "content": "a", "reasoning_content": "why"},
            Message("assistant", "a", reasoning="why"),
        ),
        (
            {"role": "assistant", "content": "a", "reasoning": "why"},
            Message("assistant", "a", reasoning="why"),
        ),
        (
            {"role": "tool", "content": "42", "tool_call_id": "c1"},
            Message("tool", "42", tool_call_id="c1"),
        ),
        ({"role": "user", "content": ""}, Message("user", "")),
        (
            {
                "role": "user",
                "content": [{"type": "text", "text": "a "}, {"type": "text", "text": "b"}],
            },
            Message("user", "a b"),
        ),
        (
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
            Message("assistant", "no"),
        ),
    ],
)
def test_each_role_becomes_a_plain_message(message: dict[str, Any], plain: Message) -> None:
    assert engine_messages(message) == (plain,)


def test_tool_calls_of_the_assistant_are_kept() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    assert engine_messages({"role": "assistant", "content": None, "tool_calls": [call]}) == (
        Message("assistant", None, tool_calls=(ToolCall("c1", "f", '{"x": 1}'),)),
    )


def test_the_older_function_form_becomes_a_tool_call_and_its_result() -> None:
    assistant, function = engine_messages(
        {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "42"},
    )
    assert [call.name for call in assistant.tool_calls] == ["f"]
    assert (function.role, function.content) == ("tool", "42")
    assert function.tool_call_id == assistant.tool_calls[0].id


def test_the_order_is_kept() -> None:
    messages = [{"role": "user", "content": str(at)} for at in range(20)]
    assert [m.content for m in engine_messages(*messages)] == [str(at) for at in range(20)]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
    ],
)
def test_parts_that_the_model_cannot_take_are_refused_by_their_place(part: dict[str, Any]) -> None:
    text = {"type": "text", "text": "see"}
    with pytest.raises(InvalidRequest) as caught:
        engine_messages({"role": "user", "content": "x"}, {"role": "user", "content": [text, part]})
    assert caught.value.param == "messages[1].content[1]"


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "thinking"])
def test_a_turn_that_only_thought_is_taken(field: str) -> None:
    message = {"role": "assistant", "content": None, field: "Let me see"}
    assert engine_messages(message) == (Message("assistant", "", reasoning="Let me see"),)


@pytest.mark.parametrize("empty", [None, ""])
@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "thinking"])
def test_of_several_thoughts_the_one_that_holds_text_is_taken(field: str, empty: Any) -> None:
    fields = dict.fromkeys(("reasoning_content", "reasoning", "thinking"), empty)
    message = {"role": "assistant", "content": "Well.", **fields, field: "Let me see"}
    assert engine_messages(message) == (Message("assistant", "Well.", reasoning="Let me see"),)


def test_a_turn_that_said_nothing_is_taken() -> None:
    assert engine_messages({"role": "assistant", "content": None}) == (Message("assistant", ""),)


@pytest.mark.parametrize("content", [None, [], ""])
def test_a_result_of_nothing_is_taken(content: Any) -> None:
    message = {"role": "tool", "content": content, "tool_call_id": "c1"}
    assert engine_messages(message) == (Message("tool", "", tool_call_id="c1"),)


@pytest.mark.parametrize("missing", [{}, {"id": None}, {"id": ""}])
def test_calls_without_ids_get_some_and_results_belong_to_them_in_order(
    missing: dict[str, Any],
) -> None:
    function = {"name": "f", "arguments": "{}"}
    of = {"tool_call_id": missing["id"]} if missing else {}
    found = engine_messages(
        {
            "role": "assistant",
            "tool_calls": [{"function": function, **missing}, {"id": "own", "function": function}],
        },
        {"role": "tool", "content": "1", **of},
        {"role": "tool", "content": "2", **of},
    )
    first, second = (call.id for call in found[0].tool_calls)
    assert second == "own" and first
    assert [message.tool_call_id for message in found[1:]] == [first, second]


@pytest.mark.parametrize("function", [{"name": "f"}, {"name": "f", "arguments": None}])
def test_a_call_without_arguments_is_taken(function: dict[str, Any]) -> None:
    (message,) = engine_messages(
        {"role": "assistant", "tool_calls": [{"id": "c1", "function": function}]}
    )
    assert message.tool_calls == (ToolCall("c1", "f", ""),)


@pytest.mark.parametrize(
    ("call", "param"),
    [
        ({"id": 7, "function": {"name": "f"}}, "id"),
        ({"id": "c", "function": {}}, "function.name"),
        ({"id": "c", "function": {"name": 3}}, "function.name"),
        ({"id": "c", "function": {"name": "f", "arguments": 3}}, "function.arguments"),
        ({"id": "c"}, "function"),
        ({"id": 7, "type": "custom", "custom": {"name": "f", "input": ""}}, "id"),
        ({"id": "c", "type": "custom", "custom": {"name": "f"}}, "custom.input"),
    ],
)
def test_a_wrong_call_is_named_by_its_place(call: dict[str, Any], param: str) -> None:
    messages = [{"role": "assistant", "tool_calls": [call]}]
    with pytest.raises(InvalidRequest) as caught:
        check(ChatCompletionRequest, {"model": "m", "messages": messages})
    assert caught.value.param == f"messages[0].tool_calls[0].{param}"


def test_pictures_in_results_are_passed_on_to_models_that_see() -> None:
    content = [media.text("shot "), media.image(media.picture())]
    messages = ADAPTER.validate_python([{"role": "tool", "content": content, "tool_call_id": "c"}])
    (message,) = to_engine(messages, lambda: MediaReader(("vision",)))
    assert message.content == "shot " and message.parts[0] == "shot "
    assert isinstance(message.parts[1], Media)
    with pytest.raises(InvalidRequest) as caught:
        to_engine(messages)
    assert caught.value.param == "messages[0].content[1]"
    assert "takes no pictures" in str(caught.value)


def test_earlier_thoughts_reach_a_template_that_knows_of_them(tmp_path: Path) -> None:
    template = TEMPLATE.replace(
        "{{ m.content }}", "<think>{{ m.reasoning_content }}</think>{{ m.content }}"
    )
    model = write_model(tmp_path / "thinking.gguf", template=template)
    engine = LlamaCppEngine(model, name="thinking", threads=1, parallel=1)
    try:
        answered = Message("assistant", "Yes.", reasoning="It is so.")
        prompt = engine.render(ChatRequest((answered, Message("user", "Why?"))))
    finally:
        engine.close()
    assert "<think>It is so.</think>Yes." in prompt


def test_names_reach_a_template_that_knows_of_them(tmp_path: Path) -> None:
    template = TEMPLATE.replace("{{ m.role }}", "{{ m.role }} {{ m.name }}")
    engine = LlamaCppEngine(
        write_model(tmp_path / "named.gguf", template=template), name="named", threads=1, parallel=1
    )
    try:
        messages = engine_messages(
            {"role": "system", "content": "s", "name": "rules"},
            {"role": "user", "content": "u", "name": "ann"},
            {"role": "assistant", "content": "a", "name": "bot"},
            {"role": "user", "content": "v"},
        )
        prompt = engine.render(ChatRequest(messages))
    finally:
        engine.close()
    for role, name in (("system", "rules"), ("user", "ann"), ("assistant", "bot")):
        assert f"{role} {name}\n" in prompt
