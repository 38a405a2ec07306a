"""The sampler parameters that other servers take, by their kinds. They get only what a request gives: their
own defaults hold for the rest.

Sources: OpenAI API reference; the documents of vLLM and SGLang ("Sampling parameters"); llama.cpp
tools/server.
"""

from __future__ import annotations

from collections.abc import Mapping

from .table import LLAMACPP, PARAMETERS

OPENAI = {name: name for name in ("temperature", "top_p", "presence_penalty", "frequency_penalty")}
VLLM = {
    **OPENAI,
    **{
        name: name
        for name in ("top_k", "min_p", "repetition_penalty", "ignore_eos", "skip_special_tokens")
    },
}
LLAMA_SERVER = {row.name: row.native[LLAMACPP].name for row in PARAMETERS if LLAMACPP in row.native}
FIELDS: Mapping[str, Mapping[str, str]] = {
    "openai": OPENAI,
    "vllm": VLLM,
    "sglang": VLLM,
    "llama-server": LLAMA_SERVER,
    "openedai": {row.name: row.name for row in PARAMETERS},
    "external": {row.name: row.name for row in PARAMETERS},
}
"""By EngineInfo.sampler: the names of rows, and what the server calls them."""
