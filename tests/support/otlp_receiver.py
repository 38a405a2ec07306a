"""A small collector: takes traces over OTLP/HTTP, as protobuf messages, and keeps their spans."""

from __future__ import annotations

import gzip
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from typing_extensions import Self

PROTOBUF = "application/x-protobuf"


class OTLPReceiver:
    """Listens on a port of this machine."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.resources: list[dict[str, str]] = []
        self._lock = threading.Lock()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    data = gzip.decompress(data)
                good = self.path == "/v1/traces" and self.headers["Content-Type"] == PROTOBUF
                if good:
                    receiver.take(data)
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200 if good else 404)
                self.send_header("Content-Type", PROTOBUF)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:
                """Write nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def wait_for(self, name: str, timeout: float = 50.0) -> Any:
        """The span with this name, once it is there."""
        deadline = time.monotonic() + timeout
        while True:
            with self._lock:
                found = [span for span in self.spans if span.name == name]
            if found:
                return found[0]
            assert time.monotonic() < deadline, f"there is no span {name}"
            time.sleep(0.01)

    def take(self, data: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(data)
        with self._lock:
            for each in request.resource_spans:
                self.resources.append(
                    {pair.key: pair.value.string_value for pair in each.resource.attributes}
                )
                for scope in each.scope_spans:
                    self.spans += scope.spans
