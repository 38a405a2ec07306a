"""Thoughts apart from answers, however the text is split; answers that are continued."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.engines.protocol import (
    Capability,
    ChatRequest,
    EngineInfo,
    Finish,
    GenerateRequest,
    LikelyToken,
    Message,
    Piece,
    Pieces,
    PromptUsage,
    ThinkingTraits,
    TokenLogprob,
    Tool,
)
from extensions.openai.engines.template_traits import TemplateTraits
from extensions.openai.errors import ContextLengthExceeded, EngineFailed
from extensions.openai.generation.chat.answer import answer_chat
from extensions.openai.generation.chat.answer_shape import Wanted
from extensions.openai.generation.tools.enforcing.strict_arguments import head_pattern
from extensions.openai.generation.tools.plan import ToolPlan
from extensions.openai.generation.tools.reading.learned_formats import CallShape
from tests.support.api import Api, as_messages, assert_alike
from tests.support.random_model import TEMPLATE, write_model

CONTEXT = 1000


class Scripted:
    """Says the parts it is given, one token each; `opening` ends its prompt."""

    def __init__(self, parts: Sequence[str], *, opening: str = "", finish: Finish = "stop") -> None:
        self._parts = parts
        self._opening = opening
        self._finish = finish
        self.asked: list[GenerateRequest] = []
        self.info = EngineInfo(
            model="scripted",
            created=1,
            owned_by="tests",
            context_length=CONTEXT,
            sampler="llama.cpp",
            fingerprint="fp",
            vocabulary_size=256,
            capabilities=(
                Capability.COMPLETION,
                Capability.CHAT,
                Capability.LOGPROBS,
                Capability.GRAMMAR,
                Capability.REASONING,
            ),
        )

    def generate(self, request: GenerateRequest) -> Pieces:
        self.asked.append(request)
        for at, part in enumerate(self._parts):
            yield None
            prompt = PromptUsage(len(request.prompt)) if at == 0 else None
            logprobs = (TokenLogprob(part.encode(), -1.0, (LikelyToken(b"x", -1.0),)),)
            yield Piece(part, tokens=1, prompt=prompt, logprobs=logprobs if part else ())
        prompt = None if self._parts else PromptUsage(len(request.prompt))
        yield Piece(tokens=1 if self._finish == "stop" else 0, prompt=prompt, finish=self._finish)

    def render(self, request: ChatRequest) -> str:
        words = "".join(f"{m.role}: {m.content}\n" for m in request.messages)
        return words + "assistant: " + self._opening

    def turn_ends(self, request: ChatRequest) -> tuple[str, ...]:
        return ()

    def tokenize(self, text: str) -> tuple[int, ...]:
        return tuple(text.encode())

    def detokenize(self, tokens: Sequence[int]) -> str:
        return bytes(tokens).decode()

    def close(self) -> None:
        """Nothing to free."""


ASK = ChatRequest((Message("user", "Why?"),))


def answer(engine: Scripted, wanted: Wanted | None = None) -> tuple[str, str, list[Piece]]:
    """The thought, the answer, and the pieces of both."""
    pieces = [p for p in answer_chat(engine, ASK, wanted=wanted or Wanted(0)) if p is not None]
    assert [piece.finish is not None for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert sum(piece.prompt is not None for piece in pieces) == 1
    assert not any(piece.text and piece.reasoning for piece in pieces)
    return "".join(p.reasoning for p in pieces), "".join(p.text for p in pieces), pieces


def splits(text: str) -> list[list[str]]:
    """The text whole, in single characters, and cut at each place."""
    return [[text], list(text), *([text[:at], text[at:]] for at in range(1, len(text)))]


WHOLE = "<think>\nWell, 1<2\n</think>\n\nBecause </of> it."


@pytest.mark.parametrize("parts", splits(WHOLE))
def test_a_thought_that_the_model_opens(parts: list[str]) -> None:
    thought, output, pieces = answer(Scripted(parts))
    assert (thought.strip(), output) == ("Well, 1<2", "Because </of> it.")
    assert sum(piece.tokens for piece in pieces) == len(parts) + 1


OPENED = WHOLE.removeprefix("<think>\n")


@pytest.mark.parametrize("opening", ["<think>", "<think>\n"])
@pytest.mark.parametrize("parts", splits(OPENED))
def test_a_thought_that_the_template_opens(parts: list[str], opening: str) -> None:
    thought, output, pieces = answer(Scripted(parts, opening=opening))
    assert (thought.strip(), output) == ("Well, 1<2", "Because </of> it.")
    assert sum(piece.tokens for piece in pieces) == len(parts) + 1


PLAIN = [
    "Because.",
    "< think> no",
    "<thin",
    "a <think>b</think>",
    "</think>",
    "",
    " <",
    "<thinking>",
]


@pytest.mark.parametrize(
    "parts", [parts for text in PLAIN[:-1] for parts in splits(text) if text or parts == [""]]
)
def test_an_answer_without_a_thought_is_as_it_was(parts: list[str]) -> None:
    thought, output, pieces = answer(Scripted(parts))
    assert (thought, output) == ("", "".join(parts))
    assert sum(piece.tokens for piece in pieces) == len(parts) + 1
    reported = b"".join(token.bytes for piece in pieces for token in piece.logprobs)
    assert reported.decode() == output


@pytest.mark.parametrize("opening", ["", "<think>\n"])
@pytest.mark.parametrize("length", range(1, len(WHOLE)))
def test_a_thought_that_is_cut(length: int, opening: str) -> None:
    """No part of a mark shows, and what was thought is not taken for an answer."""
    text = WHOLE[:length] if not opening else OPENED[:length]
    thought, output, pieces = answer(Scripted(list(text), opening=opening, finish="length"))
    assert pieces[-1].finish == "length"
    full = "<think>\n" + text if opening else text
    if "</think>" in full:
        assert "Because </of> it.".startswith(output) and thought.strip() == "Well, 1<2"
    elif full.startswith("<think>"):
        assert output == ""
        assert full.removeprefix("<think>").strip() == thought.strip()
    else:
        assert (thought, output) == ("", text)


@pytest.mark.parametrize("parts", splits(WHOLE))
def test_each_token_has_its_log_probability_and_those_of_the_text_are_the_text(
    parts: list[str],
) -> None:
    _, output, pieces = answer(Scripted(parts))
    entries = [token for piece in pieces for token in piece.logprobs]
    assert len(entries) == sum(1 for part in parts if part)
    assert b"".join(entry.bytes for entry in entries).decode() == output


def test_closing_early_closes_the_engine() -> None:
    closed = []

    class Closing(Scripted):
        def generate(self, request: GenerateRequest) -> Pieces:
            try:
                yield from super().generate(request)
            finally:
                closed.append(True)

    pieces = answer_chat(Closing(["a"] * 9), ASK, wanted=Wanted(0))
    assert next(pieces) is None
    pieces.close()
    assert closed


def test_a_continued_message_ends_the_prompt() -> None:
    engine = Scripted(["!"])
    thought, output, _ = answer(engine, Wanted(continued=Message("assistant", "Because, ")))
    assert engine.asked[0].prompt == "user: Why?\nassistant: Because, "
    assert (thought, output) == ("", "!")


@pytest.mark.parametrize(
    ("opening", "traits", "begun", "prompt"),
    [
        ("<think>", None, "Hm,", "<think>Hm,"),
        ("<think>\n", None, "Hm,", "<think>\nHm,"),
        ("<think>\n", None, "\nHm,\n", "<think>\nHm,\n"),
        ("", ThinkingTraits("<think>", "</think>", "\n</think>\n\n"), "Hm,", "<think>\nHm,"),
        ("", ThinkingTraits("<think>", "</think>", "\n</think>\n\n"), "\nHm,", "<think>\nHm,"),
        ("", ThinkingTraits("[THINK]", "[/THINK]", "[/THINK]"), " Hm,", "[THINK] Hm,"),
    ],
)
def test_a_continued_thought_goes_on_where_it_was(
    opening: str, traits: ThinkingTraits | None, begun: str, prompt: str
) -> None:
    """Where the thought begins is the template's matter; of what was sent and what comes nothing is lost."""
    closing = traits.closing if traits else "</think>"
    engine = Scripted(["\n", "\nso.\n", closing, "\n\nYes."], opening=opening)
    engine.info = replace(engine.info, thinking=traits)
    continued = Message("assistant", None, reasoning=begun)
    thought, output, _ = answer(engine, Wanted(continued=continued))
    assert engine.asked[0].prompt == f"user: Why?\nassistant: {prompt}"
    assert (thought, output) == ("\n\nso.", "Yes.")


def test_a_limit_is_an_upper_bound_and_the_context_another() -> None:
    for asked, given in ((5, 5), (None, None), (10**6, CONTEXT - 22)):
        engine = Scripted(["x"])
        request = ChatRequest(ASK.messages, max_tokens=asked)
        list(answer_chat(engine, request, wanted=Wanted(0)))
        (made,) = engine.asked
        assert len(made.prompt) == 22
        assert made.max_tokens == given
    with pytest.raises(ContextLengthExceeded) as caught:
        list(
            answer_chat(Scripted([]), ChatRequest((Message("user", "x" * 999),)), wanted=Wanted(0))
        )
    assert caught.value.param == "messages"


# The whole endpoint, with a template that knows nothing of thoughts.


def test_a_seed_is_repeatable_and_its_choices_differ(tiny: Api) -> None:
    body: dict[str, Any] = {"temperature": 1.5, "max_tokens": 30}

    def ask(**more: Any) -> list[str]:
        choices = tiny.chat("Tell me a story.", **body, **more)["choices"]
        return [choice["message"]["content"] for choice in choices]

    first = ask(seed=5)
    assert ask(seed=5) == first == ask(seed=5)
    assert ask(seed=6) != first
    assert len(set(ask(seed=5, n=3))) == 3
    assert len(set(map(str, (ask() for _ in range(4))))) > 1, "without a seed chance decides"


def test_an_answer_is_continued(tiny: Api) -> None:
    free = tiny.chat("Hello", temperature=0)["choices"][0]["message"]["content"]
    for at in (1, 4, len(free) - 2):
        begun = [*as_messages("Hello"), {"role": "assistant", "content": free[:at]}]
        body = {"messages": begun, "continue_final_message": True, "temperature": 0}
        whole = tiny.chat(body["messages"], continue_final_message=True, temperature=0)
        assert whole["choices"][0]["message"]["role"] == "assistant"
        assert_alike(tiny.folded("chat/completions", **body), whole)
        rest = whole["choices"][0]["message"]["content"]
        assert not rest.startswith(free[:at])
    # Cut where a token ends, the rest is the rest.
    first = tiny.chat("Hello", temperature=0, logprobs=True)["choices"][0]["logprobs"]["content"]
    head = bytes(byte for token in first[:2] for byte in token["bytes"]).decode()
    begun = [*as_messages("Hello"), {"role": "assistant", "content": head}]
    rest = tiny.chat(begun, continue_final_message=True, temperature=0)
    assert head + rest["choices"][0]["message"]["content"] == free


def test_only_an_answer_is_continued(tiny: Api) -> None:
    error = tiny.refused("chat/completions", continue_final_message=True)
    assert error["param"] == "messages[0].role"


@pytest.mark.parametrize("effort", ["high", "xhigh", "max"])
def test_more_effort_than_usual_is_refused_where_nothing_thinks(tiny: Api, effort: str) -> None:
    assert tiny.refused("chat/completions", reasoning_effort=effort)["param"] == "reasoning_effort"


@pytest.mark.parametrize("effort", [None, "none", "minimal", "low", "medium"])
def test_an_effort_up_to_the_usual_is_taken(tiny: Api, effort: str | None) -> None:
    whole = tiny.chat("Hello", reasoning_effort=effort, temperature=0)
    assert "reasoning_content" not in whole["choices"][0]["message"]
    assert whole["usage"]["completion_tokens_details"]["reasoning_tokens"] == 0


def test_thoughts_are_told_apart_on_the_page() -> None:
    api = Api(Scripted(list(WHOLE), opening=""))
    for body in ({"logprobs": True}, {"logprobs": True, "n": 2}):
        whole = api.chat("Why?", **body)
        for choice in whole["choices"]:
            message = choice["message"]
            assert message["content"] == "Because </of> it."
            assert message["reasoning_content"].strip() == "Well, 1<2"
            entries = choice["logprobs"]["content"]
            assert (
                bytes(b for token in entries for b in token["bytes"]).decode() == message["content"]
            )
            assert len(entries) == len(WHOLE)
        details = whole["usage"]["completion_tokens_details"]
        tokens = whole["usage"]["completion_tokens"]
        assert 0 < details["reasoning_tokens"] < tokens
        assert_alike(api.folded("chat/completions", messages=as_messages("Why?"), **body), whole)


@pytest.mark.parametrize("thought", ["\nWell, 1<2 </thin </ <b>\n", "a", "a </thi b"])
def test_the_tokens_of_a_thought_are_those_of_its_text(thought: str) -> None:
    """A token is a character here; the mark at its end and the answer are none of it."""
    engine = Scripted(list(thought + "</think>\n\nBecause."), opening="<think>")
    whole = Api(engine).chat("Why?", logprobs=True)
    assert whole["choices"][0]["message"]["reasoning_content"] == thought.strip("\n")
    usage = whole["usage"]
    assert usage["completion_tokens_details"]["reasoning_tokens"] == len(thought.strip("\n"))
    assert usage["completion_tokens"] == len(thought + "</think>\n\nBecause.") + 1


def test_the_first_delta_of_a_thought_has_the_role() -> None:
    api = Api(Scripted(list(WHOLE)))
    chunks = api.chunks("chat/completions", messages=as_messages("Why?"), logprobs=True)
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks if chunk["choices"]]
    assert deltas[0]["role"] == "assistant"
    kinds = [next(iter(delta)) for delta in deltas[1:-1]]
    assert kinds == sorted(kinds, reverse=True), "all of the thought comes before the answer"


def test_a_grammar_is_for_the_answer_and_not_for_a_thought_that_the_template_opens() -> None:
    engine = Scripted(["ye", "s"], opening="<think>\n")
    request = ChatRequest((Message("user", "Hi"),), grammar='start: "yes"')
    pieces = [piece for piece in answer_chat(engine, request, wanted=Wanted()) if piece]
    assert "".join(piece.text for piece in pieces) == "yes"
    assert not any(piece.reasoning for piece in pieces)
    asked = engine.asked[0].prompt
    assert isinstance(asked, str) and asked.rstrip().endswith("</think>")


def test_an_answer_that_leaves_its_grammar_is_an_error_that_names_the_field() -> None:
    request = ChatRequest((Message("user", "Hi"),), grammar='start: "yes"')
    wanted = Wanted(grammar_param="guided_choice")
    with pytest.raises(EngineFailed) as refused:
        list(answer_chat(Scripted(["ye", "p"]), request, wanted=wanted))
    assert refused.value.param == "guided_choice"


CALLED = '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'
PLAN = ToolPlan((Tool("f", None, {"type": "object"}),))
REPORTED = ChatRequest((Message("user", "<tool_call>"),), tools=PLAN.shown)


@pytest.mark.parametrize("before", ["", "I will. ", "a < b <tool ", "\n"])
@pytest.mark.parametrize("cut", range(len(CALLED) + 1))
def test_a_call_that_is_cut_is_the_beginning_of_the_whole(before: str, cut: int) -> None:
    as_messages = before + CALLED[:cut]
    finish: Finish = "stop" if cut == len(CALLED) else "length"
    engine = Scripted(list(as_messages), finish=finish)
    pieces = [p for p in answer_chat(engine, REPORTED, wanted=Wanted(0, PLAN)) if p]
    text = "".join(piece.text for piece in pieces)
    calls = [call for piece in pieces for call in piece.tool_calls]
    # A mark is one once it is whole; line ends before a call are no part of the text.
    assert text == (as_messages if cut < len("<tool_call>") else before.rstrip())
    assert "{}".startswith("".join(call.arguments for call in calls))
    assert [call.name for call in calls if call.name] == ["f"] * (cut >= CALLED.index("{}") + 2)
    assert pieces[-1].finish == ("tool_calls" if finish == "stop" else "length")
    reported = b"".join(token.bytes for piece in pieces for token in piece.logprobs)
    assert text == reported.decode()


DEMANDED = replace(PLAN, demanded=PLAN.shown)


@pytest.mark.parametrize("cut", range(len(CALLED)))
def test_a_demanded_call_that_is_cut_shows_no_mark(cut: int) -> None:
    """What is cut before the arguments begin is no text either."""
    engine = Scripted(list(CALLED[:cut]), finish="length")
    pieces = [p for p in answer_chat(engine, REPORTED, wanted=Wanted(0, DEMANDED)) if p]
    assert "".join(piece.text for piece in pieces) == ""
    assert not any(entry.bytes for piece in pieces for entry in piece.logprobs)
    calls = [call for piece in pieces for call in piece.tool_calls]
    assert [call.name for call in calls if call.name] == ["f"] * (cut >= CALLED.index("{}"))
    assert pieces[-1].finish == "length"


QUERY = 'SELECT "a" }'
RAW = f'<tool_call>\n{{"name": "sql", "input": {QUERY}}}\n</tool_call>'


@pytest.mark.parametrize("demanded", [True, False])
@pytest.mark.parametrize("first", ["", CALLED + "\n"])
@pytest.mark.parametrize("cut", range(len(RAW) + 1))
def test_input_that_stands_as_it_is_and_is_cut(first: str, cut: int, demanded: bool) -> None:
    """Behind another call, too: what there is of it is told, and its marks are not."""
    shown = (*PLAN.shown, Tool("sql", None, {"type": "object"}))
    rule = r"/SELECT .*/"
    plan = ToolPlan(shown, frozenset({"sql"}), {"sql": rule}, shown if demanded else ())
    finish: Finish = "stop" if cut == len(RAW) else "length"
    engine = Scripted([first + RAW[:cut]] if first + RAW[:cut] else [], finish=finish)
    request = replace(REPORTED, tools=shown)
    pieces = [p for p in answer_chat(engine, request, wanted=Wanted(0, plan)) if p]
    text = "".join(piece.text for piece in pieces)
    calls = [call for piece in pieces for call in piece.tool_calls]
    assert pieces[-1].finish == ("tool_calls" if finish == "stop" else "length")
    assert text in (("",) if demanded or first or cut >= len("<tool_call>") else (RAW[:cut],))
    names = ["f"] if first else []
    whole = cut >= RAW.index(QUERY)
    assert [call.name for call in calls if call.name] == names + ["sql"] * whole
    if whole:
        as_messages = json.loads(calls[-1].arguments)["input"]
        written = RAW[RAW.index(QUERY) : cut]
        assert as_messages == QUERY if finish == "stop" else written.startswith(as_messages)
        assert finish == "stop" or len(as_messages) >= min(len(written), len(QUERY)) - 1


def test_an_answer_may_begin_like_a_call() -> None:
    """HTML, say; nothing but a whole opening is a call."""
    as_messages = "<table><tool_call></table>"
    pieces = [
        p
        for p in answer_chat(
            Scripted([as_messages[:13], as_messages[13:]]), REPORTED, wanted=Wanted(0)
        )
        if p
    ]
    assert "".join(piece.text for piece in pieces) == as_messages


OPTIONS = 'start: "yes" | "no"'


class Staged(Scripted):
    """Says one text in each call, in parts of some characters."""

    def __init__(self, *texts: str, size: int = 1, opening: str = "") -> None:
        super().__init__([], opening=opening)
        self._texts = [[text[at : at + size] for at in range(0, len(text), size)] for text in texts]

    def generate(self, request: GenerateRequest) -> Pieces:
        self._parts = self._texts[len(self.asked)]
        return super().generate(request)


@pytest.mark.parametrize("opening", ["", "<think>\n"])
@pytest.mark.parametrize("size", [1, 3, 100])
def test_a_thought_before_an_answer_of_a_grammar(opening: str, size: int) -> None:
    """Free, and then the grammar is kept to, in a call of its own."""
    thought = ("" if opening else "<think>\n") + "yes or no? <hm>\n</think>\n\nmaybe"
    request = ChatRequest((Message("user", "Hi"),), grammar=OPTIONS)
    engine = Staged(thought, "no", size=size, opening=opening)
    pieces = [p for p in answer_chat(engine, request, wanted=Wanted(thinks=True)) if p]
    assert "".join(piece.reasoning for piece in pieces).strip() == "yes or no? <hm>"
    assert "".join(piece.text for piece in pieces) == "no"
    assert [asked.grammar for asked in engine.asked] == [None, OPTIONS]
    first, second = (str(asked.prompt) for asked in engine.asked)
    assert first.endswith(opening)
    assert second == first + thought.removesuffix("maybe")
    assert sum(piece.tokens for piece in pieces) <= len(thought) + len("no") + 2
    wanted = Wanted(thinks=True, grammar_param="guided_choice")
    with pytest.raises(EngineFailed):
        list(answer_chat(Staged(thought, "maybe", opening=opening), request, wanted=wanted))


def test_an_answer_without_a_thought_is_begun_again_by_the_grammar() -> None:
    request = ChatRequest((Message("user", "Hi"),), grammar=OPTIONS)
    engine = Staged("No thought.", "no")
    pieces = [p for p in answer_chat(engine, request, wanted=Wanted(thinks=True)) if p]
    assert "".join(piece.text for piece in pieces) == "no"
    assert not any(piece.reasoning for piece in pieces)
    assert engine.asked[1].prompt == engine.asked[0].prompt
    assert sum(piece.prompt is not None for piece in pieces) == 1


def test_a_thought_before_calls_that_are_demanded() -> None:
    plan = replace(PLAN, demanded=PLAN.shown)
    engine = Staged("Hm.\n</think>\n\n", CALLED, opening="<think>\n")
    pieces = [p for p in answer_chat(engine, REPORTED, wanted=Wanted(None, plan, thinks=True)) if p]
    assert "".join(piece.reasoning for piece in pieces) == "Hm."
    assert "".join(piece.text for piece in pieces) == ""
    assert [c.name for piece in pieces for c in piece.tool_calls if c.name] == ["f"]
    assert pieces[-1].finish == "tool_calls"


STRICT = replace(
    PLAN,
    strict=frozenset({"f"}),
    schemas={"f": '%json {"type": "object"}'},
    places={"f": "tools[0].function.parameters"},
)


@pytest.mark.parametrize(
    ("sample", "free", "rest"),
    [
        (
            '{"name": "find_places", "parameters": {"city": "Oslo", "limit": 3}}',
            '{"name": "f", "parameters": ',
            "",
        ),
        (
            '[TOOL_CALLS][{"name": "find_places", "arguments": {"city": "Oslo", "limit": 3}, "id": "x"}]',
            'I do. [TOOL_CALLS][{"name": "f", "arguments": ',
            ', "id": "abcDEF123"}]',
        ),
        (
            '<|calls|><|call|>find_places<|sep|>{"city": "Oslo", "limit": 3}<|call_end|><|calls_end|>',
            "<|calls|><|call|>f<|sep|>",
            "<|calls_end|>",
        ),
    ],
)
@pytest.mark.parametrize("size", [1, 5, 200])
def test_arguments_of_a_strict_function_in_any_format(
    sample: str, free: str, rest: str, size: int
) -> None:
    """The model's own arguments are not taken: they are made again, by the schema."""
    engine = Staged(free + '{"a": 1}' + rest, '{"b": 2}', rest, size=size)
    engine.info = replace(engine.info, template=TemplateTraits(call_sample=sample))
    pieces = [p for p in answer_chat(engine, REPORTED, wanted=Wanted(None, STRICT)) if p]
    calls = [call for piece in pieces for call in piece.tool_calls]
    assert [call.name for call in calls if call.name] == ["f"]
    assert json.loads("".join(call.arguments for call in calls)) == {"b": 2}
    assert "".join(piece.text for piece in pieces) == ("I do." if free.startswith("I do") else "")
    assert pieces[-1].finish == "tool_calls"
    assert [bool(asked.grammar) for asked in engine.asked] == [False, True, False]
    assert str(engine.asked[1].prompt).endswith((free, free.rstrip()))


@pytest.mark.parametrize(
    ("free", "rest", "as_messages"),
    [
        ('{"name": "f", "arguments": ', "}", ""),
        ('```json\n{"name": "f", "arguments": ', "}\n```", ""),
        ('<think>Hm.</think>\n\n```json\n{"name": "f", "arguments": ', "}\n```", ""),
        ('I do.\n<tool_call>\n{"name": "f", "arguments": ', "}\n</tool_call>", "I do."),
    ],
)
@pytest.mark.parametrize("size", [1, 5, 200])
def test_arguments_of_a_strict_function_that_is_called_without_the_templates_mark(
    free: str, rest: str, as_messages: str, size: int
) -> None:
    sample = '<tool_call>\n{"name": "find_places", "arguments": {"city": "Oslo", "limit": 3}}\n</tool_call>'
    behind = "" if as_messages else rest.removeprefix("}")
    engine = Staged(free + '{"a": 1}' + rest, '{"b": 2}', behind, size=size)
    engine.info = replace(engine.info, template=TemplateTraits(call_sample=sample))
    pieces = [p for p in answer_chat(engine, REPORTED, wanted=Wanted(None, STRICT)) if p]
    calls = [call for piece in pieces for call in piece.tool_calls]
    assert [call.name for call in calls if call.name] == ["f"]
    assert json.loads("".join(call.arguments for call in calls)) == {"b": 2}
    assert "".join(piece.text for piece in pieces) == as_messages
    assert pieces[-1].finish == "tool_calls"


def test_an_effort_lets_a_model_think_before_json(tmp_path: Path) -> None:
    """A real engine: random weights think until the limit; without an effort the JSON comes at once."""
    body: dict[str, Any] = {"max_tokens": 12, "seed": 1, "response_format": {"type": "json_object"}}
    with thinking(tmp_path) as api:
        thought = api.chat("Hello", enable_thinking=True, **body)["choices"][0]
        assert thought["message"]["reasoning_content"] and not thought["message"]["content"]
        assert thought["finish_reason"] == "length"
        at_once = api.chat("Hello", **body)["choices"][0]["message"]
        assert at_once["content"].startswith("{") and "reasoning_content" not in at_once


def test_no_thought_where_a_template_opens_one_whatever_is_asked(tmp_path: Path) -> None:
    """`reasoning_effort: none` on a model whose template knows nothing of it."""
    asked = Scripted(["Yes."], opening="<think>\n")
    request = ChatRequest((Message("user", "Hi"),))
    (*_, last) = answer_chat(asked, request, wanted=Wanted(thinks=False))
    assert last is not None and last.finish == "stop"
    assert str(asked.asked[0].prompt).endswith("<think>\n\n</think>\n\n")

    with thinking(tmp_path) as api:
        for quiet in ({"reasoning_effort": "none"}, {"enable_thinking": False}):
            reported = api.chat("Hello", logprobs=True, max_tokens=5, seed=1, **quiet)["choices"][0]
            assert "reasoning_content" not in reported["message"]
            plain = api.chat("Hello", max_tokens=5, seed=1, **quiet)["choices"][0]
            assert plain["message"] == reported["message"]
            assert plain["message"]["content"]


@contextmanager
def thinking(folder: Path) -> Iterator[Api]:
    """A model whose template opens a thought and says nothing of how one ends."""
    thinks = TEMPLATE.replace("assistant\n{% endif", "assistant\n<think>\n{% endif")
    assert thinks != TEMPLATE
    engine = LlamaCppEngine(write_model(folder / "m.gguf", template=thinks), name="m", threads=1)
    try:
        yield Api(engine)
    finally:
        engine.close()


def test_a_thought_is_told_apart_with_and_without_log_probabilities(tmp_path: Path) -> None:
    with thinking(tmp_path) as api:
        body: dict[str, Any] = {"max_tokens": 12, "seed": 1, "ignore_eos": True}
        reported = api.chat("Hello", logprobs=True, **body)["choices"][0]["message"]
        plain = api.chat("Hello", **body)["choices"][0]["message"]
        assert plain == reported
        assert plain["reasoning_content"] and not plain["content"]


def test_the_name_of_a_strict_function_is_not_taken_for_the_beginning_of_another() -> None:
    heads = head_pattern(CallShape("[TOOL_CALLS]", "", ""), {"get": "", "get_weather": ""})
    assert heads.search("[TOOL_CALLS]get") is None
    found = heads.search("[TOOL_CALLS]get_weather{")
    assert found is not None and found[1] == "get_weather"
