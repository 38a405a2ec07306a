"""The engine of a text-generation-webui: its loaded model, through its own functions.

The host's modules are looked up by name at each use, and nothing of them is kept: its model may be
switched or unloaded at any time. What differs between its versions is found out by looking (signatures,
settings, classes), never by a version's number.

There are two ways in. Models with a `generate` of the Transformers kind sample token by token, and there
`steps.py` takes part: exact tokens, log-probabilities, grammars, and an end that touches nobody else.
Other loaders (`generate_with_streaming`) hand over the whole text so far.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import orjson
import yaml
from llguidance import LLTokenizer, TokenizerWrapper

from .. import refusals
from ..errors import APIError, ContextLengthExceeded, EngineFailed, InvalidRequest, ModelLoading
from . import template
from .base import (
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
from .pump import Emit, pump
from .steps import BAN, Limit, Part, Share, Steps, Words, as_inputs, attach, judged, to_numpy
from .vocabulary import Vocabulary, vocabulary_of

log = logging.getLogger("openedai")

SEEDS = 2**31  # of a seed, the host's -1 is none
OLD_CONTEXT = 2048  # tokens, where a host tells nothing
STARTED = int(time.time())

FALLBACK: Mapping[str, Any] = {
    "add_bos_token": True,
    "adaptive_decay": 0.9,
    "adaptive_target": 0,
    "auto_max_new_tokens": False,
    "ban_eos_token": False,
    "character_menu": "None",
    "character_picture": None,
    "chat_generation_attempts": 1,
    "chat_prompt_size": OLD_CONTEXT,
    "context": "",
    "context_instruct": "",
    "custom_stopping_strings": "",
    "custom_system_message": "",
    "custom_token_bans": "",
    "do_sample": True,
    "dry_allowed_length": 2,
    "dry_base": 1.75,
    "dry_multiplier": 0,
    "dry_sequence_breakers": '"\\n", ":", "\\"", "*"',
    "dynamic_temperature": False,
    "dynatemp_exponent": 1,
    "dynatemp_high": 1,
    "dynatemp_low": 1,
    "early_stopping": False,
    "enable_thinking": True,
    "encoder_repetition_penalty": 1,
    "epsilon_cutoff": 0,
    "eta_cutoff": 0,
    "frequency_penalty": 0,
    "grammar_string": "",
    "greeting": "",
    "guidance_scale": 1,
    "length_penalty": 1,
    "max_tokens_second": 0,
    "max_updates_second": 0,
    "min_length": 0,
    "min_p": 0,
    "mirostat_eta": 0.1,
    "mirostat_mode": 0,
    "mirostat_tau": 5,
    "name1": "You",
    "name1_instruct": "### Instruction:",
    "name2": "AI",
    "name2_instruct": "### Response:",
    "negative_prompt": "",
    "no_repeat_ngram_size": 0,
    "num_beams": 1,
    "penalty_alpha": 0,
    "presence_penalty": 0,
    "preserve_thinking": False,
    "prompt_lookup_num_tokens": 0,
    "reasoning_effort": "medium",
    "repetition_penalty": 1,
    "repetition_penalty_range": 1024,
    "sampler_priority": "",
    "seed": -1,
    "skip_special_tokens": True,
    "smoothing_curve": 1,
    "smoothing_factor": 0,
    "start_with": "",
    "static_cache": False,
    "stop_at_newline": False,
    "temperature": 1,
    "temperature_last": False,
    "tfs": 1,
    "top_a": 0,
    "top_k": 0,
    "top_n_sigma": 0,
    "top_p": 1,
    "truncation_length": OLD_CONTEXT,
    "turn_template": "<|user|>\n<|user-message|>\n<|bot|>\n<|bot-message|>\n",
    "typical_p": 1,
    "unique_id": None,
    "user_bio": "",
    "xtc_probability": 0,
    "xtc_threshold": 0.1,
}
"""What some version reads of its state and no version's settings say: all samplers off."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """The host's model as it was at one moment."""

    name: str
    model: Any
    tokenizer: Any
    loader: str
    stepwise: bool
    """Whether it samples in steps that we take part in."""


class WebuiEngine:
    """Generates with the host's model. Holds nothing but what it has read of the tokenizer in use."""

    def __init__(self) -> None:
        self._closed = threading.Event()
        self._words: tuple[Any, Words] | None = None
        self._lock = threading.Lock()

    # What is loaded

    def loaded(self) -> Loaded:
        """Raises ModelLoading while there is no model."""
        shared = _module("shared")
        model, tokenizer, name = shared.model, shared.tokenizer, shared.model_name
        if model is None or tokenizer is None or name in (None, "None", ""):
            raise ModelLoading("No model is loaded. Load one in the web UI's Model tab.")
        if shared.generation_lock is None:
            raise ModelLoading("The web UI is still starting. Please try again in a moment.")
        stepwise = not hasattr(model, "generate_with_streaming") and _custom_reply() is None
        return Loaded(name, model, tokenizer, str(getattr(shared.args, "loader", "")), stepwise)

    @property
    def info(self) -> EngineInfo:
        loaded, shared = self.loaded(), _module("shared")
        words = self._words_of(loaded)
        context = _context_length(loaded)
        capabilities = ["completion", "chat"]
        source = self.template_source(loaded)
        if template.mentions(source, ["tools"]):
            capabilities.append("tools")
        if template.mentions(source, ["enable_thinking", "reasoning_effort"]):
            capabilities.append("reasoning")
        if loaded.stepwise:
            capabilities.append("logprobs")
            if words.matching is not None:
                capabilities.append("grammar")
            if len(words.vocabulary.special) == 3:
                capabilities.append("infill")
        if hasattr(_optional("chat"), "generate_chat_prompt"):
            capabilities.append("modes")
        identity = (loaded.name, loaded.loader, context, tuple(shared.lora_names))
        return EngineInfo(
            model=loaded.name,
            created=_created(shared, loaded.name),
            owned_by="text-generation-webui",
            context_length=context,
            sampler=_sampler(),
            fingerprint="fp_" + hashlib.sha256(repr(identity).encode()).hexdigest()[:10],
            vocabulary_size=len(words.vocabulary.tokens),
            parallel=_parallel(loaded),
            capabilities=tuple(capabilities),
            honours=_honoured(loaded),
        )

    def _words_of(self, loaded: Loaded) -> Words:
        with self._lock:
            if self._words is not None and self._words[0] is loaded.tokenizer:
                return self._words[1]
            words = _read_words(loaded)
            self._words = (loaded.tokenizer, words)
            return words

    # Prompts

    def template_source(self, loaded: Loaded | None = None) -> str:
        """The loaded model's own chat template, else the one that is set in the UI."""
        loaded = loaded or self.loaded()
        shared = _module("shared")
        own = getattr(loaded.tokenizer, "chat_template", None)
        if isinstance(own, str) and own:
            return own
        if isinstance(own, dict) and isinstance(own.get("default"), str):
            return str(own["default"])
        in_folder = _template_in_folder(str(_model_path(shared, loaded.name)))
        return in_folder or str(shared.settings.get("instruction_template_str") or "") or PLAIN

    def render(self, request: ChatRequest) -> str:
        page = request.page
        if page is None or page.mode == "instruct":
            return template.render(self._source_for(page), request, _special_texts())
        state, text = _talk(self._page_state(request, page), request)
        try:
            prompt = _module("chat").generate_chat_prompt(text, state, history=state["history"])
        except Exception as error:
            log.exception("the web UI made no prompt")
            why = f"The web UI cannot put these messages ({type(error).__name__})."
            raise InvalidRequest(why, param="messages") from None
        return str(prompt)

    def turn_ends(self, request: ChatRequest) -> tuple[str, ...]:
        """The texts by which a model shows that its turn is over, where it does so in plain text."""
        page = request.page
        if page is None or page.mode == "instruct":
            return template.turn_ends(self._source_for(page), _special_texts())
        state = _talk(self._page_state(request, page), request)[0]
        return tuple(each for each in _module("chat").get_stopping_strings(state) if each)

    def _source_for(self, page: Page | None) -> str:
        name = page and page.instruction_template
        return _named_template(name)[0] if name else self.template_source()

    def _page_state(self, request: ChatRequest, page: Page) -> dict[str, Any]:
        """What the page's own function makes its prompt of."""
        plain = GenerateRequest("", 1, request.sampling, request.seed)
        state = self._state(plain, 1) | {
            "mode": page.mode,
            # What does not fit is refused here, and never cut.
            "truncation_length": ENDLESS,
            "chat_prompt_size": ENDLESS,
            "instruction_template_str": self._source_for(page),
            "tools": None,
        }
        state["turn_template"] = state["turn_template"] or FALLBACK["turn_template"]
        if page.instruction_template is not None:
            state.update(_named_template(page.instruction_template)[1])
        character = page.character or str(state.get("character") or "None")
        if page.character is not None or character in _characters():
            state.update(_character(character, str(state["name1"])))
        return state

    def tokenize(self, text: str) -> tuple[int, ...]:
        loaded = self.loaded()
        tokens = _encode(text)
        start = getattr(loaded.tokenizer, "bos_token_id", None)
        # A template may write the start token, and the tokenizer add another one.
        while len(tokens) > 1 and tokens[0] == tokens[1] == start:
            tokens = tokens[1:]
        if not tokens:
            end = getattr(loaded.tokenizer, "eos_token_id", None)
            tokens = (start if start is not None else end or 0,)
        return tokens

    def detokenize(self, tokens: Sequence[int]) -> str:
        loaded = self.loaded()
        vocabulary = self._words_of(loaded).vocabulary
        _check_ids(tokens, vocabulary, "prompt")
        if isinstance(vocabulary.tokens, _Texts):
            return str(loaded.tokenizer.decode(list(tokens)))
        if tokens and tokens[0] == getattr(loaded.tokenizer, "bos_token_id", None):
            tokens = tokens[1:]
        return b"".join(map(vocabulary.name, tokens)).decode(errors="replace")

    def infill(self, before: str | tuple[int, ...], after: str) -> tuple[int, ...]:
        special = self._words_of(self.loaded()).vocabulary.special
        head = _encode(before) if isinstance(before, str) else before
        return (
            special["fim_pre"],
            *head,
            special["fim_suf"],
            *_encode(after),
            special["fim_mid"],
        )

    # Answers

    def generate(self, request: GenerateRequest) -> Pieces:
        loaded = self.loaded()
        words = self._words_of(loaded)
        prompt = request.prompt
        tokens = self.tokenize(prompt) if isinstance(prompt, str) else tuple(prompt)
        if not tokens:
            tokens = self.tokenize("")
        _check_ids(tokens, words.vocabulary, "prompt")
        _check_ids([token for token, _ in request.logit_bias], words.vocabulary, "logit_bias")
        context = _context_length(loaded)
        limit = context - len(tokens) if request.max_tokens is None else request.max_tokens
        if limit < 1 or len(tokens) + limit > context:
            raise ContextLengthExceeded(
                prompt_tokens=len(tokens),
                max_tokens=request.max_tokens or 0,
                context_length=context,
                param="prompt",
            )
        text = prompt if isinstance(prompt, str) else self.detokenize(tokens)
        if loaded.stepwise:
            return self._by_steps(loaded, request, words, text, tokens, limit)
        if request.logit_bias and not _takes_bias(loaded):
            raise refusals.unsupported("logit_bias", "is not something this loader can do.")
        if not text:
            special = _special_texts()
            text = special["bos_token"] or special["eos_token"] or "\n"
        elif not isinstance(prompt, str) and self.tokenize(text) != tokens:
            raise refusals.unsupported(
                "prompt", "must be text: this loader does not take these token ids."
            )
        return self._by_text(loaded, request, text, tokens, limit)

    def _by_steps(
        self,
        loaded: Loaded,
        request: GenerateRequest,
        words: Words,
        text: str,
        tokens: tuple[int, ...],
        limit: int,
    ) -> Pieces:
        sampling = request.sampling

        def produce(emit: Emit[Piece | None]) -> None:
            def emit_or_end(piece: Piece | None) -> bool:
                return emit(piece) or self._closed.is_set()

            steps = Steps(
                request,
                words,
                limit,
                emit_or_end,
                endless=bool(sampling.get("ban_eos_token")),
                skip_special=bool(sampling.get("skip_special_tokens", True)),
            )
            state = self._state(request, limit)
            most, share = Limit(limit), Share(state["typical_p"])
            most.part = share.part = Part(steps, tokens, _encode(text))
            state.update(max_new_tokens=most, typical_p=share, ban_eos_token=False)
            attach(loaded.model)
            replies = _generate_reply(text, state)
            try:
                for _ in replies:
                    if not steps.begun:  # the host has another model now
                        break
            except Exception as error:
                if not steps.finished:
                    raise
                # It may stumble over a model that was unloaded meanwhile; the answer is whole.
                log.debug("the host failed behind the answer with %s", type(error).__name__)
            finally:
                replies.close()
            if steps.finished or steps.left:
                if self._closed.is_set() and not steps.finished:
                    raise EngineFailed("The server is stopping.")
                return
            if isinstance(steps.error, APIError):
                raise steps.error
            if steps.error is not None:
                log.error("the model failed with %s", type(steps.error).__name__)
                raise EngineFailed("The engine failed while it worked on this request.")
            raise EngineFailed("The model was switched or unloaded before it answered.")

        # The host lets one generate at a time: a slow reader must not hold up the others.
        return pump(_guarded(produce), apart=True)

    def _by_text(
        self,
        loaded: Loaded,
        request: GenerateRequest,
        text: str,
        tokens: tuple[int, ...],
        limit: int,
    ) -> Pieces:
        def produce(emit: Emit[Piece | None]) -> None:
            state = self._state(request, limit)
            stop = threading.Event()
            if _knows_stop_event():
                state["stop_event"] = stop
            if request.logit_bias:
                bans = False if type(loaded.model).__name__ == "LlamaServer" else float("-inf")
                state["logit_bias"] = {
                    str(token): bans if bias <= BAN else bias for token, bias in request.logit_bias
                }
            rewrites = _custom_reply() is not None
            prompt: PromptUsage | None = PromptUsage(len(tokens))
            said = shown = ""
            counted = 0
            replies = _generate_reply(text, state)
            try:
                for said in replies:
                    # What an extension generates may still change; of others the tail of a character.
                    if not rewrites:
                        new, shown = _grown(shown, said)
                        now = min(limit, _so_far(loaded, counted, new)) if new else counted
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
                        raise EngineFailed("The server is stopping.")
            finally:
                replies.close()
            if not said and _module("shared").model is not loaded.model:
                raise EngineFailed("The model was switched or unloaded before it answered.")
            if not rewrites and not said.startswith(shown):
                raise EngineFailed("The engine changed text that was already sent.")
            whole = _counted(loaded, said)
            total = min(limit, max(counted, whole))
            # Of what an extension has generated nobody knows whether the limit ended it.
            ended_by_limit = whole >= limit and not rewrites
            finish: Finish = "length" if ended_by_limit else "stop"
            if ended_by_limit:
                total = limit
            rest = said[len(shown) :]
            emit(Piece(rest, tokens=total - counted, prompt=prompt, finish=finish))

        return pump(_guarded(produce), apart=True)

    def _state(self, request: GenerateRequest, limit: int) -> dict[str, Any]:
        """Everything that the host reads of a request: its own settings and defaults, then what was asked."""
        shared = _module("shared")
        state = {**FALLBACK, **shared.settings, **_preset_defaults()}
        state.update(request.sampling)
        state.update(
            max_new_tokens=limit,
            auto_max_new_tokens=False,
            truncation_length=_context_length(self.loaded()),
            seed=-1 if request.seed is None else request.seed % SEEDS,
            stream=True,
            # Ours is the matcher that cuts: the host's may show a part of a stop string.
            custom_stopping_strings="",
            history={"internal": [], "visible": []},
        )
        return state

    # Probabilities

    def score(self, tokens: Sequence[int], alternatives: int) -> Scores:
        loaded = self.loaded()
        vocabulary = self._words_of(loaded).vocabulary
        _check_ids(tokens, vocabulary, "prompt")

        def produce(emit: Emit[TokenLogprob | None]) -> None:
            with _module("shared").generation_lock:
                if emit(None):
                    return
                logits = _prompt_logits(loaded, tokens)
            for at, token in enumerate(tokens):
                said = vocabulary.tokens[token]
                if at == 0:
                    ended = emit(TokenLogprob(said, None))
                else:
                    ended = emit(judged(logits[at - 1], token, said, alternatives, vocabulary))
                if ended or self._closed.is_set():
                    return

        return pump(_guarded(produce))

    def close(self) -> None:
        self._closed.set()


def extensions() -> list[tuple[str, Any]]:
    """The host's other extensions, in its order."""
    return [(name, extension) for extension, name in _module("extensions").iterator()]


def page_settings() -> dict[str, Any]:
    """What a state holds in the host's page, where a chat goes by the model's template."""
    settings = {**FALLBACK, **_module("shared").settings, **_preset_defaults()}
    source = WebuiEngine().template_source()
    return {**settings, "mode": "instruct", "instruction_template_str": source}


def applied_hooks() -> frozenset[str]:
    """Hooks that the host's generator applies to chats, too: the first versions did so."""
    module = _module("text_generation")
    inner = getattr(module, "_generate_reply", module.generate_reply)
    found = _STATE_HOOK.search(_source(inner))
    return frozenset({"state_modifier"} if found and not found[1] else ())


_STATE_HOOK = re.compile(r"""(if not is_chat:\s+)?state = \S*apply\w*\(["']state["']""")


def _talk(state: dict[str, Any], request: ChatRequest) -> tuple[dict[str, Any], str]:
    """The state with the conversation as the page keeps it, and what the user says now.

    What a system message says is put behind what the page knows of the character.
    """
    rows: list[list[str]] = []
    system: list[str] = []
    for message in request.messages:
        said = message.content or ""
        if message.role == "system":
            system.append(said)
        elif message.role == "user" or not rows:
            rows.append([said, ""] if message.role == "user" else ["", said])
        else:
            rows[-1][1] = "\n".join(text for text in (rows[-1][1], said) if text)
    text = ""
    if rows and not rows[-1][1]:
        text = rows.pop()[0]
    context = "\n".join([str(state.get("context") or ""), *system])
    history = {"internal": rows, "visible": [list(row) for row in rows]}
    return {**state, "context": context, "history": history}, text


def _named_template(name: str) -> tuple[str, dict[str, Any]]:
    """A template of the host's, as Jinja, and what the first versions need of it besides.

    Raises InvalidRequest where there is none of that name.
    """
    root = Path(getattr(_module("shared"), "user_data_dir", "."))
    places = ("instruction-templates", "user_data/instruction-templates",
              "characters/instruction-following")  # fmt: skip
    known = {path.stem: path for place in places for path in (root / place).glob("*.yaml")}
    if name not in known:
        raise refusals.not_one_of("instruction_template", name, sorted(known))
    found = yaml.safe_load(known[name].read_text(encoding="utf-8"))
    found = found if isinstance(found, dict) else {}
    source = found.get("instruction_template")
    if isinstance(source, str):
        return source, {}
    if "turn_template" not in found:
        raise refusals.unsupported("instruction_template", "names a file that holds no template.")
    old = {
        "turn_template": found["turn_template"],
        "name1_instruct": found.get("user", ""),
        "name2_instruct": found.get("bot", ""),
        "context_instruct": found.get("context", ""),
    }
    return template.from_old_form(found), old


def _characters() -> list[str]:
    listing = getattr(_optional("utils"), "get_available_characters", list)
    return [str(each) for each in listing() if each != "None"]


def _character(name: str, user: str) -> dict[str, Any]:
    """What the host's page sets for a character. Raises InvalidRequest where it has none of that name."""
    known = _characters()
    if name not in known:
        raise refusals.not_one_of("character", name, known)
    found = _module("chat").load_character(name, user, "")
    name1, name2, _, greeting, context = found[:5]
    return {"name1": name1, "name2": name2, "greeting": greeting, "context": context}


ENDLESS = 2**30  # tokens

PLAIN = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
"""For models that come with no template, in a host that has none either."""


def _module(name: str) -> Any:
    return importlib.import_module(f"modules.{name}")


def _optional(name: str) -> ModuleType | None:
    try:
        return importlib.import_module(f"modules.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"modules.{name}":
            raise
        return None


def _guarded(produce: Callable[[Emit[Any]], None]) -> Callable[[Emit[Any]], None]:
    """What a host raises, said without its words, which may quote the prompt."""

    def guarded(emit: Emit[Any]) -> None:
        try:
            produce(emit)
        except APIError:
            raise
        except Exception as error:
            log.exception("the host failed")
            raise EngineFailed(
                f"The engine failed while it worked on this request ({type(error).__name__})."
            ) from None

    return guarded


def _generate_reply(text: str, state: dict[str, Any]) -> Any:
    """The host's generator, called by the names that its version has for things."""
    module = _module("text_generation")
    inner = getattr(module, "_generate_reply", module.generate_reply)
    known = inspect.signature(inner).parameters
    # As a chat: then it leaves the text's hooks to its caller.
    options = {"is_chat": True} if "is_chat" in known else {}
    return module.generate_reply(text, state, **options)


@lru_cache(maxsize=8)  # of functions and classes
def _source(of: Any) -> str:
    try:
        return inspect.getsource(of)
    except (OSError, TypeError):
        return ""


def _knows_stop_event() -> bool:
    # Older versions copy their state in depth, and an event cannot be copied.
    return "stop_event" in _source(_module("text_generation").generate_reply)


def _takes_bias(loaded: Loaded) -> bool:
    """Whether a loader of the other kind adds what we ask for to the logits."""
    return "logit_bias" in _source(loaded.model.__class__) and _custom_reply() is None


def _custom_reply() -> Any:
    """The extension's function that generates in the model's place, if there is one."""
    return _module("extensions").apply_extensions("custom_generate_reply")


def _encode(text: str) -> tuple[int, ...]:
    """A text's tokens by the host's tokenizer; raises ModelLoading where it has none."""
    encoded = _module("text_generation").encode(text)
    return tuple(int(token) for token in to_numpy(encoded[0]).reshape(-1).tolist())


def _counted(loaded: Loaded, text: str) -> int:
    """The tokens of an answer that came as text: as the loader counted them, or else as its tokenizer
    makes them."""
    return _loader_count(loaded) or (len(_encode(text)) if text else 0)


def _loader_count(loaded: Loaded) -> int:
    """What the loader has counted of the answer under way; 0 where several share its counter."""
    count = getattr(loaded.model, "last_completion_token_count", None)
    alone = _parallel(loaded) == 1 and not _custom_reply()
    return count if isinstance(count, int) and alone else 0


def _so_far(loaded: Loaded, counted: int, new: str) -> int:
    """The tokens of an answer with some more text. What the loader yields may be several at once."""
    count = _loader_count(loaded)
    return max(counted, count) if count else counted + max(1, len(_encode(new)) - len(_encode("")))


def _grown(shown: str, said: str) -> tuple[str, str]:
    """What a longer text adds to what is shown, and what is shown then; the tail of a character waits."""
    ready = said.rstrip("\N{REPLACEMENT CHARACTER}")
    if not ready.startswith(shown):
        return "", shown  # a host that takes text back may still give it again
    return ready[len(shown) :], ready


def _check_ids(tokens: Sequence[int], vocabulary: Vocabulary, param: str) -> None:
    if not all(0 <= token < len(vocabulary.tokens) for token in tokens):
        raise refusals.no_token(param, len(vocabulary.tokens))


def _read_words(loaded: Loaded) -> Words:
    tokenizer = loaded.tokenizer
    if not hasattr(tokenizer, "convert_ids_to_tokens"):
        return Words(_plain_vocabulary(loaded), frozenset(), None)
    vocabulary = vocabulary_of(tokenizer)
    configured = getattr(getattr(loaded.model, "generation_config", None), "eos_token_id", None)
    several = configured if isinstance(configured, (list, tuple)) else [configured]
    ends = {end for end in (tokenizer.eos_token_id, *several) if isinstance(end, int)}
    matching = None
    if ends:
        first = tokenizer.eos_token_id
        order = sorted(ends, key=lambda end: end != first)
        spelled = TokenizerWrapper(_Spelled(tokenizer, vocabulary, order[0]))
        matching = LLTokenizer(spelled, eos_token=order)
    return Words(vocabulary, frozenset(ends), matching)


class _Spelled:
    """A tokenizer as llguidance wants it: tokens that look like markup but are text stay text."""

    def __init__(self, tokenizer: Any, vocabulary: Vocabulary, end: int) -> None:
        self._tokenizer = tokenizer
        self.eos_token_id = end
        self.bos_token_id = getattr(tokenizer, "bos_token_id", None)
        self.tokens = [vocabulary.name(id) for id in range(len(vocabulary.tokens))]
        self.special_token_ids = [id for id, text in enumerate(vocabulary.tokens) if not text]

    def __call__(self, text: bytes | str) -> list[int]:
        text = text.decode() if isinstance(text, bytes) else text
        return list(map(int, self._tokenizer.encode(text, add_special_tokens=False)))


def _plain_vocabulary(loaded: Loaded) -> Vocabulary:
    """Of a loader whose tokens we never see by themselves: only how many there are, and their texts."""
    size = getattr(loaded.model, "vocabulary_size", None) or 2**17
    return Vocabulary(_Texts(loaded.tokenizer, size), _Names(loaded.tokenizer, size), {}, {})  # type: ignore[arg-type]


class _Texts(Sequence[bytes]):
    """A token's bytes, asked of the tokenizer when they are needed."""

    def __init__(self, tokenizer: Any, size: int) -> None:
        self._tokenizer, self._size = tokenizer, size

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, token: Any) -> Any:
        return str(self._tokenizer.decode([int(token)])).encode()


class _Names(_Texts):
    def __getitem__(self, token: Any) -> Any:
        return str(self._tokenizer.decode([int(token)]))


def _context_length(loaded: Loaded) -> int:
    shared = _module("shared")
    length = int(shared.settings.get("truncation_length") or OLD_CONTEXT)
    config = getattr(loaded.model, "config", None)
    most = getattr(config, "max_position_embeddings", None)
    return min(length, most) if isinstance(most, int) and most > 0 else length


def _parallel(loaded: Loaded) -> int:
    """How many requests the host lets generate at once."""
    if loaded.stepwise or not _knows_stop_event():
        return 1
    slots = getattr(_module("shared").args, "parallel", 1) or 1
    if type(loaded.model).__name__ == "LlamaServer":
        return int(slots)
    return 1 if type(loaded.model).__name__ not in ("Exllamav3Model", "TensorRTLLMModel") else 8


def _sampler() -> str:
    return "webui" if "presence_penalty" in _preset_defaults() else "webui-2023"


def _honoured(loaded: Loaded) -> frozenset[str] | None:
    """The names of what the loader's samplers take, where the host has such a list."""
    loaders = _optional("loaders")
    known = getattr(loaders, "loaders_samplers", {}).get(loaded.loader)
    return None if known is None else frozenset(known) | {"ban_eos_token", "skip_special_tokens"}


def _preset_defaults() -> dict[str, Any]:
    """Every sampler parameter of this version, switched off."""
    presets = _optional("presets")
    if presets is None or not hasattr(presets, "default_preset"):
        return {}
    return dict(presets.default_preset())


def _model_path(shared: Any, name: str) -> Path:
    return Path(getattr(shared.args, "model_dir", "models")) / name


def _created(shared: Any, name: str) -> int:
    try:
        return int(_model_path(shared, name).stat().st_mtime)
    except OSError:
        return STARTED


@lru_cache(maxsize=8)
def _template_in_folder(folder: str) -> str:
    """The chat template that a model's files hold."""
    path = Path(folder)
    for name in ("chat_template.jinja", "chat_template.json", "tokenizer_config.json"):
        try:
            text = (path / name).read_text(encoding="utf-8")
        except OSError:
            continue
        if name.endswith(".jinja"):
            return text
        found = orjson.loads(text).get("chat_template")
        if isinstance(found, list):
            found = {each.get("name"): each.get("template") for each in found}.get("default")
        if isinstance(found, str):
            return found
    return ""


def _special_texts() -> dict[str, Any]:
    """The start and the end token as templates name them."""
    shared = _module("shared")

    def text(name: str) -> str:
        found = getattr(shared.tokenizer, name, None)
        return str(found if found is not None else getattr(shared, name, None) or "")

    return {"bos_token": text("bos_token"), "eos_token": text("eos_token")}


def _prompt_logits(loaded: Loaded, tokens: Sequence[int]) -> Any:
    """The logits behind each token of a prompt (length x vocabulary)."""
    like = _module("text_generation").encode("a")
    inputs = as_inputs(tokens, like)
    with _no_gradients(inputs):
        if hasattr(loaded.model, "get_prompt_logits"):
            logits = loaded.model.get_prompt_logits(inputs)
        else:
            logits = loaded.model(inputs).logits
        return to_numpy(logits[0]).astype(np.float64)


@contextmanager
def _no_gradients(inputs: Any) -> Iterator[None]:
    if not hasattr(inputs, "new_tensor"):
        yield
        return
    with importlib.import_module("torch").no_grad():
        yield
