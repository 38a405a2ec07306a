"""The way into a webui's ExLlamaV3 loader: its own generator, with jobs that we take part in.

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
from ...callback_bridge import TICK
from ...failures import failure_of, no_job, taken_away
from ...protocol import Capability, Piece, TokenLogprob
from ...tokens.tokenizer_view import TokenizerView
from ..host import Loaded, beyond_limit, knows_stop_event
from ..patching import wrap_once
from ..sampling_steps import (
    Answer,
    Constraint,
    RequestTag,
    TaggedInt,
    as_inputs,
    judged,
    take_over_penalties,
    to_numpy,
)
from ..tokens import encode, words_of
from .base import Job, as_it_grows
from .exllamav3_tokens import AsTransformers

Result = dict[str, Any]
"""What the generator tells of a job: `token_ids` (1 x n), `logits` (1 x n x vocabulary), `eos`; and what it
still held back when it ended, as `held`."""
Results = Generator[Result | None, None, None]


class ExllamaWay:
    """ExLlamaV3, where the host drives its generator by itself."""

    exact = True

    def capabilities(self, loaded: Loaded, words: TokenizerView) -> tuple[Capability, ...]:
        can = (Capability.LOGPROBS,)
        return can if words.matching is None else (*can, Capability.GRAMMAR)

    def words(self, loaded: Loaded) -> TokenizerView:
        tokenizer = AsTransformers(loaded.model.tokenizer)
        return words_of(tokenizer, tokenizer.ends)

    def join(self, loaded: Loaded, job: Job, state: dict[str, Any]) -> Run:
        run = Run(loaded.model, job)
        most = TaggedInt(job.limit)
        most.part = run
        state.update(max_new_tokens=most, ban_eos_token=False)
        if knows_stop_event():  # then the host lets several generate
            state["stop_event"] = threading.Event()
        take_over_penalties(state)
        attach(loaded.model)
        return run

    def scores(
        self, loaded: Loaded, words: TokenizerView, tokens: Sequence[int], alternatives: int
    ) -> Iterator[TokenLogprob]:
        model = loaded.model
        like = model.tokenizer.encode("a")
        running = getattr(model, "parallel_generator", None)
        with running.lock if running is not None else nullcontext():
            logits = model.model.forward(
                input_ids=as_inputs(tokens, like), params={"attn_mode": "flash_attn_nc"}
            )
        for at, token in enumerate(tokens):
            said = words.vocabulary.name(token)
            if at == 0:
                yield TokenLogprob(said, None, id=token)
            else:
                raw = to_numpy(logits[0, at - 1]).astype(np.float64)
                yield judged(raw, token, said, alternatives, words.vocabulary)


class Run(Answer):
    """One of our jobs. Filled from the thread that asked the host for it."""

    def __init__(self, model: Any, job: Job) -> None:
        sampling = job.request.sampling
        skip_special = bool(sampling.get("skip_special_tokens", True))
        super().__init__(job.request, job.words, job.limit, self._tell, skip_special=skip_special)
        self._model, self._job = model, job
        self._said: list[str] = []
        self.made = False
        """Whether the host has made its job."""
        endless = bool(sampling.get("ban_eos_token"))
        self._constraint = Constraint(job.request, job.words, endless=endless)

    def _tell(self, piece: Piece | None) -> bool:
        self._said.append(piece.text if piece is not None else "")
        return self._job.emit(piece)

    def options(self, options: dict[str, Any]) -> dict[str, Any]:
        """What the host makes a job with, changed to what was asked for."""
        request, words = self._job.request, self._job.words
        inputs = as_inputs(self._job.tokens, options["input_ids"])
        filters = list(options.get("filters") or [])
        if self._constraint:
            tokenizer = self._model.tokenizer
            filters.append(filter_of(self, tokenizer, inputs, self._constraint, words.ends))
        return options | {
            "input_ids": inputs,
            # Some versions end this much sooner; where an answer ends is decided here.
            "max_new_tokens": self.limit + beyond_limit(self._model),
            "stop_conditions": sorted(words.ends) or None,
            "filters": filters or None,
            "seed": options.get("seed") if request.seed is None else request.seed,
            "return_logits": request.logprobs is not None,
        }

    def follow(self, before: Iterator[str], prompt: str) -> Iterator[str]:
        """Run the job that the host makes when it begins (`before`). Yields the whole text once, at the end:
        so the host cannot end it, and logs how long it was. For an extension, as it grows; and that may have
        changed the prompt."""
        if prompt != self._job.text:
            self._job = replace(self._job, text=prompt, tokens=encode(prompt))
        if self._job.heard is None:
            self._run(before)
            yield "".join(self._said)
            return
        try:
            yield from as_it_grows(self._job.heard, partial(self._run, before))
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
        told = [part for part in (result, result.get("held")) if part and "token_ids" in part]
        for part in told:
            logits = part.get("logits")
            for at, token in enumerate(part["token_ids"][0].tolist()):
                raw = None if logits is None else to_numpy(logits[0, at]).astype(np.float64)
                if not self.add(token, raw):
                    return False
        return bool(told) or self.wait()

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
                result = results.get(timeout=TICK)
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
            told = [result for result in generator.iterate() if result["job"] is job]
            yield from told or [None]
            over = any(result.get("eos") for result in told)
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


def attach(model: Any) -> None:
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


def carried(options: dict[str, Any]) -> Run | None:
    found = next((each.part for each in options.values() if isinstance(each, RequestTag)), None)
    return found if isinstance(found, Run) else None


def filter_of(
    run: Run, tokenizer: Any, like: Any, constraint: Constraint, ends: frozenset[int]
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
