"""The bytes of each token of a model: a token may be only part of a character."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..protocol import LikelyToken
from .gguf import GGUFHeader

_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = 1, 2, 3, 4, 5, 6


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The texts and names of a model's tokens. Immutable."""

    tokens: tuple[bytes, ...]
    """Texts by id; empty for control tokens."""
    names: tuple[str, ...]
    """As the model file writes them."""
    ids: Mapping[bytes, int]
    special: Mapping[str, int]
    """Ids of the special tokens that the model has, by GGUF's names, such as `fim_pre`."""

    @property
    def hidden(self) -> frozenset[str]:
        """Names of the tokens without text."""
        pairs = zip(self.tokens, self.names, strict=True)
        return frozenset(name for text, name in pairs if not text)

    @property
    def longest(self) -> int:
        """The most bytes of text that one token stands for; 0 if a token for unknown text may stand for
        more."""
        if not all(bytes([byte]) in self.ids for byte in range(0x80, 0xC0)):
            return 0
        return max(len(text) for text in (*self.tokens, *(n.encode() for n in self.names)))

    def name(self, id: int) -> bytes:
        """A token's text; if it has none its name, such as <|im_end|>."""
        return self.tokens[id] or self.names[id].encode()

    def likely(self, id: int, logprob: float) -> LikelyToken:
        """A token as an alternative to another."""
        return LikelyToken(self.tokens[id], logprob, id, self.names[id])

    def spell(self, text: bytes, count: int) -> tuple[int, ...] | None:
        """`count` tokens that concatenate to `text`, longer ones first; None if there are none."""
        if count == 0:
            return () if not text else None
        for length in range(len(text) - count + 1, 0, -1):
            token = self.ids.get(text[:length])
            if token is not None:
                rest = self.spell(text[length:], count - 1)
                if rest is not None:
                    return (token, *rest)
        return None


def read_vocabulary(header: GGUFHeader) -> Vocabulary:
    """Read the vocabulary from a model file's header."""
    words = _list(header, "tokens")
    kinds = _list(header, "token_type") or [_NORMAL] * len(words)
    to_bytes = (
        _byte_level if header.metadata.get("tokenizer.ggml.model") == "gpt2" else _sentencepiece
    )
    tokens = tuple(
        _token_bytes(str(word), int(str(kind)), to_bytes)
        for word, kind in zip(words, kinds, strict=False)
    )
    ids: dict[bytes, int] = {}
    for id, text in enumerate(tokens):
        if text:
            ids.setdefault(text, id)
    special = {
        name: value
        for name, keys in _SPECIAL.items()
        for key in keys
        if isinstance(value := header.metadata.get(f"tokenizer.ggml.{key}"), int)
    }
    return Vocabulary(tokens, tuple(map(str, words)), ids, special)


def vocabulary_of(tokenizer: Any) -> Vocabulary:
    """The vocabulary of a tokenizer with Hugging Face's interface."""
    size = len(tokenizer)
    words = tokenizer.convert_ids_to_tokens(list(range(size)))
    control = set(tokenizer.all_special_ids)
    to_bytes = _byte_level if _is_byte_level(tokenizer) else _sentencepiece
    tokens: list[bytes] = []
    for id, word in enumerate(words):
        if word is None or id in control:
            tokens.append(b"")
        elif isinstance(word, bytes):
            tokens.append(word)
        elif to_bytes is _sentencepiece and _BYTE_WORD.fullmatch(word):
            tokens.append(bytes([int(word[3:-1], 16)]))
        else:
            tokens.append(to_bytes(word))
    names = tuple(word if isinstance(word, str) else repr(word) for word in words)
    ids: dict[bytes, int] = {}
    for id, text in enumerate(tokens):
        if text:
            ids.setdefault(text, id)
    by_name = {name: id for id, name in enumerate(names)}
    special = {
        key: by_name[name]
        for key, spellings in _FILL_IN.items()
        for name in spellings
        if name in by_name
    }
    return Vocabulary(tuple(tokens), names, ids, special)


def _is_byte_level(tokenizer: Any) -> bool:
    """Whether a tokenizer writes each byte as one character."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return hasattr(tokenizer, "byte_decoder")
    return '"ByteLevel"' in json.dumps(json.loads(backend.to_str()).get("decoder"))


_BYTE_WORD = re.compile("<0x[0-9A-Fa-f]{2}>")
_FILL_IN = {
    "fim_pre": ("<|fim_prefix|>", "<fim_prefix>", "<▁PRE>"),
    "fim_suf": ("<|fim_suffix|>", "<fim_suffix>", "<▁SUF>"),
    "fim_mid": ("<|fim_middle|>", "<fim_middle>", "<▁MID>"),
    "fim_rep": ("<|repo_name|>", "<reponame>", "<repo_name>"),
    "fim_sep": ("<|file_sep|>", "<file_sep>"),
}

_SPECIAL = {
    "fim_pre": ("prefix_token_id", "fim_pre_token_id"),
    "fim_suf": ("suffix_token_id", "fim_suf_token_id"),
    "fim_mid": ("middle_token_id", "fim_mid_token_id"),
    "fim_rep": ("fim_rep_token_id",),
    "fim_sep": ("fim_sep_token_id",),
}


def is_text(spelled: bytes) -> bool:
    """Whether a token's bytes are whole characters."""
    try:
        spelled.decode()
    except UnicodeDecodeError:
        return False
    return True


def is_incomplete(spelled: bytes) -> bool:
    """Whether the last character lacks bytes, and all others are valid."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        decoder.decode(spelled)
    except UnicodeDecodeError:
        return False
    return bool(decoder.getstate()[0])


def _list(header: GGUFHeader, key: str) -> Sequence[object]:
    value = header.metadata.get(f"tokenizer.ggml.{key}", [])
    return value if isinstance(value, list) else []


def _token_bytes(word: str, kind: int, to_bytes: Callable[[str], bytes]) -> bytes:
    if kind in (_CONTROL, _UNKNOWN, _UNUSED):
        return b""
    if kind == _USER_DEFINED:
        return word.encode()
    if kind == _BYTE:
        return bytes([int(word[3:-1], 16)])  # <0xE2>
    return to_bytes(word)


def _byte_level(word: str) -> bytes:
    """Byte-level BPE writes each byte as one printable character."""
    return b"".join(
        bytes([_BYTES[character]]) if character in _BYTES else character.encode()
        for character in word
    )


def _sentencepiece(word: str) -> bytes:
    return word.replace("\N{LOWER ONE EIGHTH BLOCK}", " ").encode()


def _byte_characters() -> dict[str, int]:
    """Map characters to bytes: printable ones stand for themselves, the others follow from U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(0x100 + at): byte for at, byte in enumerate(others)
    }


_BYTES = _byte_characters()
