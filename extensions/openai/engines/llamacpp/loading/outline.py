"""What a model's files say before it is loaded: memory, context, what requests may use."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ...model_spec import ModelOutline
from ...protocol import Capability, EngineInfo, VectorTraits
from ...tokens.gguf import GGUFHeader, read_header
from ...tuning import Tuning
from .memory import memory_need
from .own_sampling import own_sampling
from .params import Cache, prompt_cache_bytes
from .template import load_template

PROCESS_BYTES = 128 << 20
"""What Python and llama.cpp take besides the model, at least."""
ENCODES = {
    "clip.has_vision_encoder": Capability.VISION,
    "clip.has_audio_encoder": Capability.AUDIO,
}
"""Keys of an encoder's file."""


def outline(
    model: Path,
    header: GGUFHeader,
    cache: Cache,
    further: Iterable[Path],
    *,
    parallel: int,
    mmproj: Path | None,
    tuning: Tuning,
    chat_template: str | None,
) -> ModelOutline:
    """`further`: all other files that are loaded with it."""
    return remote_outline(
        model,
        header,
        cache,
        token_bytes=tuning.kv_bytes(header.kv_bytes_per_token),
        parallel=parallel,
        capabilities=_capabilities(header, mmproj, chat_template),
        further=further,
        prompts=prompt_cache_bytes(model, tuning),
    )


def remote_outline(
    model: Path,
    header: GGUFHeader,
    cache: Cache,
    *,
    token_bytes: int,
    parallel: int,
    capabilities: tuple[Capability, ...],
    further: Iterable[Path] = (),
    prompts: int = 0,
    vectors: VectorTraits | None = None,
) -> ModelOutline:
    """`token_bytes`: of its KV cache for each token; `prompts`: bytes for those that are kept besides."""
    need = memory_need(token_bytes, [model, *further], cache, prompts)
    info = EngineInfo(
        model=model.stem,
        created=int(model.stat().st_mtime),
        owned_by="llama.cpp",
        context_length=cache.context,
        sampler="openedai",
        fingerprint="fp_unknown",
        vocabulary_size=2**31,
        parallel=parallel,
        description=str(header.metadata.get("general.description", ""))[:200],
        capabilities=capabilities,
        vectors=vectors,
        sampling=own_sampling(model, header),
        is_remote=True,
    )
    return ModelOutline(info, need.weights + need.contexts + need.prompts + PROCESS_BYTES)


def _capabilities(
    header: GGUFHeader, mmproj: Path | None, chat_template: str | None
) -> tuple[Capability, ...]:
    found = [
        *(Capability.COMPLETION, Capability.CHAT, Capability.GRAMMAR),
        *(Capability.LOGPROBS, Capability.TOOLS),
    ]
    if load_template(header, chosen=chat_template).traits.thinking is not None:
        found.append(Capability.REASONING)
    if mmproj is not None:
        metadata = read_header(mmproj).metadata
        found += [each for key, each in ENCODES.items() if metadata.get(key)]
    return tuple(found)
