"""The llama.cpp loader that webuis had until spring 2025: llama-cpp-python, in their process.

The host's class collects the sampler's parameters and calls `Llama.create_completion`. For our requests, we
answer that call with `Llama.generate`, which yields tokens, and our logits processor.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ...protocol import Capability, TokenLogprob
from ...tokens.tokenizer_view import TokenizerView
from ..host import Loaded
from ..patching import wrap_once
from ..sampling.constraint import disable_penalties
from ..sampling.logprobs import logprob_of
from ..sampling.request_tag import TaggedInt
from ..sampling.session import SamplingSession
from ..tokenizers import text_view, view_of_file
from .base import LoaderJob, TokenAdapter

NOT_SAMPLERS = ("prompt", "max_tokens", "stream", "seed", "temperature", "logits_processor")
"""Parameters of `create_completion` that are not passed on to `Llama.generate`."""


class LlamaCppPythonAdapter(TokenAdapter):
    """The host's class `LlamaCppModel`; its `model` is the library's."""

    model_class = "LlamaCppModel"
    exact = True

    def capabilities(self, view: TokenizerView) -> tuple[Capability, ...]:
        return () if view.matching is None else super().capabilities(view)

    def view(self, loaded: Loaded) -> TokenizerView:
        llama = loaded.model.model
        plain = partial(_tokens, weakref.ref(llama))  # a view outlives the model
        return view_of_file(Path(llama.model_path), plain) or text_view(loaded)

    def encode(self, loaded: Loaded, text: str) -> tuple[int, ...]:
        # The host's own function reads special tokens as text, unlike its generator.
        return tuple(loaded.model.model.tokenize(text.encode(), special=True))

    def attach(self, loaded: Loaded, job: LoaderJob, state: dict[str, Any]) -> SamplingSession:
        session = job.session()
        limit = TaggedInt(job.limit)
        # The prompt as the host changes it, to detect whether an extension changed it.
        expected = job.text_so_far and loaded.model.decode(loaded.model.encode(job.text))
        limit.payload = partial(_run, session, job, expected)
        state.update(max_new_tokens=limit)
        disable_penalties(state)
        wrap_class(type(loaded.model.model))
        return session

    def scores(
        self, loaded: Loaded, view: TokenizerView, tokens: Sequence[int], alternatives: int
    ) -> Iterator[TokenLogprob]:
        llama = loaded.model.model
        llama.reset()
        for at, token in enumerate(tokens):
            text = view.vocabulary.name(token)
            if at == 0:
                yield TokenLogprob(text, None, id=token)
            else:
                raw = np.array(llama.scores[llama.n_tokens - 1], dtype=np.float64)
                yield logprob_of(raw, token, text, alternatives, view.vocabulary)
            llama.eval([token])  # one by one: it keeps only the last token's logits


def _run(
    session: SamplingSession,
    job: LoaderJob,
    expected: str | None,
    llama: Any,
    options: dict[str, Any],
) -> Iterator[dict[str, Any]]:
    """Answer one of our requests; what is yielded is for the host's log, or for an extension."""
    prompt = options.get("prompt")
    if expected is not None and isinstance(prompt, str) and prompt not in (expected, job.text):
        tokens = tuple(llama.tokenize(prompt.encode(), special=True))
        job = replace(job, text=prompt, tokens=tokens)
    if session.begin(len(job.tokens)):
        shown = 0
        try:
            for _ in _sample(session, job, llama, options):
                new = job.text_so_far()[shown:] if job.text_so_far is not None else ""
                if new:
                    shown += len(new)
                    yield {"choices": [{"text": new}]}
        except GeneratorExit:
            session.aborted_by_extension = not session.finished
            raise
        except Exception as error:  # the host would only log it
            session.error = error
            return
        if job.text_so_far is not None:
            return
    # Only once, at the end: after each text the host checks whether its UI stopped everything.
    yield {"choices": [{"text": ""}]}


def _sample(
    session: SamplingSession, job: LoaderJob, llama: Any, options: dict[str, Any]
) -> Iterator[None]:
    """Yields after each token."""
    host_processors = options.get("logits_processor") or []
    session.limit = int(options["max_tokens"])

    def process(ids: Any, scores: Any) -> Any:
        scores = session.process(scores[None])[0]
        for processor in host_processors:
            scores = processor(ids, scores)
        return scores

    if options.get("seed") is not None:
        llama.set_seed(options["seed"])
    if job.request.seed is not None:  # a cached prompt rounds differently
        llama.reset()
    samplers = {name: value for name, value in options.items() if name not in NOT_SAMPLERS}
    sampled = llama.generate(
        list(job.tokens), temp=options["temperature"], logits_processor=process, **samplers
    )
    with closing(sampled):
        for token in sampled:
            is_over = session.accept(int(token))
            yield
            if is_over:
                return


def wrap_class(kind: Any) -> None:
    """Answer our requests to the library's model class; pass all others through. Safe to call again."""
    wrap_once(kind, "create_completion", _wrap_completion)


def _wrap_completion(original: Any) -> Any:
    def create_completion(llama: Any, *args: Any, **options: Any) -> Any:
        limit = options.get("max_tokens")
        # Already started: an extension generates more than one answer.
        if not isinstance(limit, TaggedInt) or limit.payload.args[0].started:
            return original(llama, *args, **options)
        return limit.payload(llama, options)

    return create_completion


def _tokens(llama: weakref.ref[Any], text: str) -> list[int]:
    """A text's tokens, without special ones; empty once the model is freed."""
    loaded = llama()
    return [] if loaded is None else list(loaded.tokenize(text.encode(), add_bos=False))
