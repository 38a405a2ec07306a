"""One generation whose every step we take part in: constrained before a token is sampled, read after it.

It is called in whatever thread the model runs, twice for each token. Arrays are NumPy's or torch's; only
operations that both have are used on them.
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
        self._judged = request.logprobs is not None
        self._raw: Any = None
        self._seen = 0

    def begin(self, prompt_tokens: int) -> bool:
        self._seen = prompt_tokens
        return super().begin(prompt_tokens)

    def process(self, scores: Any) -> Any:
        """The scores (1 x vocabulary) of the next token, constrained."""
        if self._judged:
            self._raw = to_numpy(scores[0]).astype(np.float64)
        return self._constraint.apply(scores) if self._constraint else scores

    def sample(self, tokens: Any) -> bool:
        """Take the tokens so far (prompt and answer); whether the answer is over."""
        if self.finished or self.left:
            return True
        new = [int(token) for token in tokens[self._seen :]]
        self._seen += len(new)
        return any(self.take(token) for token in new)

    def take(self, token: int) -> bool:
        """Take a token that was sampled; whether the answer is over."""
        self._constraint.accept(token)
        raw, self._raw = self._raw, None
        return not self.add(token, raw)
