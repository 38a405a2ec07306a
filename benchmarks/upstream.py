"""What an upstream costs: `make bench ARGS="--parts upstream"`, or `python -m benchmarks.upstream`.

CPU time of this server's process for an answer that the echo engine makes in it, the same through an
upstream, and through three of them that share a model; beside it a bare pass-through, which has neither
keys nor limits nor anything else, and LiteLLM's proxy, where LITELLM names its command (`make
bench-litellm`). The upstreams are small, fast servers in processes of their own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import orjson
from waitress.server import create_server

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.protocol import Engine
from extensions.openai.engines.remote.address import parse_address
from extensions.openai.engines.remote.http_client import HttpClient
from extensions.openai.engines.router.engine import RouterEngine
from extensions.openai.engines.router.targets import Target
from extensions.openai.engines.upstream.engine import UpstreamEngine
from extensions.openai.engines.upstream.rows import Upstream, UpstreamModel
from extensions.openai.server.server import APIServer
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app

from .processes import Server, free_port

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

ROUNDS, SHORT, LONG, EVENTS = 5, 200, 60, 64
JSON = {"Content-Type": "application/json"}
KEY = "sk-of-no-use-but-here-0123456789abcdef"
"""LiteLLM's proxy does not start without one."""
UPSTREAM = r"""
import socket, threading

def event(data): return b"data: " + data + b"\n\n"
def framed(data): return b"%x\r\n%s\r\n" % (len(data), data)

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
TEXT = framed(event(b'{"choices":[{"index":0,"delta":{"content":"tok "},"finish_reason":null}]}'))
STOP = event(b'{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}')
USAGE = b'{"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":9,"total_tokens":18}}'
MESSAGE = b'{"role":"assistant","content":"tok "}'
CHOICE = b'{"index":0,"message":' + MESSAGE + b',"finish_reason":"stop"}'
START = b'{"id":"x","object":"chat.completion","created":1,"model":"m","choices":[' + CHOICE
OBJECT = START + b"]," + USAGE.partition(b",")[2]
JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
WHOLE = JSON % len(OBJECT) + OBJECT
END = framed(STOP + event(USAGE) + event(b"[DONE]")) + b"0\r\n\r\n"

def answer(connection):
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    file = connection.makefile("rb")
    while line := file.readline():
        length = 0
        while line not in (b"\r\n", b""):
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
            line = file.readline()
        body = file.read(length)
        if b'"stream":true' not in body.replace(b" ", b""):
            connection.sendall(WHOLE)
            continue
        connection.sendall(HEAD)
        for _ in range(64 if b"long" in body else 1):
            connection.sendall(TEXT)
        connection.sendall(END)

listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    threading.Thread(target=answer, args=(listener.accept()[0],), daemon=True).start()
"""
CLIENT = """
import http.client, statistics, sys, time
connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]))
firsts = []
for _ in range(int(sys.argv[2])):
    head = {"Content-Type": "application/json", "Authorization": "Bearer " + sys.argv[4]}
    began = time.perf_counter()
    connection.request("POST", "/v1/chat/completions", sys.argv[3], head)
    answer = connection.getresponse()
    assert answer.status == 200, answer.status
    answer.readline()
    firsts.append(time.perf_counter() - began)
    assert answer.read() or True
print(statistics.median(firsts) * 1000)
"""


@dataclass(frozen=True, slots=True)
class Front:
    """A server that is asked: its port, and the seconds of CPU that its process has taken."""

    port: int
    cpu: Callable[[], float]


@dataclass(frozen=True, slots=True)
class Price:
    """Milliseconds."""

    short: float
    """CPU time for a short answer."""
    long: float
    """The same for a stream of EVENTS events."""
    first: float
    """From the request for a stream to its first event, p50."""

    def least(self, other: Price) -> Price:
        return Price(
            min(self.short, other.short), min(self.long, other.long), min(self.first, other.first)
        )


def prices(rounds: int = ROUNDS) -> Mapping[str, Price]:
    """What each costs: the least of several rounds, in which they take turns. Raises DidNotStart."""
    best: dict[str, Price] = {}
    with ExitStack() as stack:
        ports = [stack.enter_context(_fast_server()) for _ in range(3)]
        engines: Mapping[str, Engine] = {
            "in process": EchoEngine(name="m"),
            "upstream": _upstream(ports[0]),
            "three upstreams": RouterEngine("m", [Target(str(p), _upstream(p)) for p in ports]),
        }
        fronts = {name: stack.enter_context(_ours(engine)) for name, engine in engines.items()}
        fronts["bare pass-through"] = stack.enter_context(_bare(ports[0]))
        if command := os.environ.get("LITELLM"):
            fronts["LiteLLM's proxy"] = stack.enter_context(_litellm(command, ports[0]))
        for _ in range(rounds):
            for name, front in fronts.items():
                price = _price(front)
                best[name] = price.least(best.get(name, price))
    return best


def table(found: Mapping[str, Price]) -> str:
    """The prices, as docs/performance.md shows them."""
    rows = [
        f"| {name} | {each.short:.2f} | {each.long:.2f} | {each.first:.2f} |"
        for name, each in found.items()
    ]
    head = (
        f"|  | CPU ms / short answer | CPU ms / stream of {EVENTS} events | first event, p50 ms |"
    )
    return "\n".join([head, "| --- | ---: | ---: | ---: |", *rows])


@contextmanager
def _fast_server() -> Iterator[int]:
    """The port of an upstream."""
    process = subprocess.Popen([sys.executable, "-c", UPSTREAM], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


@contextmanager
def _ours(engine: Engine) -> Iterator[Front]:
    settings = Settings(api_port=0)
    server = APIServer(create_app(settings, engine), settings)
    server.start()
    yield Front(server.port, time.process_time)
    server.stop(1)


@contextmanager
def _bare(port: int) -> Iterator[Front]:
    """The least that a front can be which looks at what it passes on: each event is parsed and written."""
    client = httpx2.Client()

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        body = environ["wsgi.input"].read()
        url = f"http://127.0.0.1:{port}/v1/chat/completions"
        if not orjson.loads(body).get("stream"):
            answer = client.post(url, content=body, headers=JSON)
            start_response("200 OK", list(JSON.items()))
            yield orjson.dumps(orjson.loads(answer.content))
            return
        with client.stream("POST", url, content=body, headers=JSON) as answer:
            start_response("200 OK", [("Content-Type", "text/event-stream")])
            for line in answer.iter_lines():
                data = line.removeprefix("data: ")
                if data.startswith("{"):
                    yield b"data: " + orjson.dumps(orjson.loads(data)) + b"\n\n"
                elif data:
                    yield line.encode() + b"\n\n"

    own = free_port()
    server = create_server(app, host="127.0.0.1", port=own, threads=4)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    yield Front(own, time.process_time)
    server.close()
    client.close()


@contextmanager
def _litellm(command: str, port: int) -> Iterator[Front]:
    """LiteLLM's proxy with one worker, in front of the same upstream."""
    own = free_port()
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        upstream = f"{{model: openai/m, api_base: 'http://127.0.0.1:{port}/v1', api_key: sk-x}}"
        config.write_text(f"model_list: [{{model_name: m, litellm_params: {upstream}}}]\n")
        options = ["--config", str(config), "--host", "127.0.0.1", "--port", str(own)]
        server = Server(
            [command, *options, "--num_workers", "1"],
            own,
            ready="/health/liveliness",
            environment={"LITELLM_MASTER_KEY": KEY},
        )
        try:
            yield Front(own, server.cpu)
        finally:
            server.stop()


def _upstream(port: int) -> UpstreamEngine:
    address = parse_address(f"http://127.0.0.1:{port}/v1")
    row = Upstream(f"at {port}", address)
    return UpstreamEngine(row, UpstreamModel("m", "m"), HttpClient(address, {}))


def _price(front: Front) -> Price:
    short, _ = _asked(front, SHORT, "x", stream=False)
    long, first = _asked(front, LONG, "long" * (EVENTS // 4), stream=True)
    return Price(short, long, first)


def _asked(front: Front, requests: int, text: str, *, stream: bool) -> tuple[float, float]:
    """CPU time for each of the requests, whose client is another process, and the p50 of its first line."""
    messages = [{"role": "user", "content": text}]
    body = json.dumps({"model": "m", "stream": stream, "messages": messages})
    before = front.cpu()
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, str(front.port), str(requests), body, KEY],
        check=True,
        capture_output=True,
        text=True,
    )
    return (front.cpu() - before) / requests * 1000, float(done.stdout)


if __name__ == "__main__":
    print(table(prices()))
