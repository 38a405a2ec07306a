"""llama-server of the same wheel: xllamacpp's own C++ listener on TCP, with our engine's settings."""

from __future__ import annotations

import argparse
import threading
from pathlib import Path

import xllamacpp

from extensions.openai.engines.llamacpp.loading.params import cache_for, params_for
from extensions.openai.engines.tokens.gguf import read_header


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--parallel", type=int, required=True)
    options = parser.parse_args()
    header = read_header(options.model)
    cache = cache_for(header.context_length, 0, header.kv_bytes_per_token, options.parallel)
    params = params_for(options.model, cache)
    params.hostnames = ["127.0.0.1"]
    params.port = options.port
    params.verbosity = -1
    server = xllamacpp.Server(params)
    threading.Event().wait()
    del server


if __name__ == "__main__":
    main()
