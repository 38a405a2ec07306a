"""The prompt of a request, cut as Kobold's clients expect it."""

from __future__ import annotations

from dataclasses import replace

from ...generation.continue_prompt import tokens_of
from ...generation.plan import PromptPlan, Served, asked_of
from ...generation.truncation import truncated
from .request import KoboldGenerateRequest

MOST_TOKENS = 512
"""Of an answer, unless the request says otherwise."""


def plan_of(body: KoboldGenerateRequest, served: Served) -> PromptPlan:
    """The request in no dialect's words. Raises InvalidRequest."""
    engine, context = served.engine, served.info.context_length
    asked = asked_of(body, alternatives="n_probs", logprobs="n_probs")
    default = min(MOST_TOKENS, max(1, context // 2))
    plan = PromptPlan(asked, (body.prompt,), candidates=1, default_limit=default)
    limit = served.policy.max_tokens(asked.limit, default, asked.names.tokens) or 1
    memory = tokens_of(engine, body.memory) if body.memory else ()
    room = min(body.max_context_length or context, context) - limit - len(memory)
    plan = truncated(plan, max(1, room), served)
    if not memory:
        return plan
    (prompt,) = plan.prompts
    if isinstance(prompt, str):
        return replace(plan, prompts=(f"{body.memory}{prompt}",))
    return replace(plan, prompts=((*memory, *prompt),))
