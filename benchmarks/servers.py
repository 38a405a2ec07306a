"""Who is measured, a row each: how to start it on a model."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .processes import ROOT, DidNotStart, Server, free_port, python
from .workloads import Body

QUEUE = 1000  # requests that may wait: more than any workload has clients


@dataclass(frozen=True, slots=True)
class Peer:
    """A server that can be started on a GGUF file with so many slots."""

    name: str
    start: Callable[[Path, int], Server]
    standard_only: bool = False
    """It lacks some of what is asked for: only workloads of OpenAI's common parameters."""
    adapt: Callable[[Body], Body] = lambda body: body
    """The body in this server's words."""
    share: int = 1
    """It is asked one in so many of a workload's requests: it would take too long over all."""


def _ours(model: Path, parallel: int, checkout: Path = ROOT) -> Server:
    port = free_port()
    command = python(
        *("server.py", "--extensions", "openai", "--model", str(model)),
        *("--parallel", str(parallel), "--api-port", str(port)),
    )
    # llama-server is started without a log, too.
    quiet = {"OPENEDAI_LOG_REQUESTS": "false", "OPENEDAI_QUEUE_LIMIT": str(QUEUE)}
    return Server(command, port, environment=quiet, folder=checkout)


def _earlier(model: Path, parallel: int) -> Server:
    """This server as it was, in another checkout, with the same packages."""
    return _ours(model.resolve(), parallel, Path(os.environ["EARLIER_DIR"]))


def _llama_server(model: Path, parallel: int) -> Server:
    port = free_port()
    command = python("-m", "benchmarks.llama_server", "--model", str(model))
    return Server([*command, "--port", str(port), "--parallel", str(parallel)], port)


def _llama_cpp_python(model: Path, parallel: int) -> Server:
    """It answers one request at a time, whatever `parallel` is. One thread for a tiny model, as ours."""
    port = free_port()
    threads = ("--n_threads", "1", "--n_threads_batch", "1") if _tiny(model) else ()
    command = [
        *(os.environ["LLAMA_CPP_PYTHON"], "-m", "llama_cpp.server", "--model", str(model)),
        *("--host", "127.0.0.1", "--port", str(port), "--n_ctx", "4096", *threads),
        *("--interrupt_requests", "False"),  # else a new request would cut off the running one
    ]
    return Server(command, port, ready="/v1/models")


def _without_an_end(body: Body) -> Body:
    """It has no `ignore_eos`; the embedded model's two end tokens are banned instead."""
    return {**body, "logit_bias": {"2552": -100, "2554": -100}} if "ignore_eos" in body else body


def _webuis_words(body: Body) -> Body:
    return {**body, "ban_eos_token": body.get("ignore_eos", False)}


def _webui(model: Path, parallel: int) -> Server:
    """text-generation-webui's own API on the same weights, which it takes as a folder for Transformers."""
    port = free_port()
    folder = model.parent
    command = [
        *(os.environ.get("WEBUI_PYTHON", python()[0]), "server.py", "--nowebui", "--api"),
        *("--api-port", str(port), "--model-dir", str(folder.parent), "--model", folder.name),
        *("--loader", "Transformers", "--cpu"),
    ]
    return Server(command, port, ready="/v1/models", folder=Path(os.environ["WEBUI_DIR"]))


def _tiny(model: Path) -> bool:
    return model.stat().st_size < 64 << 20


OURS = Peer("ours", _ours)


def peers() -> tuple[Peer, ...]:
    """Which servers to compare with on this machine. Environment: LLAMA_CPP_PYTHON, a Python that has it;
    WEBUI_DIR and WEBUI_PYTHON, text-generation-webui and its Python; EARLIER_DIR, another
    checkout of this server."""
    found = [Peer("llama-server", _llama_server)]
    if os.environ.get("EARLIER_DIR"):
        found.append(Peer("earlier", _earlier))
    if os.environ.get("LLAMA_CPP_PYTHON"):
        found.append(Peer("llama-cpp-python", _llama_cpp_python, True, _without_an_end))
    if os.environ.get("WEBUI_DIR"):
        found.append(Peer("text-generation-webui", _webui, True, _webuis_words, share=20))
    return tuple(found)


class Floor:
    """The engine alone in a process of its own."""

    def __init__(self, model: Path, parallel: int) -> None:
        """Raises DidNotStart."""
        command = python("-m", "benchmarks.floor", "--model", str(model))
        self._process = subprocess.Popen(
            [*command, "--parallel", str(parallel)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        if self._answer() != {}:
            raise DidNotStart("the engine alone did not start")

    def measure(self, bodies: Sequence[dict[str, Any]], clients: int) -> dict[str, float]:
        """As `benchmarks.floor.measure`, and its peak of memory in bytes as `peak_rss`."""
        assert self._process.stdin is not None
        line = json.dumps({"bodies": list(bodies), "clients": clients})
        self._process.stdin.write(line.encode() + b"\n")
        self._process.stdin.flush()
        found: dict[str, float] = self._answer()
        return found

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(15)

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise DidNotStart("the engine alone ended")
        return json.loads(line)
