"""llama.cpp in this process, through xllamacpp: continuous batching, its chat templates, its cache.

xllamacpp always opens an HTTP listener of its own. It is put on a unix socket in a private folder behind
a random key, and used only for what has no call (tokenize, properties). Source: llama.cpp `tools/server`.
"""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import secrets
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import orjson

from ..errors import APIError, ContextLengthExceeded, EngineFailed, InvalidRequest
from .base import (
    ChatRequest,
    EngineInfo,
    Finish,
    GenerateRequest,
    Message,
    Native,
    Piece,
    Pieces,
    PromptUsage,
)
from .gguf import BadModelFile, read_header
from .pump import TICK, Emit, pump

log = logging.getLogger("openedai")

DEFAULT_CONTEXT = 8192  # tokens, unless the model has fewer or --ctx-size asks for more
BATCH = 512  # prompt tokens per step: how soon a reader who left stops the work
TINY = (
    64 << 20
)  # bytes; a smaller model gains nothing from a second thread, and its steps are so short
# that on a busy machine threads would mostly wait for each other
PROMPT_CACHE_MIB = 512  # host memory for prompts whose slot went to somebody else
RANDOM_SEED = 0xFFFFFFFF  # llama.cpp's word for "no seed"
CLOSE_PATIENCE = 3.0  # seconds that running answers have to notice the end


class ModelLoadError(Exception):
    """The model cannot be loaded; the message is one clear line for the operator."""


class LlamaCppEngine:
    """One GGUF model in memory. Thread-safe; each answer has a thread of its own while it runs.

    `context_length` is what one request may use (0: the model's own, up to 8192). The cache of keys and
    values is shared by up to `parallel` answers and holds that many whole contexts, or as many as fit
    into a quarter of the machine's memory; then answers whose worst case does not fit wait.
    """

    def __init__(
        self,
        model: Path,
        *,
        name: str,
        context_length: int = 0,
        gpu_layers: int = -1,
        threads: int = 0,
        parallel: int = 4,
        loras: Sequence[tuple[Path, float]] = (),
    ) -> None:
        try:
            import xllamacpp
        except ImportError as error:
            raise ModelLoadError(
                "The llama.cpp loader needs the package xllamacpp: pip install xllamacpp"
            ) from error
        try:
            header = read_header(model)
        except BadModelFile as error:
            raise ModelLoadError(str(error)) from error
        trained = header.context_length or DEFAULT_CONTEXT
        context = context_length or min(trained, DEFAULT_CONTEXT)
        contexts = _contexts_that_fit(header.kv_bytes_per_token * context, parallel)
        # 0700; llama.cpp takes a host name that ends in .sock for a unix socket.
        self._folder = Path(tempfile.mkdtemp(prefix="openedai-"))
        self._socket = self._folder / "llama.sock"
        self._key = secrets.token_hex(32)

        params = xllamacpp.CommonParams()
        params.model.path = str(model)
        params.n_ctx = context * contexts
        params.n_parallel = parallel
        params.kv_unified = True
        params.kv_unified_per_slot = context
        params.n_batch = BATCH
        params.n_ubatch = BATCH
        params.n_gpu_layers = gpu_layers
        params.cache_ram_mib = PROMPT_CACHE_MIB
        if not threads and model.stat().st_size < TINY:
            threads = 1
        if threads:
            params.cpuparams.n_threads = threads
            params.cpuparams_batch.n_threads = threads
        params.lora_adapters = [
            xllamacpp.CommonAdapterLoraInfo(str(path), scale) for path, scale in loras
        ]
        params.hostnames = [str(self._socket)]
        params.api_keys = [self._key]
        params.ui = False
        params.server_tools = []
        params.endpoint_slots = False
        params.cors_origins = ""
        params.warmup = False
        params.verbosity = 3 if log.isEnabledFor(logging.DEBUG) else -1
        try:
            self._server: Any = xllamacpp.Server(params)
        except RuntimeError as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise ModelLoadError(
                f"llama.cpp cannot load {model.name} (an unknown model type, or too little memory). "
                "--verbose shows what it says."
            ) from error

        self._room = _Room(context * contexts, needed=contexts < parallel)
        self._closed = threading.Event()
        self._working = _Count()
        meta = self._ask("GET", "/v1/models")["data"][0]["meta"]
        self._vocabulary = int(meta["n_vocab"])
        self._document_start = self._start_token()
        stat = model.stat()
        self._info = EngineInfo(
            model=name,
            created=int(stat.st_mtime),
            owned_by="llama.cpp",
            context_length=min(context, int(meta["n_ctx"])),
            sampler="llama.cpp",
            fingerprint=_fingerprint(
                xllamacpp.__version__, name, stat.st_size, int(stat.st_mtime), context, loras
            ),
            parallel=parallel,
        )

    @property
    def info(self) -> EngineInfo:
        return self._info

    def generate(self, request: GenerateRequest) -> Pieces:
        prompt = request.prompt or (self._document_start,)
        if not isinstance(prompt, str) and not all(0 <= id < self._vocabulary for id in prompt):
            raise InvalidRequest(
                f"The prompt has token ids outside 0 to {self._vocabulary - 1}.", param="prompt"
            )
        context = self._info.context_length
        # A text has at most as many tokens as bytes, and a start and an end token.
        most = len(prompt.encode()) + 2 if isinstance(prompt, str) else len(prompt)
        if most + (request.max_tokens or 1) > context:
            if isinstance(prompt, str):
                prompt = self.tokenize(prompt)
            most = len(prompt)
            if most + (request.max_tokens or 1) > context:
                raise ContextLengthExceeded(
                    prompt_tokens=most,
                    max_tokens=request.max_tokens or 0,
                    context_length=context,
                    param="prompt",
                )
        body = self._body(request.sampling, request.seed, request.max_tokens) | {"prompt": prompt}
        room = context if request.max_tokens is None else most + request.max_tokens
        return self._run(self._server.handle_completions, body, room, _completion_piece, "prompt")

    def chat(self, request: ChatRequest) -> Pieces:
        messages = [_message(message) for message in request.messages]
        body = self._body(request.sampling, request.seed, request.max_tokens) | {
            "messages": messages,
            "reasoning_format": "auto",
        }
        run = self._server.handle_chat_completions
        return self._run(run, body, self._info.context_length, _chat_piece, "messages")

    def tokenize(self, text: str) -> tuple[int, ...]:
        tokens = self._ask("POST", "/tokenize", {"content": text, "add_special": True})["tokens"]
        return tuple(tokens)

    def detokenize(self, tokens: Sequence[int]) -> str:
        text = self._ask("POST", "/detokenize", {"tokens": list(tokens)})["content"]
        return str(text)

    def close(self) -> None:
        if self._closed.is_set():
            return
        self._closed.set()
        self._working.wait_for_none(CLOSE_PATIENCE)
        self._server = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def _body(self, sampling: Native, seed: int | None, max_tokens: int | None) -> dict[str, Any]:
        return {
            **sampling,
            "seed": RANDOM_SEED if seed is None else seed % RANDOM_SEED,
            "n_predict": -1 if max_tokens is None else max_tokens,
            "stream": True,
            "cache_prompt": True,
            "timings_per_token": True,  # the exact count of tokens with every piece
            "return_progress": True,  # calls back while the prompt is read, so that it can be ended
        }

    def _run(
        self,
        call: Callable[[bytes, Callable[[bytes], bool]], None],
        body: dict[str, Any],
        room: int,
        to_piece: Callable[[dict[str, Any]], Piece],
        param: str,
    ) -> Pieces:
        def produce(emit: Emit[Piece | None]) -> None:
            failure: list[BaseException] = []
            count = _TokenCount()

            # llama.cpp takes an exception in here for "stop" and drops it, so it is kept by hand.
            def receive(data: bytes) -> bool:
                try:
                    chunk = orjson.loads(data)
                    if "error" in chunk:
                        failure.append(_error(chunk["error"], param))
                        return True
                    if "prompt_progress" in chunk:
                        return emit(None) or self._closed.is_set()
                    return emit(count.complete(to_piece(chunk), chunk)) or self._closed.is_set()
                except Exception as error:
                    failure.append(error)
                    return True

            with self._working, self._room.reserve(room) as reservation:
                while not reservation.wait(TICK):
                    if emit(None) or self._closed.is_set():
                        return
                call(orjson.dumps(body), receive)
            if failure:
                raise failure[0]
            if self._closed.is_set() and not count.finished:
                raise EngineFailed("The model was unloaded while it answered.")

        return pump(produce)

    def _start_token(self) -> int:
        """What an empty prompt stands for: the token that begins (or else ends) a document."""
        props = self._ask("GET", "/props")
        text = props["bos_token"] or props["eos_token"]
        asked = {"content": text, "add_special": False, "parse_special": True}
        tokens = self._ask("POST", "/tokenize", asked)["tokens"]
        return int(tokens[0]) if tokens else 0

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """A question to llama.cpp's own listener."""
        connection = _UnixConnection(self._socket)
        try:
            headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json"}
            connection.request(method, path, orjson.dumps(body) if body else None, headers)
            response = connection.getresponse()
            answer = response.read()
        except OSError as error:
            raise EngineFailed("The engine does not answer.") from error
        finally:
            connection.close()
        if response.status != 200:
            raise EngineFailed(f"The engine answered {response.status} to {path}.")
        return orjson.loads(answer)


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class _TokenCount:
    """Turns llama.cpp's running totals into what each piece adds."""

    def __init__(self) -> None:
        self._tokens = 0
        self._prompt_told = False
        self.finished = False

    def complete(self, piece: Piece, chunk: dict[str, Any]) -> Piece:
        timings = chunk.get("timings")
        tokens, prompt = 0, None
        if timings is not None:
            tokens, self._tokens = timings["predicted_n"] - self._tokens, timings["predicted_n"]
            if not self._prompt_told:
                self._prompt_told = True
                cached = timings["cache_n"]
                prompt = PromptUsage(timings["prompt_n"] + cached, cached)
        self.finished = piece.finish is not None
        return Piece(piece.text, piece.reasoning, tokens, prompt, piece.finish)


class _Count:
    """How many are inside the `with` block."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._inside = 0

    def __enter__(self) -> None:
        with self._condition:
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._condition:
            self._inside -= 1
            self._condition.notify_all()

    def wait_for_none(self, timeout: float) -> bool:
        with self._condition:
            return self._condition.wait_for(lambda: self._inside == 0, timeout)


class _Room:
    """Tokens of the shared cache that are promised to running answers.

    llama.cpp ends every running answer with an error when the shared cache is full, so nothing starts
    that might fill it. First come, first served.
    """

    def __init__(self, tokens: int, *, needed: bool) -> None:
        self._free = tokens
        self._needed = needed
        self._condition = threading.Condition()
        self._line: list[_Reservation] = []

    def reserve(self, tokens: int) -> _Reservation:
        return _Reservation(self, tokens if self._needed else 0)

    def take(self, reservation: _Reservation, timeout: float) -> bool:
        def first_and_fits() -> bool:
            return self._line[0] is reservation and reservation.tokens <= self._free

        with self._condition:
            if not self._condition.wait_for(first_and_fits, timeout):
                return False
            self._line.pop(0)
            self._free -= reservation.tokens
            reservation.held = True
            self._condition.notify_all()
            return True

    def join(self, reservation: _Reservation) -> None:
        with self._condition:
            self._line.append(reservation)

    def leave(self, reservation: _Reservation) -> None:
        with self._condition:
            if reservation.held:
                self._free += reservation.tokens
            else:
                self._line.remove(reservation)
            self._condition.notify_all()


class _Reservation:
    def __init__(self, room: _Room, tokens: int) -> None:
        self._room = room
        self.tokens = tokens
        self.held = False

    def __enter__(self) -> _Reservation:
        self._room.join(self)
        return self

    def wait(self, timeout: float) -> bool:
        return self._room.take(self, timeout)

    def __exit__(self, *_: object) -> None:
        self._room.leave(self)


def _completion_piece(chunk: dict[str, Any]) -> Piece:
    choice = chunk["choices"][0]
    return Piece(choice["text"], finish=_finish(choice["finish_reason"]))


def _chat_piece(chunk: dict[str, Any]) -> Piece:
    choice = chunk["choices"][0]
    delta = choice["delta"]
    return Piece(
        delta.get("content") or "",
        delta.get("reasoning_content") or "",
        finish=_finish(choice["finish_reason"]),
    )


def _finish(reason: str | None) -> Finish | None:
    if reason is None:
        return None
    return "length" if reason == "length" else "stop"


def _message(message: Message) -> dict[str, Any]:
    plain: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.name is not None:
        plain["name"] = message.name
    if message.tool_calls:
        plain["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        plain["tool_call_id"] = message.tool_call_id
    return plain


def _error(error: dict[str, Any], param: str) -> APIError:
    """llama.cpp's error object as one of ours; what it says of a prompt goes to the log at most."""
    if error.get("type") == "exceed_context_size_error":
        return ContextLengthExceeded(
            prompt_tokens=error["n_prompt_tokens"],
            max_tokens=0,
            context_length=error["n_ctx"],
            param=param,
        )
    if error.get("code") == 400:
        return InvalidRequest(f"The model cannot take this: {error.get('message')}", param=param)
    log.error("llama.cpp failed: %s", error.get("message"))
    return EngineFailed("The engine failed while it worked on this request.")


def _contexts_that_fit(bytes_per_context: int, wanted: int) -> int:
    """How many whole contexts the shared cache holds: at least 1, at most `wanted`."""
    try:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 1
    return max(1, min(wanted, memory // 4 // max(1, bytes_per_context)))


def _fingerprint(*parts: object) -> str:
    return "fp_" + hashlib.sha256(repr(parts).encode()).hexdigest()[:10]
