"""The engine of a text-generation-webui: its loaded model, through its own functions.

The host's modules are looked up by name at each use, and nothing of them is kept: its model may be
switched or unloaded at any time. What differs between its versions is found out by looking (signatures,
settings, classes), never by a version's number.

Where there is a way into the loader (`loaders/`), we take part in what it generates: exact tokens,
log-probabilities, grammars, and an end that touches no other answer. Other loaders hand over the whole text
so far.
"""

from __future__ import annotations

import copy
import hashlib
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ...errors import APIError, ContextLengthExceeded, InvalidRequest, ShuttingDown
from ...schemas import bad_request
from ..callback_bridge import Emit, iterate_callback
from ..chat_template import BadTemplate, ChatTemplate, TemplateTraits, cached_template
from ..failures import failure_from, taken_away, text_changed
from ..protocol import (
    BAN,
    Capability,
    ChatRequest,
    EngineInfo,
    Finish,
    GenerateRequest,
    Page,
    Piece,
    Pieces,
    PromptUsage,
    Scores,
    TokenLogprob,
)
from ..tokens.tokenizer_view import TokenizerView
from .host import (
    Loaded,
    created_at,
    custom_reply,
    custom_reply_of,
    honoured,
    host_module,
    host_reply,
    knows_stop_event,
    optional_module,
    parallel_of,
    sampler_of_host,
    takes_bias,
)
from .known_model import KnownModel, ModelLook
from .loaders.base import Job, LoaderAdapter, check_error
from .relay import answer_through
from .tokens import Texts, check_ids, counted_tokens, grown, tokens_so_far
from .ui_state import (
    ENDLESS,
    chosen_source,
    mode_of,
    page_settings,
    talk_of,
    with_marks,
)

log = logging.getLogger("openedai")

SLACK = 64  # tokens
SEEDS = 2**31  # of the host, whose -1 is none


class WebuiEngine:
    """Generates with the host's model. Holds nothing but what it has read of the tokenizer in use."""

    def __init__(self, *, message_repair: bool = True) -> None:
        self._repair = message_repair
        self._closed = threading.Event()
        self._look = ModelLook()

    def snapshot(self) -> WebuiEngine:
        """As in `HasSnapshots`."""
        pinned = copy.copy(self)
        pinned._look = self._look.pin()
        return pinned

    # What is loaded

    @property
    def info(self) -> EngineInfo:
        loaded, known = self._look.now()
        shared, words, way = host_module("shared"), known.words, known.way
        context = known.context(loaded)
        capabilities = [Capability.COMPLETION, Capability.CHAT, Capability.TOOLS]
        traits = self._traits_of(loaded, known)
        if traits is not None and traits.thinking is not None:
            capabilities.append(Capability.REASONING)
        if way is not None:
            capabilities += way.capabilities(loaded, words)
            if len(words.vocabulary.special) == 3:
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
            vocabulary_size=len(words.vocabulary.tokens),
            parallel=parallel_of(loaded),
            capabilities=tuple(capabilities),
            thinking=None if traits is None else traits.thinking,
            honours=honoured(loaded),
            template=traits,
        )

    def _traits_of(self, loaded: Loaded, known: KnownModel) -> TemplateTraits | None:
        try:
            return self._template_of(known.source(loaded), known).traits
        except BadTemplate:  # each chat says so
            return None

    # Prompts

    def render(self, request: ChatRequest) -> str:
        mark = self._look.now()[1].words.mark
        if mode_of(request) == "instruct":
            return self._template_for(request).render(request, media_mark=mark)
        messages = tuple(with_marks(message, mark) for message in request.messages)
        request = replace(request, messages=messages)
        state, text = talk_of(self._page_state(request), request)
        try:
            prompt = host_module("chat").generate_chat_prompt(text, state, history=state["history"])
        except Exception as error:
            log.exception("the web UI made no prompt")
            why = f"The web UI cannot put these messages ({type(error).__name__})."
            raise InvalidRequest(why, param="messages") from None
        return str(prompt)

    def turn_ends(self, request: ChatRequest) -> tuple[str, ...]:
        """The texts by which a model shows that its turn is over, where it does so in plain text."""
        if mode_of(request) == "instruct":
            return self._template_for(request).turn_ends()
        state = talk_of(self._page_state(request), request)[0]
        return tuple(each for each in host_module("chat").get_stopping_strings(state) if each)

    def _template_for(self, request: ChatRequest) -> ChatTemplate:
        try:
            return self._template_of(self._source_for(request), self._look.now()[1])
        except BadTemplate as error:
            why = f"The model's chat template cannot be used: {error}."
            raise InvalidRequest(why, param="messages") from None

    def _source_for(self, request: ChatRequest) -> str:
        chosen = chosen_source(request)
        if chosen is not None:
            return chosen
        loaded, known = self._look.now()
        return known.source(loaded)

    def _template_of(self, source: str, known: KnownModel) -> ChatTemplate:
        return cached_template(source, **known.special(), repair=self._repair)

    def _page_state(self, request: ChatRequest) -> dict[str, Any]:
        """What the page's own function makes its prompt of."""
        plain = GenerateRequest("", 1, request.sampling, request.seed)
        loaded, known = self._look.now()
        state = self._state(loaded, known, plain, 1, request.page)
        # What does not fit is refused here, and never cut.
        return state | {"truncation_length": ENDLESS, "chat_prompt_size": ENDLESS}

    def tokenize(self, text: str) -> tuple[int, ...]:
        return self._tokens_of(text, *self._look.now())

    def _tokens_of(self, text: str, loaded: Loaded, known: KnownModel) -> tuple[int, ...]:
        tokens, words = known.encode(text), known.words
        start = _start_token(loaded, words)
        # A template may write the start token, and the tokenizer add another one.
        while len(tokens) > 1 and tokens[0] == tokens[1] == start:
            tokens = tokens[1:]
        if not tokens:
            end = getattr(loaded.tokenizer, "eos_token_id", None) or min(words.ends, default=0)
            tokens = (end if start is None else start,)
        return tokens

    def detokenize(self, tokens: Sequence[int]) -> str:
        return self._text_of(tokens, *self._look.now())

    def _text_of(self, tokens: Sequence[int], loaded: Loaded, known: KnownModel) -> str:
        vocabulary = known.words.vocabulary
        check_ids(tokens, vocabulary, "prompt")
        if isinstance(vocabulary.tokens, Texts):
            return str(loaded.tokenizer.decode(list(tokens)))
        if tokens and tokens[0] == _start_token(loaded, known.words):
            tokens = tokens[1:]
        return b"".join(map(vocabulary.name, tokens)).decode(errors="replace")

    def infill(self, before: str | tuple[int, ...], after: str) -> tuple[int, ...]:
        loaded, known = self._look.now()
        special, start = known.words.vocabulary.special, _start_token(loaded, known.words)

        def plain(text: str) -> tuple[int, ...]:
            tokens = known.encode(text)
            return tokens[1:] if tokens[:1] == (start,) else tokens

        return (
            special["fim_pre"],
            *(plain(before) if isinstance(before, str) else before),
            special["fim_suf"],
            *plain(after),
            special["fim_mid"],
        )

    # Answers

    def generate(self, request: GenerateRequest) -> Pieces:
        loaded, known = self._look.now()
        words, prompt = known.words, request.prompt
        if request.media:
            return self._from_media(loaded, known, request)
        text = prompt if isinstance(prompt, str) else ""
        given = () if isinstance(prompt, str) else tuple(prompt)
        tokens = given or self._tokens_of(text, loaded, known)
        check_ids(tokens, words.vocabulary, "prompt")
        check_ids([token for token, _ in request.logit_bias], words.vocabulary, "logit_bias")
        context = known.context(loaded)
        limit = context - len(tokens) if request.max_tokens is None else request.max_tokens
        if limit < 1 or len(tokens) + limit > context:
            raise ContextLengthExceeded(
                prompt_tokens=len(tokens),
                max_tokens=request.max_tokens or 0,
                context_length=context,
                param="prompt",
            )
        if not isinstance(prompt, str):
            text = self._text_of(tokens, loaded, known)
        if not text:  # a host fails at such a prompt; where we have a way in, the tokens count
            special = known.special()
            text = special["bos"] or special["eos"] or "\n"
        if known.way is not None:
            return self._by_way(known.way, loaded, known, request, text, tokens, limit)
        if request.logit_bias and not takes_bias(loaded):
            why = "is not something this loader can do."
            if extension := custom_reply_of():
                why = f"cannot be had while the extension '{extension}' makes the answers."
            raise bad_request.unsupported("logit_bias", why)
        if given and self._tokens_of(text, loaded, known) != tokens:
            raise bad_request.unsupported(
                "prompt", "must be text: this loader does not take these token ids."
            )
        return self._by_text(loaded, known, request, text, tokens, limit)

    def _from_media(self, loaded: Loaded, known: KnownModel, request: GenerateRequest) -> Pieces:
        """Only the loader knows how many tokens media take, so it sees whether they fit."""
        way = known.way
        if way is None or not known.words.media:
            raise taken_away()
        if request.grammar is not None:
            raise bad_request.unsupported(
                "messages", "must be text where the answer has to keep to a form, with this loader."
            )
        limit = -1 if request.max_tokens is None else request.max_tokens
        return self._by_way(way, loaded, known, request, str(request.prompt), (), limit)

    def _by_way(
        self,
        way: LoaderAdapter,
        loaded: Loaded,
        known: KnownModel,
        request: GenerateRequest,
        text: str,
        tokens: tuple[int, ...],
        limit: int,
    ) -> Pieces:
        def produce(emit: Emit[Piece | None]) -> None:
            def emit_or_end(piece: Piece | None) -> bool:
                return emit(piece) or self._closed.is_set()

            state = self._state(loaded, known, request, limit)
            # What the host reads may be longer than the prompt's tokens, and it must not cut it.
            state["truncation_length"] += SLACK
            job = Job(request, known.words, text, tokens, limit, emit_or_end, known.encode)
            if extension := custom_reply_of():
                if not answer_through(extension, way, loaded, job, state):
                    self._check_open()
                return
            part = way.join(loaded, job, state)
            replies = host_reply(text, state)
            try:
                for _ in replies:
                    if not part.begun:  # the host has another model now
                        break
            except Exception as error:
                if not part.finished:
                    raise
                # It may stumble over a model that was unloaded meanwhile; the answer is whole.
                log.debug("the host failed behind the answer with %s", type(error).__name__)
            finally:
                replies.close()
            if part.finished:
                return
            if part.left:
                self._check_open()
                return
            check_error(part)
            raise taken_away()

        # The host lets one generate at a time: a slow reader must not hold up the others.
        return iterate_callback(_guarded(produce), own_thread=True)

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise ShuttingDown("The server is shutting down; this answer is not complete.")

    def _by_text(
        self,
        loaded: Loaded,
        known: KnownModel,
        request: GenerateRequest,
        text: str,
        tokens: tuple[int, ...],
        limit: int,
    ) -> Pieces:
        def produce(emit: Emit[Piece | None]) -> None:
            state = self._state(loaded, known, request, limit)
            stop = threading.Event()
            if knows_stop_event():
                state["stop_event"] = stop
            if request.logit_bias:
                bans = False if type(loaded.model).__name__ == "LlamaServer" else float("-inf")
                state["logit_bias"] = {
                    str(token): bans if bias <= BAN else bias for token, bias in request.logit_bias
                }
            rewrites = custom_reply() is not None
            prompt: PromptUsage | None = PromptUsage(len(tokens))
            said = shown = ""
            counted = 0
            replies = host_reply(text, state)
            try:
                for said in replies:
                    # What an extension generates may still change; of others the tail of a character.
                    if not rewrites:
                        new, shown = grown(shown, said)
                        now = min(limit, tokens_so_far(loaded, counted, new)) if new else counted
                        fresh, counted = now - counted, now
                        if emit(Piece(new, tokens=fresh, prompt=prompt)):
                            stop.set()
                            return
                        prompt = None
                    elif emit(None):
                        stop.set()
                        return
                    if self._closed.is_set():
                        stop.set()
                        raise ShuttingDown(
                            "The server is shutting down; this answer is not complete."
                        )
            finally:
                replies.close()
            if not said and host_module("shared").model is not loaded.model:
                raise taken_away()
            if not rewrites and not said.startswith(shown):
                raise text_changed()
            whole = counted_tokens(loaded, said)
            total = min(limit, max(counted, whole))
            # It is unknown whether the limit ended what an extension has generated.
            ended_by_limit = whole >= limit and not rewrites
            finish: Finish = "length" if ended_by_limit else "stop"
            if ended_by_limit:
                total = limit
            rest = said[len(shown) :]
            emit(Piece(rest, tokens=total - counted, prompt=prompt, finish=finish))

        return iterate_callback(_guarded(produce), own_thread=True)

    def _state(
        self,
        loaded: Loaded,
        known: KnownModel,
        request: GenerateRequest,
        limit: int,
        rendered: Page | None = None,
    ) -> dict[str, Any]:
        """Everything that the host reads of a request: its own settings and defaults, then what was asked and
        what hooks made of it. `rendered`: the page that makes the prompt, where that is what it is for."""
        page = rendered or request.page
        if rendered is None and page is not None and custom_reply() is None:
            # Only this uses what is known of a character, and loading it takes a while.
            page = replace(page, mode="instruct", character=None)
        base = page_settings(page, known.source(loaded))
        state = {**base, **request.sampling}
        if request.page is not None:
            state["mode"] = request.sampling.get("mode", request.page.mode)
        state.update(
            max_new_tokens=limit,
            auto_max_new_tokens=False,
            truncation_length=known.context(loaded),
            seed=-1 if request.seed is None else request.seed % SEEDS,
            stream=True,
            # Ours is the matcher that cuts: the host's may show a part of a stop string.
            custom_stopping_strings="",
            history={"internal": [], "visible": []},
        )
        return state

    # Probabilities

    def score(self, tokens: Sequence[int], alternatives: int) -> Scores:
        loaded, known = self._look.now()
        way, words = known.way, known.words
        if way is None:
            raise bad_request.unsupported("logprobs", "is not something this loader can do.")
        check_ids(tokens, words.vocabulary, "prompt")

        def produce(emit: Emit[TokenLogprob | None]) -> None:
            with host_module("shared").generation_lock:
                if emit(None):
                    return
                for score in way.scores(loaded, words, tokens, alternatives):
                    if emit(score) or self._closed.is_set():
                        return

        return iterate_callback(_guarded(produce))

    def close(self) -> None:
        self._closed.set()


def _start_token(loaded: Loaded, words: TokenizerView) -> int | None:
    start = words.start
    return getattr(loaded.tokenizer, "bos_token_id", None) if start is None else start


def _guarded(produce: Callable[[Emit[Any]], None]) -> Callable[[Emit[Any]], None]:
    """What a host raises, said without its words, which may quote the prompt."""

    def guarded(emit: Emit[Any]) -> None:
        try:
            produce(emit)
        except APIError:
            raise
        except Exception as error:
            log.exception("the host failed")
            raise failure_from(error) from None

    return guarded
