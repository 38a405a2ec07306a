"""Serve one GGUF file on the loopback address, for evaluation without the project's server.

    python -m tiny.local_server --port 5090

Needs the package xllamacpp. Ends with Ctrl-C.
"""

from __future__ import annotations

import argparse
import importlib
import time
from pathlib import Path
from typing import Any

from tiny.render import MODEL_DIR


def serve(model: Path, port: int, context: int, parallel: int, threads: int) -> Any:
    """Start llama.cpp's own HTTP server in this process and return it.

    context is in tokens for each of the `parallel` places.
    """
    engine = importlib.import_module("xllamacpp")
    params = engine.CommonParams()
    params.model.path = str(model)
    params.model_alias = {"openedai-tiny"}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_ctx = context * parallel
    params.n_parallel = parallel
    params.cpuparams.n_threads = threads
    params.verbosity = 1
    return engine.Server(params)


def main() -> None:
    """Command line entry."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, default=MODEL_DIR / "openedai-tiny.gguf")
    parser.add_argument("--port", type=int, default=5090)
    parser.add_argument("--context", type=int, default=4096)
    parser.add_argument("--parallel", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    o = parser.parse_args()
    server = serve(o.model, o.port, o.context, o.parallel, o.threads)
    print(f"listening at {server.listening_address}", flush=True)
    try:
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
