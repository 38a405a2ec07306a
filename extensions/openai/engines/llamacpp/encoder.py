"""A GGUF model in memory that only reads: what embedding and rerank models have in common.

- *Batches*: llama.cpp puts the texts of all requests that are under way into one step, one text a slot. A
  text must fit into one step as a whole, so `n_batch` is the context, and a little more.
- *Slots*: a model that looks both ways (BERT and its kin) computes each text apart, whatever else is in the
  step. For a causal one with mean pooling or a head that scores, llama.cpp pools the wrong states as soon as
  several slots are in use (0.04 between unit vectors, 2.7 between scores), so those get one slot.
- *Rounding*: what else is in a step changes the last digits of a vector: by 1e-5, or by 3e-4 with flash
  attention, which is therefore used for long texts only, where it saves gigabytes.
- *Cancelling*: a call cannot be ended, so many texts are several calls, of about CALL_TOKENS tokens each.
"""

from __future__ import annotations

import atexit
import re
import threading
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar

import orjson

from ..encoders import EncoderEngine
from ..failures import failure_of, model_changed
from ..model_spec import ModelLoadError
from ..protocol import Capability, EngineInfo, VectorTraits
from ..tokens.context_length import max_tokens_of
from ..tokens.gguf import BadModelFile, GGUFHeader
from ..tokens.gguf_checks import check_memory, read_model
from .loading.fingerprint import fingerprint
from .loading.loaded_model import LoadedModel
from .loading.params import Cache, all_memory, gpu_bytes, params_for
from .loading.version import checked_version
from .step_share import StepShare

DEFAULT_CONTEXT_TOKENS = 2048  # unless the model has fewer or the operator asks for more
ENCODER_SLOTS = 4
"""Of a model that looks both ways. Without flash attention each text of a step is multiplied with all others:
eight cost 15 percent more than four."""
CALL_TOKENS = 2048
"""The tokens of one call at most, unless one text alone has more; by their upper bound."""
MAX_CALL_TEXTS = 64
ALL_THREADS = -1
Shortening = Literal["auto", "any", "full"]
MADE_TO_BE_CUT = re.compile(
    r"nomic-embed-text-v(?:1\.5|2)|embedding-?gemma|qwen3-embedding|mxbai-embed-large"
    r"|arctic-embed-[ml]-v(?:1\.5|2)|jina-embeddings-v[345]",
    re.IGNORECASE,
)
"""Names of models whose vectors may be cut, by their cards."""

T = TypeVar("T")


class LlamaCppEncoder(EncoderEngine):
    """Loads a model and calls it. Thread-safe; a call lasts until llama.cpp has computed its texts."""

    capability: ClassVar[Capability]

    @staticmethod
    @abstractmethod
    def pooling(header: GGUFHeader) -> int | None:
        """llama.cpp's number for a file; None: what the file says."""

    @classmethod
    def read(
        cls, model: Path, *, context_length: int, gpu_layers: int, parallel: int
    ) -> tuple[GGUFHeader, Cache]:
        """The file's header, and the cache for it. Raises ModelLoadError for a file that llama.cpp must not
        see."""
        try:
            header = read_model(model)
            trained = header.context_length or DEFAULT_CONTEXT_TOKENS
            context = min(trained, context_length or DEFAULT_CONTEXT_TOKENS)
            check_memory(header, model.name, context, all_memory(gpu_layers))
        except BadModelFile as error:
            raise ModelLoadError(str(error)) from error
        slots = slots_for(header, cls.pooling(header), parallel)
        return header, Cache(context, slots, slots)

    def __init__(
        self,
        model: Path,
        *,
        name: str,
        context_length: int = 0,
        gpu_layers: int = -1,
        threads: int = 0,
        parallel: int = 4,
        shortening: Shortening = "auto",
    ) -> None:
        """`context_length`: tokens of one text, 0 for the model's own, up to DEFAULT_CONTEXT_TOKENS. Raises
        ModelLoadError."""
        version = checked_version(parallel=parallel, threads=threads)
        header, cache = self.read(
            model, context_length=context_length, gpu_layers=gpu_layers, parallel=parallel
        )
        context, asked = cache.context, self.pooling(header)
        # Steps of a whole batch are worth several threads even in a tiny model.
        params = params_for(model, cache, gpu_layers=gpu_layers, threads=threads or ALL_THREADS)
        params.embedding = True
        params.n_batch = params.n_ubatch = step_tokens(cache)
        params.cache_ram_mib = 0
        flash = context > DEFAULT_CONTEXT_TOKENS
        if not flash:
            params.flash_attn_type = no_flash_attention()
        self.share: StepShare | None = None
        """Where long texts wait for each other; None where they cost the same side by side."""
        if not flash and is_bidirectional(header) and not gpu_bytes(gpu_layers):
            self.share = StepShare()
        if asked is not None:
            params.pooling_type = pooling_type(asked)
        self.header = header
        self.model = LoadedModel(model, header, params, None)
        self._closed = threading.Event()
        self._calls = _Calls()
        self._info = EngineInfo(
            model=name,
            created=int(model.stat().st_mtime),
            owned_by="llama.cpp",
            context_length=min(context, self.model.context_length),
            sampler="llama.cpp",
            fingerprint=fingerprint([model], version, name, context),
            vocabulary_size=self.model.vocabulary_size,
            # As many again wait inside, so that a step is never short of texts.
            parallel=2 * cache.slots,
            description=str(header.metadata.get("general.description", ""))[:200],
            capabilities=(self.capability,),
            vectors=None
            if self.capability is not Capability.EMBEDDINGS
            else vector_traits(header, shortening),
        )
        # A thread inside llama.cpp while the interpreter shuts down would abort the process.
        atexit.register(self._free)

    @property
    def info(self) -> EngineInfo:
        return self._info

    def tokenize(self, text: str) -> tuple[int, ...]:
        return self.model.tokenize(text)

    def detokenize(self, tokens: Sequence[int]) -> str:
        return self.model.detokenize(tokens)

    def bare_tokens(self, text: str, *, special: bool) -> tuple[int, ...]:
        return self.model.tokens_in(text) if special else self.model.plain_tokens(text)

    def close(self) -> None:
        if not self._closed.is_set():
            atexit.unregister(self._free)
            self._free()

    def call(self, ask: Callable[[Any, bytes], str], body: dict[str, Any]) -> dict[str, Any]:
        """llama.cpp's answer to one call. Raises EngineFailed, ModelChanged."""
        with self._calls:
            if self._closed.is_set():
                raise model_changed()
            answer: dict[str, Any] = orjson.loads(ask(self.model.memory, orjson.dumps(body)))
        if "error" in answer:
            raise failure_of(str(answer["error"].get("message", "")))
        return answer

    def _free(self) -> None:
        self._closed.set()
        self._calls.wait_until_none()
        self.model.free()


class _Calls:
    """Counts the calls that are under way: the model must not be freed below them."""

    def __init__(self) -> None:
        self._count = 0
        self._changed = threading.Condition()

    def __enter__(self) -> None:
        with self._changed:
            self._count += 1

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._count -= 1
            self._changed.notify_all()

    def wait_until_none(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._count == 0)


def step_tokens(cache: Cache) -> int:
    """The tokens of one step: a whole text, and as many for each slot, else llama.cpp aborts the process."""
    return -(-cache.context // cache.slots) * cache.slots


def slots_for(header: GGUFHeader, pooling: int | None, parallel: int) -> int:
    """How many texts llama.cpp may compute in one step."""
    if is_bidirectional(header):
        return ENCODER_SLOTS
    said = header.metadata.get(f"{header.architecture}.pooling_type", 0)
    chosen = said if pooling is None else pooling
    return parallel if chosen == LAST else 1


def is_bidirectional(header: GGUFHeader) -> bool:
    """Whether the model looks both ways, as BERT and its kin do."""
    return header.metadata.get(f"{header.architecture}.attention.causal", True) is False


def vector_traits(header: GGUFHeader, shortening: Shortening) -> VectorTraits:
    """What a model's vectors are. `shortening`: whether they may be cut; auto: if its name is of those that
    were trained for it (Matryoshka), which files do not say."""
    named = " ".join(str(header.metadata.get(f"general.{key}", "")) for key in ("name", "basename"))
    cuts = shortening == "any" or (shortening == "auto" and MADE_TO_BE_CUT.search(named))
    return VectorTraits(width_of(header), None if cuts else frozenset())


def width_of(header: GGUFHeader) -> int:
    """The numbers of a vector."""
    return header.number("embedding_length_out") or header.number("embedding_length")


NONE, MEAN, CLS, LAST, RANK = range(5)
"""llama.cpp's kinds of pooling, as model files write them."""


def no_flash_attention() -> Any:
    """xllamacpp's value for it."""
    from xllamacpp import llama_flash_attn_type

    return llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED


def pooling_type(number: int) -> Any:
    """xllamacpp's value for it."""
    from xllamacpp import llama_pooling_type

    return llama_pooling_type(number)


def calls_of(texts: Sequence[T], most_tokens: Callable[[T], int]) -> Iterator[Sequence[T]]:
    """Divide texts into those of one call each, in order. `most_tokens`: an upper bound of the tokens of a
    text."""
    begin, tokens = 0, 0
    for at, text in enumerate(texts):
        more = most_tokens(text)
        if at > begin and (tokens + more > CALL_TOKENS or at - begin == MAX_CALL_TEXTS):
            yield texts[begin:at]
            begin, tokens = at, 0
        tokens += more
    if texts:
        yield texts[begin:]


def size_of(text: str | tuple[int, ...]) -> int:
    """An upper bound of an input's tokens."""
    return max_tokens_of(text) if isinstance(text, str) else len(text)
