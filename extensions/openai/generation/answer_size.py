"""Bounds the size of an answer before it begins: choices, tokens and alternatives for each token.

An answer that is not streamed is built in memory, and a request of 200 bytes could ask for gigabytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import InvalidRequest

MAX_ANSWER_TOKENS = 2_000_000
"""Of all choices of a request together."""


@dataclass(frozen=True, slots=True)
class Names:
    """The dialect's names of the fields that set the size of an answer."""

    choices: str
    tokens: str
    alternatives: str


@dataclass(frozen=True, slots=True)
class AnswerSize:
    """The size that a request asks for."""

    choices: int
    """Prompts times candidates."""
    tokens: int | None
    """The most tokens of one choice; None: as many as fit."""
    alternatives: int | None
    """For each token; None: no log-probabilities."""
    context: int
    """The context length of the model."""
    echoed: int = 0
    """Tokens of the longest prompt, if prompts are echoed."""

    def bounded(self, names: Names, max_logprobs: int) -> int | None:
        """The most tokens of one choice: the request's limit, or as many as the bounds of the answer allow.

        Raises InvalidRequest, naming a field, if the request asks for more than is allowed.
        """
        limit = self._within(1, MAX_ANSWER_TOKENS, "tokens", names)
        if self.alternatives is None:
            return limit
        reported = self._within(1 + self.alternatives, max_logprobs, "log-probabilities", names)
        return reported if limit is None else limit if reported is None else min(limit, reported)

    def _within(self, per_token: int, most: int, what: str, names: Names) -> int | None:
        room = most // (self.choices * per_token) - self.echoed
        if self.tokens is None and room > 0:
            return None if room >= self.context else room
        longest = min(self.tokens or 0, self.context)
        if longest <= room:
            return self.tokens
        total = self.choices * (longest + self.echoed) * per_token
        if per_token > 1:
            param, beside = names.alternatives, f" with {self.alternatives} alternatives for each"
        else:
            param, beside = (names.choices if self.choices > 1 else names.tokens), ""
        raise InvalidRequest(
            f"Invalid '{param}': {self.choices} answers of up to {longest + self.echoed} tokens{beside} are "
            f"{total} {what}, and this server makes at most {most} for one request.",
            param=param,
            code="answer_too_large",
        )
