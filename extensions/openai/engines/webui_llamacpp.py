"""The way into a webui's llama.cpp loader of today, which runs llama.cpp's server as a child.

The host goes on to choose when a request may run, and how its samplers are told to the server; what is
asked of the server is ours: the prompt's exact tokens, log-probabilities, and an answer of its own for each
request, which nobody else can end.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from ..errors import EngineFailed
from .base import Piece, TokenLogprob
from .gguf import BadModelFile, read_header
from .llama_server import LlamaServer
from .llamacpp_answers import AnswerReader, error_of
from .llamacpp_judge import judge
from .llamacpp_legs import Legs
from .steps import BAN, Carrier, Words
from .vocabulary import read_vocabulary
from .webui_host_modules import Loaded, knows_stop_event
from .webui_tokens import encode, matching_of, plain_words
from .webui_ways import Job

KEY = "openedai"  # under which a state carries our part

READABLE = ("gpt2", "llama")
"""The kinds of vocabulary whose tokens we know the bytes of, by GGUF's names."""


class LlamaServerWay:
    """`LlamaServer`, as the host calls it."""

    def capabilities(self, loaded: Loaded, words: Words) -> tuple[str, ...]:
        return () if words.matching is None else ("logprobs", "grammar")

    def words(self, loaded: Loaded) -> Words:
        try:
            header = read_header(Path(loaded.model.model_path))
        except BadModelFile:
            return plain_words(loaded)
        keys = ("eos_token_id", "eot_token_id", "bos_token_id")
        found = [header.metadata.get(f"tokenizer.ggml.{key}") for key in keys]
        ends = list(dict.fromkeys(end for end in found[:2] if isinstance(end, int)))
        if not ends or header.metadata.get("tokenizer.ggml.model") not in READABLE:
            return plain_words(loaded)
        vocabulary = read_vocabulary(header)
        server = LlamaServer(loaded.model.port)

        def tokens_of(text: str) -> Sequence[int]:
            asked = {"content": text, "add_special": False, "parse_special": False}
            return list(server.ask("/tokenize", asked)["tokens"])

        start = found[2] if isinstance(found[2], int) else None
        return Words(vocabulary, frozenset(ends), matching_of(vocabulary, ends, start, tokens_of))

    def join(self, loaded: Loaded, job: Job, state: dict[str, Any]) -> Served:
        part = Served(job)
        state[KEY] = carrier = Carrier()
        carrier.part = part
        if knows_stop_event():
            state["stop_event"] = threading.Event()  # with one, a host lets several generate
        attach(type(loaded.model))
        return part

    def scores(
        self, loaded: Loaded, words: Words, tokens: Sequence[int], alternatives: int
    ) -> Iterator[TokenLogprob]:
        complete = LlamaServer(loaded.model.port).complete
        for at, token in enumerate(tokens):
            if at == 0:
                yield TokenLogprob(words.vocabulary.tokens[token], None)
            else:
                yield judge(complete, words.vocabulary, tokens[:at], token, alternatives)


class Served:
    """One answer of the server."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self.begun = self.finished = self.left = False
        self.error: BaseException | None = None

    def run(self, model: Any, prompt: str, state: dict[str, Any]) -> Iterator[str]:
        """In place of the host's own call; what it yields is for the host's log."""
        self.begun = True
        try:
            said = self._answer(model, prompt, state)
        except Exception as error:  # the host would write it to its log, and go on
            self.error = error
            return
        # Once, when all is over: between two texts the host looks whether its page wants everything stopped.
        yield said

    def _answer(self, model: Any, prompt: str, state: dict[str, Any]) -> str:
        job, request = self._job, self._job.request
        tokens = job.tokens if prompt == job.text else encode(prompt)
        model.last_prompt_token_count = len(tokens)
        limit = int(state["max_new_tokens"])
        body = model.prepare_payload(state)
        body |= {
            "logit_bias": [
                *body.get("logit_bias", ()),
                *([token, False if bias <= BAN else bias] for token, bias in request.logit_bias),
            ],
            # Who gives a seed wants the same answer every time; see llamacpp.py.
            "cache_prompt": request.seed is None,
        }
        server = LlamaServer(model.port)
        said: list[str] = []

        def emit(piece: Piece | None) -> bool:
            if piece is not None:
                said.append(piece.text)
                self.finished = piece.finish is not None
            self.left = job.emit(piece)
            return self.left

        if request.grammar is not None or request.logprobs is not None:
            skip = bool(state.get("skip_special_tokens", True))
            Legs(server, request, job.words, emit, skip_special=skip).run(body, tokens, limit)
        else:
            body |= {"prompt": list(tokens), "n_predict": limit, "stream": True}
            body |= {"timings_per_token": True, "return_progress": True}
            body |= {"preserved_tokens": list(request.marks)}
            self._read(server, body, emit)
        return "".join(said)

    def _read(self, server: LlamaServer, body: dict[str, Any], emit: Any) -> None:
        """The answer as the server puts it."""
        reader = AnswerReader()
        failures: list[Exception] = []

        def receive(data: bytes) -> bool:
            chunk = orjson.loads(data)
            if "error" in chunk:
                failures.append(error_of(chunk["error"], "prompt"))
                return True
            return bool(emit(None if "prompt_progress" in chunk else reader.read(chunk)))

        server.complete(orjson.dumps(body), receive, partial(emit, None))
        if failures:
            raise failures[0]
        if not (self.finished or self.left):
            raise EngineFailed("The model was switched or unloaded before it answered.")


def attach(kind: Any) -> None:
    """Let our requests take part in what models of the host's class generate; others are passed on as they
    are. Safe to call again."""
    before = kind.generate_with_streaming
    if getattr(before, "takes_part", False):
        return

    def generate_with_streaming(model: Any, prompt: str, state: dict[str, Any]) -> Iterator[str]:
        carrier = state.get(KEY)
        if carrier is None:
            return before(model, prompt, state)  # type: ignore[no-any-return]
        served: Served = carrier.part
        return served.run(model, prompt, state)

    generate_with_streaming.takes_part = True  # type: ignore[attr-defined]
    kind.generate_with_streaming = generate_with_streaming
