"""llama.cpp in this process, through xllamacpp: continuous batching, its chat templates, its cache.

Source: llama.cpp `tools/server`, and xllamacpp's Server, which calls back once per token.
"""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from ...errors import APIError
from ...schemas import bad_request
from ..callback_bridge import TICK_S, iterate_callback
from ..next_tokens import NextTokens
from ..penalties import PromptCounts
from ..protocol import (
    CUT,
    CacheCounts,
    Capability,
    ChatRequest,
    EngineInfo,
    GenerateRequest,
    Pieces,
    RepositoryFile,
    Scores,
    TokenLogprob,
)
from ..tokens.context_length import check_fits, request_tokens
from ..tokens.gguf import GGUFHeader
from ..tokens.infill import infill_tokens, repository_tokens
from ..tuning import DEFAULT_TUNING, Tuning
from .grammar.matched_answers import MatchedAnswers
from .grammar.shared_tokenizer import shared_tokenizer
from .grammar.trial import end_of_grammars, follows_grammars
from .loading.attention import with_attention
from .loading.fingerprint import changing, fingerprint
from .loading.loaded_model import LoadedModel
from .loading.memory import memory_need
from .loading.model_files import read_files
from .loading.own_sampling import own_sampling
from .loading.params import least_kept, params_for, prompt_cache_bytes
from .loading.template import load_template
from .loading.version import checked_version
from .next_tokens import NextTokenReader, drawing, not_reported
from .penalty_restart import PenaltyRestart
from .prompt_cache.cache import PromptCache
from .prompt_cache.disk import Disk
from .prompt_cache.prompt import Prompt, RequestPrompt, request_prompt
from .prompt_cache.readings import LEAST_SHARED
from .prompt_cache.slot_pool import SlotPool
from .request_values import encoded
from .session import CompletionSession, body_of
from .stream_reader import AnswerReader, LogprobReader, Place, Spelling, TokenReader
from .token_scoring import hidden_text, score_token

log = logging.getLogger("openedai")

MAX_REPORTED_TOKENS = 300  # special tokens that one request asks llama.cpp to report by name
CLOSE_TIMEOUT_S = 3.0  # for running answers to notice that the engine closes


class LlamaCppEngine:
    """One GGUF model in memory. Thread-safe; each running answer has its own thread.

    `context_length` is what one request may use (0: the model's own, as far as a quarter of the machine's
    memory holds one for each of `parallel` answers, and 8192 at least; `shares_memory`: at most). If the
    memory does not hold them all, the KV cache has fewer, the answers share it, and one whose worst case does
    not fit waits. `mmproj` is the model's encoder of pictures or sounds. `message_repair`: whether to repair
    messages that the chat template refuses. `chat_template`: the source of one to use in place of the file's
    own.
    """

    def __init__(
        self,
        model: Path,
        *,
        name: str,
        context_length: int = 0,
        gpu_layers: int = -1,
        threads: int = 0,
        parallel: int = 4,
        loras: Sequence[tuple[Path, float]] = (),
        mmproj: Path | None = None,
        message_repair: bool = True,
        chat_template: str | None = None,
        tuning: Tuning = DEFAULT_TUNING,
        prompt_cache: int | None = None,
        shares_memory: bool = False,
    ) -> None:
        version = checked_version(parallel=parallel, threads=threads)
        header, cache = read_files(
            model,
            context_length=context_length,
            gpu_layers=gpu_layers,
            parallel=parallel,
            loras=loras,
            mmproj=mmproj,
            tuning=tuning,
            chat_template=chat_template,
            shares_memory=shares_memory,
        )
        tuning = with_attention(tuning, model, header, cache, gpu_layers=gpu_layers, mmproj=mmproj)
        context, slots = cache.context, cache.slots
        if context < context_length:
            log.warning("the model was made for %d tokens: --ctx-size is cut to that", context)
        params = params_for(
            model,
            cache,
            gpu_layers=gpu_layers,
            threads=threads,
            loras=loras,
            mmproj=mmproj,
            tuning=tuning,
        )
        further = [each for each in (mmproj, tuning.draft_model) if each is not None]
        files = [model, *(lora for lora, _ in loras), *further]
        if prompt_cache is None:
            prompt_cache = prompt_cache_bytes(model, tuning)
        token_bytes = tuning.kv_bytes(header.kv_bytes_per_token)
        log.info("%s", memory_need(token_bytes, files, cache, prompt_cache))
        sampling = own_sampling(model, header)
        digest = fingerprint(
            [model, mmproj] if mmproj else [model],
            *(version, name, context, loras),
            *changing(tuning, chat_template),
            *sampling.items(),
        )
        disk = None
        if tuning.cache_disk is not None:
            disk = Disk(tuning.cache_disk, digest, tuning.cache_disk_size << 20)
        self.model = loaded = LoadedModel(model, header, params, mmproj)
        self.cache = PromptCache(
            SlotPool(context * cache.contexts if cache.shared else None, slots),
            loaded,
            limit=prompt_cache,
            bytes_per_token=token_bytes,
            least=least_kept(model),
            disk=disk,
        )
        self._closed = threading.Event()
        self._tokenizer = object()  # not the engine, which a request would keep from being freed
        self._template = load_template(
            header,
            bos=loaded.start_text,
            eos=loaded.end_text,
            repair=message_repair,
            chosen=chat_template,
        )
        grammar_end = self._grammar_end()
        self.matched: MatchedAnswers | None = None
        """What follows grammars where llama.cpp does not."""
        if grammar_end is None:
            self.matched = MatchedAnswers(
                loaded.listener, loaded.vocabulary, loaded.end_tokens, loaded.plain_tokens,
                self.cache, self._closed,
            )  # fmt: skip
        self._info = self._describe(
            name,
            model,
            header,
            min(context, loaded.context_length),
            digest,
            parallel,
            grammar_end or "",
            sampling,
        )
        # A thread inside llama.cpp while the interpreter shuts down would abort the process.
        atexit.register(self._free)

    def _describe(
        self,
        name: str,
        path: Path,
        header: GGUFHeader,
        context_length: int,
        fingerprint: str,
        parallel: int,
        grammar_end: str,
        sampling: Mapping[str, Any],
    ) -> EngineInfo:
        model, traits = self.model, self._template.traits
        return EngineInfo(
            model=name,
            created=int(path.stat().st_mtime),
            owned_by="llama.cpp",
            context_length=context_length,
            sampler="llama.cpp",
            fingerprint=fingerprint,
            vocabulary_size=model.vocabulary_size,
            longest_token=model.vocabulary.longest,
            parallel=parallel,
            description=str(header.metadata.get("general.description", ""))[:200],
            capabilities=self._capabilities(),
            thinking=traits.thinking,
            template=traits,
            end_tokens=model.end_tokens,
            grammar_end=grammar_end,
            sampling=sampling,
            token_bytes=model.vocabulary.tokens,
        )

    def _capabilities(self) -> tuple[Capability, ...]:
        found = [
            *(Capability.COMPLETION, Capability.CHAT, Capability.GRAMMAR),
            *(Capability.LOGPROBS, Capability.TOOLS),
        ]
        if self._template.traits.thinking is not None:
            found.append(Capability.REASONING)
        if len(self.model.vocabulary.special) == 3:
            found.append(Capability.INFILL)
        return (*found, *self.model.modalities)

    def _grammar_end(self) -> str | None:
        """As in EngineInfo; None where grammars do not work."""
        model, ends = self.model, self.model.end_tokens
        with shared_tokenizer.owned_by(self, lambda: False):
            token = end_of_grammars(model.complete, model.document_start)
            if not follows_grammars(model.complete, model.document_start, min(ends, default=None)):
                return None
        return "" if token is None or token in ends else model.vocabulary.names[token]

    @property
    def info(self) -> EngineInfo:
        return self._info

    def generate(self, request: GenerateRequest) -> Pieces:
        if request.media:
            return self._generate_from_media(request)
        prompt = request.prompt or (self.model.document_start,)
        if not isinstance(prompt, str):
            self.model.check_ids(prompt, "prompt")
        elif request.logprobs is not None:
            prompt = self.tokenize(prompt)
        context, longest = self._info.context_length, self._info.longest_token
        prompt_tokens = check_fits(prompt, request.max_tokens, context, self.tokenize, longest)
        if request.grammar is not None and self.matched is not None:
            return self._generate_matched(request, prompt, self.matched)
        known = self._known(request, prompt)
        body = self._body(request, known)
        body |= {
            "prompt": known.prompt.ids or prompt,
            "return_progress": prompt_tokens > LEAST_SHARED,
        }
        limit, exact, counts = request.max_tokens, False, None
        if self._counts_answer(request):
            tokens = self.tokenize(prompt) if isinstance(prompt, str) else prompt
            # A grammar cannot be resumed in its middle.
            exact = bool(request.sampling["presence_penalty"]) and request.grammar is None
            if exact:
                body["prompt"] = prompt = tokens
            counts = self._prompt_counts(request, tokens)
            if not exact:
                body["logit_bias"] += counts.bias()
        cache_tokens = context if limit is None else prompt_tokens + limit + TokenReader.TAIL
        alternatives = request.logprobs
        spelling = self._spelling(request, tokens=alternatives is not None or exact)
        if isinstance(prompt, str) or (alternatives is None and not exact):
            # A query would not follow the grammar.
            hidden_text = partial(self._hidden_text, prompt) if request.grammar is None else None
            plain = AnswerReader(limit, spelling.end_texts(), hidden_text)
            return self._run(request, body, known, cache_tokens, plain)
        if alternatives is None:
            reader = TokenReader(prompt, spelling, limit)
        else:
            reader = LogprobReader(prompt, spelling, limit, alternatives, self._score_token)
            cache_tokens *= 2  # for scoring tokens beside it
        # 0 would report no tokens; unrequested alternatives are dropped later.
        body |= {"n_probs": max(1, alternatives or 0), "n_predict": reader.wanted}
        body["preserved_tokens"] = self._preserved(spelling)
        restart = PenaltyRestart(counts, body, reader) if exact and counts else None
        return self._run(request, body, known, cache_tokens, reader, restart)

    def _generate_matched(
        self, request: GenerateRequest, prompt: str | Sequence[int], matched: MatchedAnswers
    ) -> Pieces:
        tokens = self.tokenize(prompt) if isinstance(prompt, str) else prompt
        rest = self._info.context_length - len(tokens)
        limit = rest if request.max_tokens is None else min(request.max_tokens, rest)
        penalised = self._counts_answer(request)
        known = self._known(request, tuple(tokens))
        body = self._body(replace(request, grammar=None), known) | {"stream": False}
        return matched.answer(request, body, known, limit, penalised=penalised)

    def _counts_answer(self, request: GenerateRequest) -> bool:
        """Whether a penalty counts the whole answer, as OpenAI's do; llama.cpp would count the prompt too."""
        native = request.sampling
        if not (native.get("frequency_penalty") or native.get("presence_penalty")):
            return False
        return bool(native.get("repeat_last_n", 0) >= self._info.context_length)

    def _prompt_counts(self, request: GenerateRequest, tokens: Sequence[int]) -> PromptCounts:
        """The prompt tokens that penalties must not count: all but the answer's own beginning."""
        if not request.answer_prefix_length or not isinstance(request.prompt, str):
            return PromptCounts(tokens, request.sampling)
        prefix_at = len(self.tokenize(request.prompt[: -request.answer_prefix_length]))
        counts = PromptCounts(tokens[:prefix_at], request.sampling)
        counts.sampled(tokens[prefix_at:])
        return counts

    def _generate_from_media(self, request: GenerateRequest) -> Pieces:
        """Only llama.cpp knows how many tokens media take, so it checks whether they fit."""
        if request.grammar is not None and self.matched is not None:
            raise bad_request.unsupported(
                "messages",
                "cannot have media together with a grammar: this model's tokens forbid it.",
            )
        prompt = {
            "prompt_string": request.prompt,
            "multimodal_data": [encoded(media) for media in request.media],
        }
        known = self._known(request, request.prompt)
        body = self._body(request, known) | {"prompt": prompt, "return_progress": True}
        if self._counts_answer(request):
            tokens = self.text_tokens(str(request.prompt))
            body["logit_bias"] += PromptCounts(tokens, request.sampling).bias()
        spelling = self._spelling(request, tokens=request.logprobs is not None)
        reader = AnswerReader(end_texts=spelling.end_texts())
        if request.logprobs is not None:
            body["n_probs"] = max(1, request.logprobs)
            # Without the prompt's token ids, a token that is part of a character cannot be scored.
            limit = request.max_tokens
            reader = LogprobReader((), spelling, limit, request.logprobs, score_token=None)
            body["n_predict"] = reader.wanted
            body["preserved_tokens"] = self._preserved(spelling)
        return self._run(request, body, known, self._info.context_length, reader)

    def render(self, request: ChatRequest) -> str:
        prompt = self._template.render(request, media_mark=self.model.media_mark)
        # The tokenizer adds the start token itself.
        return prompt.removeprefix(self.model.start_text) if self.model.adds_start else prompt

    def text_tokens(self, prompt: str) -> tuple[int, ...]:
        """The tokens of a rendered prompt, without its media."""
        first, *others = prompt.split(self.model.media_mark) if self.model.media_mark else [prompt]
        return sum((self.model.tokens_in(text) for text in others), self.tokenize(first))

    def turn_ends(self, request: ChatRequest) -> tuple[str, ...]:
        return ()  # llama.cpp ends answers at these tokens itself

    def score(self, tokens: Sequence[int], alternatives: int) -> Scores:
        self.model.check_ids(tokens, "prompt")
        with self.cache.slots.reserve(len(tokens) + 1) as reservation:
            while not reservation.wait(TICK_S):
                yield None
            # What was asked before is not reused: a prompt is scored by its own queries.
            self.cache.lend(reservation.slot, Prompt(space=str(id(reservation))))
            place = {"id_slot": reservation.slot.id}
            for at, token in enumerate(tokens):
                text = self.model.vocabulary.name(token)
                if at == 0:
                    yield TokenLogprob(text, None, id=token)
                else:
                    scored = self._score_token(tokens[:at], token, alternatives, place)
                    yield replace(scored, bytes=text)

    def next_tokens(self, request: GenerateRequest) -> NextTokens:
        prompt, context = request.prompt or (self.model.document_start,), self._info.context_length
        check_fits(prompt, 1, context, self.tokenize, self._info.longest_token)
        prompt = self.tokenize(prompt) if isinstance(prompt, str) else prompt
        known = self._known(request, prompt)
        body = self._body(request, known) | {"prompt": prompt, "return_progress": True}
        if self._counts_answer(request):  # and of that there is nothing yet
            body |= {"presence_penalty": 0.0, "frequency_penalty": 0.0}
        for draw in drawing(body, request.logprobs or 1):
            reader = NextTokenReader(self.model.vocabulary)
            with closing(self._run(request, draw, known, len(prompt) + 1, reader)) as pieces:
                for piece in pieces:
                    if piece is not None and piece.logprobs:
                        yield piece.logprobs[0].top
                        return
                    yield None
        raise not_reported()

    def infill(self, before: str | tuple[int, ...], after: str) -> tuple[int, ...]:
        special = self.model.vocabulary.special
        return infill_tokens(special, self.model.plain_tokens, before, after)

    def repository(self, files: Sequence[RepositoryFile]) -> tuple[int, ...]:
        return repository_tokens(self.model.vocabulary.special, self.model.plain_tokens, files)

    def tokenize(self, text: str) -> tuple[int, ...]:
        return request_tokens.of(self._tokenizer, text, self.model.tokenize)

    def bare_tokens(self, text: str, *, special: bool) -> tuple[int, ...]:
        return self.model.tokens_in(text) if special else self.model.plain_tokens(text)

    def detokenize(self, tokens: Sequence[int]) -> str:
        return self.model.detokenize(tokens)

    def close(self) -> None:
        if self._closed.is_set():
            return
        self._closed.set()
        atexit.unregister(self._free)
        self.cache.slots.wait_until_empty(CLOSE_TIMEOUT_S)
        shared_tokenizer.release(self, self.model.memory)
        self._free()

    def _free(self) -> None:
        self._closed.set()
        self.cache.slots.wait_until_empty(CLOSE_TIMEOUT_S)
        self.cache.close()
        self.model.free()

    @property
    def cache_counts(self) -> CacheCounts:
        """What the cache in this machine's memory holds and has saved."""
        return self.cache.counts()

    @cached_property
    def _hidden(self) -> frozenset[str]:
        return self.model.vocabulary.hidden

    def _spelling(self, request: GenerateRequest, *, tokens: bool) -> Spelling:
        """The texts of an answer's tokens; `tokens`: whether each token must be identified.

        Then llama.cpp is asked to report special tokens by name, or only end tokens if there are too many.
        """
        ends, reported = self._info.end_tokens, frozenset[str]()
        if tokens:
            reported = self._hidden
            if len(reported) > MAX_REPORTED_TOKENS:
                reported &= frozenset(self.model.vocabulary.names[end] for end in ends)
        return Spelling(self.model.vocabulary, ends, frozenset(request.marks), reported)

    def _preserved(self, spelling: Spelling) -> list[str]:
        """The special tokens that llama.cpp should report by name."""
        return sorted((spelling.marks & self._hidden) | spelling.reported)

    def _body(self, request: GenerateRequest, prompt: RequestPrompt) -> dict[str, Any]:
        if request.logit_bias:
            self.model.check_ids([token for token, _ in request.logit_bias], "logit_bias")
        body = body_of(request)
        body["cache_prompt"] = not prompt.exact or prompt.choices > 1
        marks = self._hidden & set(request.marks)
        if marks:
            body["preserved_tokens"] = sorted(marks)
        return body

    def _known(self, request: GenerateRequest, prompt: str | tuple[int, ...]) -> RequestPrompt:
        model = self.model
        return request_prompt(
            request,
            prompt,
            self.tokenize,
            media_mark=model.media_mark,
            by_tokens=model.has_checkpoints,
        )

    def _run(
        self,
        request: GenerateRequest,
        body: dict[str, Any],
        prompt: RequestPrompt,
        cache_tokens: int,
        reader: AnswerReader,
        restart: PenaltyRestart | None = None,
    ) -> Pieces:
        answer = CompletionSession(
            self.model.complete,
            body,
            reader,
            restart,
            self.cache,
            prompt,
            cache_tokens,
            self._closed,
            "messages" if request.media else "prompt",
            self,
        )
        return iterate_callback(answer.produce)

    def _score_token(
        self, before: Sequence[int], token: int, alternatives: int, place: Place
    ) -> TokenLogprob:
        model = self.model
        return score_token(model.complete, model.vocabulary, before, token, alternatives, place)

    def _hidden_text(
        self, prompt: str | Sequence[int], text: str, hidden: int, place: Place
    ) -> str:
        """See AnswerReader."""
        if isinstance(prompt, str):
            before = self.tokenize(prompt + text)
        else:
            before = (*prompt, *self.model.tokens_in(text))
        if len(before) + hidden >= self._info.context_length:
            return CUT
        try:
            model = self.model
            return hidden_text(model.complete, model.vocabulary, before, hidden, place)
        except APIError:  # already logged; the answer itself is complete
            return CUT
