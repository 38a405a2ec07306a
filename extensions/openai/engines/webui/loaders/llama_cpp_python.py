"""The llama.cpp loader that webuis had until spring 2025: llama-cpp-python, in their process.

The host's class makes up the sampler's parameters and calls `Llama.create_completion`; in our requests that
call is answered by `Llama.generate`, which yields tokens, with a logits processor of this server's.
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
from ..sampling.constraint import take_over_penalties
from ..sampling.logprobs import logprob_of
from ..sampling.request_tag import TaggedInt
from ..sampling.session import SamplingSession
from ..tokenizers import text_view, view_of_file
from .base import LoaderJob, TokenAdapter

NOT_SAMPLERS = ("prompt", "max_tokens", "stream", "seed", "temperature", "logits_processor")
"""What a completion is asked for with besides parameters that `Llama.generate` takes, too."""


class LlamaCppPythonAdapter(TokenAdapter):
    """`LlamaCppModel`, as the host calls its class; its `model` is the library's."""

    model_class = "LlamaCppModel"
    exact = True

    def capabilities(self, view: TokenizerView) -> tuple[Capability, ...]:
        return () if view.matching is None else super().capabilities(view)

    def view(self, loaded: Loaded) -> TokenizerView:
        llama = loaded.model.model
        plain = partial(_tokens, weakref.ref(llama))  # a view outlives the model
        return view_of_file(Path(llama.model_path), plain) or text_view(loaded)

    def encode(self, loaded: Loaded, text: str) -> tuple[int, ...]:
        # The host's own function reads special tokens as text, unlike where it generates.
        return tuple(loaded.model.model.tokenize(text.encode(), special=True))

    def attach(self, loaded: Loaded, job: LoaderJob, state: dict[str, Any]) -> SamplingSession:
        session = job.session()
        most = TaggedInt(job.limit)
        # What the host makes of the prompt, unless an extension changes it.
        plain = job.heard and loaded.model.decode(loaded.model.encode(job.text))
        most.part = partial(_run, session, job, plain)
        state.update(max_new_tokens=most)
        take_over_penalties(state)
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
            llama.eval([token])  # one by one: it keeps the logits of the last one only


def _run(
    session: SamplingSession, job: LoaderJob, plain: str | None, llama: Any, options: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """Answer one of this server's requests; what is yielded is for the host's log, or for an extension."""
    prompt = options.get("prompt")
    if plain is not None and isinstance(prompt, str) and prompt not in (plain, job.text):
        tokens = tuple(llama.tokenize(prompt.encode(), special=True))
        job = replace(job, text=prompt, tokens=tokens)
    if session.begin(len(job.tokens)):
        shown = 0
        try:
            for _ in _sample(session, job, llama, options):
                new = job.heard()[shown:] if job.heard is not None else ""
                if new:
                    shown += len(new)
                    yield {"choices": [{"text": new}]}
        except GeneratorExit:
            session.dropped = not session.finished
            raise
        except Exception as error:  # the host would write it to its log, and go on
            session.error = error
            return
        if job.heard is not None:
            return
    # Once, when all is over: after each text the host looks whether its UI wants everything stopped.
    yield {"choices": [{"text": ""}]}


def _sample(
    session: SamplingSession, job: LoaderJob, llama: Any, options: dict[str, Any]
) -> Iterator[None]:
    """Yields behind each token."""
    theirs = options.get("logits_processor") or []
    session.limit = int(options["max_tokens"])

    def process(ids: Any, scores: Any) -> Any:
        scores = session.process(scores[None])[0]
        for processor in theirs:
            scores = processor(ids, scores)
        return scores

    if options.get("seed") is not None:
        llama.set_seed(options["seed"])
    if job.request.seed is not None:  # read out of the cache, a prompt's rounding differs
        llama.reset()
    plain = {name: value for name, value in options.items() if name not in NOT_SAMPLERS}
    sampled = llama.generate(
        list(job.tokens), temp=options["temperature"], logits_processor=process, **plain
    )
    with closing(sampled):
        for token in sampled:
            over = session.take(int(token))
            yield
            if over:
                return


def wrap_class(kind: Any) -> None:
    """Let our requests take part in what the library's models are asked for; others are passed on as they
    are. Safe to call again."""
    wrap_once(kind, "create_completion", _taking_part)


def _taking_part(before: Any) -> Any:
    def create_completion(llama: Any, *args: Any, **options: Any) -> Any:
        most = options.get("max_tokens")
        # More than one answer to a request is an extension's own affair.
        if not isinstance(most, TaggedInt) or most.part.args[0].begun:
            return before(llama, *args, **options)
        return most.part(llama, options)

    return create_completion


def _tokens(llama: weakref.ref[Any], text: str) -> list[int]:
    """A text's tokens, with no special ones; none once the model is gone."""
    loaded = llama()
    return [] if loaded is None else list(loaded.tokenize(text.encode(), add_bos=False))
