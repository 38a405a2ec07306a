"""Our part in one generation of a Transformers model: what it may sample, and what it sampled.

It is called from inside of `model.generate`, in whatever thread that runs, twice for each token: as a
logits processor before one is sampled, and as a stopping criterion after it. Arrays are NumPy's or
torch's; only operations that both have are used on them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from llguidance import LLMatcher

from ..callback_bridge import Emit
from ..failures import too_complex
from ..protocol import BAN, Finish, GenerateRequest, Piece, PromptUsage, TokenLogprob
from ..tokens.token_text import TokenText
from ..tokens.tokenizer_view import TokenizerView
from ..tokens.vocabulary import Vocabulary
from .patching import wrap_once

PENALTIES = ("frequency_penalty", "presence_penalty")


def take_over_penalties(state: dict[str, Any]) -> None:
    """A host counts the prompt as well as what was sampled: `Constraint` penalises in its place."""
    state.update({name: 0.0 for name in PENALTIES if name in state})


class Constraint:
    """What a request lets a model sample, and OpenAI's penalties (see penalties.py). Not thread-safe."""

    def __init__(self, request: GenerateRequest, words: TokenizerView, *, endless: bool) -> None:
        """`endless`: never an end token."""
        self._bias = request.logit_bias
        self._ends = words.ends
        self._banned = sorted(words.ends) if endless else []
        self._frequency, self._presence = (
            float(request.sampling.get(name) or 0) for name in PENALTIES
        )
        self._counts: Counter[int] = Counter()
        self._matcher: LLMatcher | None = None
        if request.grammar is not None:
            assert words.matching is not None
            self._matcher = LLMatcher(words.matching, request.grammar, log_level=0)

    def __bool__(self) -> bool:
        penalised = self._frequency or self._presence
        return bool(self._matcher or self._bias or self._banned or penalised)

    def apply(self, scores: Any) -> Any:
        """The scores (1 x vocabulary) of the next token, changed. Raises EngineFailed at a grammar that is
        too large."""
        scores = scores + 0  # a new array: the model may still need its own
        for token, bias in self._bias:
            if bias <= BAN:
                scores[0, token] = -np.inf
            else:
                scores[0, token] += bias
        if self._counts:
            lowered = [self._frequency * n + self._presence for n in self._counts.values()]
            scores[0, list(self._counts)] -= _like(scores, lowered)
        if self._banned:
            scores[0, self._banned] = -np.inf
        if self._matcher is not None:
            scores[0, self._forbidden(self._matcher, scores.shape[-1])] = -np.inf
        return scores

    def _forbidden(self, matcher: LLMatcher, width: int) -> Any:
        """The tokens that the grammar has no place for."""
        mask = matcher.compute_bitmask()
        if matcher.is_error():
            raise too_complex()
        allowed = np.unpackbits(np.frombuffer(mask, np.uint8), bitorder="little")
        if len(allowed) < width:
            allowed = np.concatenate([allowed, np.zeros(width - len(allowed), np.uint8)])
        return np.flatnonzero(allowed[:width] == 0)

    def accept(self, token: int) -> None:
        """Told each token that was sampled."""
        if self._frequency or self._presence:
            self._counts[token] += 1
        if self._matcher is not None and token not in self._ends:
            self._matcher.consume_token(token)


class Answer:
    """From the tokens that a model samples to the pieces of its answer. Not thread-safe."""

    def __init__(
        self,
        request: GenerateRequest,
        words: TokenizerView,
        limit: int,
        emit: Emit[Piece | None],
        *,
        skip_special: bool,
    ) -> None:
        """`limit`: the most tokens to sample."""
        self._words = words
        self.limit = limit
        """The most tokens to sample; an extension may still change it."""
        self._emit = emit
        self._alternatives = request.logprobs
        self._text = TokenText(words, request.marks, skip_special=skip_special)
        self._prompt: PromptUsage | None = None
        self.sampled = 0
        """Tokens so far."""
        self.begun = False
        """Whether the model was asked at all."""
        self.finished = False
        """Whether the answer's last piece was emitted."""
        self.left = False
        """Whether the reader has left."""
        self.error: BaseException | None = None
        """What ended the generation before its time."""
        self.dropped = False
        """Whether an extension has ended it so."""

    def begin(self, prompt_tokens: int) -> bool:
        """Told once, with the length of the prompt as the model reads it; whether to go on."""
        self.begun = True
        self._prompt = PromptUsage(prompt_tokens)
        return self.wait()

    def wait(self) -> bool:
        """Told when there is nothing yet; whether to go on."""
        self.left = self._emit(None)
        return not self.left

    def add(self, token: int, raw: Any) -> bool:
        """Told each token with the logits of its place, if they are asked for; whether to go on."""
        self.sampled += 1
        finish: Finish | None = None
        if token in self._words.ends:
            finish = "stop"
        elif self.sampled >= self.limit:
            finish = "length"
        text, logprobs = self._text.add(token, self._told(token, raw), last=finish is not None)
        self.finished = finish is not None
        self.left = self._emit(
            Piece(text, tokens=1, prompt=self._prompt, finish=finish, logprobs=logprobs)
        )
        self._prompt = None
        return not (self.finished or self.left)

    def _told(self, token: int, raw: Any) -> TokenLogprob | None:
        if self._alternatives is None or raw is None:
            return None
        said = self._text.said_by(token)
        return judged(raw, token, said, self._alternatives, self._words.vocabulary)


class SamplingSession(Answer):
    """One generation, each of its steps constrained. `model.generate` calls it from one thread."""

    def __init__(
        self,
        request: GenerateRequest,
        words: TokenizerView,
        limit: int,
        emit: Emit[Piece | None],
        *,
        endless: bool,
        skip_special: bool,
    ) -> None:
        """`endless`: never sample an end token."""
        super().__init__(request, words, limit, emit, skip_special=skip_special)
        self._constraint = Constraint(request, words, endless=endless)
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
        """Told the tokens so far (prompt and answer); whether the answer is over."""
        if self.finished or self.left:
            return True
        new = [int(token) for token in tokens[self._seen :]]
        self._seen += len(new)
        return any(self.take(token) for token in new)

    def take(self, token: int) -> bool:
        """Told a token that was sampled; whether the answer is over."""
        self._constraint.accept(token)
        raw, self._raw = self._raw, None
        return not self.add(token, raw)


def judged(
    raw: Any, token: int, said: bytes, alternatives: int, vocabulary: Vocabulary
) -> TokenLogprob:
    """How likely a token was, by the logits of its place, and which ones were the likeliest."""
    size = min(len(raw), len(vocabulary.tokens))
    shifted = raw[:size] - raw[:size].max()
    logprobs = shifted - np.log(np.exp(shifted).sum())
    best: Sequence[int] = ()
    if alternatives:
        near = np.argpartition(-logprobs, min(alternatives, size - 1))[:alternatives]
        best = near[np.argsort(-logprobs[near], kind="stable")].tolist()
    top = tuple(vocabulary.likely(id, float(logprobs[id])) for id in best)
    return TokenLogprob(said, float(logprobs[token]), top, token)


def to_numpy(array: Any) -> Any:
    """A NumPy array of what may be a torch tensor on any device."""
    if hasattr(array, "detach"):
        array = array.detach().float().cpu().numpy()
    return np.asarray(array)


def _like(array: Any, values: Sequence[float]) -> Any:
    """Numbers in the form of another array's, on its device."""
    if hasattr(array, "new_tensor"):
        return array.new_tensor(values)
    return np.array(values, dtype=array.dtype)


def as_inputs(tokens: Sequence[int], like: Any) -> Any:
    """Token ids in the form (1 x length) of another array, on its device."""
    if hasattr(like, "new_tensor"):
        return like.new_tensor([list(tokens)])
    return np.array([list(tokens)], dtype=np.asarray(like).dtype)


class Processor:
    """As `model.generate` wants its logits processors."""

    def __init__(self, steps: SamplingSession) -> None:
        self._steps = steps

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        return self._steps.process(scores)


class Criterion:
    """As `model.generate` wants its stopping criteria."""

    def __init__(self, steps: SamplingSession, listeners: Sequence[Any] = ()) -> None:
        """`listeners`: criteria of the host that are told each token behind us."""
        self._steps = steps
        self._listeners = listeners

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> bool:
        over = self._steps.sample(input_ids[0])
        for listener in self._listeners:
            try:
                listener(input_ids, scores)
            except Exception:  # the host no longer reads
                self._steps.dropped = not over
                raise
        return over


@dataclass(frozen=True, slots=True)
class Part:
    """What takes part in a call of `model.generate` that belongs to a request of ours."""

    steps: SamplingSession
    prompt: tuple[int, ...]
    """The prompt's exact tokens, where the host may make others of its text."""
    expected: tuple[int, ...]
    """What the host makes of it, unless an extension changes it."""
    is_heard: bool = False
    """Whether an extension reads what the host makes of the answer."""


class RequestTag:
    """What carries our part, through the copies that a host makes of its state: so the call is recognised in
    whatever thread and by whatever way a host makes it. Here it is a number, of one of two kinds, as an
    extension may set one of them again."""

    part: Any

    def __deepcopy__(self, memo: dict[int, Any]) -> RequestTag:
        return self


class TaggedInt(RequestTag, int):
    """The `max_new_tokens` of a request."""


class TaggedFloat(RequestTag, float):
    """The `typical_p` of a request."""


THEIRS = ("Stream", "_StopEverythingStoppingCriteria")
"""Criteria by which the host streams to its page and stops everything: not ours."""


def attach(model: Any) -> None:
    """Let our requests take part in a model's `generate`; others are passed on as they are.

    A host makes this call itself, under its own lock, and in no version is there another way in that
    sees each token. Safe to call again.
    """
    wrap_once(model, "generate", partial(_taking_steps, model))


def _taking_steps(model: Any, before: Any) -> Any:
    def generate(*args: Any, **options: Any) -> Any:
        part = next((each.part for each in options.values() if isinstance(each, RequestTag)), None)
        if part is None or part.steps.begun:  # begun: by the model around this one, a LoRA's
            return before(*args, **options)
        steps = part.steps
        steps.limit = int(options["max_new_tokens"])
        inputs = options["inputs"]
        if tuple(to_numpy(inputs[0]).tolist()) == part.expected != part.prompt:
            inputs = options["inputs"] = as_inputs(part.prompt, inputs)
        if not steps.begin(inputs.shape[-1]):
            return inputs
        # ExLlamav3_HF puts the last token one place too far where it remembers the whole prompt.
        known = getattr(model, "past_seq", None)
        if known is not None and len(known) >= inputs.shape[-1]:
            model.past_seq = known[: inputs.shape[-1] - 1]
        criteria = options.get("stopping_criteria") or []
        kept = [each for each in criteria if type(each).__name__ not in THEIRS]
        streams = [each for each in criteria if type(each).__name__ == "Stream"]
        ours = Criterion(steps, streams if part.is_heard else ())
        options["stopping_criteria"] = type(criteria)([*kept, ours])
        processors = options.get("logits_processor") or []
        # Ours first: log-probabilities are told as they are before any sampler.
        options["logits_processor"] = type(processors)([Processor(steps), *processors])
        # Some versions do not ask further criteria once the length is reached, so ours decides.
        options["max_new_tokens"] = steps.limit + 1
        try:
            output = before(*args, **options)
        except BaseException as error:
            steps.error = error
            raise
        if not part.is_heard:
            for each in streams:  # the host counts by it what it logs
                each(output, None)
        return output

    return generate
