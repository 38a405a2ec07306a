"""Generates an answer of a llama.cpp server in segments, token by token: under a grammar that the server does
not know, and with the log-probabilities of all tokens.

A segment runs freely until it samples a token that does not fit the grammar. That token is dropped, another
one is sampled among those that fit (with `logit_bias`), and the next segment begins. The distribution is that
of sampling under the grammar: p + (1 - allowed) * p / allowed = p / allowed. Forced tokens are not sampled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import orjson
from llguidance import LLMatcher

from ...callback_bridge import Emit
from ...failures import failure_of, too_complex
from ...penalties import PromptCounts
from ...protocol import CUT, Finish, GenerateRequest, Piece, PromptUsage, TokenLogprob
from ...tokens.token_text import TokenText
from ...tokens.tokenizer_view import TokenizerView
from ..client import LlamaServer, chunk_of, collect
from ..request_values import RANDOM_SEED, continuation_seed
from ..stream_reader import TokenReader, to_api_error, token_logprob
from ..token_scoring import score_token

RAISING_BIAS = 250.0  # more than any difference of logits; larger ones cost precision


class GrammarGeneration:
    """One answer. Not thread-safe."""

    def __init__(
        self,
        server: LlamaServer,
        request: GenerateRequest,
        view: TokenizerView,
        emit: Emit[Piece | None],
        *,
        skip_special: bool,
    ) -> None:
        self._server, self._request, self._view, self._emit = server, request, view, emit
        self._text = TokenText(view, request.marks, skip_special=skip_special)
        self._matcher: LLMatcher | None = None
        if request.grammar is not None:
            assert view.matching is not None
            self._matcher = LLMatcher(view.matching, request.grammar, log_level=0)
        self._tokens: list[int] = []
        self._body: dict[str, Any] = {}
        self._limit = self._sampled = self._segments = 0
        self._uncounted = 0
        """Tokens that were sampled but are not in a piece yet."""
        self._prompt: PromptUsage | None = None
        self._counts: PromptCounts | None = None
        self._is_recounted = False
        """Whether the last token changed the bias that corrects the penalties."""
        self.finished = False
        """Whether the answer's last piece was emitted."""
        self.reader_left = False

    def run(
        self, body: dict[str, Any], tokens: Sequence[int], limit: int, *, penalised: bool
    ) -> None:
        """Answer a prompt. `body`: sampler parameters; `penalised`: apply OpenAI's penalties to the whole
        answer. Raises EngineFailed, or the error that llama.cpp's stands for."""
        self._body, self._tokens, self._limit = body, list(tokens), limit
        if penalised:
            self._body = body | {"repeat_last_n": len(tokens) + limit}
            self._counts = PromptCounts(tokens, body)
        self._prompt = PromptUsage(len(tokens))
        while not self._over:
            self._append_forced()
            if not self._over and self._run_segment() and not self._over:
                self._sample_fitting()

    @property
    def _over(self) -> bool:
        return self.finished or self.reader_left

    # The parts of an answer

    def _append_forced(self) -> None:
        """Append the tokens that the grammar leaves no alternative to."""
        if self._matcher is None:
            return
        for token in self._matcher.compute_ff_tokens():
            if self._over or token in self._view.ends or not self._fits(token):
                return
            self._append(token, self._scored(token))

    def _run_segment(self) -> bool:
        """Sample freely until the answer ends or `_sample_fitting` must be called (True)."""
        segment = _Segment()
        body = self._next_body(self._limit - self._sampled + TokenReader.TAIL)
        body |= {"stream": True, "timings_per_token": True, "return_progress": True}
        self._server.complete(orjson.dumps(body), partial(self._receive, segment), self._tick)
        if segment.failure is not None:
            raise segment.failure
        if segment.is_ended:
            self._end()
        for token, entry in segment.unscored:
            if self._over or not self._fits(token):
                return True
            self._append(token, self._reported(entry, token) or self._scored(token))
        if not (segment.is_stuck or segment.unscored or segment.is_recounted or self._over):
            raise failure_of("it ended its answer too early")
        return segment.is_stuck

    def _receive(self, segment: _Segment, data: bytes) -> bool:
        """Handle a chunk of a segment; True ends the segment."""
        chunk = chunk_of(data)
        if "error" in chunk:
            segment.failure = to_api_error(chunk["error"], "prompt")
            return True
        if "prompt_progress" in chunk:
            return self._tick()
        new, segment.seen = chunk["tokens_predicted"] - segment.seen, chunk["tokens_predicted"]
        if self._prompt is not None and self._segments == 1:
            self._prompt = PromptUsage(self._prompt.tokens, chunk["timings"]["cache_n"])
        silent, segment.silent = segment.silent, None
        if chunk["stop"] and chunk["stop_type"] == "eos":
            segment.is_stuck = self._matcher is not None and not self._matcher.is_accepting()
            if new > 1:  # it follows part of a character: sample it again, alone
                segment.is_stuck = True
            elif not segment.is_stuck:
                self._uncounted += new + (silent is not None)
                segment.is_ended = silent is None
                if silent is not None:
                    self._finish("stop", self._reported(silent[1], silent[0]))
            return True
        if silent is not None and self._accept(segment, silent):
            return True
        if chunk["stop"]:
            hidden = min(new, self._limit - self._sampled)
            self._uncounted += hidden
            self._finish("length", cut=CUT if hidden else "")
            return True
        return self._accept_all(segment, chunk, new)

    def _accept_all(self, segment: _Segment, chunk: dict[str, Any], new: int) -> bool:
        """Handle the tokens of a chunk: one, and those before it that form a character with it."""
        entry = next(iter(chunk.get("completion_probabilities") or ()), None)
        token = chunk["tokens"][-1]
        spelled = self._view.vocabulary.tokens[token]
        if new > 1:
            text = bytes(entry["bytes"]) if entry else chunk["content"].encode()
            hidden = self._view.vocabulary.spell(text.removesuffix(spelled), new - 1)
            if hidden is None:  # not a character: sample it again, alone
                segment.is_stuck = True
                return True
            if self._request.logprobs is not None:
                segment.unscored = [*((each, None) for each in hidden), (token, entry)]
                return True
            if any(self._accept(segment, (each, None)) for each in hidden):
                return True
        if not spelled or token in self._view.ends:
            segment.silent = token, entry
            return False
        return self._accept(segment, (token, entry))

    def _accept(self, segment: _Segment, sampled: tuple[int, dict[str, Any] | None]) -> bool:
        """Append a token if it fits; True ends the segment."""
        token, entry = sampled
        segment.is_stuck = not self._fits(token)
        if not segment.is_stuck:
            self._append(token, self._reported(entry, token))
            segment.is_recounted = self._is_recounted
        return segment.is_stuck or segment.is_recounted or self._over

    def _sample_fitting(self) -> None:
        """Sample one token among those that fit."""
        body = self._next_body(1) | {"return_tokens": True}
        if self._matcher is not None:
            allowed = self._allowed()
            if set(allowed.tolist()) <= self._view.ends:
                self._finish("stop")
                return
            body["logit_bias"] = self._bias_to(allowed, body["logit_bias"])
        answer = collect(partial(self._complete, orjson.dumps(body)))
        if self.reader_left:
            return
        if "error" in answer:
            raise to_api_error(answer["error"], "prompt")
        token = next(iter(answer.get("tokens") or ()), None)
        if answer["stop_type"] == "eos":
            self._uncounted += 1
            self._end()
        elif token is None or not self._fits(token):
            raise too_complex()
        else:
            entry = next(iter(answer.get("completion_probabilities") or ()), None)
            self._append(token, self._reported(entry, token) or self._scored(token))

    # Helpers

    def _complete(self, body: bytes, receive: Callable[[bytes], bool]) -> None:
        self._server.complete(body, receive, self._tick)

    def _next_body(self, tokens: int) -> dict[str, Any]:
        """The server's request for `tokens` more tokens."""
        segment, self._segments = self._segments, self._segments + 1
        logprobs = self._request.logprobs
        bias = self._body["logit_bias"]
        if self._counts is not None:
            bias = _merge_biases(bias, self._counts.bias())
        return self._body | {
            "prompt": self._tokens,
            "logit_bias": bias,
            "n_predict": tokens,
            "seed": continuation_seed(self._body.get("seed", RANDOM_SEED), segment),
            "cache_prompt": segment > 0 or self._body["cache_prompt"],
            # 0 would report no tokens; unrequested alternatives are dropped later.
            "n_probs": 0 if logprobs is None else max(1, logprobs),
        }

    def _tick(self) -> bool:
        self.reader_left = self.reader_left or self._emit(None)
        return self.reader_left

    def _fits(self, token: int) -> bool:
        return self._matcher is None or self._matcher.try_consume_tokens([token]) == 1

    def _allowed(self) -> Any:
        """The tokens that fit."""
        assert self._matcher is not None
        mask = self._matcher.compute_bitmask()
        if self._matcher.is_error():
            raise too_complex()
        bits = np.unpackbits(np.frombuffer(mask, np.uint8), bitorder="little")
        return np.flatnonzero(bits[: len(self._view.vocabulary.tokens)])

    def _bias_to(self, allowed: Any, wanted: Sequence[Sequence[Any]]) -> list[list[Any]]:
        """A `logit_bias` that allows only these tokens, as the shorter of two lists; the request's own biases
        apply among them."""
        size = len(self._view.vocabulary.tokens)
        biases = {int(token): bias for token, bias in wanted}
        if len(allowed) <= size // 2:
            fitting: dict[int, Any] = {}
            for token in allowed.tolist():
                bias = biases.get(token, 0.0)
                fitting[token] = False if bias is False else RAISING_BIAS + bias
            return [[token, bias] for token, bias in fitting.items()]
        forbidden = np.setdiff1d(np.arange(size), allowed).tolist()
        return [[t, b] for t, b in (biases | dict.fromkeys(forbidden, False)).items()]

    def _scored(self, token: int) -> TokenLogprob | None:
        """Query a token's log-probability at this position, if log-probabilities were requested."""
        alternatives = self._request.logprobs
        if alternatives is None:
            return None
        vocabulary = self._view.vocabulary
        place = {"id_slot": self._body["id_slot"]} if "id_slot" in self._body else {}
        found = score_token(self._complete, vocabulary, self._tokens, token, alternatives, place)
        return replace(found, bytes=self._text.spelling_of(token))

    def _end(self) -> None:
        """Finish with an end token that the server did not report: the likeliest one."""
        scored = [one for end in sorted(self._view.ends) if (one := self._scored(end))]
        self._finish("stop", max(scored, key=lambda one: one.logprob or 0.0, default=None))

    def _reported(self, entry: dict[str, Any] | None, token: int) -> TokenLogprob | None:
        alternatives = self._request.logprobs
        if alternatives is None or entry is None or entry["id"] != token:
            return None
        spelled = self._text.spelling_of(token)
        return token_logprob(entry, spelled, alternatives, self._view.vocabulary)

    def _append(self, token: int, logprob: TokenLogprob | None) -> None:
        """Append a token that fits to the answer."""
        self._tokens.append(token)
        self._is_recounted = self._counts is not None and self._counts.sampled([token])
        self._sampled += 1
        self._uncounted += 1
        finish: Finish | None = None
        if self._sampled >= self._limit:
            finish = "length"
        elif self._matcher is not None and self._matcher.is_stopped():
            finish = "stop"
        self._emit_text(*self._text.add(token, logprob, last=finish is not None), finish)

    def _finish(self, finish: Finish, end: TokenLogprob | None = None, cut: str = "") -> None:
        text, logprobs = self._text.add(None, end, last=True)
        self._emit_text(text + cut, logprobs, finish)

    def _emit_text(
        self, text: str, logprobs: tuple[TokenLogprob, ...], finish: Finish | None
    ) -> None:
        counted, self._uncounted = self._uncounted, 0
        self.finished = finish is not None
        piece = Piece(text, tokens=counted, prompt=self._prompt, finish=finish, logprobs=logprobs)
        self.reader_left = self._emit(piece)
        self._prompt = None


@dataclass(slots=True)
class _Segment:
    """The state of a request to the server while its chunks arrive."""

    seen: int = 0
    """Tokens so far."""
    silent: tuple[int, dict[str, Any] | None] | None = None
    """The last token, if it has no text: it may turn out to be the end."""
    unscored: list[tuple[int, dict[str, Any] | None]] = field(default_factory=list)
    """The last tokens, some without log-probabilities."""
    is_stuck: bool = False
    """Whether the last token does not fit."""
    is_ended: bool = False
    """Whether the answer ended with an end token that was not reported."""
    is_recounted: bool = False
    """Whether the last token changed the bias, so that the next segment begins here."""
    failure: BaseException | None = None


def _merge_biases(
    wanted: Sequence[Sequence[Any]], further: Sequence[tuple[int, float]]
) -> list[Any]:
    """Add up two lists of biases, with each token once; False bans."""
    found = {int(token): bias for token, bias in wanted}
    for token, bias in further:
        if found.get(token) is not False:
            found[token] = found.get(token, 0.0) + bias
    return [[token, bias] for token, bias in found.items()]
