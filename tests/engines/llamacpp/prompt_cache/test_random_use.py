"""Answers are those of a server that remembers nothing, whatever came before: users, spaces, choices, clients
that leave, requests that come together, more conversations than slots, copies that come and go, and restarts.

Models of each kind of memory. `OPENEDAI_CACHE_STEPS=2000` makes more steps (`make test-cache`).
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from extensions.openai.engines.llamacpp import engine
from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.engines.llamacpp.loading import params
from extensions.openai.engines.llamacpp.prompt_cache import prompt, shared_read
from extensions.openai.engines.protocol import CacheUse, GenerateRequest, TokenLogprob
from extensions.openai.engines.tokens.gguf import read_header
from extensions.openai.engines.tuning import Tuning
from tests.support.random_architectures import (
    write_hybrid_model,
    write_recurrent_model,
    write_sliding_window_model,
)
from tests.support.random_model import write_model

STEPS = int(os.environ.get("OPENEDAI_CACHE_STEPS", "40"))
GREEDY = {"temperature": 0.0}
LIKELIEST = 5
EXACT = Tuning(cache_type_k="f32", cache_type_v="f32", flash_attn="off", batch_size=128)
"""Without the KV cache's rounding, a prompt that is read in other parts differs in the last bits only."""
NEAR = 1e-4
"""How far logarithms of probabilities may be apart. Rounding makes 2e-5 of it at most, in all kinds of
models; one token of another prompt among hundreds makes 1e-3 and more."""
SLOTS, CONVERSATIONS, CONTEXT = 3, 6, 2048
SYSTEM, LONGEST, WORTH_SHARING, WORTH_A_COPY = 260, 500, 64, 16
"""Tokens. All is smaller than in life, so that many steps take little time."""
WRITERS = {
    "dense": write_model,
    "shared": write_model,
    "window": write_sliding_window_model,
    "hybrid": write_hybrid_model,
    "recurrent": write_recurrent_model,
}

Answer = tuple[TokenLogprob, ...]


class Servers:
    """The server under test, and one that forgets after each answer."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.tested = self._started()
        self.fresh = LlamaCppEngine(path, name="x", parallel=1, tuning=EXACT, prompt_cache=0)
        self._known: dict[tuple[str, int], Answer] = {}

    def _started(self) -> LlamaCppEngine:
        tuning = replace(EXACT, cache_disk=self._path.parent / "prompts")
        engine = LlamaCppEngine(
            self._path, name="x", parallel=SLOTS, tuning=tuning, prompt_cache=1 << 20
        )
        engine.cache.least = WORTH_A_COPY
        return engine

    def restart(self) -> None:
        self.tested.close()
        self.tested = self._started()

    def expected(self, prompt: str, tokens: int) -> Answer:
        if (prompt, tokens) not in self._known:
            for slot in (0, 1):
                self.fresh.model.listener.ask(f"/slots/{slot}?action=erase", {})
            # With a seed nothing is reused.
            self._known[prompt, tokens] = answer(
                self.fresh, GenerateRequest(prompt, tokens, GREEDY, logprobs=LIKELIEST, seed=1)
            )
        return self._known[prompt, tokens]

    def close(self) -> None:
        self.tested.close()
        self.fresh.close()


@pytest.fixture(scope="module", params=WRITERS)
def servers(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Servers]:
    path = WRITERS[request.param](tmp_path_factory.mktemp("models") / "model.gguf")
    with pytest.MonkeyPatch.context() as patched:
        if request.param == "shared":
            # A quarter of it holds two contexts: the slots share them.
            context = CONTEXT * 2 * read_header(path).kv_bytes_per_token  # that is of 16 bits
            patched.setattr(params, "memory_bytes", lambda: 4 * 2 * context)
        patched.setattr(prompt, "LONG_TEXT", WORTH_SHARING)
        patched.setattr(shared_read, "LEAST_SHARED", WORTH_SHARING)
        patched.setattr(engine, "LEAST_SHARED", WORTH_SHARING)
        servers = Servers(path)
        yield servers
        servers.close()


def answer(engine: LlamaCppEngine, request: GenerateRequest) -> Answer:
    pieces = (piece for piece in engine.generate(request) if piece is not None)
    return tuple(token for piece in pieces for token in piece.logprobs)


def check_equal(got: Answer, expected: Answer) -> None:
    """The same tokens, each as likely; where two are equally likely, it may be the other one that comes."""
    for mine, other in zip(got, expected, strict=False):
        assert mine.logprob is not None and other.logprob is not None
        if mine.bytes != other.bytes:
            likely = {each.bytes: each.logprob for each in other.top}
            assert likely[mine.bytes] == pytest.approx(other.logprob, abs=NEAR)
            return
        assert mine.logprob == pytest.approx(other.logprob, abs=NEAR)
    assert len(got) == len(expected)


def left(engine: LlamaCppEngine, request: GenerateRequest, pieces: int) -> None:
    """A client that leaves after so many pieces."""
    running = engine.generate(request)
    for _ in range(pieces):
        if next(running, None) is None and pieces > 1:
            continue
    running.close()


def words(drawn: random.Random, letters: int) -> str:
    return "".join(drawn.choices("abcdfgijklmnop ", k=letters))


@pytest.mark.timeout(60 + 5 * STEPS)
def test_answers_are_those_of_a_server_that_remembers_nothing(servers: Servers) -> None:
    drawn = random.Random(STEPS)
    system = words(drawn, SYSTEM)
    prompts = [words(drawn, 20)] * CONVERSATIONS

    def grown(number: int) -> str:
        prompt = prompts[number] + words(drawn, drawn.choice((1, 10, 60)))
        if len(prompt) > LONGEST or drawn.random() < 0.1:
            start = drawn.choice(("", system, system[: SYSTEM // 2], prompts[number][:-4]))
            prompt = start[:LONGEST] + words(drawn, drawn.choice((5, 120)))
        prompts[number] = prompt
        return prompt

    def request(number: int, choices: int = 1) -> GenerateRequest:
        space = str(number % 2)
        use = CacheUse(space, choices, drawn.randrange(1 << 40))
        seed = 1 if drawn.random() < 0.1 else None
        tokens = drawn.choice((1, 4))
        return GenerateRequest(
            grown(number), tokens, GREEDY, logprobs=LIKELIEST, seed=seed, cache=use
        )

    def check(asked: GenerateRequest, got: Answer) -> None:
        expected = servers.expected(str(asked.prompt), asked.max_tokens or 0)
        check_equal(got, expected)
        text = b"".join(token.bytes for token in got).decode(errors="replace")
        number = prompts.index(str(asked.prompt)) if asked.prompt in prompts else None
        if number is not None and "\N{REPLACEMENT CHARACTER}" not in text:
            prompts[number] += text  # the next turn

    with ThreadPoolExecutor(SLOTS + 1) as pool:
        for _ in range(STEPS):
            if drawn.random() < 0.03:
                servers.restart()
            kind = drawn.random()
            if kind < 0.5:
                asked = request(drawn.randrange(CONVERSATIONS))
                check(asked, answer(servers.tested, asked))
            elif kind < 0.65:
                gone = request(drawn.randrange(CONVERSATIONS))
                left(servers.tested, gone, drawn.choice((1, 2, 3)))
            elif kind < 0.8:
                asked = request(drawn.randrange(CONVERSATIONS), choices=3)
                for got in pool.map(lambda each: answer(servers.tested, each), [asked] * 3):
                    check(asked, got)
            else:
                together = [request(number) for number in drawn.sample(range(CONVERSATIONS), 4)]
                got_all = pool.map(lambda each: answer(servers.tested, each), together)
                for asked, got in zip(together, list(got_all), strict=True):
                    check(asked, got)
