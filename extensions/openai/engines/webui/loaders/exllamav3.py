"""A webui's ExLlamaV3 loader: its own generator, with jobs that we take part in.

The host's `generate_with_streaming` makes a job of a state (its samplers, its seed) and reads the results as
text. Of a state that is ours we take over the job that it makes, before it runs: with the prompt's exact
tokens, a filter for what may be sampled, and logits among its results. Then we run it ourselves, beside the
host's other jobs where its version lets several run.
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
from ...failures import failure_of, no_job, taken_away
from ...protocol import Piece, TokenLogprob
from ...tokens.tokenizer_view import TokenizerView
from ..findings import knows_stop_event
from ..host import Loaded, host_module
from ..patching import wrap_once
from ..sampling.arrays import as_inputs, to_numpy
from ..sampling.constraint import Constraint, take_over_penalties
from ..sampling.logprobs import logprob_of
from ..sampling.request_tag import TaggedInt, tagged
from ..sampling.token_answer import TokenAnswer
from ..tokenizers import view_of
from .base import LoaderJob, TokenAdapter
from .exllamav3_tokens import AsTransformers, prompt_tokens
from .growing_text import yield_as_it_grows

Result = dict[str, Any]
"""What the generator reports of a job: `token_ids` (1 x n), `logits` (1 x n x vocabulary), `eos`; and what it
still held back when it ended, as `held`."""
Results = Generator[Result | None, None, None]


class ExLlamaV3Adapter(TokenAdapter):
    """`Exllamav3Model`, as the host calls its class: it drives the generator by itself."""

    model_class = "Exllamav3Model"
    exact = True

    def parallel(self, loaded: Loaded) -> int:
        return 8

    def context_limit(self, loaded: Loaded) -> int | None:
        return int(loaded.model.max_tokens) - beyond_limit(loaded.model)

    def view(self, loaded: Loaded) -> TokenizerView:
        tokenizer = AsTransformers(loaded.model.tokenizer)
        return view_of(tokenizer, tokenizer.ends)

    def encode(self, loaded: Loaded, text: str) -> tuple[int, ...]:
        # The host's own function reads special tokens as text, unlike where it generates.
        start = bool(host_module("shared").settings.get("add_bos_token", True))
        return tuple(prompt_tokens(loaded.model.tokenizer, text, start=start))

    def attach(self, loaded: Loaded, job: LoaderJob, state: dict[str, Any]) -> ExLlamaV3Generation:
        run = ExLlamaV3Generation(loaded.model, job)
        most = TaggedInt(job.limit)
        most.part = run
        state.update(max_new_tokens=most, ban_eos_token=False)
        if knows_stop_event():  # then the host lets several generate
            state["stop_event"] = threading.Event()
        take_over_penalties(state)
        wrap_model(loaded.model)
        return run

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


def beyond_limit(model: Any) -> int:
    """How many tokens more than it may answer ExLlamaV3 has to be asked for: it ends by up to so many too
    soon, as one is counted early, and so are those that it drafts."""
    return 1 + int(getattr(model.generator, "num_draft_tokens", 0) or 0)


class ExLlamaV3Generation(TokenAnswer):
    """One of our jobs. Filled from the thread that asked the host for it."""

    def __init__(self, model: Any, job: LoaderJob) -> None:
        sampling = job.request.sampling
        skip_special = bool(sampling.get("skip_special_tokens", True))
        super().__init__(
            job.request, job.view, job.limit, self._emit_to_job, skip_special=skip_special
        )
        self._model, self._job = model, job
        self._texts: list[str] = []
        self.made = False
        """Whether the host has made its job."""
        endless = bool(sampling.get("ban_eos_token"))
        self._constraint = Constraint(job.request, job.view, endless=endless)

    def _emit_to_job(self, piece: Piece | None) -> bool:
        self._texts.append(piece.text if piece is not None else "")
        return self._job.emit(piece)

    def options(self, options: dict[str, Any]) -> dict[str, Any]:
        """What the host makes a job with, changed to what was asked for."""
        request, view = self._job.request, self._job.view
        inputs = as_inputs(self._job.tokens, options["input_ids"])
        filters = list(options.get("filters") or [])
        if self._constraint:
            tokenizer = self._model.tokenizer
            filters.append(filter_of(self, tokenizer, inputs, self._constraint, view.ends))
        return options | {
            "input_ids": inputs,
            # Some versions end this much sooner; where an answer ends is decided here.
            "max_new_tokens": self.limit + beyond_limit(self._model),
            "stop_conditions": sorted(view.ends) or None,
            "filters": filters or None,
            "seed": options.get("seed") if request.seed is None else request.seed,
            "return_logits": request.logprobs is not None,
        }

    def follow(self, before: Iterator[str], prompt: str) -> Iterator[str]:
        """Run the job that the host makes when it begins (`before`). Yields the whole text once, at the end:
        so the host cannot end it, and logs how long it was. For an extension, as it grows; and that may have
        changed the prompt."""
        if prompt != self._job.text:
            self._job = replace(self._job, text=prompt, tokens=self._job.encode(prompt))
        if self._job.heard is None:
            self._run(before)
            yield "".join(self._texts)
            return
        try:
            yield from yield_as_it_grows(self._job.heard, partial(self._run, before))
        except GeneratorExit:
            self.dropped = not self.finished
            raise

    def _run(self, before: Iterator[str], is_over: Callable[[], bool] = lambda: False) -> None:
        try:
            if not self.begin(len(self._job.tokens)):
                return
            with closing(self._results(_made_by(before))) as results:
                for result in results:
                    if not self._take(result) or is_over():
                        return
            if self.error is None:
                raise failure_of("it ended the answer before its time")
        except Exception as error:
            self.error = self.error or error

    def _take(self, result: Result | None) -> bool:
        """Whether to go on after a result, or after a while without one."""
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
        """Of a job, to its end; None after a while without one. Closing it cancels the job."""
        several = getattr(self._model, "parallel_generator", None)
        return _alone(self._model.generator, job) if several is None else _beside(several, job)


def _beside(several: Any, job: Any) -> Results:
    """By the host's thread that runs all jobs."""
    try:
        results = several.submit(job)
        while True:
            try:
                result = results.get(timeout=TICK_S)
            except Empty:
                if not several.active:
                    raise taken_away() from None
                yield None
                continue
            if result is None:  # the host has logged why
                raise failure_of("the host has logged why")
            yield result
            if result.get("eos"):
                return
    finally:
        several.cancel(job)


def _alone(generator: Any, job: Any) -> Results:
    """By ourselves, under the host's lock."""
    try:
        generator.enqueue(job)
        over = False
        while generator.num_remaining_jobs() and not over:
            reported = [result for result in generator.iterate() if result["job"] is job]
            yield from reported or [None]
            over = any(result.get("eos") for result in reported)
    finally:
        generator.cancel(job)


class Made(BaseException):
    """A job was made that is ours. Raised through the host's code, which is left alone otherwise."""

    def __init__(self, job: Any) -> None:
        self.job = job


def _made_by(before: Iterator[str]) -> Any:
    try:
        for _ in before:
            break
    except Made as made:
        return made.job
    raise no_job()


def wrap_model(model: Any) -> None:
    """Let our requests take over the jobs that a host's loader makes of them. Safe to call again."""
    wrap_once(importlib.import_module(type(model).__module__), "Job", _handing_over)
    wrap_once(model, "generate_with_streaming", _following)


def _handing_over(make: Any) -> Any:
    def job(*args: Any, **options: Any) -> Any:
        run = carried(options)
        if run is None or run.made:  # made: an extension asks for more than one answer
            return make(*args, **options)
        run.made = True
        raise Made(make(**run.options(options)))

    return job


def _following(before: Any) -> Any:
    def generate_with_streaming(prompt: str, state: dict[str, Any]) -> Iterator[str]:
        run = carried(state)
        if run is None or run.begun:
            yield from before(prompt, state)
        else:
            yield from run.follow(before(prompt, state), prompt)

    return generate_with_streaming


def carried(options: dict[str, Any]) -> ExLlamaV3Generation | None:
    found = tagged(options)
    return found if isinstance(found, ExLlamaV3Generation) else None


def filter_of(
    run: ExLlamaV3Generation,
    tokenizer: Any,
    like: Any,
    constraint: Constraint,
    ends: frozenset[int],
) -> Any:
    """A filter of ExLlamaV3's that lets a job sample only what it may. `like`: token ids of its kind."""
    base = importlib.import_module("exllamav3.generator.filter").Filter

    def mask(self: Any) -> Any:
        """What is added to the logits (1 x vocabulary)."""
        added = np.zeros((1, self.vocab_size), np.float32)
        try:
            added = constraint.apply(added)
        except APIError as error:
            # Raised here it would end the jobs of all others as well.
            run.error = error
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
