"""The one object of a request: caller, deadline, record, and what to release at its end."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable
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
"""Names the fields of a request that are unknown or unavailable here, and were ignored."""
SESSION_HEADER = "x-openedai-session-key"
SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


class ClientGone(Exception):
    """The client hung up: end the work without an error."""


class Closable(Protocol):
    """What a request holds."""

    def close(self) -> None: ...


@dataclass(slots=True, eq=False, kw_only=True)
class RequestContext(ActiveRequest):
    """One request from its head to its end; the first argument of handlers."""

    services: Services
    environ: dict[str, Any]
    """As WSGI defines it."""
    dialect: Dialect
    """The shape of errors and events."""
    model: str | None = None
    """The model's name, if the path has one."""
    admission: Admission | None = None
    """What it uses of its caller's limits; None if there are none."""
    goes_on: bool = False
    """Whether its work goes on when its client is answered; what does the work ends it then."""
    _held: tuple[Closable, ...] = ()
    """To be closed at the end, such as uploaded files."""
    _client_disconnected: Callable[[], bool] | None = field(init=False)

    def __post_init__(self) -> None:
        self._client_disconnected = self.environ.get("waitress.client_disconnected")

    @classmethod
    def of(
        cls, services: Services, environ: dict[str, Any], dialect: Dialect = OPENAI
    ) -> RequestContext:
        """Make the context of a new request."""
        given = environ.get("HTTP_X_REQUEST_ID", "")
        record = RequestRecord(given if SANE_REQUEST_ID.fullmatch(given) else new_request_id())
        record.address = environ.get("REMOTE_ADDR") or ""
        return cls(record, services=services, environ=environ, dialect=dialect)

    @property
    def base_url(self) -> str:
        """The URL that the client used, up to and including the API prefix, without a final slash."""
        environ = self.environ
        host = environ.get("HTTP_HOST") or get_host(environ)
        root = f"{environ['wsgi.url_scheme']}://{host}{environ['SCRIPT_NAME'].rstrip('/')}"
        return root + self.services.settings.api_prefix

    @property
    def is_pushed(self) -> bool:
        """Whether the server sends what is written at once, instead of iterating over the response; waitress
        does."""
        return self._client_disconnected is not None

    def begin(self) -> None:
        """Register it as active. Raises ShuttingDown."""
        self.services.active_requests.add(self)

    def serve(self, model: str | None, timeout: float | None) -> Served:
        """Return what serves it: engine, model, policy. `model`, `timeout` (seconds): of its body.

        Raises ModelNotFound, ModelLoading, and InvalidRequest if a required name is missing or the timeout
        exceeds the operator's limit.
        """
        services, settings = self.services, self.services.settings
        served = services.models.loaded()
        self.record.model = served.name  # also if the request is refused
        name = self.model or model or None
        agent = None
        if services.agents is not None:
            agent = services.agents.chosen(name, self.agent_header, self.record.caller)
        if agent is not None:
            name = agent.model or served.name
        services.models.check(name, served)
        most = settings.request_timeout
        if most and timeout is not None and timeout > most:
            raise bad_request.out_of_range("timeout", timeout, low=None, high=most)
        self.limit_time(timeout or most)
        policy = services.policy
        info = policy.with_fingerprint(served.info)
        if agent is not None:
            policy = policy.with_defaults(agent.sampling, agent.max_tokens)
        engine, scheduler = served.engine, served.scheduler
        return Served(engine, info, policy, settings, scheduler, self, services.hooks, agent)

    @property
    def agent_header(self) -> str | None:
        """The agent that a header names."""
        agents = self.services.agents
        return None if agents is None else self._first_header(agents.headers)

    @property
    def session_header(self) -> str | None:
        """The session that a header names."""
        return self._first_header((SESSION_HEADER, *self.services.settings.session_headers))

    @property
    def asks_for_session(self) -> bool:
        """Whether it may be a turn of a session."""
        return self.services.settings.sessions == "user" or self.session_header is not None

    def _first_header(self, names: Iterable[str]) -> str | None:
        """The value of the first of these headers that is there and not empty."""
        for name in names:
            value = self.environ.get(f"HTTP_{name.upper().replace('-', '_')}")
            if value:
                return str(value)
        return None

    def go_on(self, status: int = 200) -> RequestContext:
        """From now on it does not depend on its client, who is answered with this status; another context to
        answer with."""
        answering = RequestContext.of(self.services, self.environ, self.dialect)
        answering.record.id, answering.record.caller = self.record.id, self.record.caller
        self.goes_on, self._client_disconnected, self.record.status = True, None, status
        return answering

    def check_wanted(self) -> None:
        """Raise if the answer must end: server stops, time is up, client hung up. For any thread."""
        self.services.active_requests.check_answers_may_go_on()
        if self._deadline is not None:
            ActiveRequest.check_wanted(self)
        if self._client_disconnected is not None and self._client_disconnected():
            raise ClientGone

    def allow_another(self) -> None:
        """Free its place among the caller's concurrent requests. Call it before the client can see that the
        answer is complete, as it may send the next request at once."""
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
            if not self.goes_on and (not record.streamed or record.error):
                # Before the client has the response: its next request would be one too many.
                admission.close()
            headers.update(admission.headers)

    def close_at_end(self, held: Closable) -> None:
        """Close this when the request has ended. That must not raise."""
        self._held += (held,)

    def end(self) -> None:
        """The response was sent, or cannot be: notify observers and release everything. Only the first call
        has an effect."""
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
    """For a request whose client sent none."""
    return "req_" + secrets.token_hex(16)
