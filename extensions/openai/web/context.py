"""The one object of a request: who asks, how long it may take, what it comes to, what is to be released."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from werkzeug.wsgi import get_host

from ..generation.plan import Served
from ..limits.active_requests import ActiveRequest
from ..limits.rate_limits import Admission
from ..observability.record import RequestRecord, notify
from ..schemas import bad_request
from ..schemas.field_names import header_of
from .responses.dialects import OPENAI, Dialect
from .responses.response import Response
from .services import Services

IGNORED_HEADER = "x-openedai-ignored"
"""Names what of a request is not known, or not to be had here, and was left out."""
SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


class ClientGone(Exception):
    """The client hung up, so the work ends silently."""


class Closable(Protocol):
    """What a request holds."""

    def close(self) -> None: ...


@dataclass(slots=True, eq=False, kw_only=True)
class RequestContext(ActiveRequest):
    """One request from its head to its end; handlers get it, and then what it carries."""

    services: Services
    environ: dict[str, Any]
    """Of WSGI."""
    dialect: Dialect
    """How its client is answered."""
    model: str | None = None
    """The model's name where the address holds one."""
    admission: Admission | None = None
    """What it has taken of its caller's limits, where there are any."""
    _held: tuple[Closable, ...] = ()
    """What is to be closed at the end: files that were uploaded, and the like."""
    _client_disconnected: Callable[[], bool] | None = field(init=False)

    def __post_init__(self) -> None:
        self._client_disconnected = self.environ.get("waitress.client_disconnected")

    @classmethod
    def of(
        cls, services: Services, environ: dict[str, Any], dialect: Dialect = OPENAI
    ) -> RequestContext:
        """That of a request that begins."""
        given = environ.get("HTTP_X_REQUEST_ID", "")
        record = RequestRecord(given if SANE_REQUEST_ID.fullmatch(given) else new_request_id())
        record.address = environ.get("REMOTE_ADDR") or ""
        return cls(record, services=services, environ=environ, dialect=dialect)

    @property
    def base_url(self) -> str:
        """How the client reached us, up to and with the API prefix, without a last slash."""
        environ = self.environ
        host = environ.get("HTTP_HOST") or get_host(environ)
        root = f"{environ['wsgi.url_scheme']}://{host}{environ['SCRIPT_NAME'].rstrip('/')}"
        return root + self.services.settings.api_prefix

    @property
    def is_pushed(self) -> bool:
        """Whether what is written goes out at once, rather than when the server asks for more; only
        waitress is known to do so."""
        return self._client_disconnected is not None

    def begin(self) -> None:
        """Count it as under way. Raises ShuttingDown."""
        self.services.active_requests.add(self)

    def serve(self, model: str | None, timeout: float | None) -> Served:
        """What it is served with, where its body asks for `model` and may take `timeout` seconds.

        Raises ModelNotFound, ModelLoading, InvalidRequest where a name is required and missing, or for a
        timeout that is longer than the operator allows.
        """
        services, settings = self.services, self.services.settings
        served = services.models.loaded()
        self.record.model = served.name  # also of a request that is refused
        services.models.check(self.model or model or None, served)
        most = settings.request_timeout
        if most and timeout is not None and timeout > most:
            raise bad_request.out_of_range("timeout", timeout, low=None, high=most)
        self.limit_time(timeout or most)
        policy = services.policy
        info = policy.with_fingerprint(served.info)
        return Served(served.engine, info, policy, settings, served.scheduler, self, services.hooks)

    def check_wanted(self) -> None:
        """Raise when an answer under way must end: the server stops, its time is up, the client has left.
        May be called at any time, from any thread."""
        self.services.active_requests.check_answers_may_go_on()
        if self._deadline is not None:
            ActiveRequest.check_wanted(self)
        if self._client_disconnected is not None and self._client_disconnected():
            raise ClientGone

    def allow_another(self) -> None:
        """Give back its place among what its caller may have under way; to be called before the client can
        know that the answer is complete, and ask again."""
        if self.admission is not None:
            self.admission.release_concurrency()

    def complete_head(self, response: Response) -> None:
        """Add the headers that every response has."""
        record, admission, headers = self.record, self.admission, response.headers
        record.status = response.status_code
        headers["x-request-id"] = record.id
        headers["openai-processing-ms"] = record.milliseconds
        if self.dialect.head is not None:
            headers.update(self.dialect.head(record.id))
        if record.ignored:
            headers[IGNORED_HEADER] = header_of(record.ignored)
        if admission is not None:
            if not record.streamed or record.error:
                # Before the client has its answer and asks again, which would be one too many at once.
                admission.close()
            headers.update(admission.headers)

    def close_at_end(self, held: Closable) -> None:
        """Close it when the request has ended. It must not raise."""
        self._held += (held,)

    def end(self) -> None:
        """The response is sent, or cannot be sent any more: notify observers, and release what is held. Only
        the first time counts."""
        services = self.services
        if self.record.ended is not None:
            return
        notify(self.record, services.observers)
        if self.admission is not None:
            self.admission.close()
        for held in self._held:
            held.close()
        services.active_requests.remove(self)


def new_request_id() -> str:
    """For a request whose client gave none."""
    return "req_" + secrets.token_hex(16)
