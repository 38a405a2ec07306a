"""The engine of a text-generation-webui: its loaded model, through its own functions.

The host's modules are looked up by name at each use and never cached: its model may be switched or unloaded
at any time. Differences between versions are detected from signatures, settings and classes, never from a
version number.

`loaders/` has an adapter for each loader. Most let us take part in each step: exact tokens,
log-probabilities, grammars, and an end that affects no other answer. Others yield the whole text so far.
"""

from __future__ import annotations

import copy
import hashlib
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from ...errors import APIError, ContextLengthExceeded, ShuttingDown
from ...schemas import bad_request
from ..callback_bridge import Emit, iterate_callback
from ..failures import failure_from, model_changed
from ..next_tokens import NextTokens
from ..protocol import (
    Capability,
    ChatRequest,
    EngineInfo,
    GenerateRequest,
    LikelyToken,
    Piece,
    Pieces,
    RepositoryFile,
    Scores,
    TokenLogprob,
)
from ..tokens.infill import Plain, infill_tokens, repository_tokens
from ..tokens.tokenizer_view import TokenizerView
from .answers.by_text import answer_by_text
from .answers.by_tokens import answer_by_tokens
from .answers.relay import answer_through
from .answers.token_count import TokenCount
from .findings import takes_bias
from .host import (
    Loaded,
    created_at,
    custom_reply_extension,
    honoured,
    host_module,
    optional_module,
    sampler_of_host,
)
from .known_model import KnownModel, ModelLookup
from .loaders.base import LoaderJob, TextAdapter, TokenAdapter
from .next_tokens import host_function, sampled_by_host
from .prompts import PromptBuilder
from .request_state import state_of
from .tokenizers import TokenTexts, check_ids

log = logging.getLogger("openedai")

SLACK_TOKENS = 64  # the host may count more tokens in the prompt than we do


class WebuiEngine:
    """Generates with the host's model. Caches only what was read from the current tokenizer."""

    def __init__(self, *, message_repair: bool = True) -> None:
        self._repair = message_repair
        self._closed = threading.Event()
        self._set_lookup(ModelLookup())

    def _set_lookup(self, lookup: ModelLookup) -> None:
        self._lookup = lookup
        self._prompts = PromptBuilder(lookup.now, message_repair=self._repair)

    def snapshot(self) -> WebuiEngine:
        """As in `HasSnapshots`."""
        pinned = copy.copy(self)
        pinned._set_lookup(self._lookup.pin())
        return pinned

    @property
    def info(self) -> EngineInfo:
        loaded, known = self._lookup.now()
        shared, view, context = host_module("shared"), known.view, known.context(loaded)
        capabilities = [Capability.COMPLETION, Capability.CHAT, Capability.TOOLS]
        traits = self._prompts.traits()
        if traits is not None and traits.thinking is not None:
            capabilities.append(Capability.REASONING)
        if isinstance(known.adapter, TokenAdapter):
            capabilities += known.adapter.capabilities(view)
            if len(view.vocabulary.special) == 3:
                capabilities.append(Capability.INFILL)
        if hasattr(optional_module("chat"), "generate_chat_prompt"):
            capabilities.append(Capability.MODES)
        identity = (loaded.name, loaded.loader, context, tuple(shared.lora_names))
        return EngineInfo(
            model=loaded.name,
            created=created_at(shared, loaded.name),
            owned_by="text-generation-webui",
            context_length=context,
            sampler=sampler_of_host(),
            fingerprint="fp_" + hashlib.sha256(repr(identity).encode()).hexdigest()[:10],
            vocabulary_size=len(view.vocabulary.tokens),
            parallel=known.parallel(loaded),
            capabilities=tuple(capabilities),
            thinking=None if traits is None else traits.thinking,
            honours=honoured(loaded),
            template=traits,
        )

    def render(self, request: ChatRequest) -> str:
        return self._prompts.render(request)

    def turn_ends(self, request: ChatRequest) -> tuple[str, ...]:
        return self._prompts.turn_ends(request)

    # Tokens

    def tokenize(self, text: str) -> tuple[int, ...]:
        return self._tokens_of(text, *self._lookup.now())

    def _tokens_of(self, text: str, loaded: Loaded, known: KnownModel) -> tuple[int, ...]:
        tokens, view = known.encode(loaded, text), known.view
        start = _start_token(loaded, view)
        # The template may write the start token, and the tokenizer may add another one.
        while len(tokens) > 1 and tokens[0] == tokens[1] == start:
            tokens = tokens[1:]
        if not tokens:
            end = getattr(loaded.tokenizer, "eos_token_id", None) or min(view.ends, default=0)
            tokens = (end if start is None else start,)
        return tokens

    def detokenize(self, tokens: Sequence[int]) -> str:
        return self._text_of(tokens, *self._lookup.now())

    def _text_of(self, tokens: Sequence[int], loaded: Loaded, known: KnownModel) -> str:
        vocabulary = known.view.vocabulary
        check_ids(tokens, vocabulary, "prompt")
        if isinstance(vocabulary.tokens, TokenTexts):
            return str(loaded.tokenizer.decode(list(tokens)))
        if tokens and tokens[0] == _start_token(loaded, known.view):
            tokens = tokens[1:]
        return b"".join(map(vocabulary.name, tokens)).decode(errors="replace")

    def infill(self, before: str | tuple[int, ...], after: str) -> tuple[int, ...]:
        return infill_tokens(*self._without_start(), before, after)

    def repository(self, files: Sequence[RepositoryFile]) -> tuple[int, ...]:
        return repository_tokens(*self._without_start(), files)

    def _without_start(self) -> tuple[Mapping[str, int], Plain]:
        """The special tokens, and what makes tokens of a text that is no prompt."""
        loaded, known = self._lookup.now()
        start = _start_token(loaded, known.view)

        def plain(text: str) -> tuple[int, ...]:
            tokens = known.encode(loaded, text)
            return tokens[1:] if tokens[:1] == (start,) else tokens

        return known.view.vocabulary.special, plain

    # Answers

    def generate(self, request: GenerateRequest) -> Pieces:
        loaded, known = self._lookup.now()
        view, prompt = known.view, request.prompt
        if request.media:
            return self._generate_from_media(loaded, known, request)
        text = prompt if isinstance(prompt, str) else ""
        given = () if isinstance(prompt, str) else tuple(prompt)
        tokens = given or self._tokens_of(text, loaded, known)
        check_ids(tokens, view.vocabulary, "prompt")
        check_ids([token for token, _ in request.logit_bias], view.vocabulary, "logit_bias")
        limit = _limit_of(request, len(tokens), known.context(loaded))
        if not isinstance(prompt, str):
            text = self._text_of(tokens, loaded, known)
        if not text:  # the host fails on an empty prompt; token adapters use the tokens anyway
            special = known.special()
            text = special["bos"] or special["eos"] or "\n"
        if isinstance(known.adapter, TextAdapter):
            self._check_text_only(loaded, known, request, text)
        return self._answer(loaded, known, request, text, tokens, limit)

    def _check_text_only(
        self, loaded: Loaded, known: KnownModel, request: GenerateRequest, text: str
    ) -> None:
        """Raise InvalidRequest for what a loader that only yields text cannot do."""
        if request.logit_bias and not takes_bias(loaded):
            why = "is not supported by this loader."
            if extension := custom_reply_extension():
                why = f"is not supported while the extension '{extension}' generates the answers."
            raise bad_request.unsupported("logit_bias", why)
        given = request.prompt
        if isinstance(given, tuple) and given and self._tokens_of(text, loaded, known) != given:
            raise bad_request.unsupported(
                "prompt", "must be text: this loader does not take these token ids."
            )

    def _generate_from_media(
        self, loaded: Loaded, known: KnownModel, request: GenerateRequest
    ) -> Pieces:
        """Only the loader knows how many tokens media take, so it checks whether they fit."""
        if not known.view.media:
            raise model_changed()
        if request.grammar is not None:
            raise bad_request.unsupported(
                "messages",
                "must be text only with this loader if the answer must follow a grammar.",
            )
        limit = -1 if request.max_tokens is None else request.max_tokens
        return self._answer(loaded, known, request, str(request.prompt), (), limit)

    def _answer(
        self,
        loaded: Loaded,
        known: KnownModel,
        request: GenerateRequest,
        text: str,
        tokens: tuple[int, ...],
        limit: int,
    ) -> Pieces:
        adapter = known.adapter

        def produce(emit: Emit[Piece | None]) -> None:
            state, count = state_of(loaded, known, request, limit), TokenCount(loaded, known)
            encode = partial(known.encode, loaded)
            job = LoaderJob(request, known.view, text, tokens, limit, emit, encode)
            if isinstance(adapter, TextAdapter):
                answer_by_text(adapter, loaded, job, state, count, self._check_open)
                return
            job = replace(job, emit=lambda piece: emit(piece) or self._closed.is_set())
            state["truncation_length"] += SLACK_TOKENS  # the host must not cut the prompt
            if extension := custom_reply_extension():
                is_complete = answer_through(extension, adapter, loaded, job, state, count.of)
            else:
                is_complete = answer_by_tokens(adapter, loaded, job, state)
            if not is_complete:
                self._check_open()

        # The host generates one answer at a time: a slow reader must not block the others.
        return iterate_callback(_guarded(produce), own_thread=True)

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise ShuttingDown("The server is shutting down; this answer is not complete.")

    def score(self, tokens: Sequence[int], alternatives: int) -> Scores:
        loaded, known = self._lookup.now()
        adapter, view = known.adapter, known.view
        if not isinstance(adapter, TokenAdapter):
            raise bad_request.unsupported("logprobs", "is not supported by this loader.")
        check_ids(tokens, view.vocabulary, "prompt")

        def produce(emit: Emit[TokenLogprob | None]) -> None:
            with host_module("shared").generation_lock:
                if emit(None):
                    return
                for score in adapter.scores(loaded, view, tokens, alternatives):
                    if emit(score) or self._closed.is_set():
                        return

        return iterate_callback(_guarded(produce))

    def next_tokens(self, request: GenerateRequest) -> NextTokens:
        loaded, known = self._lookup.now()
        function = host_function(known.adapter)

        def produce(emit: Emit[tuple[LikelyToken, ...] | None]) -> None:
            state = state_of(loaded, known, request, 1)
            if not emit(None):
                emit(sampled_by_host(function, str(request.prompt), state, request.logprobs or 1))

        return iterate_callback(_guarded(produce), own_thread=True)

    def close(self) -> None:
        self._closed.set()


def _limit_of(request: GenerateRequest, prompt_tokens: int, context: int) -> int:
    """The most tokens to sample. Raises ContextLengthExceeded."""
    limit = context - prompt_tokens if request.max_tokens is None else request.max_tokens
    if limit < 1 or prompt_tokens + limit > context:
        raise ContextLengthExceeded(
            prompt_tokens=prompt_tokens,
            max_tokens=request.max_tokens or 0,
            context_length=context,
            param="prompt",
        )
    return limit


def _start_token(loaded: Loaded, view: TokenizerView) -> int | None:
    start = view.start
    return getattr(loaded.tokenizer, "bos_token_id", None) if start is None else start


def _guarded(produce: Callable[[Emit[Any]], None]) -> Callable[[Emit[Any]], None]:
    """Convert the host's exceptions to errors without their text, which may quote the prompt."""

    def guarded(emit: Emit[Any]) -> None:
        try:
            produce(emit)
        except APIError:
            raise
        except Exception as error:
            log.exception("the host failed")
            raise failure_from(error) from None

    return guarded
