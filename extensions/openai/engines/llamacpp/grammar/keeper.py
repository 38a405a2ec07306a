"""The keeper: a model of a few kB of zeros, to which llama.cpp's tokenizer for grammars is handed over.

`shared_tokenizer.py` says why.
"""

from __future__ import annotations

import atexit
import logging
import struct
import tempfile
from collections.abc import Callable
from pathlib import Path

from ..client import Complete
from ..private_listener import PrivateListener

log = logging.getLogger("openedai")


def load_keeper(at_exit: Callable[[], None]) -> Complete:
    """Load the keeper into llama.cpp until the process ends; `at_exit` is called just before."""
    import xllamacpp

    listener = PrivateListener()
    with tempfile.TemporaryDirectory(
        prefix="openedai-keeper-", ignore_cleanup_errors=True
    ) as folder:
        path = Path(folder) / "keeper.gguf"
        path.write_bytes(keeper_file())
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.n_ctx = 64
        params.n_parallel = 1
        params.n_batch = params.n_ubatch = 32
        params.n_gpu_layers = 0
        params.cache_ram_mib = 0
        params.n_threads_http = 1
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        params.warmup = params.ui = False
        params.server_tools = []
        params.endpoint_slots = False
        params.hostnames, params.api_keys = [str(listener.path)], [listener.key]
        params.verbosity = 3 if log.isEnabledFor(logging.DEBUG) else -1
        complete: Complete = xllamacpp.Server(params).handle_completions

    def end() -> None:
        # A thread inside llama.cpp while the interpreter shuts down would abort the process.
        at_exit()
        listener.close()

    atexit.register(end)
    return complete


_WIDTH, _INNER = 32, 32
_U32, _I32, _F32, _BOOL, _STRING, _ARRAY = 4, 5, 6, 7, 8, 9


def keeper_file() -> bytes:
    """A GGUF file (version 3) of one layer of zeros and a vocabulary of all bytes and an end token.

    Source: the GGUF specification, ggml's docs/gguf.md.
    """
    tokens = [f"<0x{byte:02X}>" for byte in range(256)] + ["<end>"]
    kinds = [6] * 256 + [3]  # bytes, and a control token
    values: list[tuple[str, int, bytes]] = [
        ("general.architecture", _STRING, _text("llama")),
        ("general.alignment", _U32, struct.pack("<I", 32)),
        *(
            (f"llama.{name}", _U32, struct.pack("<I", number))
            for name, number in (
                ("context_length", 64),
                ("embedding_length", _WIDTH),
                ("block_count", 1),
                ("feed_forward_length", _INNER),
                ("attention.head_count", 1),
                ("rope.dimension_count", _WIDTH),
                ("vocab_size", len(tokens)),
            )
        ),
        ("llama.attention.layer_norm_rms_epsilon", _F32, struct.pack("<f", 1e-5)),
        ("tokenizer.ggml.model", _STRING, _text("llama")),
        ("tokenizer.ggml.tokens", _ARRAY, _array(_STRING, [_text(token) for token in tokens])),
        ("tokenizer.ggml.scores", _ARRAY, _array(_F32, [struct.pack("<f", 0)] * len(tokens))),
        ("tokenizer.ggml.token_type", _ARRAY, _array(_I32, [struct.pack("<i", k) for k in kinds])),
        ("tokenizer.ggml.bos_token_id", _U32, struct.pack("<I", 256)),
        ("tokenizer.ggml.eos_token_id", _U32, struct.pack("<I", 256)),
        ("tokenizer.ggml.add_space_prefix", _BOOL, b"\0"),
        ("tokenizer.chat_template", _STRING, _text("{{ messages[0].content }}")),
    ]
    square, inner = (_WIDTH, _WIDTH), (_WIDTH, _INNER)
    tensors: list[tuple[str, tuple[int, ...]]] = [
        ("token_embd.weight", (_WIDTH, len(tokens))),
        ("output_norm.weight", (_WIDTH,)),
        ("blk.0.attn_norm.weight", (_WIDTH,)),
        ("blk.0.ffn_norm.weight", (_WIDTH,)),
        *((f"blk.0.attn_{part}.weight", square) for part in ("q", "k", "v", "output")),
        *((f"blk.0.ffn_{part}.weight", inner) for part in ("gate", "up", "down")),
    ]
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values))
    head += b"".join(_text(key) + struct.pack("<I", kind) + value for key, kind, value in values)
    offset = 0
    for name, shape in tensors:
        head += _text(name) + struct.pack("<I", len(shape))
        head += struct.pack(f"<{len(shape)}QIQ", *shape, 0, offset)  # kind 0: 32-bit floats
        size = 4
        for length in shape:
            size *= length
        offset += -(-size // 32) * 32
    return head + bytes(-len(head) % 32) + bytes(offset)


def _text(text: str) -> bytes:
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _array(kind: int, items: list[bytes]) -> bytes:
    return struct.pack("<IQ", kind, len(items)) + b"".join(items)
