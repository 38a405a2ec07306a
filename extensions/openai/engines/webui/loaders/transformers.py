"""Models with Transformers' `generate`, which samples token by token.

A logits processor records log-probabilities and applies the request's constraints, and a stopping criterion
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
from ..sampling.constraint import disable_penalties
from ..sampling.logprobs import logprob_of
from ..sampling.request_tag import TaggedFloat, TaggedInt, tagged
from ..sampling.session import SamplingSession
from .base import LoaderJob, TokenAdapter


class TransformersAdapter(TokenAdapter):
    """Transformers, and any other loader whose model has its `generate`."""

    exact = False
    host_reports_samplers = True

    def fits(self, model: Any) -> bool:
        return True

    def attach(self, loaded: Loaded, job: LoaderJob, state: dict[str, Any]) -> SamplingSession:
        session = job.session()
        limit, typical_p = TaggedInt(job.limit), TaggedFloat(state["typical_p"])
        extension_reads = job.text_so_far is not None
        call = _Call(session, job.tokens, job.encode(job.text), extension_reads)
        limit.payload = typical_p.payload = call
        state.update(max_new_tokens=limit, typical_p=typical_p, ban_eos_token=False)
        disable_penalties(state)
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
        """The logits after each token of a prompt (1 x length x vocabulary)."""
        return model(inputs).logits


@contextmanager
def _no_gradients(inputs: Any) -> Iterator[None]:
    if not hasattr(inputs, "new_tensor"):
        yield
        return
    with importlib.import_module("torch").no_grad():
        yield


class _Processor:
    """A logits processor for `model.generate`."""

    def __init__(self, session: SamplingSession) -> None:
        self._session = session

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        return self._session.process(scores)


class _Criterion:
    """A stopping criterion for `model.generate`."""

    def __init__(self, session: SamplingSession, listeners: Sequence[Any] = ()) -> None:
        """`listeners`: the host's criteria that get each token after us."""
        self._session = session
        self._listeners = listeners

    def __call__(self, input_ids: Any, scores: Any, **_: Any) -> bool:
        is_over = self._session.accept_all(input_ids[0])
        for listener in self._listeners:
            try:
                listener(input_ids, scores)
            except Exception:  # the host no longer reads
                self._session.aborted_by_extension = not is_over
                raise
        return is_over


@dataclass(frozen=True, slots=True)
class _Call:
    """Our request, as carried into the host's call of `model.generate`."""

    session: SamplingSession
    prompt: tuple[int, ...]
    """The prompt's exact tokens; the host may tokenize its text differently."""
    expected: tuple[int, ...]
    """The host's tokens of the prompt, unless an extension changes it."""
    extension_reads: bool = False
    """Whether an extension reads the host's text of the answer."""


HOST_CRITERIA = ("Stream", "_StopEverythingStoppingCriteria")
"""The host's criteria for streaming to its UI and for stopping everything: left out of our calls."""


def wrap_generate(model: Any) -> None:
    """Take part in a model's `generate` for our requests; pass all others through. Safe to call again.

    The host makes this call itself, under its own lock, and no version has another place that sees each
    token.
    """
    wrap_once(model, "generate", partial(_wrap_generate, model))


def _wrap_generate(model: Any, original: Any) -> Any:
    def generate(*args: Any, **options: Any) -> Any:
        call = tagged(options)
        if call is None or call.session.started:  # already started by an outer model, a LoRA's
            return original(*args, **options)
        session = call.session
        session.limit = int(options["max_new_tokens"])
        inputs = options["inputs"]
        if tuple(to_numpy(inputs[0]).tolist()) == call.expected != call.prompt:
            inputs = options["inputs"] = as_inputs(call.prompt, inputs)
        if not session.begin(inputs.shape[-1]):
            return inputs
        # ExLlamav3_HF misplaces the last token by one if the whole prompt is cached.
        cached = getattr(model, "past_seq", None)
        if cached is not None and len(cached) >= inputs.shape[-1]:
            model.past_seq = cached[: inputs.shape[-1] - 1]
        criteria = options.get("stopping_criteria") or []
        kept = [each for each in criteria if type(each).__name__ not in HOST_CRITERIA]
        streams = [each for each in criteria if type(each).__name__ == "Stream"]
        ours = _Criterion(session, streams if call.extension_reads else ())
        options["stopping_criteria"] = type(criteria)([*kept, ours])
        processors = options.get("logits_processor") or []
        # Ours comes first: log-probabilities are reported before any sampler.
        options["logits_processor"] = type(processors)([_Processor(session), *processors])
        # Some versions skip further criteria once the length is reached, so ours must end it first.
        options["max_new_tokens"] = session.limit + 1
        try:
            output = original(*args, **options)
        except BaseException as error:
            session.error = error
            raise
        if not call.extension_reads:
            for each in streams:  # the host counts the tokens with it for its log
                each(output, None)
        return output

    return generate
