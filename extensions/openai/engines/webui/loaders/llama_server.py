"""A webui's current llama.cpp loader, which runs llama.cpp's server as a child process.

The host still decides when a request may run, and names the samplers to the server. We send the request to
the server: with the prompt's exact tokens, log-probabilities, and a separate answer for each request, which
no other request can end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import orjson

from ....errors import APIError
from ...callback_bridge import Emit
from ...failures import model_changed
from ...llamacpp.client import LlamaServer, chunk_of
from ...llamacpp.grammar.segments import GrammarGeneration
from ...llamacpp.request_values import biases_of, encoded
from ...llamacpp.stream_reader import AnswerReader, LogprobReader, Place, Spelling, to_api_error
from ...llamacpp.token_scoring import hidden_text, score_token
from ...protocol import CUT, Capability, GenerateRequest, Piece, TokenLogprob
from ...tokens.tokenizer_view import TokenizerView
from ..findings import supports_stop_event
from ..host import Loaded
from ..patching import wrap_once
from ..sampling.constraint import PENALTIES
from ..sampling.request_tag import RequestTag
from ..tokenizers import text_view, view_of_file
from .base import LoaderJob, TokenAdapter, server_slots
from .growing_text import iterate_growing_text

OLD_MEDIA_MARK = "<__media__>"  # llama.cpp's, before it chose a random one at each start
STATE_KEY = "openedai"  # of our generation in a state


class LlamaServerAdapter(TokenAdapter):
    """The host's class `LlamaServer`."""

    model_class = "LlamaServer"
    exact = True
    host_reports_samplers = True

    def parallel(self, loaded: Loaded) -> int:
        return server_slots()

    def capabilities(self, view: TokenizerView) -> tuple[Capability, ...]:
        return view.media + (() if view.matching is None else super().capabilities(view))

    def view(self, loaded: Loaded) -> TokenizerView:
        server = LlamaServer(loaded.model.port)

        def tokens_of(text: str) -> Sequence[int]:
            body = {"content": text, "add_special": False, "parse_special": False}
            return list(server.ask("/tokenize", body)["tokens"])

        view = view_of_file(Path(loaded.model.model_path), tokens_of) or text_view(loaded)
        props = server.ask("/props")
        supported = props.get("modalities", {})
        media = tuple(
            each for each in (Capability.VISION, Capability.AUDIO) if supported.get(each.value)
        )
        return replace(
            view, media=media, mark=props.get("media_marker", OLD_MEDIA_MARK) if media else ""
        )

    def attach(
        self, loaded: Loaded, job: LoaderJob, state: dict[str, Any]
    ) -> LlamaServerGeneration:
        generation = LlamaServerGeneration(job)
        state[STATE_KEY] = tag = RequestTag()
        tag.payload = generation
        if supports_stop_event():  # then the host generates several answers at once
            state["stop_event"] = threading.Event()
        wrap_class(type(loaded.model))
        return generation

    def scores(
        self, loaded: Loaded, view: TokenizerView, tokens: Sequence[int], alternatives: int
    ) -> Iterator[TokenLogprob]:
        complete = LlamaServer(loaded.model.port).complete
        for at, token in enumerate(tokens):
            text = view.vocabulary.name(token)
            if at == 0:
                yield TokenLogprob(text, None, id=token)
            else:
                found = score_token(complete, view.vocabulary, tokens[:at], token, alternatives)
                yield replace(found, bytes=text)


class LlamaServerGeneration:
    """One answer of the server."""

    def __init__(self, job: LoaderJob) -> None:
        self._job = job
        self.started = self.finished = self.reader_left = self.aborted_by_extension = False
        self.error: BaseException | None = None

    def run(self, model: Any, prompt: str, state: dict[str, Any]) -> Iterator[str]:
        """Replaces the host's own call; what it yields is for the host's log, or for an extension."""
        self.started = True
        answer = partial(self._answer, model, prompt, state)
        try:
            if self._job.text_so_far is not None:
                yield from iterate_growing_text(self._job.text_so_far, answer)
                return
            text = answer(lambda: self.reader_left)
        except GeneratorExit:
            self.aborted_by_extension = not self.finished
            raise
        except Exception as error:  # the host would only log it
            self.error = error
            return
        # Only once, at the end: after each text the host checks whether its UI stopped everything.
        yield text

    def _answer(
        self, model: Any, prompt: str, state: dict[str, Any], should_stop: Callable[[], bool]
    ) -> str:
        """Generate the whole text. `should_stop` is called after each piece."""
        job, request = self._job, self._job.request
        tokens = job.tokens if prompt == job.text else job.encode(prompt)
        model.last_prompt_token_count = len(tokens)
        limit = int(state["max_new_tokens"])
        body = model.prepare_payload(state)
        body |= {
            "logit_bias": [
                *body.get("logit_bias", ()),
                *biases_of(request.logit_bias),
                # Until 2025 llama.cpp's own `ignore_eos` covered only one token.
                *([end, False] for end in job.view.ends if state.get("ban_eos_token")),
            ],
            # With a seed the answer must be reproducible, as in `LlamaCppEngine`.
            "cache_prompt": request.seed is None,
        }
        # With a repeat penalty, the window that all three penalties share must stay.
        penalised = (
            any(body.get(name) for name in PENALTIES)
            and body.get("repeat_penalty", 1) == 1
            and job.view.matching is not None
        )
        server = LlamaServer(model.port)
        texts: list[str] = []

        def emit(piece: Piece | None) -> bool:
            if piece is not None:
                texts.append(piece.text)
                self.finished = piece.finish is not None
            self.reader_left = job.emit(piece)
            return self.reader_left or should_stop()

        if request.media:
            self._read_media(server, body | {"prompt": _with_media(request, prompt)}, limit, emit)
        elif request.grammar is not None or request.logprobs is not None or penalised:
            skip = bool(state.get("skip_special_tokens", True))
            generation = GrammarGeneration(server, request, job.view, emit, skip_special=skip)
            generation.run(body, tokens, limit, penalised=penalised)
        else:
            body |= {"prompt": list(tokens), "n_predict": limit}
            hidden = partial(self._hidden_text, server, tokens) if job.view.matching else None
            reader = AnswerReader(end_texts=self._spelling.end_texts(), hidden_text=hidden)
            self._read(server, body, reader, emit)
        return "".join(texts)

    def _hidden_text(
        self, server: LlamaServer, tokens: Sequence[int], text: str, hidden: int, place: Place
    ) -> str:
        """See AnswerReader."""
        body = {"content": text, "add_special": False, "parse_special": True}
        try:
            before = [*tokens, *server.ask("/tokenize", body)["tokens"]]
            return hidden_text(server.complete, self._job.view.vocabulary, before, hidden, place)
        except APIError:  # the context may be full; the answer itself is complete
            return CUT

    @property
    def _spelling(self) -> Spelling:
        view = self._job.view
        return Spelling(view.vocabulary, view.ends, frozenset(self._job.request.marks))

    def _read_media(
        self, server: LlamaServer, body: dict[str, Any], limit: int, emit: Emit[Piece | None]
    ) -> None:
        request = self._job.request
        body["n_predict"] = limit
        if request.logprobs is None:
            self._read(server, body, AnswerReader(end_texts=self._spelling.end_texts()), emit)
            return
        # Without the prompt's token ids, a token that is part of a character cannot be scored.
        max_tokens = None if limit < 0 else limit
        reader = LogprobReader((), self._spelling, max_tokens, request.logprobs, score_token=None)
        body |= {"n_predict": reader.wanted, "n_probs": max(1, request.logprobs)}
        self._read(server, body, reader, emit)

    def _read(
        self,
        server: LlamaServer,
        body: dict[str, Any],
        reader: AnswerReader,
        emit: Emit[Piece | None],
    ) -> None:
        """Emit the server's answer."""
        body |= {"stream": True, "timings_per_token": True, "return_progress": True}
        body |= {"preserved_tokens": list(self._job.request.marks)}
        param = "messages" if self._job.request.media else "prompt"
        failures: list[Exception] = []
        report = self._job.request.cache.on_progress

        def receive(data: bytes) -> bool:
            chunk = chunk_of(data)
            if "error" in chunk:
                failures.append(to_api_error(chunk["error"], param))
                return True
            progress = chunk.get("prompt_progress")
            if progress is not None and report is not None:
                report(progress)
            return emit(None if progress else reader.read(chunk)) or reader.should_stop

        server.complete(orjson.dumps(body), receive, partial(emit, None))
        if failures:
            raise failures[0]
        if not (self.finished or self.reader_left):
            raise model_changed()


def _with_media(request: GenerateRequest, prompt: str) -> dict[str, Any]:
    return {"prompt_string": prompt, "multimodal_data": [*map(encoded, request.media)]}


def wrap_class(kind: Any) -> None:
    """Answer our requests to the host's model class; pass all others through. Safe to call again."""
    wrap_once(kind, "generate_with_streaming", _wrap_generate)


def _wrap_generate(original: Any) -> Any:
    def generate_with_streaming(model: Any, prompt: str, state: dict[str, Any]) -> Iterator[str]:
        tag = state.get(STATE_KEY)
        # Already started: an extension generates more than one answer.
        if tag is None or tag.payload.started:
            return original(model, prompt, state)  # type: ignore[no-any-return]
        generation: LlamaServerGeneration = tag.payload
        return generation.run(model, prompt, state)

    return generate_with_streaming
