"""How chats are asked for and read in the format of gpt-oss (`harmony.py`)."""

from __future__ import annotations

from dataclasses import replace

from ...engines.chat_template.reasoning_probe import HARMONY
from ...engines.protocol import ChatRequest, Message
from ..tools.enforcing.demanded_calls import enforced_reader
from ..tools.plan import ToolPlan
from .answer_shape import AnswerShape, Wanted
from .harmony import (
    CALL_BEGIN,
    FINAL_CHANNEL,
    MARKS,
    MESSAGE_ENDS,
    ChannelReader,
    demanded_grammar,
    strict_heads,
)
from .parts import TextReader
from .reasoning_budget import HARMONY_FINAL, HARMONY_NEXT, HARMONY_THINKING, form_of


def harmony_shape(prompt: str, request: ChatRequest, wanted: Wanted) -> AnswerShape:
    """How the engine is asked where answers and calls have channels of their own."""
    plan, grammar, param = wanted.tools, request.grammar, wanted.grammar_param
    if wanted.continued is not None:
        return _continued(prompt, request, wanted, wanted.continued)
    if plan.inputs or (plan.shown and grammar is not None):  # in our own format, as text
        reader = enforced_reader(plan)
        grammar, param = plan.grammar(grammar), plan.param
        return AnswerShape(prompt + FINAL_CHANNEL, grammar, param, MARKS, reader, MESSAGE_ENDS)
    begin = ""
    if plan.demanded:
        grammar, param, begin = demanded_grammar(plan.schemas), plan.param, CALL_BEGIN
    elif grammar is not None or (wanted.thinks is False and not plan.shown):
        begin = FINAL_CHANNEL  # behind it there is no call any more
    if begin and not wanted.thinks:
        reader = _reader(plan, begin)
        return AnswerShape(prompt + begin, grammar, param, MARKS, reader, MESSAGE_ENDS)
    form = form_of(HARMONY_THINKING, calls=bool(plan.shown))
    if begin:
        form = replace(form, ends=(HARMONY_NEXT + begin,), begin=begin)
    return AnswerShape(
        prompt,
        grammar,
        param,
        MARKS,
        _reader(plan),
        MESSAGE_ENDS if grammar is not None else (),
        form if grammar is not None or wanted.budget else None,
        staged=grammar is not None,
        strict=strict_heads(plan.schemas) if plan.strict and grammar is None else None,
    )


def _continued(prompt: str, request: ChatRequest, wanted: Wanted, message: Message) -> AnswerShape:
    """As `harmony_shape`, of an answer that has begun. A call that is demanded comes right behind that, or
    behind its thought."""
    plan, grammar, param, begin = wanted.tools, request.grammar, wanted.grammar_param, ""
    thinking = bool(message.reasoning and not message.content)
    begun = prompt + _begun(message)
    if plan.demanded and plan.inputs:  # in our own format, as text
        reader = enforced_reader(plan)
        begun += HARMONY_FINAL if thinking else ""
        grammar, param = plan.grammar(grammar), plan.param
        return AnswerShape(begun, grammar, param, MARKS, reader, MESSAGE_ENDS)
    if plan.demanded:
        grammar, param, begin = demanded_grammar(plan.schemas), plan.param, CALL_BEGIN
    if not thinking and begin:
        begun = f"{begun}{HARMONY_NEXT}{CALL_BEGIN}" if message.content else prompt + CALL_BEGIN
    if not thinking:
        reader = _reader(plan, CALL_BEGIN) if begin else TextReader()
        return AnswerShape(begun, grammar, param, MARKS, reader, MESSAGE_ENDS)
    form = form_of(HARMONY_THINKING, calls=bool(plan.shown))
    form = replace(form, ends=(HARMONY_NEXT + begin,)) if begin else form
    return AnswerShape(
        begun,
        grammar,
        param,
        MARKS,
        _reader(plan, HARMONY[0]),
        MESSAGE_ENDS if grammar is not None else (),
        form if grammar is not None or wanted.budget else None,
        opened=True,
        staged=grammar is not None,
    )


def _reader(plan: ToolPlan, begun: str = "") -> ChannelReader:
    names = frozenset(tool.name for tool in plan.shown)
    return ChannelReader(begun, tools=names, hidden=plan.hidden, parallel=plan.max_calls > 1)


def _begun(message: Message) -> str:
    """The beginning of an answer in channels, up to where it goes on."""
    written = FINAL_CHANNEL + (message.content or "")
    if not message.reasoning:
        return written
    thought = HARMONY[0] + message.reasoning
    return thought + HARMONY_NEXT + written if message.content else thought
