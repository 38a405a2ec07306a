"""A webui's ExLlamaV3 loader: we run jobs of its own generator.

The host's `generate_with_streaming` makes a job from a state (samplers, seed) and reads the results as text.
If the state is ours, we take the job over before it runs, with the prompt's exact tokens, a filter for
what may be sampled, and logits in its results. Then we run it ourselves, concurrently with the host's other
jobs if its version allows that.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from functools import partial
from queue import Empty
from typing import Any

import numpy as np

from ....errors import APIError
from ...callback_bridge import TICK_S
from ...failures import failure_of, model_changed, no_job
from ...protocol import Piece, TokenLogprob
from ...tokens.tokenizer_view import TokenizerView
from ..findings import supports_stop_event
from ..host import Loaded, host_module
from ..patching import wrap_once
from ..sampling.arrays import as_inputs, to_numpy
from ..sampling.constraint import Constraint, disable_penalties
from ..sampling.logprobs import logprob_of
from ..sampling.request_tag import TaggedInt, tagged
from ..sampling.token_answer import TokenAnswer
from ..tokenizers import view_of
from .base import LoaderJob, TokenAdapter
from .exllamav3_tokens import AsTransformers, prompt_tokens
from .growing_text import iterate_growing_text

Result = dict[str, Any]
"""The generator's result for a job: `token_ids` (1 x n), `logits` (1 x n x vocabulary), `eos`; and at its end
`held`, what it still held back."""
Results = Generator[Result | None, None, None]


class ExLlamaV3Adapter(TokenAdapter):
    """The host's class `Exllamav3Model`, which drives the generator itself."""

    model_class = "Exllamav3Model"
    exact = True

    def parallel(self, loaded: Loaded) -> int:
        return 8

    def context_limit(self, loaded: Loaded) -> int | None:
        return int(loaded.model.max_tokens) - extra_tokens(loaded.model)

    def view(self, loaded: Loaded) -> TokenizerView:
        tokenizer = AsTransformers(loaded.model.tokenizer)
        return view_of(tokenizer, tokenizer.ends)

    def encode(self, loaded: Loaded, text: str) -> tuple[int, ...]:
        # The host's own function reads special tokens as text, unlike its generator.
        start = bool(host_module("shared").settings.get("add_bos_token", True))
        return tuple(prompt_tokens(loaded.model.tokenizer, text, start=start))

    def attach(self, loaded: Loaded, job: LoaderJob, state: dict[str, Any]) -> ExLlamaV3Generation:
        generation = ExLlamaV3Generation(loaded.model, job)
        limit = TaggedInt(job.limit)
        limit.payload = generation
        state.update(max_new_tokens=limit, ban_eos_token=False)
        if supports_stop_event():  # then the host generates several answers at once
            state["stop_event"] = threading.Event()
        disable_penalties(state)
        wrap_model(loaded.model)
        return generation

    def scores(
        self, loaded: Loaded, view: TokenizerView, tokens: Sequence[int], alternatives: int
    ) -> Iterator[TokenLogprob]:
        model = loaded.model
        like = model.tokenizer.encode("a")
        running = getattr(model, "parallel_generator", None)
        with running.lock if running is not None else nullcontext():
            logits = model.model.forward(
                input_ids=as_inputs(tokens, like), params={"attn_mode": "flash_attn_nc"}
            )
        for at, token in enumerate(tokens):
            text = view.vocabulary.name(token)
            if at == 0:
                yield TokenLogprob(text, None, id=token)
            else:
                raw = to_numpy(logits[0, at - 1]).astype(np.float64)
                yield logprob_of(raw, token, text, alternatives, view.vocabulary)


def extra_tokens(model: Any) -> int:
    """How many tokens to request beyond the limit: ExLlamaV3 may end that many too early, because it counts
    one token, and those that it drafts, in advance."""
    return 1 + int(getattr(model.generator, "num_draft_tokens", 0) or 0)


class ExLlamaV3Generation(TokenAnswer):
    """One of our jobs. Run in the thread that called the host."""

    def __init__(self, model: Any, job: LoaderJob) -> None:
        sampling = job.request.sampling
        skip_special = bool(sampling.get("skip_special_tokens", True))
        super().__init__(
            job.request, job.view, job.limit, self._emit_to_job, skip_special=skip_special
        )
        self._model, self._job = model, job
        self._texts: list[str] = []
        self.has_job = False
        """Whether the host has made its job."""
        endless = bool(sampling.get("ban_eos_token"))
        self._constraint = Constraint(job.request, job.view, endless=endless)

    def _emit_to_job(self, piece: Piece | None) -> bool:
        self._texts.append(piece.text if piece is not None else "")
        return self._job.emit(piece)

    def options(self, options: dict[str, Any]) -> dict[str, Any]:
        """The host's options for the job, adapted to the request."""
        request, view = self._job.request, self._job.view
        inputs = as_inputs(self._job.tokens, options["input_ids"])
        filters = list(options.get("filters") or [])
        if self._constraint:
            tokenizer = self._model.tokenizer
            filters.append(filter_of(self, tokenizer, inputs, self._constraint, view.ends))
        return options | {
            "input_ids": inputs,
            # Some versions end early; we decide where the answer ends.
            "max_new_tokens": self.limit + extra_tokens(self._model),
            "stop_conditions": sorted(view.ends) or None,
            "filters": filters or None,
            "seed": options.get("seed") if request.seed is None else request.seed,
            "return_logits": request.logprobs is not None,
        }

    def run(self, original: Iterator[str], prompt: str) -> Iterator[str]:
        """Run the job that the host's `original` generator makes. Yields the whole text once, at the end: so
        the host cannot stop it, and can log its length. For an extension, yields the text as it grows. An
        extension may have changed the prompt."""
        if prompt != self._job.text:
            self._job = replace(self._job, text=prompt, tokens=self._job.encode(prompt))
        if self._job.text_so_far is None:
            self._run(original)
            yield "".join(self._texts)
            return
        try:
            yield from iterate_growing_text(self._job.text_so_far, partial(self._run, original))
        except GeneratorExit:
            self.aborted_by_extension = not self.finished
            raise

    def _run(
        self, original: Iterator[str], should_stop: Callable[[], bool] = lambda: False
    ) -> None:
        try:
            if not self.begin(len(self._job.tokens)):
                return
            with closing(self._results(_job_made_by(original))) as results:
                for result in results:
                    if not self._add_result(result) or should_stop():
                        return
            if self.error is None:
                raise failure_of("it ended the answer too early")
        except Exception as error:
            self.error = self.error or error

    def _add_result(self, result: Result | None) -> bool:
        """Add a result, or None after a while without one; whether to continue."""
        if self.error is not None:
            return False
        if result is None:
            return self.wait()
        reported = [part for part in (result, result.get("held")) if part and "token_ids" in part]
        for part in reported:
            logits = part.get("logits")
            for at, token in enumerate(part["token_ids"][0].tolist()):
                raw = None if logits is None else to_numpy(logits[0, at]).astype(np.float64)
                if not self.add(token, raw):
                    return False
        return bool(reported) or self.wait()

    def _results(self, job: Any) -> Results:
        """Run a job to its end; yields None after a while without a result. Closing cancels the job."""
        parallel = getattr(self._model, "parallel_generator", None)
        if parallel is None:
            return _run_here(self._model.generator, job)
        return _run_in_host_thread(parallel, job)


def _run_in_host_thread(generator: Any, job: Any) -> Results:
    """In the host's thread that runs all jobs."""
    try:
        results = generator.submit(job)
        while True:
            try:
                result = results.get(timeout=TICK_S)
            except Empty:
                if not generator.active:
                    raise model_changed() from None
                yield None
                continue
            if result is None:  # the host has logged why
                raise failure_of("the host has logged why")
            yield result
            if result.get("eos"):
                return
    finally:
        generator.cancel(job)


def _run_here(generator: Any, job: Any) -> Results:
    """In this thread, under the host's lock."""
    try:
        generator.enqueue(job)
        over = False
        while generator.num_remaining_jobs() and not over:
            reported = [result for result in generator.iterate() if result["job"] is job]
            yield from reported or [None]
            over = any(result.get("eos") for result in reported)
    finally:
        generator.cancel(job)


class JobMade(BaseException):
    """Carries our job out of the host's code, which is otherwise unchanged."""

    def __init__(self, job: Any) -> None:
        self.job = job


def _job_made_by(original: Iterator[str]) -> Any:
    try:
        for _ in original:
            break
    except JobMade as made:
        return made.job
    raise no_job()


def wrap_model(model: Any) -> None:
    """Take over the jobs that the host's loader makes for our requests. Safe to call again."""
    wrap_once(importlib.import_module(type(model).__module__), "Job", _wrap_job)
    wrap_once(model, "generate_with_streaming", _wrap_generate)


def _wrap_job(original: Any) -> Any:
    def job(*args: Any, **options: Any) -> Any:
        generation = generation_in(options)
        # With a job already, an extension generates more than one answer.
        if generation is None or generation.has_job:
            return original(*args, **options)
        generation.has_job = True
        raise JobMade(original(**generation.options(options)))

    return job


def _wrap_generate(original: Any) -> Any:
    def generate_with_streaming(prompt: str, state: dict[str, Any]) -> Iterator[str]:
        generation = generation_in(state)
        if generation is None or generation.started:
            yield from original(prompt, state)
        else:
            yield from generation.run(original(prompt, state), prompt)

    return generate_with_streaming


def generation_in(options: dict[str, Any]) -> ExLlamaV3Generation | None:
    """Our generation that is tagged in a call's options, if any."""
    found = tagged(options)
    return found if isinstance(found, ExLlamaV3Generation) else None


def filter_of(
    generation: ExLlamaV3Generation,
    tokenizer: Any,
    like: Any,
    constraint: Constraint,
    ends: frozenset[int],
) -> Any:
    """An ExLlamaV3 filter that applies the constraint. `like`: an array of the type to return."""
    base = importlib.import_module("exllamav3.generator.filter").Filter

    def mask(self: Any) -> Any:
        """The values to add to the logits (1 x vocabulary)."""
        added = np.zeros((1, self.vocab_size), np.float32)
        try:
            added = constraint.apply(added)
        except APIError as error:
            # Raised here, it would end all other jobs too.
            generation.error = error
            added[:] = -np.inf
            added[0, sorted(ends)] = 0
        if hasattr(like, "new_tensor"):
            return like.new_tensor(added, dtype=self.logits_dtype)
        return added

    methods = {
        "reset": lambda self: None,
        "accept_token": lambda self, token: constraint.accept(token),
        "is_completed": lambda self: False,
        "get_next_logit_mask": mask,
    }
    kind = type("Constrained", (base,), methods)
    return kind(tokenizer, trigger_token=None, prefix_str=None, eos_after_completed=False)
