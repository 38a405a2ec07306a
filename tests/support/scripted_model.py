"""A GGUF file whose model says given texts token by token: a real llama.cpp, with answers known in advance.

    write_scripted_model(path, template, [Script("call", '<tool_call>\\n{"name": ...}')], speech)

A model has several scripts. It says the one whose mark (`say:NAME`) stands in the prompt: of several the
last one of the list, without a mark the first one. What it says depends on nothing else, so the answer of a
request is known whatever a template makes of its messages.

How it works: one layer, whose numbers are set by hand. Embeddings are one-hot. One attention head finds
the mark, two others (or more) the tokens before the current one. Each hidden unit of the feed-forward is a
rule: with this mark, after this token (and, where the text has it twice, those before it) comes that one.
Where no rule holds, a turn ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import gguf
import numpy as np
from gguf import TokenType
from numpy.typing import NDArray

from tests.support.random_model import byte_alphabet

PIECE_LETTERS = 3
TOKEN_WEIGHT = 0.25  # of the current token in the residual stream, beside 1 for the bias
RULE_WEIGHT = 80.0
ROPE_BASE = 1e12
NEAR_PAIRS = 6  # pairs of dimensions that turn fast enough to tell neighbours apart
SHARPNESS = 30.0  # nats between what a head looks for, or what is said, and all else


@dataclass(frozen=True, slots=True)
class Script:
    """One answer. Control tokens stand in it as text.

    `in_bytes`: all but those tokens is said byte by byte. Where a grammar forces a text, llama.cpp takes the
    tokens that it would cut that text into; a model of whole pieces would lose its place there.
    """

    name: str
    text: str
    in_bytes: bool = False
    loop: str = ""
    """Said after the text, for ever."""
    sign: str = ""
    """Words of the prompt's own that are its mark."""

    @property
    def mark(self) -> str:
        """What a prompt has to hold for this script."""
        return self.sign or f"say:{self.name}"


@dataclass(frozen=True, slots=True)
class Speech:
    """What a family's tokens are."""

    eos: str
    starts: tuple[str, ...]
    """Tokens that end a prompt."""
    bos: str | None = None
    controls: tuple[str, ...] = ()
    """Further control tokens."""
    whole: tuple[str, ...] = ("<think>", "</think>", "\n\n")
    """Texts that are one token each, but no control tokens; when a script has one again, in pieces."""


@dataclass(frozen=True, slots=True)
class _Rule:
    script: int
    """Its number; 0 holds where there is no mark."""
    current: int
    before: tuple[int, ...]
    """The tokens before the current one, the nearest first, as far as they are needed to tell places apart
    in the script."""
    following: int


@dataclass(slots=True)
class _Vocabulary:
    speech: Speech
    merges: Sequence[str]
    tokens: list[str] = field(default_factory=byte_alphabet)
    types: list[TokenType] = field(default_factory=list)
    ids: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        letters = self.tokens[:256]
        known = set(letters)
        for merge in self.merges:
            shown = merge.replace(" ", "")
            if shown not in known:
                known.add(shown)
                raw = bytes(letters.index(letter) for letter in shown)
                self.ids[raw.decode(errors="surrogateescape")] = len(self.tokens)
                self.tokens.append(shown)
        self.types += [TokenType.NORMAL] * len(self.tokens)
        first = [self.speech.eos, *([self.speech.bos] if self.speech.bos else [])]
        for text in (*first, *self.speech.controls):
            self.add(text, TokenType.CONTROL)
        for text in (*self.speech.whole, *self.speech.starts):
            self.mark(text)

    def add(self, text: str, kind: TokenType = TokenType.USER_DEFINED) -> int:
        """The token of a text."""
        data = text.encode()
        if len(data) == 1:
            return data[0]
        if text not in self.ids:
            self.ids[text] = len(self.tokens)
            self.tokens.append(text)
            self.types.append(kind)
        return self.ids[text]

    def mark(self, text: str) -> int:
        """The same for a text that is one token wherever it stands in a prompt."""
        token = self.add(text)
        if token >= 256 and self.types[token] == TokenType.NORMAL:  # it comes from the merges
            self.types[token] = TokenType.USER_DEFINED
        return token

    def chain(self, script: Script) -> tuple[list[int], list[int]]:
        """The tokens of a script: those that are said once, those that are said for ever."""
        used = {*self.speech.controls, *self.speech.whole, *self.speech.starts}

        def cut(whole: str) -> list[int]:
            tokens: list[int] = []
            for text, is_token in self._parts(whole, again=script.in_bytes):
                if script.in_bytes and not is_token:
                    tokens += text.encode()
                else:
                    tokens += [
                        self.add(piece) for piece in ([text] if is_token else _pieces(text, used))
                    ]
            return tokens

        return cut(script.text), cut(script.loop)

    def _parts(self, text: str, *, again: bool) -> Iterator[tuple[str, bool]]:
        """A text cut at tokens: control tokens, and those that are text, the first of each or `again`."""
        controls, whole = set(self.speech.controls), set(self.speech.whole)
        pattern = "|".join(map(re.escape, sorted(controls | whole, key=len, reverse=True)))
        between = ""
        for part in re.split(f"({pattern})", text):
            if part in controls or part in whole:
                if between:
                    yield between, False
                yield part, True
                between = ""
                if not again and len(part) > 1:
                    whole.discard(part)
            else:
                between += part
        if between:
            yield between, False


def _pieces(text: str, used: set[str]) -> list[str]:
    """Cut a text into pieces of a few letters, none of which was used before."""
    pieces: list[str] = []
    at = 0
    while at < len(text):
        size = PIECE_LETTERS
        while text[at : at + size] in used and at + size < len(text):
            size += 1
        if len(text) - at - size < 2:
            size = len(text) - at
        piece = text[at : at + size]
        at += size
        if piece in used and len(piece) > 1 and pieces:  # only the last one can be
            piece = pieces.pop() + piece
        used.add(piece)
        pieces.append(piece)
    return pieces


def write_scripted_model(
    path: Path,
    template: str,
    scripts: Sequence[Script],
    speech: Speech,
    *,
    context: int = 4096,
    merges: Sequence[str] = (),
    memory: int = 2,
) -> Path:
    """Write the model to `path` and return it. Raises ValueError for ambiguous scripts.

    `merges`: pairs of byte-level texts, as in model files, that make long prompts fewer tokens. `memory`: how
    many tokens before the current one may decide what follows; scripts in bytes need many.
    """
    words = _Vocabulary(speech, merges)
    marks = [words.mark(script.mark) for script in scripts]
    rules: list[_Rule] = []
    starts = [words.add(start) for start in speech.starts]
    for number, script in enumerate(scripts):
        once, loop = words.chain(script)
        end = loop[0] if loop else words.ids[speech.eos]
        rules += _rules(number, starts, [*once, *loop, end], memory)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(path.stem)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(words.tokens)
    writer.add_token_types(words.types)
    writer.add_token_merges(list(merges) or [f"{words.tokens[0]} {words.tokens[0]}"])
    writer.add_eos_token_id(words.ids[speech.eos])
    if speech.bos:
        writer.add_bos_token_id(words.ids[speech.bos])
    writer.add_add_bos_token(speech.bos is not None)
    writer.add_chat_template(template)
    weights = _Weights(len(words.tokens), marks, rules, words.ids[speech.eos], memory)
    weights.write(writer, context)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _rules(number: int, starts: list[int], chain: list[int], memory: int) -> list[_Rule]:
    """What follows what in a script; `chain` ends with the token that ends it (or begins it again)."""
    states: list[tuple[tuple[int, ...], int]] = []
    for start in starts:
        reply = [start, *chain[:-1]]
        states += [
            (tuple(reply[max(0, at - memory) : at + 1][::-1]), chain[at])
            for at in range(len(chain))
        ]
    followers: dict[tuple[int, ...], set[int]] = {}
    for state, following in states:
        for size in range(1, len(state) + 1):
            followers.setdefault(state[:size], set()).add(following)
    rules: dict[tuple[int, ...], int] = {}
    for state, following in states:
        # At the end of a prompt the start alone decides.
        sizes = [
            n
            for n in range(1, len(state) + 1)
            if n == len(state) == 1 or len(followers[state[:n]]) == 1
        ]
        if not sizes:
            raise ValueError(f"script {number} goes on in two ways after {state[::-1]}")
        rules[state[: sizes[0]]] = following
    return [_Rule(number, state[0], state[1:], following) for state, following in rules.items()]


class _Weights:
    """The numbers of the one layer.

    Residual stream: the current token (one-hot, of those of scripts), the bias, the script (one-hot), the
    tokens before (one-hot each, of those that rules ask for). The feed-forward adds what follows to the
    first part.
    """

    def __init__(
        self, vocabulary: int, marks: list[int], rules: list[_Rule], eos: int, memory: int
    ) -> None:
        self.memory = memory
        self.vocabulary, self.marks, self.rules, self.eos = vocabulary, marks, rules, eos
        self.before = sorted({token for rule in rules for token in rule.before})
        reply = {token for rule in rules for token in (rule.current, rule.following)}
        self.tokens = sorted({*marks, *reply, *self.before, eos})
        self.at = {token: at for at, token in enumerate(self.tokens)}
        self.bias = len(self.tokens)
        self.scripts_at = self.bias + 1
        self.before_at = self.scripts_at + len(marks)
        self.width = _padded(self.before_at + self.memory * len(self.before))
        self.head = _padded(max(64, len(marks), len(self.before)))

    def write(self, writer: gguf.GGUFWriter, context: int) -> None:
        writer.add_context_length(context)
        writer.add_embedding_length(self.width)
        writer.add_block_count(1)
        writer.add_feed_forward_length(_padded(len(self.rules)))
        writer.add_head_count(1 + self.memory)
        writer.add_head_count_kv(1 + self.memory)
        writer.add_key_length(self.head)
        writer.add_value_length(self.head)
        writer.add_layer_norm_rms_eps(1e-6)
        writer.add_rope_dimension_count(self.head)
        writer.add_rope_freq_base(ROPE_BASE)
        writer.add_vocab_size(self.vocabulary)
        for name, tensor in (self._ends() | self._attention() | self._feed_forward()).items():
            writer.add_tensor(f"{name}.weight", tensor)

    def _ends(self) -> dict[str, NDArray[np.float32]]:
        embedding, output = (_zeros(self.vocabulary, self.width) for _ in range(2))
        embedding[self.tokens, range(len(self.tokens))] = TOKEN_WEIGHT
        embedding[:, self.bias] = 1
        sure = SHARPNESS / float(np.sqrt(self.width))
        output[self.tokens, range(len(self.tokens))] = sure
        output[self.eos, self.bias] = sure  # where no rule holds
        ones = np.ones(self.width, np.float32)
        return {
            "token_embd": embedding,
            "output": output,
            "output_norm": ones,
            "blk.0.attn_norm": ones,
            "blk.0.ffn_norm": ones,
        }

    def _attention(self) -> dict[str, NDArray[np.float32]]:
        # What RMS norm makes of 1: all embeddings have the same length.
        unit = float(np.sqrt(self.width / (1 + TOKEN_WEIGHT**2)))
        query, key, value = (_zeros((1 + self.memory) * self.head, self.width) for _ in range(3))
        output = _zeros(self.width, (1 + self.memory) * self.head)
        strength = SHARPNESS * np.sqrt(self.head)
        # The first head: marks, in the pair of dimensions that does not turn.
        still = self.head - 2
        query[still, self.bias] = 1 / unit
        for number, mark in enumerate(self.marks):
            key[still, self.at[mark]] = strength * (number + 1) / (unit * TOKEN_WEIGHT)
            value[number, self.at[mark]] = 1 / (unit * TOKEN_WEIGHT)
            output[self.scripts_at + number, number] = 1
        # The other heads: a position before, where the angles of query and key agree.
        for distance in range(1, self.memory + 1):
            first = distance * self.head
            for pair in range(NEAR_PAIRS):
                angle = distance * ROPE_BASE ** (-2 * pair / self.head)
                row = first + 2 * pair
                query[row, self.bias] = np.cos(angle) * strength / unit
                query[row + 1, self.bias] = -np.sin(angle) * strength / unit
                key[row, self.bias] = 1 / unit
            for at, token in enumerate(self.before):
                value[first + at, self.at[token]] = 1 / (unit * TOKEN_WEIGHT)
                output[self._place(distance, token), first + at] = 1
        return {
            "blk.0.attn_q": query,
            "blk.0.attn_k": key,
            "blk.0.attn_v": value,
            "blk.0.attn_output": output,
        }

    def _place(self, distance: int, token: int) -> int:
        """Where the residual stream has that this token stands that far before the current one."""
        return self.before_at + (distance - 1) * len(self.before) + self.before.index(token)

    def _feed_forward(self) -> dict[str, NDArray[np.float32]]:
        hidden = _padded(len(self.rules))
        gate, up, down = (
            _zeros(hidden, self.width),
            _zeros(hidden, self.width),
            _zeros(self.width, hidden),
        )
        unit = float(np.sqrt(self.width / 3))  # about what RMS norm makes of 1
        for at, rule in enumerate(self.rules):
            gate[at, self.at[rule.current]] = 1 / TOKEN_WEIGHT
            wanted = 1
            for distance, token in enumerate(rule.before, start=1):
                gate[at, self._place(distance, token)] = 1
                wanted += 1
            if rule.script:
                gate[at, self.scripts_at + rule.script] = 1
                wanted += 1
            else:
                others = slice(self.scripts_at + 1, self.scripts_at + len(self.marks))
                gate[at, others] = -1
            gate[at, self.bias] = 0.5 - wanted
            gate[at] *= 2 * SHARPNESS / unit
            up[at, self.bias] = 1 / unit
            # A rule that knows the tokens before wins over one that does not.
            down[self.at[rule.following], at] = RULE_WEIGHT * (3 if rule.before else 1) / SHARPNESS
        return {"blk.0.ffn_gate": gate, "blk.0.ffn_up": up, "blk.0.ffn_down": down}


def _zeros(rows: int, columns: int) -> NDArray[np.float32]:
    return np.zeros((rows, columns), np.float32)


def _padded(size: int) -> int:
    return (size + 31) // 32 * 32
