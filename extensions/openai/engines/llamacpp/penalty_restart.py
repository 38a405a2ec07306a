"""Goes on with an answer in a new call of llama.cpp when that is what exact penalties take.

llama.cpp counts the prompt; `penalties.PromptCounts` takes that back, and is right until a token of the
prompt is sampled for the first time: from then on it is to have its presence penalty. Biases cannot be
changed during a call, so it is ended there, and a new one begins with what was sampled so far, out of the
cache.
"""

from __future__ import annotations

from typing import Any

from ..penalties import PromptCounts
from ..protocol import Native
from .request_values import seed_behind
from .stream_reader import TokenReader

DEAR = 64  # tokens; where a further call has to read more than that again, it is the last one


class PenaltyRestart:
    """Watches the tokens of one answer, for its penalties. Used by one thread at a time."""

    def __init__(self, counts: PromptCounts, body: Native, reader: TokenReader) -> None:
        """`counts` are the prompt's; `body` is what llama.cpp is asked, without what takes them back."""
        self._counts = counts
        self._body = body
        self._reader = reader
        self._calls = 0
        self.due = False
        """Whether the answer goes on in a new call."""

    def body(self) -> dict[str, Any]:
        """What to ask llama.cpp now."""
        bias = [*self._body["logit_bias"], *self._counts.bias()]
        body = {**self._body, "logit_bias": bias}
        if self._calls:
            body["prompt"], body["n_predict"] = self._reader.context, self._reader.wanted
            # What this very answer left in the cache is the same every time.
            body["cache_prompt"] = True
            body["seed"] = seed_behind(body["seed"], self._reader.total)
            self._reader.go_on()
        self._calls += 1
        self.due = False
        return body

    def watch(self) -> bool:
        """Look at the reader's new tokens; True when this call is to end here."""
        reader = self._reader
        too_dear = self._calls > 1 and reader.read_anew > DEAR
        if reader.finished or not reader.complete or too_dear:
            return False
        self.due = self._counts.sampled(reader.new)
        return self.due
