"""What a chat template does about thinking, found out by rendering small conversations with it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...errors import APIError
from ..protocol import Message, ThinkingTraits

Render = Callable[[Sequence[Message], Mapping[str, Any]], str]
"""The prompt for messages, with variables for the template; raises APIError where it refuses them."""

HARMONY = ("<|channel|>analysis<|message|>", "<|end|>")
PAIRS = (
    ("<think>", "</think>"),
    ("[THINK]", "[/THINK]"),
    ("<seed:think>", "</seed:think>"),
    ("<thinking>", "</thinking>"),
    ("<reasoning>", "</reasoning>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("◁think▷", "◁/think▷"),
    ("<|channel>thought", "<channel|>"),
)
"""Marks of thoughts that stand in prompts of known families."""
SWITCHES = ("enable_thinking", "thinking", "reasoning")
"""Variables by which templates turn thinking on and off."""

_ASK = Message("user", "Ask")
_THOUGHT, _ANSWER = "Ponder", "Reply"
_MARK = re.compile(r"[<\[◁][^<\[◁\s]{2,40}[>\]▷]\s*$")


def probe_thinking(render: Render) -> ThinkingTraits | None:
    """What the template behind `render` does about thinking; None: it knows nothing of it."""

    def prompt(*messages: Message, **variables: Any) -> str | None:
        try:
            return render(messages, variables)
        except APIError:
            return None

    plain = prompt(_ASK)
    if plain is None:
        return None
    switch = next(
        (
            name
            for name in SWITCHES
            if prompt(_ASK, **{name: True}) != prompt(_ASK, **{name: False})
        ),
        None,
    )
    effort = prompt(_ASK, reasoning_effort="low") != prompt(_ASK, reasoning_effort="high")
    # Some open a thought only where they are asked to.
    shown = [plain] if switch is None else [plain, prompt(_ASK, **{switch: True}) or plain]
    pair = next((p for p in PAIRS for text in shown if text.rstrip().endswith(p[0])), None)
    opens = pair is not None and plain.rstrip().endswith(pair[0])
    if plain.endswith("<|start|>assistant"):
        return ThinkingTraits(*HARMONY, end=HARMONY[1], switch=switch, effort=effort)
    rendered = _around_thought(prompt(_ASK, Message("assistant", _ANSWER, reasoning=_THOUGHT)))
    if rendered is not None and pair is None:
        pair = rendered[:2]
    if pair is None:
        pair = _dropped(prompt)
    if pair is None and switch is None and not effort:
        return None
    opening, closing = pair or PAIRS[0]
    end = rendered[2] if rendered is not None and closing in rendered[2] else f"\n{closing}\n\n"
    return ThinkingTraits(opening, closing, end, opens, switch, effort)


def _around_thought(prompt: str | None) -> tuple[str, str, str] | None:
    """The marks that a template puts around an earlier thought, and all that stands before the answer."""
    before, found, after = (prompt or "").partition(_THOUGHT)
    end, answered, _ = after.partition(_ANSWER)
    known = next((pair for pair in PAIRS if before.rstrip().endswith(pair[0])), None)
    if found and answered and known is not None and known[1] in end:
        return *known, end
    opening = _MARK.search(before)
    closing = _MARK.search(end)
    if not (found and answered and opening and closing):
        return None
    return opening[0].strip(), closing[0].strip(), end


def _dropped(prompt: Callable[..., str | None]) -> tuple[str, str] | None:
    """The marks of a thought that a template leaves out of earlier answers."""
    again = Message("user", "Again")
    for opening, closing in PAIRS:
        text = f"{opening}{_THOUGHT}{closing}{_ANSWER}"
        rendered = prompt(_ASK, Message("assistant", text), again)
        if rendered is not None and _ANSWER in rendered and _THOUGHT not in rendered:
            return opening, closing
    return None
