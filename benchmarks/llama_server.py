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
    parser.add_argument("--embeddings", action="store_true", help="with its own default settings")
    parser.add_argument("--threads", type=int, help="with --embeddings")
    parser.add_argument("--own-template", action="store_true", help="the model's, for tools too")
    parser.add_argument("--cache-ram", type=int, help="MiB of its own cache of prompts")
    options = parser.parse_args()
    if options.embeddings:
        params = xllamacpp.CommonParams()
        params.model.path = str(options.model)
        params.embedding = True
        params.n_parallel = options.parallel
        if options.threads:
            params.cpuparams.n_threads = params.cpuparams_batch.n_threads = options.threads
    else:
        header = read_header(options.model)
        cache = cache_for(header.context_length, 0, header.kv_bytes_per_token, options.parallel)
        params = params_for(options.model, cache)
        params.cache_ram_mib = xllamacpp.CommonParams().cache_ram_mib  # its own, as by default
        if options.cache_ram is not None:
            params.cache_ram_mib = options.cache_ram
        if options.own_template:
            params.chat_template = ""
    params.hostnames = ["127.0.0.1"]
    params.port = options.port
    params.verbosity = -1
    server = xllamacpp.Server(params)
    threading.Event().wait()
    del server


if __name__ == "__main__":
    main()
