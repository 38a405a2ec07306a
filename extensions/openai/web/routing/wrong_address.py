"""404 and 405: errors for unknown paths and wrong methods, which suggest what the client may have meant."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from ...errors import MethodNotAllowed, NotFound
from .routes import Route

CHAT = "use POST /v1/chat/completions"
NOT_SERVED: Mapping[str, str] = {
    # OpenAI's API
    "assistants": CHAT,
    "audio/voices": "",
    "audio/voice_consents": "",
    "containers": "",
    "edits": CHAT,
    "evals": "",
    "fine_tuning": "",
    "fine-tunes": "",
    "realtime": "",
    "threads": CHAT,
    "vector_stores": "",
    "videos": "",
    # Ollama's
    "api/pull": "use POST /v1/internal/models/download",
    "api/delete": "use DELETE /v1/internal/models/{model}",
    "api/create": "",
    "api/copy": "",
    "api/push": "",
    "api/blobs": "",
    # llama-server's
    "completion": "use POST /v1/completions",
    "props": "use GET /v1/models",
    "slots": "use GET /v1/internal/queue",
    "embedding": "use POST /v1/embeddings",
    "reranking": "use POST /v1/rerank",
}
"""Prefixes of paths that other servers have and this one does not, and the endpoint to use instead."""

MAX_SHOWN = 200  # characters of a path in a message
MAX_LOGGED = 100
VERSION = re.compile(r"^(?:/openai)?(?:/v1)?/")
PUT_TWICE = re.compile(r"/chat/completions/(?:v1/|chat/|completions|embeddings|responses)")
"""A path appended to a base URL that already names an endpoint."""
SECRET = re.compile(r"sk-[^/]*|(?=[^/]*\d)(?=[^/]*[A-Za-z])[^/]{20,}")
"""A part of a path that may be a key."""


class WrongAddresses:
    """Makes these errors for one application."""

    def __init__(self, routes: Iterable[Route], prefix: str) -> None:
        self._prefix = prefix
        self._known: dict[str, str] = {}
        for route in routes:
            path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route.path)
            first, *_ = route.addresses.value
            self._known.setdefault(first + path, route.method)

    def not_found(self, method: str, path: str) -> NotFound:
        """No route has this path."""
        return NotFound(
            f"Invalid URL ({method[:40]} {path[:MAX_SHOWN]}): {self._hint(path[:MAX_SHOWN])}"
        )

    def wrong_method(
        self, method: str, path: str, allowed: Iterable[str]
    ) -> MethodNotAllowed | NotFound:
        """A route has this path, but another method. Where ids stand there may also be another server's
        endpoint."""
        if self._elsewhere(path.removeprefix(self._prefix)) is not None:
            return self.not_found(method, path)
        return MethodNotAllowed(
            f"Not allowed to {method[:40]} on {path[:MAX_SHOWN]}.", frozenset(allowed)
        )

    def _hint(self, path: str) -> str:
        nothing = "this server has no such endpoint."
        if not path.startswith(self._prefix):
            return f"all addresses of this server lie below {self._prefix}."
        path = path.removeprefix(self._prefix)
        if path.rstrip("/") in ("/v1", "/openai/v1"):
            return (
                "this is the base URL, which clients put paths to, such as "
                f"{self._prefix}/v1/models. The page for people is {self._prefix}/."
            )
        repaired = re.sub(r"//+", "/", path)
        if PUT_TWICE.search(repaired):
            return (
                "the base URL of your client ends with /chat/completions; it has to end with /v1."
            )
        if "/v1/v1/" in repaired:
            repaired = re.sub(r"(?:/v1)+/", "/v1/", repaired)
            return (
                f"the base URL of your client has /v1 twice. Did you mean {self._shown(repaired)}?"
            )
        if (instead := self._elsewhere(repaired)) is not None:
            hint = "this version of the server does not have that endpoint"
            return f"{hint}: {instead}." if instead else f"{hint}."
        near = get_close_matches(repaired.lower().rstrip("/"), self._known, n=1, cutoff=0.8)
        return f"{nothing} Did you mean {self._shown(near[0])}?" if near else nothing

    def _shown(self, path: str) -> str:
        method = self._known.get(path)
        return f"{method} {self._prefix}{path}" if method else f"{self._prefix}{path}"

    @staticmethod
    def _elsewhere(path: str) -> str | None:
        """The counterpart of another server's endpoint; None if there is none."""
        parts = VERSION.sub("", path, count=1).strip("/").split("/")
        for count in (2, 1):
            found = NOT_SERVED.get("/".join(parts[:count]))
            if found is not None:
                return found
        return None


def logged(method: str, path: str) -> str:
    """A wrong address for the log: shortened, and without what may be a key."""
    return f"{method[:20]} {SECRET.sub('[redacted]', path[:MAX_LOGGED])}"
