"""OpenedAI as a deployment of Ray Serve, for those who have Ray: each replica runs a server of its own.

    pip install "ray[serve]" httpx
    serve run deploy.ray.openedai_serve:app

Ray starts, places and restarts replicas; a request goes through its proxy to one of them. A replica starts
OPENEDAI_COMMAND, with --api-port added. What replicas share is in docs/scaling.md.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import socket
import subprocess
from collections.abc import AsyncIterator

import httpx
from ray import serve
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

COMMAND = os.environ.get("OPENEDAI_COMMAND", "openedai run --model openedai-tiny --parallel 4")
REPLICAS = int(os.environ.get("OPENEDAI_REPLICAS", "2"))
START_S = 600.0
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "host", "content-length"}


@serve.deployment(
    num_replicas=REPLICAS, max_ongoing_requests=256, ray_actor_options={"num_cpus": 1}
)
class OpenedAI:
    """One replica."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self._process = subprocess.Popen([*shlex.split(COMMAND), "--api-port", str(port)])
        limits = httpx.Limits(max_connections=None)
        self._client = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", timeout=None, limits=limits
        )

    async def check_health(self) -> None:
        """Called by Ray, which replaces a replica that raises."""
        if self._process.poll() is not None:
            raise RuntimeError("the server ended")

    async def __call__(self, request: Request) -> Response:
        path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        sent = self._client.build_request(
            request.method,
            path,
            headers=[(k, v) for k, v in request.headers.items() if k not in HOP_BY_HOP],
            content=await request.body(),
        )
        answer = await self._send(sent)
        headers = {k: v for k, v in answer.headers.items() if k not in HOP_BY_HOP}
        return StreamingResponse(_body(answer), answer.status_code, headers)

    async def _send(self, request: httpx.Request) -> httpx.Response:
        """While the server starts, a connection is refused."""
        for _ in range(int(START_S * 5)):
            try:
                return await self._client.send(request, stream=True)
            except httpx.ConnectError:
                await self.check_health()
                await asyncio.sleep(0.2)
        raise RuntimeError("the server did not start")

    def __del__(self) -> None:
        self._process.terminate()


async def _body(answer: httpx.Response) -> AsyncIterator[bytes]:
    """A client that leaves closes this, which ends the generation."""
    try:
        async for part in answer.aiter_raw():
            yield part
    finally:
        await answer.aclose()


app = OpenedAI.bind()
