"""Which model's tokens llama.cpp's grammars are made of, across changes of the model.

llama.cpp keeps one llguidance tokenizer for the whole process, in a static variable without a lock, and
recognises its vocabulary by the address alone (common/llguidance.cpp: `llama_sampler_llg_new_tokenizer`).
The next model's vocabulary often gets the address of one that was freed; its grammars would then be made of
the old model's tokens, which aborts the process or gives wrong answers. So before the owner of that tokenizer
changes, a grammar of the *keeper* is run: a model of a few kB that is never freed, so that the address in the
variable is never one that another model can get.
"""

from __future__ import annotations

import atexit
import logging
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson

from ..callback_bridge import TICK
from .private_listener import PrivateListener
from .stream_reader import choice_of

log = logging.getLogger("openedai")

EMPTY_GRAMMAR = '%llguidance {}\nstart: ""'
TEXT_GRAMMAR = '%llguidance {}\nstart: %json {"type": "string", "minLength": 64}'
SAMPLE_TEXT = "say: a b, [c d]"
Complete = Callable[[bytes, Callable[[bytes], bool]], object]
"""As `handle_completions` of xllamacpp's Server: the callback gets each chunk, and answers True to stop."""


def end_of_grammars(complete: Complete, token: int) -> int | None:
    """Have llama.cpp make its tokenizer for grammars, which takes a moment with a large vocabulary; the token
    that it ends an answer with where the grammar is complete. `token`: any, as the prompt."""
    for chunk in _chunks(complete, token, 1, EMPTY_GRAMMAR):
        for entry in (choice_of(chunk)["logprobs"] or {}).get("content") or ():
            return int(entry["id"])
    return None


def follows_grammars(complete: Complete, token: int, end: int | None) -> bool:
    """Whether an answer is what a grammar says. `end`: a token that ends answers, if there is one.

    Where a vocabulary (SentencePiece) puts a space before each text, llama.cpp gives its library for grammars
    other texts for the tokens than they have (`llama_detokenize` of one token drops its space). And where the
    number of tokens is one less than a multiple of 32, the library fails within a text in JSON; llama.cpp
    then goes on without the grammar.
    """
    chunks = _chunks(
        complete, token, len(SAMPLE_TEXT) + 1, f'%llguidance {{}}\nstart: "{SAMPLE_TEXT}"'
    )
    said = "".join(choice_of(chunk)["text"] or "" for chunk in chunks)
    if not said.startswith(SAMPLE_TEXT):  # the model may go on behind the end of a grammar
        return False
    if end is None:
        return True
    # A model that would rather end may not end behind the quotation mark.
    bias = {"logit_bias": [[end, 1000.0]]}
    chunks = _chunks(complete, token, 2, TEXT_GRAMMAR, bias)
    return all(choice_of(chunk)["finish_reason"] != "stop" for chunk in chunks)


def _chunks(
    complete: Complete,
    prompt: int,
    limit: int,
    grammar: str,
    parameters: Mapping[str, Any] = {},
) -> list[dict[str, Any]]:
    """An answer of at most `limit` tokens under a grammar. Raises RuntimeError."""
    body = {"prompt": [prompt], "n_predict": limit, "n_probs": 1, "grammar": grammar, **parameters}
    chunks: list[dict[str, Any]] = []

    def receive(data: bytes) -> bool:
        chunks.append(orjson.loads(data))
        return False

    complete(orjson.dumps(body | {"stream": True, "temperature": 0.0}), receive)
    for chunk in chunks:
        if "error" in chunk:
            raise RuntimeError(str(chunk["error"])[:200])
    return chunks


class GrammarTurns:
    """Lets one model at a time have its grammars made. Thread-safe; `turns` is that of the process."""

    def __init__(self, make_keeper: Callable[[], Complete] | None = None) -> None:
        self._make_keeper = make_keeper or _make_keeper
        self._changed = threading.Condition()
        self._owner: object | None = None
        self._starting = 0
        self._busy = False
        self._keeper: Complete | None = None
        self._kept: list[object] = []

    @contextmanager
    def turn(self, owner: object, wait: Callable[[], bool]) -> Iterator[Callable[[], None] | None]:
        """Ask before a request with a grammar is given to `owner`'s model.

        Gives a function to call as soon as the request's first chunk is there: its grammar is made by then.
        `wait` is called every TICK while another model has its turn; where it answers True the client has
        left, and None is given.
        """
        if not self._enter(owner, wait):
            yield None
            return
        done = threading.Event()

        def made() -> None:
            if not done.is_set():
                done.set()
                with self._changed:
                    self._starting -= 1
                    self._changed.notify_all()

        try:
            yield made
        finally:
            made()

    def leave(self, owner: object, memory: object) -> None:
        """Call before `owner`'s model is freed, while its `memory` is still there."""
        with self._changed:
            self._changed.wait_for(lambda: not self._busy)
            if self._owner is not owner:
                return
            self._changed.wait_for(lambda: self._starting == 0, timeout=10 * TICK)
            self._busy = True
        held = self._hold()
        with self._changed:
            if held:
                self._owner = None
            else:  # never to be freed, so that its address is given to no other
                self._kept.append(memory)
            self._busy = False
            self._changed.notify_all()

    def forget_keeper(self) -> None:
        """The process ends; the keeper's memory goes with it."""
        with self._changed:
            self._keeper = None

    def _enter(self, owner: object, wait: Callable[[], bool]) -> bool:
        with self._changed:
            while self._busy or (self._owner is not owner and self._starting):
                self._changed.wait(TICK)
                if wait():
                    return False
            # With no owner the tokenizer is the keeper's, or there was none yet.
            change = self._owner not in (None, owner)
            self._busy = change
            self._starting += 1
        if change:
            self._hold()
        with self._changed:
            self._owner, self._busy = owner, False
            self._changed.notify_all()
        return True

    def _hold(self) -> bool:
        """Give llama.cpp's tokenizer to the keeper; whether that was possible."""
        try:
            if self._keeper is None:
                self._keeper = self._make_keeper()
            _chunks(self._keeper, 0, 0, EMPTY_GRAMMAR)
        except Exception as error:
            log.warning("no keeper of grammars (%s): the model's memory is kept", str(error))
            return False
        return True


def _make_keeper() -> Complete:
    """The keeper, in llama.cpp's memory until the process ends."""
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
        # A thread inside of llama.cpp while the interpreter goes down would abort the process.
        turns.forget_keeper()
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


turns = GrammarTurns()
