"""Checks whether a model file's values are safe for llama.cpp.

llama.cpp aborts the process on some values (a context of 2**32 - 1 tokens, 100,000 layers, no heads), and
trusts others unchecked. A file may come from anywhere, so its values are checked before llama.cpp sees it.
The bounds are far above those of any model; the keys are those of the GGUF specification.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .gguf import BadModelFile, GGUFHeader, read_header

MAX_LAYERS = 512  # LLAMA_MAX_LAYERS
MAX_EXPERTS = 512  # LLAMA_MAX_EXPERTS
MAX_CONTEXT = 1 << 28  # tokens
MAX_WIDTH = 1 << 20  # elements of a vector
MAX_HEADS = 4096
MAX_TOKENS = 1 << 22
MAX_PARTS = 999  # files of one model
PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf")
ENCODER = "clip"
GB = 1 << 30


@dataclass(frozen=True, slots=True)
class Range:
    """The allowed values of an integer, or of each in a list."""

    low: int
    high: int
    is_list: bool = False
    """Whether it may be a list, such as one number per layer."""


MODEL_NUMBERS: Mapping[str, Range] = {
    "context_length": Range(1, MAX_CONTEXT),
    "embedding_length": Range(1, MAX_WIDTH),
    "embedding_length_out": Range(1, MAX_WIDTH),
    "block_count": Range(1, MAX_LAYERS),
    "decoder_block_count": Range(1, MAX_LAYERS),
    "leading_dense_block_count": Range(0, MAX_LAYERS),
    "nextn_predict_layers": Range(0, MAX_LAYERS),
    "feed_forward_length": Range(0, MAX_WIDTH, is_list=True),
    "expert_feed_forward_length": Range(0, MAX_WIDTH, is_list=True),
    "expert_shared_feed_forward_length": Range(0, MAX_WIDTH, is_list=True),
    "vocab_size": Range(1, MAX_TOKENS),
    "expert_count": Range(0, MAX_EXPERTS),
    "expert_used_count": Range(0, MAX_EXPERTS, is_list=True),
    "expert_shared_count": Range(0, MAX_EXPERTS),
    "attention.head_count": Range(0, MAX_HEADS, is_list=True),
    "attention.head_count_kv": Range(0, MAX_HEADS, is_list=True),
    "attention.key_length": Range(1, 65_536),
    "attention.value_length": Range(1, 65_536),
    "attention.sliding_window": Range(0, MAX_CONTEXT, is_list=True),
    "rope.dimension_count": Range(0, 65_536),
    "rope.scaling.original_context_length": Range(0, MAX_CONTEXT),
    "ssm.conv_kernel": Range(0, 65_536),
    "ssm.inner_size": Range(0, MAX_WIDTH),
    "ssm.state_size": Range(0, 65_536),
    "ssm.time_step_rank": Range(0, 65_536),
    "ssm.group_count": Range(0, 65_536),
    "wkv.head_size": Range(1, 65_536),
}
"""Integers at `<architecture>.key`."""

EPSILONS = ("attention.layer_norm_epsilon", "attention.layer_norm_rms_epsilon")
"""Numbers from 0 to 1."""

MODEL_DECIMALS = (
    *EPSILONS,
    "attention.group_norm_epsilon",
    "attention.scale",
    "rope.freq_base",
    "rope.scaling.factor",
    "rope.scaling.attn_factor",
    "logit_scale",
    "embedding_scale",
    "residual_scale",
)
"""Numbers that must be finite."""

ENCODER_NUMBERS: Mapping[str, Range] = {
    "image_size": Range(1, 65_536),
    "patch_size": Range(1, 65_536),
    "embedding_length": Range(1, MAX_WIDTH),
    "feed_forward_length": Range(0, MAX_WIDTH),
    "projection_dim": Range(0, MAX_WIDTH),
    "block_count": Range(0, MAX_LAYERS),
    "attention.head_count": Range(1, MAX_HEADS),
    "num_mel_bins": Range(1, 4096),
    "projector.stack_factor": Range(1, 65_536),
    "projector.scale_factor": Range(1, 65_536),
    "spatial_merge_size": Range(1, 65_536),
    "n_merge": Range(0, 65_536),
}
"""Integers at `clip.vision.key` and `clip.audio.key`."""

ROPE_SCALINGS = ("none", "linear", "yarn", "longrope")
NO_TOKENIZER = ("none", "no_vocab")
TOKENIZER = "tokenizer.ggml."
END_TOKENS = ("bos_token_id", "eos_token_id")


def read_model(path: Path) -> GGUFHeader:
    """The header of a model file, with the tensors of all its parts.

    Raises BadModelFile for a file that is not a usable language model.
    """
    header = _with_all_parts(read_header(path), path)
    _Checks(header, path.name).model()
    return header


def read_encoder(path: Path) -> GGUFHeader:
    """The same for an encoder of pictures or sounds (mmproj)."""
    header = read_header(path)
    _Checks(header, path.name).encoder()
    return header


def read_lora(path: Path) -> GGUFHeader:
    """The same for a LoRA."""
    header = read_header(path)
    _Checks(header, path.name).lora()
    return header


def _with_all_parts(first: GGUFHeader, path: Path) -> GGUFHeader:
    """Add the tensors of `NAME-00002-of-00003.gguf` and so on to the first part's. Raises BadModelFile."""
    count = first.metadata.get("split.count", 0)
    if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count <= MAX_PARTS:
        raise BadModelFile(f"{path.name} is damaged: split.count is not a number of parts.")
    if count < 2:
        return first
    found = PART.fullmatch(path.name)
    if found is None or int(found[2]) != 1 or int(found[3]) != count:
        raise BadModelFile(
            f"{path.name} is one part of a model in {count} files. Give the first one, under its original "
            f"name (...-00001-of-{count:05}.gguf)."
        )
    tensors = dict(first.tensors)
    for number in range(2, count + 1):
        part = path.with_name(f"{found[1]}-{number:05}-of-{count:05}.gguf")
        header = read_header(part)
        if header.metadata.get("split.no") != number - 1 or tensors.keys() & header.tensors.keys():
            raise BadModelFile(f"{part.name} is not part of the same model as {path.name}.")
        tensors |= header.tensors
    return GGUFHeader(first.metadata, tensors)


def check_memory(header: GGUFHeader, name: str, tokens: int, memory: int) -> None:
    """Raise BadModelFile if a cache of `tokens` tokens takes more than `memory` bytes."""
    needed = tokens * header.kv_bytes_per_token
    if header.number("attention.sliding_window"):
        needed //= 8  # most layers hold only the window
    if needed > memory:
        raise BadModelFile(
            f"{name} needs about {needed / GB:.0f} GB for a context of {tokens} tokens, and there are "
            f"{memory / GB:.0f}. Use a smaller context (--ctx-size)."
        )


class _Checks:
    """The checks of one file. All raise BadModelFile."""

    def __init__(self, header: GGUFHeader, name: str) -> None:
        self._header = header
        self._metadata = header.metadata
        self._name = name

    def model(self) -> None:
        architecture = self._architecture()
        if architecture == ENCODER or self._metadata.get("general.type") in ("adapter", "mmproj"):
            raise BadModelFile(
                f"{self._name} is not a language model but an addition to one (adapter or mmproj)."
            )
        self._numbers(f"{architecture}.", MODEL_NUMBERS)
        for key in MODEL_DECIMALS:
            self._finite(f"{architecture}.{key}")
        for key in EPSILONS:
            epsilon = self._metadata.get(f"{architecture}.{key}", 0.0)
            if isinstance(epsilon, (int, float)) and not 0 <= epsilon <= 1:
                self._refuse(f"{architecture}.{key} is {epsilon}, but must be from 0 to 1")
        scaling = self._metadata.get(f"{architecture}.rope.scaling.type", "none")
        if scaling not in ROPE_SCALINGS:
            self._refuse(
                f"{architecture}.rope.scaling.type is not one of {', '.join(ROPE_SCALINGS)}"
            )
        for key in ("context_length", "embedding_length", "block_count"):
            self._require(f"{architecture}.{key}")
        self._layers(f"{architecture}.")
        self._heads(f"{architecture}.")
        self._experts(f"{architecture}.")
        self._tokenizer()
        self._vocabulary()
        self._texts()

    def encoder(self) -> None:
        if self._architecture() != ENCODER:
            raise BadModelFile(f"{self._name} is not an encoder of pictures or sounds (mmproj).")
        for kind in ("clip.vision.", "clip.audio."):
            self._numbers(kind, ENCODER_NUMBERS)
            self._finite(f"{kind}attention.layer_norm_epsilon")
            width, heads = (
                self._int(kind + "embedding_length"),
                self._int(kind + "attention.head_count"),
            )
            if width and heads and width % heads:
                self._refuse(f"{kind}attention.head_count does not divide {kind}embedding_length")
            size, patch = self._int(kind + "image_size"), self._int(kind + "patch_size")
            if size and patch and patch > size:
                self._refuse(f"{kind}patch_size is larger than {kind}image_size")
            for key in ("image_mean", "image_std"):
                values = self._metadata.get(kind + key, [0.0] * 3)
                if not (
                    isinstance(values, list) and len(values) == 3 and all(map(_is_finite, values))
                ):
                    self._refuse(f"{kind}{key} is not a list of three numbers")
        for key in ("clip.has_vision_encoder", "clip.has_audio_encoder"):
            if not isinstance(self._metadata.get(key, False), bool):
                self._refuse(f"{key} is neither true nor false")
        for key in (
            "clip.projector_type",
            "clip.vision.projector_type",
            "clip.audio.projector_type",
        ):
            if not isinstance(self._metadata.get(key, ""), str):
                self._refuse(f"{key} is not a text")
        self._require_tensors()

    def lora(self) -> None:
        self._architecture()
        kinds = [self._metadata.get(key) for key in ("general.type", "adapter.type")]
        if kinds != ["adapter", "lora"]:
            raise BadModelFile(f"{self._name} is not a LoRA.")
        self._finite("adapter.lora.alpha")
        self._require_tensors()
        for tensor, shape in self._header.tensors.items():
            if tensor.endswith((".lora_a", ".lora_b")) and len(shape) != 2:
                self._refuse(f"the tensor {tensor!r} does not have two dimensions")

    def _refuse(self, why: str) -> None:
        raise BadModelFile(f"{self._name} is damaged or not made for llama.cpp: {why}.")

    def _architecture(self) -> str:
        found = self._metadata.get("general.architecture")
        if not isinstance(found, str) or not found or len(found) > 64:
            self._refuse("general.architecture is missing")
        return str(found)

    def _numbers(self, prefix: str, ranges: Mapping[str, Range]) -> None:
        for key, allowed in ranges.items():
            value = self._metadata.get(prefix + key)
            if value is None:
                continue
            numbers = value if allowed.is_list and isinstance(value, list) else [value]
            for number in numbers:
                if not isinstance(number, int) or isinstance(number, bool):
                    self._refuse(f"{prefix}{key} is not an integer")
                elif not allowed.low <= number <= allowed.high:
                    self._refuse(
                        f"{prefix}{key} is {number}, but must be from {allowed.low} to {allowed.high}"
                    )

    def _finite(self, key: str) -> None:
        if not _is_finite(self._metadata.get(key, 0.0)):
            self._refuse(f"{key} is not a finite number")

    def _require(self, key: str) -> None:
        if key not in self._metadata:
            self._refuse(f"{key} is missing")

    def _int(self, key: str) -> int:
        """A checked number; 0 if it is missing."""
        value = self._metadata.get(key, 0)
        return value if isinstance(value, int) else 0

    def _per_layer(self, key: str) -> list[int]:
        """Checked numbers, one per layer or one for all; empty if missing."""
        value = self._metadata.get(key, [])
        numbers = value if isinstance(value, list) else [value]
        return [number for number in numbers if isinstance(number, int)]

    def _layers(self, prefix: str) -> None:
        layers = self._int(prefix + "block_count")
        if layers > len(self._header.tensors):
            self._refuse(
                f"{prefix}block_count is {layers}, but there are {len(self._header.tensors)} tensors"
            )
        for key in ("nextn_predict_layers", "leading_dense_block_count"):
            if self._int(prefix + key) > layers:
                self._refuse(f"{prefix}{key} is larger than {prefix}block_count")
        for key, allowed in MODEL_NUMBERS.items():
            value = self._metadata.get(prefix + key)
            if allowed.is_list and isinstance(value, list) and len(value) < layers:
                self._refuse(f"{prefix}{key} has {len(value)} numbers for {layers} layers")

    def _heads(self, prefix: str) -> None:
        heads = self._per_layer(prefix + "attention.head_count")
        groups = self._per_layer(prefix + "attention.head_count_kv")
        if not any(heads) and not self._is_recurrent(prefix):
            self._refuse(f"{prefix}attention.head_count is 0 or missing")
        if not heads or not groups:
            return
        count = max(len(heads), len(groups))
        pairs = zip(_expand(heads, count), _expand(groups, count), strict=True)
        for head, group in pairs:
            if (group and head % group) or (head and not group and count == 1):
                self._refuse(
                    f"{prefix}attention.head_count_kv does not divide {prefix}attention.head_count"
                )
        width = self._int(prefix + "embedding_length")
        if prefix + "attention.key_length" not in self._metadata and max(heads) > width:
            self._refuse(f"{prefix}attention.head_count is larger than {prefix}embedding_length")

    def _is_recurrent(self, prefix: str) -> bool:
        """Whether the model has recurrent layers, with or without attention layers."""
        return any(key.startswith((prefix + "ssm.", prefix + "wkv.")) for key in self._metadata)

    def _experts(self, prefix: str) -> None:
        experts = self._int(prefix + "expert_count")
        used = max(self._per_layer(prefix + "expert_used_count"), default=0)
        if used > experts or (experts and not used):
            self._refuse(
                f"{prefix}expert_used_count is {used} of {prefix}expert_count, which is {experts}"
            )

    def _tokenizer(self) -> None:
        self._list("tokens", str, "texts")
        self._list("merges", str, "texts")
        self._list("scores", float, "numbers", same_length_as="tokens")
        self._list("token_type", int, "integers", same_length_as="tokens")
        tokens = self._metadata.get(TOKENIZER + "tokens")
        if not isinstance(tokens, list) or self._metadata.get(TOKENIZER + "model") in NO_TOKENIZER:
            self._refuse("it has no vocabulary")
            return
        if not 0 < len(tokens) <= MAX_TOKENS:
            self._refuse(f"{TOKENIZER}tokens has {len(tokens)} elements")
        # Different invalid bytes decode to the same U+FFFD, so such tokens are not compared.
        texts = [token for token in tokens if isinstance(token, str) and "\ufffd" not in token]
        named = [text for text in texts if text]
        if len(set(named)) != len(named):
            self._refuse(f"{TOKENIZER}tokens has a token twice")
        for key in END_TOKENS:
            token = self._metadata.get(TOKENIZER + key)
            if token is None:
                continue
            if not isinstance(token, int) or not 0 <= token < len(tokens):
                self._refuse(f"{TOKENIZER}{key} is {token}, but there are {len(tokens)} tokens")

    def _list(self, key: str, kind: type, what: str, same_length_as: str | None = None) -> None:
        values = self._metadata.get(TOKENIZER + key)
        if values is None:
            return
        if not isinstance(values, list) or not all(type(value) is kind for value in values):
            self._refuse(f"{TOKENIZER}{key} is not a list of {what}")
            return
        others = self._metadata.get(TOKENIZER + same_length_as) if same_length_as else values
        if isinstance(others, list) and len(others) != len(values):
            self._refuse(
                f"{TOKENIZER}{key} has {len(values)} elements, but {TOKENIZER}{same_length_as} {len(others)}"
            )

    def _vocabulary(self) -> None:
        """The number of embeddings must be that of tokens."""
        self._require_tensors()
        shape = self._header.tensors.get("token_embd.weight")
        tokens = self._metadata.get(TOKENIZER + "tokens")
        if shape is None or not isinstance(tokens, list):
            return
        rows = math.prod(shape[1:])
        if rows != len(tokens):
            self._refuse(f"there are {len(tokens)} tokens, but embeddings for {rows}")

    def _require_tensors(self) -> None:
        if not self._header.tensors:
            self._refuse("it has no tensors")

    def _texts(self) -> None:
        for key in (
            "tokenizer.chat_template",
            TOKENIZER + "model",
            TOKENIZER + "pre",
            "general.name",
        ):
            if not isinstance(self._metadata.get(key, ""), str):
                self._refuse(f"{key} is not a text")


def _expand(numbers: Sequence[int], count: int) -> list[int]:
    return list(numbers) * count if len(numbers) == 1 else [*numbers, *[0] * count][:count]


def _is_finite(value: object) -> bool:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return is_number and math.isfinite(value)  # type: ignore[arg-type]  # see the line above
