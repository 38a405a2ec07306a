"""The files that a model is loaded from, looked through before llama.cpp sees them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from ...chat_template import TooCostlyTemplate
from ...model_spec import ModelLoadError
from ...tokens.gguf import BadModelFile, GGUFHeader
from ...tokens.gguf_checks import check_memory, read_encoder, read_lora, read_model
from .params import Cache, all_memory, cache_for
from .template import load_template

log = logging.getLogger("openedai")


def read_files(
    model: Path,
    *,
    context_length: int = 0,
    gpu_layers: int = -1,
    parallel: int = 4,
    loras: Sequence[tuple[Path, float]] = (),
    mmproj: Path | None = None,
) -> tuple[GGUFHeader, Cache]:
    """What the model says of itself, and the cache that it gets.

    Raises ModelLoadError for a file that llama.cpp must not see: it ends the whole process at some of them.
    """
    try:
        header = read_model(model)
        if mmproj:
            read_encoder(mmproj)
        for lora, _ in loras:
            read_lora(lora)
        # An answer and a question beside it need two. No more are added: llama.cpp computes slots in one
        # step only where they are next to each other, and with one more there would be gaps.
        slots = max(2, parallel)
        cache = cache_for(header.context_length, context_length, header.kv_bytes_per_token, slots)
        check_memory(header, model.name, cache.context, all_memory(gpu_layers))
        load_template(header)
    except BadModelFile as error:
        raise ModelLoadError(str(error)) from error
    except TooCostlyTemplate as error:
        raise ModelLoadError(
            f"The chat template in {model.name} cannot be used: {error}"
        ) from error
    return header, cache
