"""What templates refuse is mended, and no text of any message is lost."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extensions.openai.engines.chat_template import ChatTemplate
from extensions.openai.engines.protocol import ChatRequest, Media, Message, Tool, ToolCall
from extensions.openai.errors import InvalidRequest
from tests.engines.chat_template.families import FAMILIES, source_of

TEMPLATES = {family: ChatTemplate(source_of(family), bos="<s>", eos="</s>") for family in FAMILIES}
TOOL = Tool("look_up", "Looks up.", {"type": "object", "properties": {"key": {"type": "string"}}})


Role = Literal["system", "user", "assistant", "tool"]


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    """Messages in any order, each with words of its own."""
    messages: list[Message] = []
    ids: list[str] = []
    for at in range(draw(st.integers(1, 7))):
        role: Role = draw(
            st.sampled_from(("system", "user", "user", "assistant", "assistant", "tool"))
        )
        text = draw(st.sampled_from((f"word{at}said", f" two{at}said\nlines ", "")))
        message = Message(role, text)
        if role == "assistant":
            calls = []
            for number in range(draw(st.integers(0, 2))):
                kind = draw(st.sampled_from(("object", "empty", "cut")))
                value = f"value{at}x{number}"
                arguments = {
                    "object": json.dumps({"key": value}),
                    "empty": "",
                    "cut": f'{{"k": "{value}',
                }
                calls.append(ToolCall(f"call_{at}x{number}", f"name{at}x{number}", arguments[kind]))
            ids += [call.id for call in calls]
            thought = draw(st.sampled_from((None, f"thought{at}")))
            content = None if calls and not text else text
            message = Message(role, content, tool_calls=tuple(calls), reasoning=thought)
        if role == "tool":
            identifier = draw(st.sampled_from([*ids, "call_nowhere"]))
            message = Message(role, text, tool_call_id=identifier)
        messages.append(message)
    return tuple(messages)


def words_of(messages: tuple[Message, ...]) -> set[str]:
    """What a prompt must hold: what is said, called and answered."""
    output = " ".join(
        " ".join([m.content or "", *(f"{c.name} {c.arguments}" for c in m.tool_calls)])
        for m in messages
    )
    return set(re.findall(r"(?:word|two|name|value)\d+\w*", output))


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(messages=conversations(), tools=st.booleans())
def test_no_text_is_lost_in_any_order(
    family: str, messages: tuple[Message, ...], tools: bool
) -> None:
    request = ChatRequest(messages, tools=(TOOL,) if tools else ())
    prompt = TEMPLATES[family].render(request)
    missing = {word for word in words_of(messages) if word not in prompt}
    assert not missing, (prompt, missing)
    assert not tools or "look_up" in prompt


def system(text: str) -> Message:
    return Message("system", text)


def user(text: str) -> Message:
    return Message("user", text)


def output(text: str | None, *calls: ToolCall, thought: str | None = None) -> Message:
    return Message("assistant", text, tool_calls=calls, reasoning=thought)


def call(identifier: str, arguments: str = '{"key": 1}') -> ToolCall:
    return ToolCall(identifier, "look_up", arguments)


def result(text: str, identifier: str) -> Message:
    return Message("tool", text, tool_call_id=identifier)


SYSTEM_IN_THE_MIDDLE = (system("A"), user("b"), output("c"), system("D"), user("e"))
TWO_SYSTEMS = (system("A"), system("B"), user("c"))
TWO_USERS = (system("A"), user("b"), user("c"))
GREETING = (output("Hi."), user("a"))
TWO_ANSWERS = (user("a"), output("b"), output("c"), user("d"))
TWO_CALLS = (
    user("a"),
    output(None, call("call_1"), call("call_2")),
    result("first", "call_1"),
    result("second", "call_2"),
)
TEXT_BESIDE_CALL = (user("a"), output("look", call("call_1")), result("r", "call_1"))
ORPHAN = (user("a"), output("b"), result("r", "call_9"), user("c"))
CUT = (user("a"), output(None, call("call_1", '{"key": "x')), result("r", "call_1"))
EMPTY = (user("a"), output(None, call("call_1", "")), result("r", "call_1"))
USER_BEHIND_RESULT = (user("a"), output(None, call("call_1")), result("r", "call_1"), user("b"))
THOUGHT_AND_TEXT = (user("a"), output("b", call("call_1"), thought="t"), result("r", "call_1"))


@pytest.mark.parametrize(
    ("family", "messages", "end"),
    [
        (
            "qwen35",
            SYSTEM_IN_THE_MIDDLE,
            "<|im_start|>system\nA\n\nD<|im_end|>\n<|im_start|>user\nb<|im_end|>\n<|im_start|>assistant\nc"
            "<|im_end|>\n<|im_start|>user\ne<|im_end|>\n<|im_start|>assistant\n<think>\n",
        ),
        (
            "mistral7",
            SYSTEM_IN_THE_MIDDLE,
            "<s>[SYSTEM_PROMPT]A\n\nD[/SYSTEM_PROMPT][INST]b[/INST]c</s>[INST]e[/INST]",
        ),
        (
            "gemma3",
            SYSTEM_IN_THE_MIDDLE,
            "<s><start_of_turn>user\nA\n\nD\n\nb<end_of_turn>\n<start_of_turn>model\nc<end_of_turn>\n"
            "<start_of_turn>user\ne<end_of_turn>\n<start_of_turn>model\n",
        ),
        (
            "commandr",
            SYSTEM_IN_THE_MIDDLE,
            "<s><|START_OF_TURN_TOKEN|><|SYSTEM_TOKEN|>A\n\nD<|END_OF_TURN_TOKEN|>"
            "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>b<|END_OF_TURN_TOKEN|>"
            "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>c<|END_OF_TURN_TOKEN|>"
            "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>e<|END_OF_TURN_TOKEN|>"
            "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>",
        ),
        ("gptoss", SYSTEM_IN_THE_MIDDLE, "e<|end|><|start|>assistant"),
        ("mistral7", TWO_SYSTEMS, "<s>[SYSTEM_PROMPT]A\n\nB[/SYSTEM_PROMPT][INST]c[/INST]"),
        ("mistral7", TWO_USERS, "<s>[SYSTEM_PROMPT]A[/SYSTEM_PROMPT][INST]b\n\nc[/INST]"),
        (
            "gemma3",
            TWO_USERS,
            "<s><start_of_turn>user\nA\n\nb\n\nc<end_of_turn>\n<start_of_turn>model\n",
        ),
        (
            "gemma3",
            GREETING,
            "<s><start_of_turn>user\n<end_of_turn>\n<start_of_turn>model\nHi.<end_of_turn>\n"
            "<start_of_turn>user\na<end_of_turn>\n<start_of_turn>model\n",
        ),
        ("mistral7", GREETING, "<s>[INST][/INST]Hi.</s>[INST]a[/INST]"),
        ("mistral7", TWO_ANSWERS, "<s>[INST]a[/INST]b\n\nc</s>[INST]d[/INST]"),
        (
            "llama31",
            TWO_CALLS,
            '{"name": "look_up", "parameters": {"key": 1}}<|eot_id|>'
            "<|start_header_id|>ipython<|end_header_id|>\n\nfirst<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n"
            '{"name": "look_up", "parameters": {"key": 1}}<|eot_id|>'
            "<|start_header_id|>ipython<|end_header_id|>\n\nsecond<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n",
        ),
        (
            "gptoss",
            TWO_CALLS,
            '<|message|>{"key": 1}<|call|><|start|>functions.look_up to=assistant<|channel|>commentary'
            '<|message|>"first"<|end|><|start|>assistant to=functions.look_up<|channel|>commentary json'
            '<|message|>{"key": 1}<|call|><|start|>functions.look_up to=assistant<|channel|>commentary'
            '<|message|>"second"<|end|><|start|>assistant',
        ),
        (
            "hermes",
            TEXT_BESIDE_CALL,
            "<|im_start|>assistant\nlook<|im_end|>\n<|im_start|>assistant\n<tool_call>\n"
            '{"name": "look_up", "arguments": {"key": 1}}\n</tool_call><|im_end|>\n'
            "<|im_start|>tool\n<tool_response>\nr\n</tool_response><|im_end|>\n<|im_start|>assistant\n",
        ),
        (
            "gptoss",
            ORPHAN,
            "<|start|>assistant<|channel|>final<|message|>b<|end|>"
            "<|start|>user<|message|><tool_response>\nr\n</tool_response><|end|>"
            "<|start|>user<|message|>c<|end|><|start|>assistant",
        ),
        (
            "gptoss",
            THOUGHT_AND_TEXT,
            "<|start|>assistant<|channel|>analysis<|message|>t\n\nb<|end|><|start|>assistant to="
            'functions.look_up<|channel|>commentary json<|message|>{"key": 1}<|call|><|start|>functions.'
            'look_up to=assistant<|channel|>commentary<|message|>"r"<|end|><|start|>assistant',
        ),
        (
            "qwen35",
            CUT,
            '<function=look_up>\n<parameter=arguments>\n{"key": "x\n</parameter>\n</function>\n</tool_call>'
            "<|im_end|>\n<|im_start|>user\n<tool_response>\nr\n</tool_response><|im_end|>\n"
            "<|im_start|>assistant\n<think>\n",
        ),
        (
            "qwen35",
            EMPTY,
            "<tool_call>\n<function=look_up>\n</function>\n</tool_call><|im_end|>\n<|im_start|>user\n"
            "<tool_response>\nr\n</tool_response><|im_end|>\n<|im_start|>assistant\n<think>\n",
        ),
        (
            "mistral7",
            USER_BEHIND_RESULT,
            '[TOOL_CALLS][{"name": "look_up", "arguments": {"key": 1}, "id": "1549bbd55"}]</s>'
            '[TOOL_RESULTS]{"content": r, "call_id": "1549bbd55"}[/TOOL_RESULTS]</s>[INST]b[/INST]',
        ),
        (
            "gemma3",
            TWO_CALLS,
            "<start_of_turn>model\n"
            '<tool_call>\n{"name": "look_up", "arguments": {"key": 1}}\n</tool_call>\n'
            '<tool_call>\n{"name": "look_up", "arguments": {"key": 1}}\n</tool_call><end_of_turn>\n'
            "<start_of_turn>user\n<tool_response>\nfirst\n</tool_response>\n"
            "<tool_response>\nsecond\n</tool_response><end_of_turn>\n<start_of_turn>model\n",
        ),
        (
            "phi4",
            TEXT_BESIDE_CALL,
            "<|im_start|>assistant<|im_sep|>look\n<tool_call>\n"
            '{"name": "look_up", "arguments": {"key": 1}}\n</tool_call><|im_end|>'
            "<|im_start|>user<|im_sep|><tool_response>\nr\n</tool_response><|im_end|>"
            "<|im_start|>assistant<|im_sep|>",
        ),
        (
            "kimi2",
            TWO_CALLS,
            '<|tool_call_begin|>functions.look_up:0<|tool_call_argument_begin|>{"key": 1}<|tool_call_end|>'
            '<|tool_call_begin|>functions.look_up:1<|tool_call_argument_begin|>{"key": 1}<|tool_call_end|>'
            "<|tool_calls_section_end|><|im_end|>"
            "<|im_system|>tool<|im_middle|>## Return of functions.look_up:0\nfirst<|im_end|>"
            "<|im_system|>tool<|im_middle|>## Return of functions.look_up:1\nsecond<|im_end|>"
            "<|im_assistant|>assistant<|im_middle|>",
        ),
    ],
)  # fmt: skip
def test_what_is_refused_is_mended(family: str, messages: tuple[Message, ...], end: str) -> None:
    tools = (TOOL,) if any(m.role == "tool" for m in messages) else ()
    prompt = TEMPLATES[family].render(ChatRequest(messages, tools=tools))
    assert prompt.endswith(end), prompt[-len(end) - 100 :]


def test_tools_that_a_template_does_not_show_are_described_behind_the_system_text() -> None:
    messages = (system("Be terse."), user("a"))
    prompt = TEMPLATES["phi4"].render(ChatRequest(messages, tools=(TOOL,)))
    before, _, reported = prompt.partition("Be terse.\n\n")
    assert before == "<|im_start|>system<|im_sep|>"
    assert (
        '<tools>\n{"type": "function", "function": {"name": "look_up", "description": "Looks up.", '
        '"parameters": {"type": "object", "properties": {"key": {"type": "string"}}}}}\n</tools>'
        in reported
    )


def test_tools_whose_schemas_a_template_refuses_are_described_in_words() -> None:
    template = ChatTemplate(
        "{% for tool in tools or [] %}{{ tool.function.name }}"
        "{% for name, each in tool.function.parameters.properties | items %}{{ each.type.upper() }}"
        "{% endfor %}{% endfor %}{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    )
    plain = template.render(ChatRequest((user("a"),), tools=(TOOL,)))
    assert plain == "look_upSTRING[user]a"
    odd = Tool("odd", None, {"type": "object", "properties": {"x": True}})
    assert "<tools>" in template.render(ChatRequest((user("a"),), tools=(odd,)))


def test_a_system_text_goes_into_the_first_question_where_a_template_takes_none() -> None:
    source = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('No system role!') }}"
        "{% endif %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    )
    messages = (system("A"), user("b"), output("c"), user("d"))
    prompt = ChatTemplate(source).render(ChatRequest(messages))
    assert prompt == "[user]A\n\nb[assistant]c[user]d"


@pytest.mark.parametrize("role", ["assistant", "user"])
def test_a_message_that_is_shown_as_one_of_another_role_is_mended(role: str) -> None:
    source = (
        "{% for m in messages %}{% if m.role == 'system' and loop.first %}[system]"
        "{% elif m.role == 'OTHER' %}[OTHER]{% else %}[ELSE]{% endif %}{{ m.content }}{% endfor %}"
    )
    other = {"assistant": "user", "user": "assistant"}[role]
    template = ChatTemplate(source.replace("OTHER", other).replace("ELSE", role))
    messages = (system("A"), user("b"), output("c"), system("D"), user("e"))
    prompt = template.render(ChatRequest(messages))
    assert prompt == "[system]A\n\nD[user]b[assistant]c[user]e"


def test_what_cannot_be_mended_names_the_message_and_quotes_the_template() -> None:
    messages = (user("a"), output("<|channel|>analysis<|message|>b"), user("c"))
    with pytest.raises(InvalidRequest) as caught:
        TEMPLATES["gptoss"].render(ChatRequest(messages))
    assert caught.value.param == "messages[1]"
    assert "You have passed a message containing <|channel|> tags in the content field." in str(
        caught.value
    )


@pytest.mark.parametrize(
    ("family", "messages", "param", "sentence"),
    [
        ("qwen35", SYSTEM_IN_THE_MIDDLE, "messages[3]", "System message must be at the beginning."),
        ("mistral7", TWO_USERS, "messages[2]", "conversation roles must alternate"),
        ("gemma3", GREETING, "messages[0]", "Conversation roles must alternate"),
        ("gptoss", ORPHAN, "messages[2]", "there was no previous assistant message"),
        (
            "llama31",
            TWO_CALLS,
            "messages[1]",
            "This model only supports single tool-calls at once!",
        ),
        ("phi4", ORPHAN, "messages[2]", "leaves out"),
        ("hermes", TEXT_BESIDE_CALL, "messages[1]", "leaves out"),
    ],
)
def test_with_repair_off_they_are_refused(
    family: str, messages: tuple[Message, ...], param: str, sentence: str
) -> None:
    template = ChatTemplate(source_of(family), bos="<s>", eos="</s>", repair=False)
    with pytest.raises(InvalidRequest) as caught:
        template.render(ChatRequest(messages))
    assert caught.value.param == param
    assert sentence in str(caught.value)


def test_a_template_for_tools_is_used_where_there_are_some() -> None:
    plain = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}"
    named = {"tool_use": "{{ tools | map(attribute='function.name') | join }}" + plain}
    template = ChatTemplate(plain, named=named)
    assert template.traits.tools
    assert template.render(ChatRequest((user("a"),))) == "[user]a"
    assert template.render(ChatRequest((user("a"),), tools=(TOOL,))) == "look_up[user]a"


def test_media_stand_where_they_stood() -> None:
    picture = Media("image", "png", b"")
    message = Message("user", "before after", parts=("before ", picture, " after"))
    request = ChatRequest((system("A"), message, user("more")))
    prompt = TEMPLATES["mistral7"].render(request, media_mark="<__media__>")
    assert "[INST]before <__media__> after\n\nmore[/INST]" in prompt
    bad = ChatRequest((replace(message, parts=("<__media__>", picture)),))
    with pytest.raises(InvalidRequest) as caught:
        TEMPLATES["mistral7"].render(bad, media_mark="<__media__>")
    assert caught.value.param == "messages[0].content"
