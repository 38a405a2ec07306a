"""Continues an answer in a new llama.cpp call when exact penalties require it.

llama.cpp penalises prompt tokens too; `penalties.PromptCounts` cancels that with biases. Once the model
samples a prompt token, its presence penalty must apply. Biases cannot be changed during a call, so the call
is ended there, and a new one continues after the tokens sampled so far, from the cache.
"""

from __future__ import annotations

from typing import Any

from ..penalties import PromptCounts
from ..protocol import Native
from .request_values import continuation_seed
from .stream_reader import TokenReader

MAX_REREAD_TOKENS = 64
"""Once a restarted call has to re-read more than this, there is no further restart."""


class PenaltyRestart:
    """Watches the tokens of one answer, for its penalties. Used by one thread at a time."""

    def __init__(self, counts: PromptCounts, body: Native, reader: TokenReader) -> None:
        """`counts` are the prompt's; `body` is the llama.cpp request, without the biases that cancel them."""
        self._counts = counts
        self._body = body
        self._reader = reader
        self._calls = 0
        self.due = False
        """Whether the answer continues in a new call."""

    def body(self) -> dict[str, Any]:
        """The next llama.cpp request."""
        bias = [*self._body["logit_bias"], *self._counts.bias()]
        body = {**self._body, "logit_bias": bias}
        if self._calls:
            body["prompt"], body["n_predict"] = self._reader.context, self._reader.wanted
            # This answer filled the cache itself, so reusing it stays reproducible.
            body["cache_prompt"] = True
            body["seed"] = continuation_seed(body["seed"], self._reader.total)
            self._reader.start_new_call()
        self._calls += 1
        self.due = False
        return body

    def watch(self) -> bool:
        """Check the reader's new tokens; True if this call must end here."""
        reader = self._reader
        too_costly = self._calls > 1 and reader.reread > MAX_REREAD_TOKENS
        if reader.finished or not reader.complete or too_costly:
            return False
        self.due = self._counts.sampled(reader.new)
        return self.due
