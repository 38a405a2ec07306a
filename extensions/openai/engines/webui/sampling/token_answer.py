"""Turns sampled tokens into the pieces of an answer."""

from __future__ import annotations

from typing import Any

from ...callback_bridge import Emit
from ...protocol import Finish, GenerateRequest, Piece, PromptUsage, TokenLogprob
from ...tokens.token_text import TokenText
from ...tokens.tokenizer_view import TokenizerView
from .logprobs import logprob_of


class TokenAnswer:
    """One answer. Not thread-safe."""

    def __init__(
        self,
        request: GenerateRequest,
        view: TokenizerView,
        limit: int,
        emit: Emit[Piece | None],
        *,
        skip_special: bool,
    ) -> None:
        """`limit`: the most tokens to sample."""
        self._view = view
        self.limit = limit
        """The most tokens to sample; an extension may still change it."""
        self._emit = emit
        self._alternatives = request.logprobs
        self._text = TokenText(view, request.marks, skip_special=skip_special)
        self._prompt: PromptUsage | None = None
        self.sampled = 0
        """Tokens so far."""
        self.started = False
        """Whether the model was called."""
        self.finished = False
        """Whether the answer's last piece was emitted."""
        self.reader_left = False
        self.error: BaseException | None = None
        """What ended the generation too early."""
        self.aborted_by_extension = False
        """Whether an extension ended it too early."""

    def begin(self, prompt_tokens: int) -> bool:
        """Start the answer, given the number of prompt tokens; whether to continue."""
        self.started = True
        self._prompt = PromptUsage(prompt_tokens)
        return self.wait()

    def wait(self) -> bool:
        """Report that there is nothing yet; whether to continue."""
        self.reader_left = self._emit(None)
        return not self.reader_left

    def add(self, token: int, raw: Any) -> bool:
        """Add a token, with the logits at its position if requested; whether to continue."""
        self.sampled += 1
        finish: Finish | None = None
        if token in self._view.ends:
            finish = "stop"
        elif self.sampled >= self.limit:
            finish = "length"
        text, logprobs = self._text.add(token, self._logprob(token, raw), last=finish is not None)
        self.finished = finish is not None
        self.reader_left = self._emit(
            Piece(text, tokens=1, prompt=self._prompt, finish=finish, logprobs=logprobs)
        )
        self._prompt = None
        return not (self.finished or self.reader_left)

    def _logprob(self, token: int, raw: Any) -> TokenLogprob | None:
        if self._alternatives is None or raw is None:
            return None
        text = self._text.spelling_of(token)
        return logprob_of(raw, token, text, self._alternatives, self._view.vocabulary)
