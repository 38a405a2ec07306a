"""Checks the files of a model before llama.cpp reads them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from ...chat_template import BadTemplate
from ...model_spec import ModelLoadError
from ...tokens.gguf import BadModelFile, GGUFHeader
from ...tokens.gguf_checks import check_memory, read_encoder, read_lora, read_model
from ...tuning import DEFAULT_TUNING, Tuning
from .going_together import check_cache_types, check_draft
from .memory import weight_bytes
from .params import Cache, all_memory, cache_for, room_for_contexts
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
    tuning: Tuning = DEFAULT_TUNING,
    chat_template: str | None = None,
    shares_memory: bool = False,
) -> tuple[GGUFHeader, Cache]:
    """The model's header and the cache for it. `shares_memory`: with models that are loaded besides, so that
    its context does not grow with the memory.

    Raises ModelLoadError for a file that llama.cpp must not see: some make it abort the process.
    """
    try:
        header = read_model(model)
        if mmproj:
            read_encoder(mmproj)
        for lora, _ in loras:
            read_lora(lora)
        # An answer and a query beside it need two. A further one is not added: llama.cpp computes only
        # adjacent slots in one step, and it would make gaps.
        slots = max(2, parallel)
        kv_bytes = tuning.kv_bytes(header.kv_bytes_per_token)
        room = 0
        if not shares_memory:
            further = [*(lora for lora, _ in loras), mmproj, tuning.draft_model]
            weights = weight_bytes([model, *(each for each in further if each is not None)])
            room = room_for_contexts(weights, gpu_layers, tuning)
        cache = cache_for(header.context_length, context_length, kv_bytes, slots, room)
        if tuning.draft_model is not None:
            draft = read_model(tuning.draft_model)
            check_draft(header, model.name, draft, tuning.draft_model.name)
        check_cache_types(header, model.name, tuning)
        check_memory(header, model.name, cache.context, all_memory(gpu_layers))
        load_template(header, chosen=chat_template)
    except BadModelFile as error:
        raise ModelLoadError(str(error)) from error
    except BadTemplate as error:
        where = model.name if chat_template is None else "--chat-template-file"
        raise ModelLoadError(f"The chat template in {where} cannot be used: {error}") from error
    return header, cache
