"""Hooks of other extensions: called in a UI's order, with what they take, on all of an answer."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.protocol import ChatRequest, GenerateRequest, Message, ToolCall
from extensions.openai.generation.chat.answer import answer_chat
from extensions.openai.generation.hooks.apply import hooked_chat
from extensions.openai.generation.hooks.extension_hooks import Hooks
from extensions.openai.generation.hooks.history import Conversation
from tests.support.api import Api
from tests.support.paced import PacedEngine

Make = Callable[..., Api]


def api_with(*extensions: Any, engine: Any = None, settings: Any = None, **options: Any) -> Api:
    api = Api(engine or EchoEngine(), **options)
    named = [(f"extension{at}", each) for at, each in enumerate(extensions)]
    hooks = Hooks(lambda: named, lambda: dict(settings or {}))
    api.app.extensions["openai"].hooks = hooks
    return api


def extension(**hooks: Any) -> Any:
    return SimpleNamespace(**hooks)


def output(answer: dict[str, Any]) -> str:
    choice = answer["choices"][0]
    return str(choice["message"]["content"] if "message" in choice else choice["text"])


def test_hooks_are_called_in_the_order_of_the_page() -> None:
    calls: list[str] = []

    def noting(name: str, give: Callable[..., Any]) -> Callable[..., Any]:
        def hook(*args: Any, **options: Any) -> Any:
            calls.append(name)
            return give(*args, **options)

        return hook

    one = extension(
        history_modifier=noting("history", lambda history: history),
        state_modifier=noting("state", lambda state: state),
        chat_input_modifier=noting("chat_input", lambda text, visible, state: (text, visible)),
        input_modifier=noting("input", lambda text, *_, **__: text),
        custom_generate_chat_prompt=noting("prompt", lambda *_, **__: None),
        bot_prefix_modifier=noting("prefix", lambda text, *_, **__: text),
        output_modifier=noting("output", lambda text, *_, **__: text),
    )
    api_with(one).chat("Hello")
    assert calls == ["history", "state", "chat_input", "input", "prompt", "prefix", "output"]
    calls.clear()
    api_with(one).complete("Hello")
    assert calls == ["state", "input", "output"]


@pytest.mark.parametrize("stream", [False, True])
def test_input_and_output_are_modified_on_both_pages(stream: bool) -> None:
    api = api_with(
        extension(
            input_modifier=lambda string, state, is_chat=False: f"{string}, {is_chat}",
            output_modifier=lambda string, state, is_chat=False: f"<{string}>",
        )
    )
    ask = api.folded if stream else None
    chat = {"messages": [{"role": "user", "content": "Hi"}]}
    answers = (
        [ask("chat/completions", **chat), ask("completions", prompt="Hi")]
        if ask
        else [api.chat("Hi"), api.complete("Hi")]
    )
    assert [output(answer) for answer in answers] == ["<Hi, True>", "<Hi, False>"]
    # Counted is what was generated, the end token too: not what was made of it.
    assert answers[0]["usage"]["completion_tokens"] == len("Hi, True") + 1


@pytest.mark.parametrize(
    "modify",
    [
        lambda string: string.upper(),
        lambda string, state: string.upper(),
        lambda string, is_chat: string.upper(),
        lambda string, state, is_chat: string.upper(),
        lambda string, state, is_chat=False, **more: string.upper(),
        lambda *args, **options: args[0].upper(),
    ],
)
def test_hooks_of_all_years_get_what_they_take(modify: Callable[..., str]) -> None:
    assert output(api_with(extension(output_modifier=modify)).chat("hello")) == "HELLO"


def test_extensions_are_applied_one_after_the_other() -> None:
    one = extension(output_modifier=lambda text: text + "1")
    two = extension(output_modifier=lambda text: text + "2")
    assert output(api_with(one, two).chat("x")) == "x12"


def test_nothing_of_a_text_that_may_change_is_sent_before_it_is_whole() -> None:
    api = api_with(extension(output_modifier=lambda text: text[::-1]))
    chunks = api.chunks("chat/completions", messages=[{"role": "user", "content": "abcdef"}])
    texts = [choice["delta"].get("content") for c in chunks for choice in c["choices"]]
    assert [text for text in texts if text] == ["fedcba"]


def test_a_stream_that_waits_says_so_all_the_time() -> None:
    engine = PacedEngine(parallel=1)
    hooks = Hooks(lambda: [("slow", extension(output_modifier=lambda text: text))])
    request = ChatRequest((Message("user", "Hi"),), 5, unstreamed=True)
    pieces = hooked_chat(hooks, engine, request, answer_chat, stops=(), continues=False)
    got = list(pieces)
    reported = [piece for piece in got if piece is not None]
    counts = [piece.tokens for piece in reported]
    assert [bool(piece.text) for piece, tokens in zip(reported, counts, strict=True) if tokens] == [
        False
    ] * sum(counts)
    assert got.index(None) == 1 and got.count(None) >= sum(counts) - 1
    assert "".join(piece.text for piece in reported) == "one two three"


def test_a_stream_modifier_works_as_the_text_comes() -> None:
    begun: list[float] = []

    def stream_modifier(pieces: Iterator[str], state: dict[str, Any]) -> Iterator[str]:
        for piece in pieces:
            begun.append(time.monotonic())
            yield piece.upper() + "."

    both = extension(
        stream_modifier=stream_modifier, output_modifier=lambda text: "not asked for besides"
    )
    api = api_with(both)
    chunks = api.chunks("chat/completions", messages=[{"role": "user", "content": "abc"}])
    texts = [choice["delta"].get("content") for c in chunks for choice in c["choices"]]
    assert [text for text in texts if text] == ["A.", "B.", "C."]
    assert output(api.chat("abc")) == "A.B.C."
    assert api.chat("abc")["usage"]["completion_tokens"] == 4


def test_a_stream_modifier_may_hold_and_add_text() -> None:
    def stream_modifier(pieces: Iterator[str], state: Any) -> Iterator[str]:
        yield "("
        yield "".join(pieces)
        yield ")"

    assert output(api_with(extension(stream_modifier=stream_modifier)).chat("abc")) == "(abc)"


def test_a_stream_modifier_that_stops_reading_ends_the_text_and_not_the_count() -> None:
    def stream_modifier(pieces: Iterator[str], state: Any) -> Iterator[str]:
        yield next(pieces)

    answer = api_with(extension(stream_modifier=stream_modifier)).chat("abc")
    assert output(answer) == "a" and answer["usage"]["completion_tokens"] == 4
    assert answer["choices"][0]["finish_reason"] == "stop"


def test_stop_strings_end_the_text_before_hooks_see_it() -> None:
    seen: list[str] = []

    def output_modifier(text: str) -> str:
        seen.append(text)
        return text + "STOP is not cut here"

    api = api_with(extension(output_modifier=output_modifier))
    answer = api.chat("one STOP two", stop="STOP")
    assert seen == ["one "] and output(answer) == "one STOP is not cut here"
    assert answer["usage"]["completion_tokens"] == len("one STOP")


def test_the_state_holds_parameters_and_settings_and_changes_count() -> None:
    seen: list[dict[str, Any]] = []

    def state_modifier(state: dict[str, Any]) -> dict[str, Any]:
        seen.append(dict(state))
        return {**state, "max_new_tokens": 3, "mine": "kept"}

    def output_modifier(text: str, state: dict[str, Any]) -> str:
        return f"{text} {state['mine']}"

    one = extension(state_modifier=state_modifier, output_modifier=output_modifier)
    answer = api_with(one, settings={"name1": "You"}).chat(
        "abcdef", temperature=0.5, max_tokens=5, seed=9
    )
    state = seen[0]
    assert (state["temperature"], state["max_new_tokens"], state["seed"], state["name1"]) == (
        0.5,
        5,
        9,
        "You",
    )
    assert output(answer) == "abc kept" and answer["choices"][0]["finish_reason"] == "length"


def test_changed_samplers_reach_the_engine_under_its_own_names() -> None:
    asked: list[Any] = []

    class Noting(EchoEngine):
        def generate(self, request: GenerateRequest) -> Any:
            asked.append(request.sampling)
            return super().generate(request)

    def state_modifier(state: dict[str, Any]) -> dict[str, Any]:
        state["repetition_penalty"] = 1.25
        state["unknown to this engine"] = 1
        return state

    api_with(extension(state_modifier=state_modifier), engine=Noting()).chat("x", top_k=7)
    assert asked[0]["repeat_penalty"] == 1.25 and asked[0]["top_k"] == 7
    assert "unknown to this engine" not in asked[0]


def test_a_history_hook_adds_turns_and_what_it_leaves_alone_stays() -> None:
    prompts: list[str] = []

    class Noting(EchoEngine):
        def render(self, request: ChatRequest) -> str:
            prompts.append(super().render(request))
            return prompts[-1]

    def history_modifier(history: dict[str, Any]) -> dict[str, Any]:
        history["internal"].insert(0, ["note", "noted"])
        history["visible"].insert(0, ["note", "noted"])
        return history

    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": "result"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "three"},
    ]
    api = api_with(extension(history_modifier=history_modifier), engine=Noting())
    assert output(api.chat(messages)) == "three"
    turns = prompts[-1].removesuffix("<|assistant|>").removesuffix("<|end|>").split("<|end|>")
    assert turns[:3] == ["<|system|>Be brief.", "<|user|>note", "<|assistant|>noted"]
    roles = [turn.partition("|>")[0].removeprefix("<|") for turn in turns[3:]]
    assert roles == [
        "user",
        "assistant",
        "tool",
        "assistant",
        "user",
    ]


def test_an_extension_may_make_the_whole_prompt() -> None:
    def custom_generate_chat_prompt(text: str, state: dict[str, Any], **options: Any) -> str:
        turns = len(options["history"]["internal"])
        return f"{text} after {turns}"

    one = extension(custom_generate_chat_prompt=custom_generate_chat_prompt)
    two = extension(custom_generate_chat_prompt=lambda *_, **__: "only the first is asked")
    messages = [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "three"},
    ]
    assert output(api_with(one, two).chat(messages)) == "three after 1"


class Rendering(EchoEngine):
    """Notes the prompts that it makes of messages."""

    def __init__(self) -> None:
        super().__init__()
        self.prompts: list[str] = []

    def render(self, request: ChatRequest) -> str:
        self.prompts.append(super().render(request))
        return self.prompts[-1]

    def lines(self, *extensions: Any, system: str = "", **fields: Any) -> list[str]:
        """The prompt of a chat under these extensions."""
        first = [{"role": "system", "content": system}] if system else []
        # One that prefixes an answer has the prompt made here, and not in the engine.
        last = extension(bot_prefix_modifier=lambda text, state: "|")
        api = api_with(*extensions, last, engine=self, settings=fields)
        api.chat([*first, {"role": "user", "content": "Hi"}])
        return self.last()

    def last(self) -> list[str]:
        """The lines of the last prompt."""
        turns = re.findall(r"<\|(\w+)\|>(.*?)<\|end\|>", self.prompts[-1], re.DOTALL)
        return "\n".join(f"{role}: {content}" for role, content in turns).splitlines()


@pytest.mark.parametrize("name", ["custom_system_message", "context"])
@pytest.mark.parametrize("hook", ["state_modifier", "chat_input_modifier", "input_modifier"])
def test_what_hooks_put_into_the_system_text_acts(name: str, hook: str) -> None:
    """As a lorebook does it, in whatever hook it is given the state."""

    def add(state: dict[str, Any]) -> dict[str, Any]:
        state[name] = f"{state[name]}\nDragons are blue.".strip()
        return state

    hooks: dict[str, Callable[..., Any]] = {
        "state_modifier": add,
        "chat_input_modifier": lambda text, visible, state: (add(state) and text, visible),
        "input_modifier": lambda string, state: add(state) and string,
    }
    lore = extension(**{hook: hooks[hook]})
    lines = Rendering().lines(lore, system="Be brief.", context="A talk.")
    assert lines == ["system: Be brief.", "Dragons are blue.", "user: Hi"]
    assert Rendering().lines(lore, context="A talk.") == ["system: Dragons are blue.", "user: Hi"]


def test_a_hook_that_changes_both_texts_is_heard_once() -> None:
    """It does not know which one a UI reads."""

    def state_modifier(state: dict[str, Any]) -> dict[str, Any]:
        for name in ("custom_system_message", "context"):
            state[name] += " Lore."
        return state

    lines = Rendering().lines(extension(state_modifier=state_modifier), system="Be brief.")
    assert lines == ["system: Be brief. Lore.", "user: Hi"]


def test_a_hook_may_take_the_system_text_away_or_set_the_context_anew() -> None:
    silent = extension(state_modifier=lambda state: {**state, "custom_system_message": ""})
    assert Rendering().lines(silent, system="Be brief.") == ["user: Hi"]
    other = extension(state_modifier=lambda state: {**state, "context": "You are a pirate."})
    expected = ["system: Be brief.", "You are a pirate.", "user: Hi"]
    assert Rendering().lines(other, system="Be brief.", context="A talk.") == expected


def test_several_system_messages_stay_where_they_are_unless_a_hook_changes_them() -> None:
    engine = Rendering()
    messages = [
        {"role": "system", "content": "one"},
        {"role": "user", "content": "Hi"},
        {"role": "system", "content": "two"},
        {"role": "user", "content": "there"},
    ]
    prefix = {"bot_prefix_modifier": lambda text, state: "|"}
    api_with(extension(state_modifier=lambda state: state, **prefix), engine=engine).chat(messages)
    assert engine.last() == [
        "system: one",
        "user: Hi",
        "system: two",
        "user: there",
    ]

    def state_modifier(state: dict[str, Any]) -> dict[str, Any]:
        state["custom_system_message"] += "\nthree"
        return state

    api_with(extension(state_modifier=state_modifier, **prefix), engine=engine).chat(messages)
    expected = ["system: one", "two", "three", "user: Hi", "user: there"]
    assert engine.last() == expected


def test_hooks_see_whether_the_answer_is_streamed_and_how_long_it_may_be() -> None:
    seen: list[Any] = []

    def state_modifier(state: dict[str, Any]) -> None:
        seen.append((state["stream"], state["max_new_tokens"], state["auto_max_new_tokens"]))

    api = api_with(extension(state_modifier=state_modifier))
    api.chat("Hi")
    api.chunks("chat/completions", messages=[{"role": "user", "content": "Hi"}], max_tokens=9)
    assert seen == [(False, 512, True), (True, 9, False)]


def test_the_answer_begins_behind_a_prefix() -> None:
    one = extension(bot_prefix_modifier=lambda text, state: text + "Sure:")
    # The engine says its prompt back, so it shows what was behind the messages.
    assert output(api_with(one).chat("Hi")).endswith("<|user|>Hi<|end|><|assistant|>Sure:")


def test_hooks_are_left_out_where_the_request_or_the_operator_says_so() -> None:
    loud = extension(output_modifier=lambda text: text.upper())
    assert output(api_with(loud).chat("hi", hooks=False)) == "hi"
    assert output(api_with(loud).complete("hi", hooks=False)) == "hi"
    assert output(api_with(loud).chat("hi", hooks=True)) == "HI"
    assert output(api_with(loud, hooks=False).chat("hi")) == "hi"


@pytest.mark.parametrize(
    "hook", ["input_modifier", "state_modifier", "output_modifier", "history_modifier"]
)
def test_a_hook_that_fails_is_one_clear_error_and_the_server_goes_on(hook: str) -> None:
    def fail(*_: Any) -> Any:
        raise ValueError("secret prompt")

    api = api_with(extension(**{hook: fail}))
    answer = api.client.post(
        "/v1/chat/completions",
        json={"model": "echo", "messages": [{"role": "user", "content": "x"}]},
    )
    error = answer.get_json()["error"]
    assert answer.status_code == 500 and error["code"] == "extension_failed"
    assert "extension0" in error["message"] and hook in error["message"]
    assert "secret" not in error["message"]
    assert output(api.chat("hi", hooks=False)) == "hi"


def test_a_stream_modifier_that_fails_ends_the_stream_with_the_error() -> None:
    def stream_modifier(pieces: Iterator[str], state: Any) -> Iterator[str]:
        yield next(pieces)
        raise KeyError("secret")

    api = api_with(extension(stream_modifier=stream_modifier))
    answer = api.client.post(
        "/v1/chat/completions",
        json={"model": "echo", "stream": True, "messages": [{"role": "user", "content": "abc"}]},
    )
    events = answer.get_data(as_text=True)
    assert '"content":"a"' in events and "stream_modifier" in events and "secret" not in events


def test_several_choices_are_modified_each() -> None:
    answer = api_with(extension(output_modifier=lambda text: text + "!")).chat("hi", n=3)
    assert [choice["message"]["content"] for choice in answer["choices"]] == ["hi!"] * 3


def test_a_conversation_comes_back_as_it_was() -> None:
    call = ToolCall("c", "f", "{}")
    messages = (
        Message("system", "s"),
        Message("assistant", "greeting"),
        Message("user", "u"),
        Message("assistant", None, tool_calls=(call,)),
        Message("tool", "r", tool_call_id="c"),
        Message("assistant", "a"),
        Message("system", "later"),
        Message("user", "u2"),
    )
    conversation = Conversation(messages, open_end=True)
    assert conversation.messages(conversation.history(), conversation.last) == messages
    assert conversation.history()["internal"] == [["", "greeting"], ["u", "a"]]
    open_end = messages[:-1]
    conversation = Conversation(open_end, open_end=True)
    assert conversation.last is None
    assert conversation.messages(conversation.history(), None) == open_end


def test_prompts_of_token_ids_pass_by_the_input_hook() -> None:
    asked: list[Any] = []

    class Noting(EchoEngine):
        def generate(self, request: GenerateRequest) -> Any:
            asked.append(request.prompt)
            return super().generate(request)

    one = extension(input_modifier=lambda text: "changed")
    api = api_with(one, engine=Noting())
    api.complete([104, 105])
    api.complete("text")
    assert asked == [(104, 105), "changed"]


def test_thoughts_and_calls_are_no_text(tiny: Api) -> None:
    """A real model: what it calls stays as it is, and its text is modified."""
    api = api_with(extension(output_modifier=lambda text: text.upper()), engine=tiny.engine)
    tool = {"type": "function", "function": {"name": "get_weather", "parameters": {
        "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}  # fmt: skip
    called = api.chat(
        "What is the weather in Rome?", tools=[tool], tool_choice="required", temperature=0
    )
    (call,) = called["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    plain, loud = tiny.chat("Hello!", temperature=0), api.chat("Hello!", temperature=0)
    assert output(loud) == output(plain).upper()
    assert loud["usage"]["completion_tokens"] == plain["usage"]["completion_tokens"]
