"""The modules of the small webui, in two ages."""

from __future__ import annotations

import copy
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from inspect import signature
from pathlib import Path
from queue import Queue
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from .exllamav3 import Exllamav3Model, model_manager
from .llama_python import LlamaCppModel
from .llama_server import LlamaServer
from .logits import NextLogits
from .numpy_llama import NumpyLlama
from .tokenizer import HostTokenizer

AGES = ("2026", "2023")
NEWER = ("presets", "loaders", "logits", "sampler_hijack")
"""Modules that the older one does not have."""
CONTEXT = 512
SENT_BY_OLD = ("do_sample", "temperature", "top_p", "typical_p", "repetition_penalty", "top_k", "tfs",
               "encoder_repetition_penalty", "min_length", "num_beams", "length_penalty",
               "early_stopping", "penalty_alpha", "no_repeat_ngram_size", "top_a")  # fmt: skip
SENT_BY_NEW = ("do_sample", "temperature", "top_p", "top_k", "min_p", "typical_p", "xtc_probability",
               "repetition_penalty", "presence_penalty", "frequency_penalty", "dry_multiplier",
               "dynamic_temperature", "smoothing_factor", "dry_sequence_breakers")  # fmt: skip


class Stream:
    """The criterion by which this host streams."""

    def __init__(self, callback: Callable[[Any], None]) -> None:
        self.callback = callback

    def __call__(self, input_ids: Any, scores: Any) -> bool:
        self.callback(input_ids[0])
        return False


class _StopEverythingStoppingCriteria:
    def __init__(self, shared: Any) -> None:
        self.shared = shared

    def __call__(self, input_ids: Any, scores: Any) -> bool:
        return bool(self.shared.stop_everything)


class _Stopped(Exception):
    pass


class TensorRTLLMModel:
    """A loader that we have no way into: the whole text so far, and counters on the model."""

    last_completion_token_count = 0

    def __init__(self, model: NumpyLlama, tokenizer: HostTokenizer, shared: Any) -> None:
        self.model, self.tokenizer, self.shared = model, tokenizer, shared
        self.vocabulary_size = len(tokenizer)

    def encode(self, text: str, **_: Any) -> list[int]:
        return list(self.tokenizer.encode(text))

    def decode(self, ids: Any, **_: Any) -> str:
        return self.tokenizer.decode(ids)

    def generate_with_streaming(self, prompt: str, state: dict[str, Any]) -> Iterator[str]:
        inputs = self.tokenizer.encode(prompt, return_tensors="pt")
        texts: Queue[str | None] = Queue()
        length = inputs.shape[-1]
        stop = state.get("stop_event") or threading.Event()
        self.last_completion_token_count = 0
        ends = self.model.generation_config.eos_token_id

        def grow(tokens: Any) -> None:
            self.last_completion_token_count += 1
            texts.put(self.tokenizer.decode(tokens[length:], skip_special_tokens=True))

        def biased(tokens: Any, scores: Any) -> Any:
            scores = scores.copy()
            for token, bias in (state.get("logit_bias") or {}).items():
                scores[0, int(token)] += bias
            return scores

        class Cancelled:
            def __call__(self, input_ids: Any, scores: Any) -> bool:
                return stop.is_set()

        def work() -> None:
            try:
                self.model.generate(
                    inputs,
                    state["max_new_tokens"],
                    eos_token_id=ends,
                    suppress_tokens=ends if state["ban_eos_token"] else (),
                    logits_processor=[biased],
                    stopping_criteria=[Stream(grow), Cancelled()],
                    do_sample=state["do_sample"],
                    temperature=state["temperature"],
                )
            finally:
                texts.put(None)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            while (text := texts.get()) is not None:
                yield text
        finally:
            stop.set()
            thread.join()


BY_TEXT = (TensorRTLLMModel, LlamaServer, LlamaCppModel, Exllamav3Model)


class MiniHost:
    """The host: `shared` is its state, `load` what its Model tab does."""

    def __init__(self, age: str, folder: Path) -> None:
        self.age, self.folder = age, folder
        self.mmproj: Path | None = None
        """The encoder of pictures that is loaded beside a model."""
        self.modules = {
            name: ModuleType(f"modules.{name}" if name else "modules")
            for name in (
                "",
                "shared",
                "text_generation",
                "extensions",
                "chat",
                "utils",
                "presets",
                "loaders",
                "logits",
                "sampler_hijack",
            )
            if age == "2026" or name not in NEWER
        }
        self._fill_shared()
        self._fill_text_generation()
        self._fill_extensions()
        self._fill_chat()
        if age == "2026":
            self._fill_presets()
            self._fill_logits()
            self.shared.settings["custom_system_message"] = ""

    # What a user does

    @property
    def shared(self) -> Any:
        return self.modules["shared"]

    def load(self, name: str = "tiny", loader: str = "Transformers") -> None:
        if loader == "llama.cpp":
            file, slots = next(self.folder.glob("*.gguf")), self.shared.args.parallel
            model: Any = LlamaServer(file, self.shared, CONTEXT, slots, self.mmproj)
            tokenizer: Any = model
        elif loader == "llama-cpp-python":
            model = tokenizer = LlamaCppModel(self.folder, self.shared)
        else:
            model, tokenizer = NumpyLlama(self.folder), HostTokenizer(self.folder)
            if self.age == "2026":
                model.on_shares = self.next_logits.keep
        if loader == "TensorRT-LLM":
            model = tokenizer = TensorRTLLMModel(model, tokenizer, self.shared)
        if loader.startswith("ExLlamav3"):
            several = loader == "ExLlamav3"  # in its first version it ran one after the other
            model = tokenizer = Exllamav3Model(model, tokenizer, self.shared, CONTEXT, several)
        self.shared.model, self.shared.tokenizer = model, tokenizer
        self.shared.model_name, self.shared.args.loader = name, loader

    def unload(self) -> None:
        if isinstance(self.shared.model, Exllamav3Model):
            self.shared.model.unload()
        self.shared.model = self.shared.tokenizer = None
        self.shared.model_name = "None"

    def extend(self, **extensions: Any) -> None:
        """Have these extensions loaded, by name, in this order; each is anything with hooks."""
        self.modules["extensions"].state = dict(extensions)  # type: ignore[attr-defined]

    # The modules

    def _fill_shared(self) -> None:
        shared = self.shared
        shared.model = shared.tokenizer = None
        shared.model_name = "None"
        shared.lora_names = []
        shared.generation_lock = threading.Lock()
        shared.stop_everything = False
        shared.is_seq2seq = False
        shared.bos_token, shared.eos_token = "", "<|im_end|>"
        shared.args = SimpleNamespace(
            loader="Transformers",
            model_dir=str(self.folder.parent),
            parallel=1,
            cpu=True,
            verbose=False,
            extensions=[],
        )
        shared.settings = {
            "truncation_length": CONTEXT,
            "max_new_tokens": 200,
            "mode": "instruct",
            "name1": "You",
            "name2": "AI",
            "context": "A talk.",
            "seed": -1,
            "custom_stopping_strings": "",
            "add_bos_token": True,
            "ban_eos_token": False,
            "skip_special_tokens": True,
        }

    def _fill_logits(self) -> None:
        modules: dict[str, Any] = dict(self.modules)
        generation, hijack = modules["text_generation"], modules["sampler_hijack"]
        self.next_logits = NextLogits(self.shared, generation, hijack)
        modules["logits"].get_next_logits = self.next_logits.get_next_logits

    def _fill_presets(self) -> None:
        neutral: dict[str, Any] = dict.fromkeys(
            ("temperature", "top_p", "typical_p", "repetition_penalty"), 1
        )
        neutral |= {name: 0 for name in SENT_BY_NEW if name not in neutral}
        neutral |= {"do_sample": True, "dynamic_temperature": False, "dry_sequence_breakers": '"a"'}
        self.modules["presets"].default_preset = lambda: dict(neutral)  # type: ignore[attr-defined]
        known = set(SENT_BY_NEW) | {"ban_eos_token", "seed"}
        samplers = {"Transformers": known, "TensorRT-LLM": known - {"do_sample", "typical_p"}}
        self.modules["loaders"].loaders_samplers = samplers  # type: ignore[attr-defined]

    def _fill_chat(self) -> None:
        """A talk of two characters; nothing of it is cut here."""
        module: Any = self.modules["chat"]

        def generate_chat_prompt(user_input: str, state: dict[str, Any], **options: Any) -> str:
            rows = options.get("history", state["history"])["internal"]
            output = [state["context"]]
            if self.age == "2026" and state["mode"] != "chat" and state["custom_system_message"]:
                output.insert(0, f"System: {state['custom_system_message']}")
            for user, assistant in [*rows, [user_input, ""]]:
                output += [f"{state['name1']}: {user}"] if user else []
                output += [f"{state['name2']}: {assistant}"] if assistant else []
            prefix = self._apply("bot_prefix", f"{state['name2']}:", state)
            return "\n".join([*output, prefix])

        def load_character(name: str, name1: str, name2: str) -> tuple[Any, ...]:
            return name1, name, None, "Hi!", f"{name} is a pirate."

        module.generate_chat_prompt, module.load_character = generate_chat_prompt, load_character
        module.get_stopping_strings = lambda state: [f"\n{state['name1']}:", f"\n{state['name2']}:"]
        self.modules["utils"].get_available_characters = lambda: ["None", "Jack"]  # type: ignore[attr-defined]

    def _fill_extensions(self) -> None:
        module: Any = self.modules["extensions"]
        module.state = {}

        def iterator() -> Iterator[tuple[Any, str]]:
            for name, extension in module.state.items():
                yield extension, name

        def apply_extensions(kind: str, *args: Any, **options: Any) -> Any:
            return HOOKS[kind](iterator, *args, **options)

        module.iterator, module.apply_extensions = iterator, apply_extensions

    def _fill_text_generation(self) -> None:
        module: Any = self.modules["text_generation"]
        shared = self.shared

        def encode(
            text: str, add_bos_token: bool = True, truncation_length: int | None = None
        ) -> Any:
            if isinstance(shared.model, BY_TEXT):
                ids = np.array([shared.tokenizer.encode(text, add_bos_token=add_bos_token)])
            else:
                ids = shared.tokenizer.encode(str(text), return_tensors="pt")
            return ids if truncation_length is None else ids[:, -truncation_length:]

        module.encode = encode
        module.decode = lambda ids, skip_special_tokens=True: shared.tokenizer.decode(
            ids, skip_special_tokens
        )
        if self.age == "2026":
            module._generate_reply = self._new_reply
            # What extensions call that generate in the model's place.
            module.generate_reply_HF = partial(self._transformers, SENT_BY_NEW)
            module.generate_reply_custom = self._custom
            module.generate_reply = self._parallel_or_locked
        else:
            module._generate_reply = self._old_reply
            module.generate_reply = self._locked

    def _parallel_or_locked(self, *args: Any, **options: Any) -> Iterator[str]:
        model = self.shared.model
        several = (
            isinstance(model, TensorRTLLMModel)
            or hasattr(model, "parallel_generator")
            or (isinstance(model, LlamaServer) and self.shared.args.parallel > 1)
        )
        if several and args[1].get("stop_event") is not None:
            yield from self.modules["text_generation"]._generate_reply(*args, **options)
        else:
            yield from self._locked(*args, **options)

    def _locked(self, *args: Any, **options: Any) -> Iterator[str]:
        with self.shared.generation_lock:
            yield from self.modules["text_generation"]._generate_reply(*args, **options)

    def _apply(self, *args: Any, **options: Any) -> Any:
        return self.modules["extensions"].apply_extensions(*args, **options)

    def _new_reply(
        self,
        question: str,
        state: dict[str, Any],
        stopping_strings: Any = None,
        is_chat: bool = False,
        escape_html: bool = False,
        for_ui: bool = False,
    ) -> Iterator[str]:
        """As of 2026: a chat's hooks are its caller's; extensions may generate themselves."""
        own = self._apply("custom_generate_reply")
        if own is None and self.shared.model is None:
            yield ""
            return
        original = question
        if not is_chat:
            state = self._apply("state", state)
            question = self._apply("input", question, state)
        self.shared.stop_everything = False
        if own is not None:
            make = own
        elif isinstance(self.shared.model, BY_TEXT):
            make = self._custom
        else:
            make = partial(self._transformers, SENT_BY_NEW)
        reply = ""
        for reply in make(question, original, state, stopping_strings, is_chat=is_chat):
            if self.shared.stop_everything:
                break
            yield reply
        if not is_chat:
            reply = self._apply("output", reply, state)
        yield reply

    def _old_reply(
        self,
        question: str,
        state: dict[str, Any],
        eos_token: Any = None,
        stopping_strings: Any = None,
        is_chat: bool = False,
    ) -> Iterator[str]:
        """As of spring 2023: the state's hooks are always this function's."""
        state = self._apply("state", state)
        if self.shared.model is None:
            yield ""
            return
        self.shared.stop_everything = False
        if isinstance(self.shared.model, BY_TEXT):
            yield from self._custom(question, question, state, stopping_strings, is_chat=is_chat)
            return
        yield from self._transformers(
            SENT_BY_OLD, question, question, state, stopping_strings, is_chat=is_chat
        )

    def _custom(
        self, question: str, original: str, state: dict[str, Any], stops: Any, *, is_chat: bool
    ) -> Iterator[str]:
        # As a webui does: a copy of the state, in which an event cannot be, and errors go to the log.
        event = state.pop("stop_event", None)
        state = {**copy.deepcopy(state), **({} if event is None else {"stop_event": event})}
        try:
            yield from self.shared.model.generate_with_streaming(question, state)
        except Exception as error:
            self.failures.append(error)

    def _transformers(
        self,
        sent: tuple[str, ...],
        question: str,
        original: str,
        state: dict[str, Any],
        stops: Any,
        *,
        is_chat: bool,
    ) -> Iterator[str]:
        shared = self.shared
        options = {name: state[name] for name in ("max_new_tokens", *sent)}
        if state["ban_eos_token"]:
            options["suppress_tokens"] = [shared.tokenizer.eos_token_id]
        encode = self.modules["text_generation"].encode
        room = state["truncation_length"] - state["max_new_tokens"]
        inputs = encode(question, add_bos_token=state["add_bos_token"], truncation_length=room)
        question, inputs, _ = self._apply("tokenizer", state, question, inputs, None)
        processors: list[Any] = []
        if self.age == "2026":
            self._apply("logits_processor", processors, inputs)
            options["logits_processor"] = processors
        if state["seed"] != -1:
            shared.model.random = np.random.default_rng(state["seed"])
        texts: Queue[Any] = Queue()
        gone = threading.Event()

        def stream(tokens: Any) -> None:
            if gone.is_set() or shared.stop_everything:
                raise _Stopped
            texts.put(tokens)

        def work() -> None:
            try:
                shared.model.generate(
                    inputs=inputs,
                    eos_token_id=[shared.tokenizer.eos_token_id],
                    stopping_criteria=[_StopEverythingStoppingCriteria(shared), Stream(stream)],
                    **options,
                )
            except _Stopped:
                pass
            except Exception as error:  # a webui logs it, and the answer is just shorter
                self.failures.append(error)
            texts.put(None)

        threading.Thread(target=work, daemon=True).start()
        try:
            while (tokens := texts.get()) is not None:
                if tokens[-1] == shared.tokenizer.eos_token_id:
                    break
                yield shared.tokenizer.decode(
                    tokens[inputs.shape[-1] :], state["skip_special_tokens"]
                )
        finally:
            gone.set()

    @property
    def failures(self) -> list[Exception]:
        """What generations failed with."""
        failures: list[Exception] = self.__dict__.setdefault("_failures", [])
        return failures


@contextmanager
def install(age: str, folder: Path) -> Iterator[MiniHost]:
    """A host whose modules can be imported inside of the `with` block."""
    host = MiniHost(age, folder)
    host.modules[""].__path__ = []  # a package
    names = {module.__name__: module for module in host.modules.values()} | model_manager()
    sys.modules.update(names)
    try:
        yield host
    finally:
        for name in names:
            del sys.modules[name]


# The hooks of extensions, as a webui applies them

Extensions = Callable[[], Iterator[tuple[Any, str]]]


def _texts(name: str, each: Extensions, text: str, state: Any, is_chat: bool = False) -> str:
    for extension, _ in each():
        hook = getattr(extension, name, None)
        if hook is None:
            continue
        known = list(signature(hook).parameters)
        options = {"is_chat": is_chat} if "is_chat" in known else {}
        text = hook(*([text, state] if len(known) - len(options) == 2 else [text]), **options)
    return text


def _values(name: str, each: Extensions, value: Any) -> Any:
    for extension, _ in each():
        if hasattr(extension, name):
            value = getattr(extension, name)(value)
    return value


def _first(name: str, each: Extensions, *args: Any, **options: Any) -> Any:
    for extension, _ in each():
        if hasattr(extension, name):
            return getattr(extension, name)(*args, **options)
    return None


def _chat_input(each: Extensions, text: str, visible: str, state: Any) -> tuple[str, str]:
    for extension, _ in each():
        if hasattr(extension, "chat_input_modifier"):
            text, visible = extension.chat_input_modifier(text, visible, state)
    return text, visible


def _tokenizer(each: Extensions, state: Any, prompt: str, ids: Any, embeds: Any) -> Any:
    for extension, _ in each():
        if hasattr(extension, "tokenizer_modifier"):
            prompt, ids, embeds = extension.tokenizer_modifier(state, prompt, ids, embeds)
    return prompt, ids, embeds


def _processors(each: Extensions, processors: Any, ids: Any) -> Any:
    for extension, _ in each():
        if hasattr(extension, "logits_processor_modifier"):
            extension.logits_processor_modifier(processors, ids)
    return processors


def _custom_reply(each: Extensions) -> Any:
    for extension, _ in each():
        if hasattr(extension, "custom_generate_reply"):
            return extension.custom_generate_reply
    return None


HOOKS: dict[str, Callable[..., Any]] = {
    "input": partial(_texts, "input_modifier"),
    "output": partial(_texts, "output_modifier"),
    "bot_prefix": partial(_texts, "bot_prefix_modifier"),
    "chat_input": _chat_input,
    "state": partial(_values, "state_modifier"),
    "history": partial(_values, "history_modifier"),
    "tokenizer": _tokenizer,
    "logits_processor": _processors,
    "custom_generate_chat_prompt": partial(_first, "custom_generate_chat_prompt"),
    "custom_generate_reply": _custom_reply,
    "tokenized_length": partial(_first, "custom_tokenized_length"),
}
