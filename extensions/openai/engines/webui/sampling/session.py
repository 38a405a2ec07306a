"""One generation in which we take part at each step: we constrain the scores and then read the sampled token.

Called in the thread that runs the model, twice for each token. Arrays are NumPy's or torch's; only operations
that both support are used.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...callback_bridge import Emit
from ...protocol import GenerateRequest, Piece
from ...tokens.tokenizer_view import TokenizerView
from .arrays import to_numpy
from .constraint import Constraint
from .token_answer import TokenAnswer


class SamplingSession(TokenAnswer):
    """One generation. Called from one thread."""

    def __init__(
        self,
        request: GenerateRequest,
        view: TokenizerView,
        limit: int,
        emit: Emit[Piece | None],
        *,
        endless: bool,
        skip_special: bool,
    ) -> None:
        """`endless`: never sample an end token."""
        super().__init__(request, view, limit, emit, skip_special=skip_special)
        self._constraint = Constraint(request, view, endless=endless)
        self._wants_logprobs = request.logprobs is not None
        self._raw: Any = None
        self._seen = 0

    def begin(self, prompt_tokens: int) -> bool:
        self._seen = prompt_tokens
        return super().begin(prompt_tokens)

    def process(self, scores: Any) -> Any:
        """Constrain the scores (1 x vocabulary) of the next token."""
        if self._wants_logprobs:
            self._raw = to_numpy(scores[0]).astype(np.float64)
        return self._constraint.apply(scores) if self._constraint else scores

    def accept_all(self, tokens: Any) -> bool:
        """Accept the new ones of all tokens so far (prompt and answer); whether the answer is over."""
        if self.finished or self.reader_left:
            return True
        new = [int(token) for token in tokens[self._seen :]]
        self._seen += len(new)
        return any(self.accept(token) for token in new)

    def accept(self, token: int) -> bool:
        """Accept a sampled token; whether the answer is over."""
        self._constraint.accept(token)
        raw, self._raw = self._raw, None
        return not self.add(token, raw)
