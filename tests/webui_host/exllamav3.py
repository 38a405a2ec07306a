"""ExLlamaV3 in small: a generator of jobs, with filters, and a webui's loader over it.

It follows the library's interface as of 2026 where it is odd, too: a job ends one token before its limit,
tokens of an unfinished character are held back, and the end token is only among what was held back.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from queue import Empty, Queue
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from .numpy_llama import Cache, NumpyLlama
from .tokenizer import HostTokenizer

PADDED = 32  # logits are as wide as a multiple of this


class Filter:
    logits_dtype = np.float16
    vocab_size = 0

    def __init__(
        self, tokenizer: Any, trigger_token: Any, prefix_str: Any, eos_after_completed: bool
    ) -> None:
        self.tokenizer, self.is_active = tokenizer, trigger_token is None

    def get_next_logit_mask(self) -> Any:
        raise NotImplementedError

    def accept_token(self, token: int) -> None:
        raise NotImplementedError

    def reset(self) -> None:
        raise NotImplementedError


class Job:
    def __init__(
        self,
        input_ids: Any,
        max_new_tokens: int,
        sampler: Any,
        seed: int | None = None,
        stop_conditions: Any = None,
        filters: Any = None,
        return_logits: bool = False,
    ) -> None:
        self.tokens, self.max_new_tokens = input_ids[0], max_new_tokens - 1 or 1
        self.sampler, self.random = sampler, np.random.default_rng(seed)
        self.stops, self.filters = set(stop_conditions or ()), list(filters or ())
        self.return_logits = return_logits
        self.cache: Cache | None = None
        self.new_tokens = 0
        self.held: list[tuple[int, Any]] = []


class Generator:
    num_draft_tokens = 0

    def __init__(self, model: NumpyLlama, tokenizer: Tokenizer) -> None:
        self.model, self.tokenizer = model, tokenizer
        self.jobs: list[Job] = []

    def enqueue(self, job: Job) -> None:
        for each in job.filters:
            each.vocab_size = -(-self.tokenizer.actual_vocab_size // PADDED) * PADDED
            each.reset()
        self.jobs.append(job)

    def cancel(self, job: Job) -> None:
        if job in self.jobs:
            self.jobs.remove(job)

    def num_remaining_jobs(self) -> int:
        return len(self.jobs)

    def iterate(self) -> list[dict[str, Any]]:
        results = [self._step(job) for job in self.jobs]
        self.jobs = [
            job for job, result in zip(self.jobs, results, strict=True) if not result["eos"]
        ]
        return results

    def _step(self, job: Job) -> dict[str, Any]:
        if job.cache is None:
            job.cache = Cache(self.model.layers)
            if len(job.tokens) > 1:
                self.model.read(job.tokens[:-1], job.cache)
            return {"job": job, "stage": "prefill", "eos": False}
        logits = self.model.read(job.tokens[-1:], job.cache).astype(np.float16)
        masked = logits.astype(np.float64)
        for each in job.filters:
            masked += each.get_next_logit_mask()[:, : logits.shape[-1]]
        self.model.random = job.random
        token = self.model.choose(masked[0], *job.sampler)
        for each in job.filters:
            each.accept_token(token)
        job.tokens = np.append(job.tokens, token)
        job.new_tokens += 1
        job.held.append((token, logits))
        result: dict[str, Any] = {"job": job, "stage": "streaming", "eos": False}
        if token in job.stops:
            return result | {"eos": True, "held": self._reported(job)}
        over = job.new_tokens >= job.max_new_tokens
        text = self.tokenizer.decode([each for each, _ in job.held])
        if text.endswith("\N{REPLACEMENT CHARACTER}") and not over:
            return result
        return result | {"eos": over, "text": text, **self._reported(job)}

    def _reported(self, job: Job) -> dict[str, Any]:
        tokens = np.array([[token for token, _ in job.held]])
        reported: dict[str, Any] = {"token_ids": tokens}
        if job.return_logits:
            reported["logits"] = np.stack([logits[0] for _, logits in job.held])[None]
        job.held = []
        return reported


class Tokenizer:
    """As far as it is used, with a Hugging Face tokenizer inside."""

    def __init__(self, tokenizer: HostTokenizer, ends: list[int]) -> None:
        self.tokenizer = tokenizer.backend_tokenizer
        self.eos_token_id, self.bos_token_id = tokenizer.eos_token_id, None
        self.actual_vocab_size = len(tokenizer)
        self.config = SimpleNamespace(eos_token_id_list=ends)

    def encode(self, text: str, add_bos: bool = False, encode_special_tokens: bool = False) -> Any:
        assert encode_special_tokens or "<|" not in text, "special tokens would be read as text"
        ids = self.tokenizer.encode(text, add_special_tokens=False).ids
        return np.array([ids], dtype=np.int64)

    def decode(self, ids: Any) -> str:
        plain = [int(id) for id in np.asarray(ids).reshape(-1)]
        return str(self.tokenizer.decode(plain, skip_special_tokens=True))


class ConcurrentGenerator:
    """The host's: one thread that runs all jobs."""

    def __init__(self, generator: Generator) -> None:
        self.generator, self.lock, self.active = generator, threading.Lock(), True
        self.job_queues: dict[Job, Queue[Any]] = {}
        self.has_jobs = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while self.active:
            self.has_jobs.wait()
            with self.lock:
                try:
                    results = self.generator.iterate()
                except Exception:
                    for results_of in self.job_queues.values():
                        results_of.put(None)
                    self.job_queues.clear()
                    self.generator.jobs.clear()
                    results = []
                for result in results:
                    if result["job"] in self.job_queues:
                        self.job_queues[result["job"]].put(result)
                        if result["eos"]:
                            del self.job_queues[result["job"]]
                if not self.job_queues:
                    self.has_jobs.clear()

    def submit(self, job: Job) -> Queue[Any]:
        with self.lock:
            results = self.job_queues[job] = Queue()
            self.generator.enqueue(job)
            self.has_jobs.set()
        return results

    def cancel(self, job: Job) -> None:
        with self.lock:
            if self.job_queues.pop(job, None) is not None:
                self.generator.cancel(job)

    def stop(self) -> None:
        self.active = False
        self.has_jobs.set()


class Exllamav3Model:
    """The host's loader: model and tokenizer in one."""

    parallel_generator: ConcurrentGenerator | None

    def __init__(
        self, model: NumpyLlama, tokenizer: HostTokenizer, shared: Any, context: int, several: bool
    ) -> None:
        ends = list(model.generation_config.eos_token_id)
        self.tokenizer = Tokenizer(tokenizer, ends)
        self.generator = Generator(model, self.tokenizer)
        self.config = self.tokenizer.config
        self.model = SimpleNamespace(
            forward=lambda input_ids, params: model(input_ids).logits.astype(np.float16)
        )
        self.shared, self.max_tokens = shared, context
        if several:
            self.parallel_generator = ConcurrentGenerator(self.generator)

    def encode(self, text: str, **options: Any) -> Any:
        return self.tokenizer.encode(text, **options)

    def decode(self, ids: Any, **_: Any) -> str:
        return self.tokenizer.decode(ids)

    def generate_with_streaming(self, prompt: str, state: dict[str, Any]) -> Iterator[str]:
        cold = not state.get("do_sample", True) or state["temperature"] == 0
        job = Job(
            input_ids=self.tokenizer.encode(prompt, encode_special_tokens=True),
            max_new_tokens=state["max_new_tokens"],
            sampler=(0.0 if cold else state["temperature"], state["top_k"], state["top_p"]),
            stop_conditions=None if state["ban_eos_token"] else self.config.eos_token_id_list,
        )
        text = ""
        for result in self._results(job):
            if self.shared.stop_everything:
                return
            if result.get("text"):
                text += result["text"]
                yield text

    def _results(self, job: Job) -> Iterator[dict[str, Any]]:
        running = getattr(self, "parallel_generator", None)
        try:
            if running is None:
                self.generator.enqueue(job)
                while self.generator.num_remaining_jobs():
                    yield from self.generator.iterate()
                return
            results = running.submit(job)
            over = False
            while not over:
                try:
                    result = results.get(timeout=0.1)
                except Empty:
                    result = {"eos": False}
                over = result is None or result["eos"]
                yield result or {}
        finally:
            (running or self.generator).cancel(job)

    def unload(self) -> None:
        if getattr(self, "parallel_generator", None) is not None:
            self.parallel_generator.stop()
            self.parallel_generator = None


def model_manager() -> dict[str, ModuleType]:
    """The library's own modules, as far as they are looked for by name."""
    names = ("exllamav3", "exllamav3.generator", "exllamav3.generator.filter")
    modules = {name: ModuleType(name) for name in names}
    modules[names[-1]].Filter = Filter  # type: ignore[attr-defined]
    return modules
