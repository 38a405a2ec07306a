"""A GGUF model in llama.cpp's memory: its calls, tokens and properties."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from ....schemas import bad_request
from ...failures import model_changed
from ...model_spec import ModelLoadError
from ...protocol import Capability
from ...tokens.gguf import GGUFHeader
from ...tokens.vocabulary import Vocabulary, read_vocabulary
from ..client import Complete
from ..private_listener import PrivateListener
from ..prompt_cache.checkpoints import keeps_checkpoints

log = logging.getLogger("openedai")

MODALITIES = (Capability.VISION, Capability.AUDIO)


class LoadedModel:
    """One model, from its load until `free`. Thread-safe."""

    def __init__(self, model: Path, header: GGUFHeader, params: Any, mmproj: Path | None) -> None:
        """`params`: xllamacpp's, without the address to listen on. Raises ModelLoadError."""
        import xllamacpp

        self.header = header
        self.listener = PrivateListener()
        params.hostnames = [str(self.listener.path)]
        params.api_keys = [self.listener.key]
        params.slot_save_path = f"{self.listener.slots_folder}{os.sep}"
        params.verbosity = 3 if log.isEnabledFor(logging.DEBUG) else -1
        try:
            self.memory: Any = xllamacpp.Server(params)
        except RuntimeError as error:
            self.listener.close()
            raise ModelLoadError(
                f"llama.cpp cannot load {model.name}{f' with {mmproj.name}' if mmproj else ''} (an "
                "unknown model type, parts that do not fit together, or too little memory). "
                "--verbose shows what it says."
            ) from error
        self.complete: Complete = self.memory.handle_completions
        """Streams a completion."""
        if mmproj is not None:
            # With an encoder, xllamacpp's call takes neither token ids nor media.
            self.complete = self.listener.complete
        meta = self.listener.ask("/v1/models")["data"][0]["meta"]
        self.vocabulary_size = int(meta["n_vocab"])
        self.context_length = int(meta["n_ctx"])
        props = self.listener.ask("/props")
        self.media_mark = str(props.get("media_marker", "")) if mmproj else ""
        """The placeholder for media in a prompt."""
        supported = props.get("modalities", {})
        self.modalities = tuple(each for each in MODALITIES if supported.get(each.value))
        """Its inputs besides text."""
        self.start_text, self.end_text = str(props["bos_token"]), str(props["eos_token"])
        start = self.tokens_in(self.start_text or self.end_text)
        self.document_start = start[0] if start else 0
        """Replaces an empty prompt: the token that begins (or else ends) a document."""
        self.adds_start = self.tokenize("x")[:1] == self.tokens_in(self.start_text)
        """Whether the tokenizer puts the start token before a prompt."""
        self.has_checkpoints = keeps_checkpoints(
            self.listener, self.listener.slots_folder, self.document_start
        )
        """Whether llama.cpp goes on from checkpoints, as what a slot holds cannot be cut at any token."""
        self.has_window = self.has_checkpoints and header.number("attention.sliding_window") > 0
        """Whether some of its layers see the last tokens only."""

    @cached_property
    def vocabulary(self) -> Vocabulary:
        return read_vocabulary(self.header)

    @cached_property
    def end_tokens(self) -> frozenset[int]:
        """The tokens that end an answer: with `ignore_eos`, llama.cpp bans them and reports that."""
        asked = {"prompt": [self.document_start], "n_predict": 0, "ignore_eos": True}
        settings = self.listener.ask("/completion", asked)["generation_settings"]
        return frozenset(int(banned["token"]) for banned in settings["logit_bias"])

    def tokenize(self, text: str) -> tuple[int, ...]:
        """The tokens of a prompt, at least one."""
        asked = {"content": text, "add_special": True, "parse_special": True}
        tokens = tuple(self.listener.ask("/tokenize", asked)["tokens"])
        return tokens or (self.document_start,)

    def tokens_in(self, text: str) -> tuple[int, ...]:
        """The tokens of a text inside a prompt; special tokens are recognised."""
        return self._tokens(text, parse_special=True)

    def plain_tokens(self, text: str) -> tuple[int, ...]:
        """The tokens of a text; special tokens are not recognised."""
        return self._tokens(text, parse_special=False)

    def _tokens(self, text: str, *, parse_special: bool) -> tuple[int, ...]:
        asked = {"content": text, "add_special": False, "parse_special": parse_special}
        return tuple(self.listener.ask("/tokenize", asked)["tokens"])

    def detokenize(self, tokens: Sequence[int]) -> str:
        self.check_ids(tokens, "prompt")
        return str(self.listener.ask("/detokenize", {"tokens": list(tokens)})["content"])

    def check_ids(self, tokens: Sequence[int], param: str) -> None:
        """Raise InvalidRequest for unknown token ids; `param` is their field."""
        if not all(0 <= token < self.vocabulary_size for token in tokens):
            raise bad_request.token_id_out_of_range(param, self.vocabulary_size)

    def free(self) -> None:
        """Free the memory. The model cannot be used any more."""
        self.memory, self.complete = None, _freed
        self.listener.close()


def _freed(body: bytes, receive: object) -> None:
    raise model_changed()
