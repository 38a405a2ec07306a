"""A webui's llama.cpp loader of today, which runs llama.cpp's server as a child.

The host goes on to choose when a request may run, and how its samplers are named to the server; what is
asked of the server is ours: the prompt's exact tokens, log-probabilities, and an answer of its own for each
request, which no other request can end.
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
from ...failures import taken_away
from ...llamacpp.client import LlamaServer, chunk_of
from ...llamacpp.grammar.segments import GrammarGeneration
from ...llamacpp.request_values import biases_of, encoded
from ...llamacpp.stream_reader import AnswerReader, LogprobReader, Spelling, error_of
from ...llamacpp.token_scoring import hidden_text, score_token
from ...protocol import CUT, Capability, GenerateRequest, Piece, TokenLogprob
from ...tokens.tokenizer_view import TokenizerView
from ..findings import knows_stop_event
from ..host import Loaded
from ..patching import wrap_once
from ..sampling.constraint import PENALTIES
from ..sampling.request_tag import RequestTag
from ..tokenizers import text_view, view_of_file
from .base import LoaderJob, TokenAdapter, server_slots
from .growing_text import yield_as_it_grows

OLD_MEDIA_MARK = "<__media__>"  # llama.cpp's, before it made one up at each start
STATE_KEY = "openedai"  # under which a state carries our part


class LlamaServerAdapter(TokenAdapter):
    """`LlamaServer`, as the host calls its class."""

    model_class = "LlamaServer"
    exact = True

    def parallel(self, loaded: Loaded) -> int:
        return server_slots()

    def capabilities(self, view: TokenizerView) -> tuple[Capability, ...]:
        return view.media + (() if view.matching is None else super().capabilities(view))

    def view(self, loaded: Loaded) -> TokenizerView:
        server = LlamaServer(loaded.model.port)

        def tokens_of(text: str) -> Sequence[int]:
            asked = {"content": text, "add_special": False, "parse_special": False}
            return list(server.ask("/tokenize", asked)["tokens"])

        view = view_of_file(Path(loaded.model.model_path), tokens_of) or text_view(loaded)
        props = server.ask("/props")
        able = props.get("modalities", {})
        media = tuple(
            each for each in (Capability.VISION, Capability.AUDIO) if able.get(each.value)
        )
        return replace(
            view, media=media, mark=props.get("media_marker", OLD_MEDIA_MARK) if media else ""
        )

    def attach(
        self, loaded: Loaded, job: LoaderJob, state: dict[str, Any]
    ) -> LlamaServerGeneration:
        generation = LlamaServerGeneration(job)
        state[STATE_KEY] = carrier = RequestTag()
        carrier.part = generation
        if knows_stop_event():
            state["stop_event"] = threading.Event()  # with one, a host lets several generate
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
        self.begun = self.finished = self.left = self.dropped = False
        self.error: BaseException | None = None

    def run(self, model: Any, prompt: str, state: dict[str, Any]) -> Iterator[str]:
        """In place of the host's own call; what it yields is for the host's log, or for an extension."""
        self.begun = True
        answer = partial(self._answer, model, prompt, state)
        try:
            if self._job.heard is not None:
                yield from yield_as_it_grows(self._job.heard, answer)
                return
            text = answer(lambda: self.left)
        except GeneratorExit:
            self.dropped = not self.finished
            raise
        except Exception as error:  # the host would write it to its log, and go on
            self.error = error
            return
        # Once, when all is over: between two texts the host looks whether its UI wants everything stopped.
        yield text

    def _answer(
        self, model: Any, prompt: str, state: dict[str, Any], is_over: Callable[[], bool]
    ) -> str:
        """The whole text. `is_over`: asked after each piece, whether to stop."""
        job, request = self._job, self._job.request
        tokens = job.tokens if prompt == job.text else job.encode(prompt)
        model.last_prompt_token_count = len(tokens)
        limit = int(state["max_new_tokens"])
        body = model.prepare_payload(state)
        body |= {
            "logit_bias": [
                *body.get("logit_bias", ()),
                *biases_of(request.logit_bias),
                # Until 2025 llama.cpp's own `ignore_eos` meant one token only.
                *([end, False] for end in job.view.ends if state.get("ban_eos_token")),
            ],
            # With a seed the answer is the same every time, as in `LlamaCppEngine`.
            "cache_prompt": request.seed is None,
        }
        # With a penalty on repetition of its own the window that all three share stays as it is.
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
            self.left = job.emit(piece)
            return self.left or is_over()

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
        self, server: LlamaServer, tokens: Sequence[int], text: str, hidden: int
    ) -> str:
        """See AnswerReader."""
        asked = {"content": text, "add_special": False, "parse_special": True}
        try:
            before = [*tokens, *server.ask("/tokenize", asked)["tokens"]]
            return hidden_text(server.complete, self._job.view.vocabulary, before, hidden)
        except APIError:  # the context may be full; the answer itself is whole
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
        # Without the prompt's token ids, a token that is a part of a character cannot be judged.
        most = None if limit < 0 else limit
        reader = LogprobReader((), self._spelling, most, request.logprobs, score_token=None)
        body |= {"n_predict": reader.wanted, "n_probs": max(1, request.logprobs)}
        self._read(server, body, reader, emit)

    def _read(
        self,
        server: LlamaServer,
        body: dict[str, Any],
        reader: AnswerReader,
        emit: Emit[Piece | None],
    ) -> None:
        """The answer as the server puts it."""
        body |= {"stream": True, "timings_per_token": True, "return_progress": True}
        body |= {"preserved_tokens": list(self._job.request.marks)}
        param = "messages" if self._job.request.media else "prompt"
        failures: list[Exception] = []

        def receive(data: bytes) -> bool:
            chunk = chunk_of(data)
            if "error" in chunk:
                failures.append(error_of(chunk["error"], param))
                return True
            return emit(None if "prompt_progress" in chunk else reader.read(chunk)) or reader.enough

        server.complete(orjson.dumps(body), receive, partial(emit, None))
        if failures:
            raise failures[0]
        if not (self.finished or self.left):
            raise taken_away()


def _with_media(request: GenerateRequest, prompt: str) -> dict[str, Any]:
    return {"prompt_string": prompt, "multimodal_data": [*map(encoded, request.media)]}


def wrap_class(kind: Any) -> None:
    """Let our requests take part in what models of the host's class generate; others are passed on as they
    are. Safe to call again."""
    wrap_once(kind, "generate_with_streaming", _taking_part)


def _taking_part(before: Any) -> Any:
    def generate_with_streaming(model: Any, prompt: str, state: dict[str, Any]) -> Iterator[str]:
        carrier = state.get(STATE_KEY)
        # Begun: an extension asks for more than one answer.
        if carrier is None or carrier.part.begun:
            return before(model, prompt, state)  # type: ignore[no-any-return]
        served: LlamaServerGeneration = carrier.part
        return served.run(model, prompt, state)

    return generate_with_streaming
