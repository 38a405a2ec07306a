"""What the kinds of servers that speak OpenAI's API take besides it, a row each.

Sources: the documents of vLLM ("OpenAI-Compatible Server"), SGLang ("OpenAI APIs") and llama.cpp's server
(tools/server/README.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..protocol import Capability
from .rows import Kind

PLAIN = (
    Capability.COMPLETION,
    Capability.CHAT,
    Capability.TOOLS,
    Capability.REASONING,
    Capability.GRAMMAR,
    Capability.LOGPROBS,
)


@dataclass(frozen=True, slots=True)
class KindRow:
    """One kind of server."""

    capabilities: tuple[Capability, ...] = PLAIN
    """What it is taken to have, where neither its list nor the operator says it."""
    template_variables: bool = True
    """Whether it takes `chat_template_kwargs`."""
    grammars: Literal["", "grammar", "structured_outputs"] = ""
    """The field that takes a grammar of Lark; empty: it takes JSON schemas only."""
    schema_of_completions: str = ""
    """The field that takes the JSON schema of a completion; empty: `response_format`, as in chats."""
    continues: Mapping[str, Any] | None = None
    """The fields with which an answer continues the last message; None: it cannot."""
    budget: str = ""
    """The field for tokens of a thought; empty: it has none."""
    exact_as_it_comes: bool = False
    """Whether it takes `continuous_usage_stats`."""
    cache_salt: bool = False
    """Whether it takes `cache_salt`, without which the clients of two keys could find out, by time, what the
    other has sent."""
    truncates: bool = False
    """Whether its embeddings take `truncate_prompt_tokens`."""
    scores_are_logits: bool = False
    """Whether its rerank answers with the model's own numbers, not with values from 0 to 1."""
    rerank_fields: Mapping[str, Any] = field(default_factory=dict)
    """What a request to rerank says besides."""
    health: str | None = "/health"
    """Where it says how it is; None: nowhere."""


CONTINUE_FINAL = {"continue_final_message": True, "add_generation_prompt": False}
KINDS: Mapping[Kind, KindRow] = {
    "openai": KindRow(template_variables=False, health=None),
    "openedai": KindRow(
        grammars="grammar",
        continues=CONTINUE_FINAL,
        budget="thinking_token_budget",
        cache_salt=True,
        truncates=True,
        scores_are_logits=True,
        rerank_fields={"raw_scores": True},
    ),
    "llama-server": KindRow(
        schema_of_completions="json_schema",
        continues=CONTINUE_FINAL,
        budget="thinking_budget_tokens",
        scores_are_logits=True,
    ),
    "vllm": KindRow(
        grammars="structured_outputs",
        continues=CONTINUE_FINAL,
        budget="thinking_token_budget",
        exact_as_it_comes=True,
        cache_salt=True,
        truncates=True,
    ),
    "sglang": KindRow(continues={"continue_final_message": True}),
}

TASKS: Mapping[str, Capability] = {
    "text-embedding-": Capability.EMBEDDINGS,
    "whisper-": Capability.TRANSCRIPTION,
    "gpt-transcribe": Capability.TRANSCRIPTION,
    "gpt-4o-transcribe": Capability.TRANSCRIPTION,
    "gpt-4o-mini-transcribe": Capability.TRANSCRIPTION,
    "tts-": Capability.SPEECH,
    "gpt-4o-mini-tts": Capability.SPEECH,
    "dall-e-": Capability.IMAGES,
    "gpt-image-": Capability.IMAGES,
    "chatgpt-image-": Capability.IMAGES,
    "omni-moderation-": Capability.MODERATION,
    "text-moderation-": Capability.MODERATION,
}
"""What OpenAI's models do that write no text, by the beginnings of their names: its list does not say it."""


def named_task(model: str) -> tuple[Capability, ...] | None:
    """What a model does by its name; None: it is none of OpenAI's that do something else than writing."""
    found = (task for name, task in TASKS.items() if model.startswith(name))
    task = next(found, None)
    return None if task is None else (task,)
