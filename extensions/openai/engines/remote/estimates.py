"""Counts of tokens where only another server knows them."""

from __future__ import annotations

from collections.abc import Iterable

from ..protocol import ChatRequest, PromptUsage

CHARACTERS_PER_TOKEN = 4  # in English text
TOKENS_PER_MESSAGE = 4
"""What a chat template puts around a message."""


def tokens_in(text: str) -> int:
    """At least 1 for a text that is not empty."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def prompt_estimate(texts: Iterable[str]) -> PromptUsage:
    return PromptUsage(sum(map(tokens_in, texts)), is_estimate=True)


def chat_estimate(request: ChatRequest) -> PromptUsage:
    """Of the prompt that another server makes of a conversation. Media are not counted."""
    texts = [message.content or "" for message in request.messages]
    texts += [call.arguments for message in request.messages for call in message.tool_calls]
    texts += [f"{tool.name}{tool.description or ''}{tool.parameters}" for tool in request.tools]
    around = TOKENS_PER_MESSAGE * len(request.messages)
    return PromptUsage(sum(map(tokens_in, texts)) + around, is_estimate=True)
