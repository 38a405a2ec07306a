"""A bound on thinking: the thought is closed for the model, and the answer goes on as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.protocol import (
    Capability,
    EngineInfo,
    GenerateRequest,
    Piece,
    Pieces,
    PromptUsage,
    ThinkingTraits,
    TokenLogprob,
)
from extensions.openai.generation.chat.reasoning_budget import (
    AnswerRule,
    ThoughtForm,
    budgeted,
    form_of,
)

INFO = replace(
    EchoEngine().info,
    context_length=1000,
    capabilities=(Capability.COMPLETION, Capability.CHAT, Capability.LOGPROBS, Capability.GRAMMAR),
)
END = "\n</think>\n\n"


class Continuing:
    """Says `said[i]` in its i-th call, a part each token; a token is a letter where it tokenizes."""

    def __init__(
        self, *output: Sequence[str], info: EngineInfo = INFO, usage_last: bool = False
    ) -> None:
        self._output = output
        self._usage_last = usage_last
        self.info = info
        self.asked: list[GenerateRequest] = []
        self.closed: list[bool] = []

    def generate(self, request: GenerateRequest) -> Pieces:
        parts = self._output[len(self.asked)]
        self.asked.append(request)
        usage = PromptUsage(len(request.prompt), 7)
        limit = len(parts) + 1 if request.max_tokens is None else request.max_tokens
        try:
            for at, part in enumerate(parts[:limit]):
                yield None
                reported = usage if at == 0 and not self._usage_last else None
                logprob = TokenLogprob(part.encode(), -1.0)
                yield Piece(part, tokens=1, prompt=reported, logprobs=(logprob,))
            reported = usage if self._usage_last or not parts[:limit] else None
            if limit <= len(parts):
                yield Piece(prompt=reported, finish="length")
            else:
                yield Piece(tokens=1, prompt=reported, finish="stop")
        finally:
            self.closed.append(True)

    def tokenize(self, text: str) -> tuple[int, ...]:
        """One token for each letter, and for the mark of a thought."""
        return tuple(map(ord, text.replace("<think>", "\1").replace("</think>", "\2")))


def run(
    engine: Continuing,
    budget: int,
    *,
    opened: bool = True,
    request: GenerateRequest | None = None,
    form: ThoughtForm | None = None,
    grammar: str | None = None,
) -> tuple[str, list[Piece]]:
    """All text, and the pieces; what holds of every answer is checked."""
    request = request or GenerateRequest("Why?<think>\n" if opened else "Why?")
    found = budgeted(
        engine,
        request,
        budget,
        form or ThoughtForm(),
        opened=opened,
        rule=None if grammar is None else AnswerRule(grammar, lambda pieces: pieces),
    )
    pieces = [piece for piece in found if piece is not None]
    assert [piece.finish is not None for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert sum(piece.prompt is not None for piece in pieces) == 1
    assert len(engine.closed) == len(engine.asked)
    return "".join(piece.text for piece in pieces), pieces


def tokens(pieces: Sequence[Piece]) -> int:
    return sum(piece.tokens for piece in pieces)


THOUGHT = ["One ", "two ", "three ", "four"]
ANSWER = ["It ", "is."]


@pytest.mark.parametrize("budget", [1, 2, 3])
@pytest.mark.parametrize("opened", [True, False])
def test_a_thought_is_closed_where_its_budget_is_spent(budget: int, opened: bool) -> None:
    """Each token counts once, also the end of the second call; what closes the thought is not sampled."""
    mark = [] if opened else ["<think>"]
    engine = Continuing([*mark, *THOUGHT, "</think>", *ANSWER], ANSWER)
    text, pieces = run(engine, budget, opened=opened)
    begun = "".join([*mark, *THOUGHT[:budget]])
    assert text == begun + END + "It is."
    assert tokens(pieces) == len(mark) + budget + len(ANSWER) + 1
    first, second = engine.asked
    assert second == replace(
        first, prompt=f"{first.prompt}{begun}{END}", answer_prefix_length=len(begun + END)
    )
    assert pieces[0].prompt == PromptUsage(len(first.prompt), 7)
    reported = b"".join(token.bytes for piece in pieces for token in piece.logprobs).decode()
    assert reported == begun + "It is."


@pytest.mark.parametrize("budget", [4, 5, 100])
@pytest.mark.parametrize("opened", [True, False])
def test_a_thought_that_ends_in_time_is_left_alone(budget: int, opened: bool) -> None:
    output = [*([] if opened else ["<th", "ink>"]), *THOUGHT[:3], "</th", "ink>", *ANSWER * 50]
    engine = Continuing(output)
    text, pieces = run(engine, budget + (budget == 4), opened=opened)
    assert text == "".join(output)
    assert tokens(pieces) == len(output) + 1
    assert len(engine.asked) == 1


@pytest.mark.parametrize(
    "output",
    [ANSWER, [" <", "b> <think>", *THOUGHT], ["<thinking", "> x"], [], ["\n", "It"], ["<think"]],
)
def test_an_answer_without_a_thought_has_no_budget(output: list[str]) -> None:
    engine = Continuing(output)
    text, _ = run(engine, 0, opened=False)
    assert text == "".join(output)
    assert len(engine.asked) == 1


def test_no_thought_at_all() -> None:
    """A thought that the prompt has opened is closed in it, in one call; one of the model's ends at once."""
    engine = Continuing(ANSWER)
    text, _ = run(engine, 0)
    assert text == END + "It is."
    assert [request.prompt for request in engine.asked] == ["Why?<think>\n" + END]
    engine = Continuing(["<think>", "One"], ANSWER)
    text, pieces = run(engine, 0, opened=False)
    assert text == "<think>" + END + "It is."
    assert tokens(pieces) == 1 + len(ANSWER) + 1


@pytest.mark.parametrize(
    ("thought", "end"),
    [
        (["One"], "\n</think>\n\n"),
        (["One\n"], "</think>\n\n"),
        (["One", "\n</th"], "ink>\n\n"),
        (["One <"], "/think>\n\n"),
    ],
)
def test_what_the_model_has_begun_to_close_is_closed_once(thought: list[str], end: str) -> None:
    engine = Continuing([*thought, "more"], ANSWER)
    text, _ = run(engine, len(thought))
    assert text == "".join(thought) + end + "It is."


@pytest.mark.parametrize(("limit", "output"), [(6, "It is."), (5, "It is."), (4, "It "), (3, "")])
def test_the_limit_is_that_of_both_calls(limit: int, output: str) -> None:
    engine = Continuing(THOUGHT, ANSWER)
    request = GenerateRequest("Why?<think>\n", limit)
    text, pieces = run(engine, 3, request=request)
    assert pieces[-1].finish == ("stop" if limit > 5 else "length")
    assert tokens(pieces) == limit
    assert text == "One two three " + (END + output if output else "")
    assert [asked.max_tokens for asked in engine.asked] == [limit, limit - 3][: 1 + bool(output)]


def test_the_context_is_a_limit_too() -> None:
    """The closed thought needs room of its own, which the limit on the first call did not leave."""
    prompt = "x" * 900 + "<think>\n"
    for limit in (98, None):
        engine = Continuing(["a", "b"], ANSWER)
        run(engine, 1, request=GenerateRequest(prompt, limit))
        used = len(engine.tokenize(prompt + "a" + END))
        left = INFO.context_length - used
        assert left < 97 and engine.asked[1].max_tokens == (left if limit else None)
    engine = Continuing(["a" * 95, "b"], ANSWER)
    _, pieces = run(engine, 1, request=GenerateRequest(prompt, None))
    assert pieces[-1].finish == "length"
    assert len(engine.asked) == 1


def test_seeds_grammars_and_all_else_of_the_further_call() -> None:
    engine = Continuing(THOUGHT, ANSWER)
    request = GenerateRequest(
        "Why?<think>\n",
        50,
        {"temperature": 0.5},
        11,
        "thought and answer",
        ((3, 1.0),),
        2,
        marks=("<x>",),
    )
    run(engine, 2, request=request, grammar="answer")
    again = engine.asked[1]
    assert again.seed is not None and again.seed != 11
    assert again.grammar == "answer"
    assert (
        replace(
            again,
            prompt=request.prompt,
            answer_prefix_length=0,
            max_tokens=50,
            seed=11,
            grammar=request.grammar,
        )
        == request
    )


@pytest.mark.parametrize("reopened", [["<think>"], ["<th", "ink>"], ["\n", "<think>"]])
def test_a_model_that_thinks_again_is_kept_from_it(reopened: list[str]) -> None:
    """The mark is banned; what was said meanwhile is counted, and not shown."""
    engine = Continuing(THOUGHT, [*reopened, "More", "</think>"], ANSWER)
    text, pieces = run(engine, 1)
    assert text == "One " + END + "It is."
    assert tokens(pieces) == 1 + len(reopened) + len(ANSWER) + 1
    assert engine.asked[2].logit_bias == ((1, -100.0),)
    assert engine.asked[2].prompt == engine.asked[1].prompt


def test_without_a_bias_the_model_has_its_way() -> None:
    engine = Continuing(
        THOUGHT, ["<think>", "More"], info=replace(INFO, capabilities=(Capability.CHAT,))
    )
    assert run(engine, 1)[0] == "One " + END + "<think>More"


def test_usage_that_comes_at_the_end_is_of_the_clients_prompt() -> None:
    engine = Continuing(THOUGHT, ANSWER, usage_last=True)
    _, pieces = run(engine, 1)
    (usage,) = [piece.prompt for piece in pieces if piece.prompt]
    assert usage == PromptUsage(len(engine.tokenize("Why?<think>\n")))


def test_closing_ends_the_call_that_runs() -> None:
    for calls in (1, 2):
        engine = Continuing(THOUGHT, ANSWER)
        found = budgeted(engine, GenerateRequest("<think>"), 1, ThoughtForm(), opened=True)
        while len(engine.asked) < calls:
            next(found)
        next(found)
        found.close()
        assert len(engine.closed) == calls


ANALYSIS = "<|channel|>analysis<|message|>"
HARMONY = ThinkingTraits(ANALYSIS, "<|end|>", "<|end|>")
FINAL = "<|end|><|start|>assistant<|channel|>final<|message|>"


def test_channels_are_closed_with_the_final_one() -> None:
    engine = Continuing(["<|channel|>", "analysis", "<|message|>", *THOUGHT], ANSWER)
    text, pieces = run(engine, 2, opened=False, form=form_of(HARMONY))
    assert text == f"{ANALYSIS}One two {FINAL}It is."
    assert tokens(pieces) == 3 + 2 + 3


def test_with_calls_the_model_chooses_the_channel_unless_it_thinks_again() -> None:
    begun = ["<|channel|>", "analysis", "<|message|>", *THOUGHT]
    call = ["<|channel|>", "commentary to=functions.f", "<|message|>", "{}"]
    form = form_of(HARMONY, calls=True)
    text, _ = run(Continuing(begun, call), 1, opened=False, form=form)
    assert text == f"{ANALYSIS}One <|end|><|start|>assistant" + "".join(call)
    engine = Continuing(begun, begun, ANSWER)
    text, pieces = run(engine, 1, opened=False, form=form)
    assert text == f"{ANALYSIS}One {FINAL}It is."
    assert tokens(pieces) == 4 + 3 + 3


def test_the_form_is_the_templates() -> None:
    assert form_of(None) == ThoughtForm() == form_of(ThinkingTraits())
    traits = ThinkingTraits("[THINK]", "[/THINK]", "[/THINK]")
    assert form_of(traits) == ThoughtForm("[THINK]", "[/THINK]", ("[/THINK]",))
