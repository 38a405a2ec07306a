"""The floor: the engine called directly, without HTTP, by as many threads as there are clients.

Each line of standard input is a request for one measurement, each line of standard output its figures.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

import orjson
import xllamacpp

from extensions.openai.engines.llamacpp.loading.params import cache_for, params_for
from extensions.openai.engines.tokens.gguf import read_header


def _answer(server: Any, body: bytes) -> int:
    """Have one body answered; the number of tokens."""
    last = b""

    def receive(data: bytes) -> bool:
        nonlocal last
        last = data
        return False

    server.handle_completions(body, receive)
    return int(orjson.loads(last)["usage"]["completion_tokens"])


def measure(server: Any, bodies: list[dict[str, Any]], clients: int) -> dict[str, float]:
    """Answer all bodies, `clients` at once: seconds, processor seconds, tokens, peak of memory in bytes."""
    waiting = [orjson.dumps(body) for body in reversed(bodies)]
    tokens: list[int] = []

    def client() -> None:
        while True:
            try:
                body = waiting.pop()
            except IndexError:
                return
            tokens.append(_answer(server, body))

    # It has no queue of its own that would admit only as many as there are slots.
    threads = [threading.Thread(target=client) for _ in range(clients)]
    began, spent = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {
        "seconds": time.perf_counter() - began,
        "cpu": time.process_time() - spent,
        "tokens": sum(tokens),
        "peak_rss": _peak_rss(),
    }


def _peak_rss() -> int:
    """Bytes. `ru_maxrss` would count the memory of the process that started this one as well."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) << 10


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--parallel", type=int, required=True)
    options = parser.parse_args()
    header = read_header(options.model)
    cache = cache_for(header.context_length, 0, header.kv_bytes_per_token, options.parallel)
    params = params_for(options.model, cache)
    params.cache_ram_mib = xllamacpp.CommonParams().cache_ram_mib  # its own cache, as by default
    params.verbosity = -1
    params.port = 0
    server = xllamacpp.Server(params)
    print("{}", flush=True)  # ready
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(measure(server, request["bodies"], request["clients"])), flush=True)


if __name__ == "__main__":
    main()
