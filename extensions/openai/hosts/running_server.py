"""A running server, with its engine, store and tunnel."""

from __future__ import annotations

import atexit
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..access.keys import has_keys
from ..configuration.sources import generated_key
from ..engines.swappable import SwappableEngine
from ..outbound.tunnel import Tunnel
from ..server.server import APIServer
from ..web.services import Services
from .in_process import InProcess

BANNER_COLUMNS = 79
LABEL_COLUMNS = 11
BATCHES_S = 2.0
"""How long lines of batches may take to stop; their results so far are stored."""


@dataclass(frozen=True, slots=True)
class RunningServer:
    """One server, from its start to `stop`."""

    flags: Mapping[str, Any]
    """Settings from our own host's command line; they take precedence when settings are reloaded."""
    services: Services
    engine: SwappableEngine
    server: APIServer | InProcess
    tunnel: Tunnel | None = None

    @property
    def url(self) -> str:
        """The base URL for clients on this machine."""
        return f"{self.server.url}/v1"

    @property
    def public_url(self) -> str | None:
        """The base URL through the tunnel; None: there is no tunnel."""
        if self.tunnel is None or self.tunnel.url is None:
            return None
        return f"{self.tunnel.url}{self.services.settings.api_prefix}/v1"

    def banner(self) -> str:
        """The base URL, the model, and a curl command to paste; never a key that the operator set. One line
        if the log is JSON."""
        info = self.services.models.loaded().info
        model = f"{info.model}, context of {info.context_length} tokens"
        key = self._generated_key()
        if self.services.settings.log_format == "json":
            made = f", with the key {key}" if key else ""
            return f"ready: {self.url} serves {model}{made}"
        indent = " " * LABEL_COLUMNS
        described = f"Model      {model}. {info.description}"
        return "\n".join(
            (
                f"Base URL   {self.url}",
                *self._public_line(),
                *([f"API key    {key} (until the server stops)"] if key else ()),
                textwrap.fill(described, BANNER_COLUMNS, subsequent_indent=indent),
                f"Docs       {self.server.url}/docs",
                *self._curl_lines(info.model),
            )
        )

    def _generated_key(self) -> str | None:
        """The key that was generated at the start; None if the operator set one."""
        key = self.services.settings.api_key
        return generated_key() if key and key.get_secret_value() == generated_key() else None

    def _curl_lines(self, model: str) -> tuple[str, ...]:
        locked = has_keys(self.services.settings)
        key = '  -H "Authorization: Bearer $OPENAI_API_KEY" \\'
        path = self.server.socket_path
        by_socket = "" if path is None else f"--unix-socket {path} "
        return (
            f"Try        curl {by_socket}{self.url}/chat/completions \\",
            *((" " * LABEL_COLUMNS + key,) if locked else ()),
            f'             -H \'Content-Type: application/json\' -d \'{{"model": "{model}",',
            '             "messages": [{"role": "user", "content": "Hello!"}]}\'',
        )

    def _public_line(self) -> tuple[str, ...]:
        if self.tunnel is None:
            return ()
        state = self.tunnel.state
        where = self.public_url or "at the address of your tunnel"
        if state.state != "up":
            where = state.problem or "the tunnel is being opened; the log will show its address"
        return (f"Public URL {where}",)

    def stop(self, timeout: float) -> None:
        """End answers and stop the server, in about `timeout` seconds if `drain_timeout` is shorter."""
        self.services.batches.stop(BATCHES_S)
        self.server.stop(timeout)
        self.services.usage_store.flush()
        self.services.store.close()
        self.services.limiter.storage.close()
        if self.services.tracing is not None:
            self.services.tracing.close()
        if self.tunnel is not None:
            self.tunnel.stop()
            atexit.unregister(self.tunnel.stop)
        if self.services.host_models is not None:
            self.services.host_models.close()
        if self.services.tool_servers is not None:
            self.services.tool_servers.close()
        self.services.models.close()
        self.engine.close()
