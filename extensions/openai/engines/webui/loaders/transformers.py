"""Models that have Transformers' `generate` and sample token by token, through `model.generate`.

A logits processor records log-probabilities and applies what the request constrains, and a stopping criterion
gets each token (`sampling/session.py`).
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ...protocol import TokenLogprob
from ...tokens.tokenizer_view import TokenizerView
from ..host import Loaded, host_module
from ..patching import wrap_once
from ..sampling.arrays import as_inputs, to_numpy
from ..sampling.constraint import take_over_penalties
from ..sampling.logprobs import logprob_of
from ..sampling.request_tag import TaggedFloat, TaggedInt, tagged
from ..sampling.session import SamplingSession
from .base import LoaderJob, TokenAdapter


class TransformersAdapter(TokenAdapter):
    """Transformers, and any other loader whose model has its `generate`."""

    exact = False

    def fits(self, model: Any) -> bool:
        return True

    def attach(self, loaded: Loaded, job: LoaderJob, state: dict[str, Any]) -> SamplingSession:
        session = job.session()
        most, share = TaggedInt(job.limit), TaggedFloat(state["typical_p"])
        heard = job.heard is not None
        most.part = share.part = _Call(session, job.tokens, job.encode(job.text), heard)
        state.update(max_new_tokens=most, typical_p=share, ban_eos_token=False)
        take_over_penalties(state)
        wrap_generate(loaded.model)
        return session

    def scores(
        self, loaded: Loaded, view: TokenizerView, tokens: Sequence[int], alternatives: int
    ) -> Iterator[TokenLogprob]:
        inputs = as_inputs(tokens, host_module("text_generation").encode("a"))
        with _no_gradients(inputs):
            own = getattr(loaded.model, "get_prompt_logits", None)
            logits = self._logits(loaded.model, inputs) if own is None else own(inputs)
        logits = to_numpy(logits[0]).astype(np.float64)
        for at, token in enumerate(tokens):
            text = view.vocabulary.name(token)
            if at == 0:
                yield TokenLogprob(text, None, id=token)
            else:
                yield logprob_of(logits[at - 1], token, text, alternatives, view.vocabulary)

    def _logits(self, model: Any, inputs: Any) -> Any:
        """The logits behind each token of a prompt (1 x length x vocabulary)."""
        return model(inputs).logits


@contextmanager
def _no_gradients(inputs: Any) -> Iterator[None]:
    if not hasattr(inputs, "new_tensor"):
        yield
        return
    with importlib.import_module("torch").no_grad():
        yield


class _Processor:
    """As `model.generate` wants its logits processors."""

    def __init__(self, session: SamplingSession) -> None:
        self._session = session

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        return self._session.process(scores)


class _Criterion:
    """As `model.generate` wants its stopping criteria."""

    def __init__(self, session: SamplingSession, listeners: Sequence[Any] = ()) -> None:
        """`listeners`: criteria of the host that get each token after us."""
        self._session = session
        self._listeners = listeners

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> bool:
        over = self._session.sample(input_ids[0])
        for listener in self._listeners:
            try:
                listener(input_ids, scores)
            except Exception:  # the host no longer reads
                self._session.dropped = not over
                raise
        return over


@dataclass(frozen=True, slots=True)
class _Call:
    """What our request is in the call of `model.generate` that the host makes of it."""

    session: SamplingSession
    prompt: tuple[int, ...]
    """The prompt's exact tokens, where the host may make others of its text."""
    expected: tuple[int, ...]
    """What the host makes of it, unless an extension changes it."""
    is_heard: bool = False
    """Whether an extension reads what the host makes of the answer."""


HOST_CRITERIA = ("Stream", "_StopEverythingStoppingCriteria")
"""Criteria by which the host streams to its UI and stops everything: left out of our calls."""


def wrap_generate(model: Any) -> None:
    """Let our requests take part in a model's `generate`; others are passed on as they are.

    A host makes this call itself, under its own lock, and in no version is there another way in that
    sees each token. Safe to call again.
    """
    wrap_once(model, "generate", partial(_taking_steps, model))


def _taking_steps(model: Any, before: Any) -> Any:
    def generate(*args: Any, **options: Any) -> Any:
        call = tagged(options)
        if call is None or call.session.begun:  # begun: by the model around this one, a LoRA's
            return before(*args, **options)
        session = call.session
        session.limit = int(options["max_new_tokens"])
        inputs = options["inputs"]
        if tuple(to_numpy(inputs[0]).tolist()) == call.expected != call.prompt:
            inputs = options["inputs"] = as_inputs(call.prompt, inputs)
        if not session.begin(inputs.shape[-1]):
            return inputs
        # ExLlamav3_HF puts the last token one place too far where it remembers the whole prompt.
        known = getattr(model, "past_seq", None)
        if known is not None and len(known) >= inputs.shape[-1]:
            model.past_seq = known[: inputs.shape[-1] - 1]
        criteria = options.get("stopping_criteria") or []
        kept = [each for each in criteria if type(each).__name__ not in HOST_CRITERIA]
        streams = [each for each in criteria if type(each).__name__ == "Stream"]
        ours = _Criterion(session, streams if call.is_heard else ())
        options["stopping_criteria"] = type(criteria)([*kept, ours])
        processors = options.get("logits_processor") or []
        # Ours first: log-probabilities are reported as they are before any sampler.
        options["logits_processor"] = type(processors)([_Processor(session), *processors])
        # Some versions do not ask further criteria once the length is reached, so ours decides.
        options["max_new_tokens"] = session.limit + 1
        try:
            output = before(*args, **options)
        except BaseException as error:
            session.error = error
            raise
        if not call.is_heard:
            for each in streams:  # the host counts by it what it logs
                each(output, None)
        return output

    return generate
