"""Prompts that are made shorter where a request wants that, instead of being refused.

Of a prompt the last tokens are kept, of a conversation the latest messages. What is left out is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from ..engines.protocol import Engine, EngineInfo
from ..engines.tokens.context_length import check_can_fit
from ..errors import ContextLengthExceeded
from ..schemas import bad_request
from .chat.messages import ChatMessage, to_engine
from .chat.request import ALL_THAT_FITS, ChatCompletionRequest
from .continue_prompt import Prompt, tokens_of
from .plan import ChatPlan, PromptPlan, Served

FIELD = "truncate_prompt_tokens"

MAX_READ_CONTEXTS = 8
"""How many times the context a text may be that is only read to be cut."""


def truncated(plan: PromptPlan, length: int, served: Served) -> PromptPlan:
    """The plan with the last `length` tokens of each prompt. ALL_THAT_FITS: with as many as the context has
    place for. What is cut off is named among the ignored fields.

    Raises InvalidRequest, ContextLengthExceeded.
    """
    info, asked = served.info, plan.asked
    _check(length, info)
    if length == ALL_THAT_FITS:
        limit = served.policy.max_tokens(asked.limit, plan.default_limit, asked.names.tokens)
        length = max(1, info.context_length - (limit or 1))
    prompts = [_last_tokens(served.engine, info, prompt, length) for prompt in plan.prompts]
    served.request.record.ignored += [
        f"prompt[{at}]" if len(prompts) > 1 else "prompt"
        for at, (_, is_cut) in enumerate(prompts)
        if is_cut
    ]
    return replace(plan, prompts=tuple(prompt for prompt, _ in prompts))


def _last_tokens(
    engine: Engine, info: EngineInfo, prompt: Prompt, length: int
) -> tuple[Prompt, bool]:
    """The end of a prompt, and whether something is cut off; a prompt that is short enough stays as it is."""
    if isinstance(prompt, str):
        if len(prompt.encode()) <= length:
            return prompt, False
        longest = MAX_READ_CONTEXTS * info.context_length
        check_can_fit((prompt,), None, longest, info.longest_token, param="prompt")
    tokens = tuple(tokens_of(engine, prompt))
    return (prompt, False) if len(tokens) <= length else (tokens[-length:], True)


def fitting(plan: ChatPlan, body: ChatCompletionRequest, served: Served) -> ChatPlan:
    """The plan with the latest messages whose prompt is short enough for the request; pictures and sounds are
    not counted. Instructions stay, so does what follows the last message of the user's, and calls stay with
    their results. What is left out is named among the ignored fields.

    Raises InvalidRequest; what is too long all the same is refused when it is read.
    """
    length, messages = body.prompt_length or 0, body.messages
    _check(length, served.info)
    most = served.info.context_length - 1 if length == ALL_THAT_FITS else length

    def without(end: int) -> ChatPlan:
        kept = [m for at, m in enumerate(messages) if at >= end or _is_instruction(m)]
        return replace(plan, messages=partial(to_engine, kept, earlier=()))

    def fits(end: int) -> bool:
        try:
            return without(end).count_prompt(served) <= most
        except ContextLengthExceeded:
            return False

    ends = _ends(messages)
    low, high = 0, len(ends) - 1
    while low < high:
        middle = (low + high) // 2
        if fits(ends[middle]):
            high = middle
        else:
            low = middle + 1
    end = ends[low]
    left_out = [f"messages[{at}]" for at in range(end) if not _is_instruction(messages[at])]
    served.request.record.ignored += left_out
    return without(end)


def _check(length: int, info: EngineInfo) -> None:
    if length == 0:
        raise bad_request.out_of_range(FIELD, length, low=1, high=None)
    if info.is_remote:
        raise bad_request.unsupported(FIELD, "cannot be had of a model that another server has.")


def _ends(messages: Sequence[ChatMessage]) -> list[int]:
    """Places up to which messages may be left out: 0 first, none behind the last message of the user's, and
    none between calls and their results."""
    last = max((at for at, message in enumerate(messages) if message.role == "user"), default=0)
    results = ("tool", "function")
    return [0, *(at for at in range(1, last + 1) if messages[at].role not in results)]


def _is_instruction(message: ChatMessage) -> bool:
    return message.role in ("system", "developer")
