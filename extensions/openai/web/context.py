"""The one object of a request: caller, deadline, record, and what to release at its end."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from werkzeug.wsgi import get_host

from ..engines.protocol import Capability, EngineInfo, Residence
from ..engines.tokens.context_length import request_tokens
from ..errors import AgentUnavailable, StoredObjectNotFound, StoreOff, StoreUnavailable
from ..generation.agents.agent import Agent
from ..generation.agents.memory import UserMemory
from ..generation.media.reader import Hear, MediaSources
from ..generation.media.stored_files import NamedFile
from ..generation.plan import Served
from ..limits.active_requests import ActiveRequest
from ..limits.rate_limits import Admission
from ..observability.record import RequestRecord, notify
from ..schemas import bad_request
from ..schemas.field_names import header_of
from ..state.store import Store
from .responses.dialects import OPENAI, Dialect
from .responses.response import Response
from .services import Services

if TYPE_CHECKING:
    from ..engines.resident.host_models import HostModels

IGNORED_HEADER = "x-openedai-ignored"
"""Names the fields of a request that are unknown or unavailable here, and were ignored."""
SESSION_HEADER = "x-openedai-session-key"
STREAM_HEADER = "x-openedai-stream-id"
"""Names the stream of a request, which its client may leave and resume."""
SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


class ClientGone(Exception):
    """The client hung up: end the work without an error."""


class Closable(Protocol):
    """What a request holds."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class PartialAnswer:
    """An answer under way, as its client may look at it."""

    key: str
    """The client's name for it."""
    parts: list[str] = field(default_factory=list)
    """Of the text so far."""


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
    max_body: int = 0
    """Bytes that its body may have."""
    resumable: Callable[[Generator[bytes | None, None, None]], Response] | None = None
    """Sends events as a stream that its client names, and may resume; None: it does not ask for that."""
    partial: PartialAnswer | None = None
    """What its client may look at while the answer is made."""
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
        if services.tracing is not None:
            record.traceparent = environ.get("HTTP_TRACEPARENT")
        return cls(record, services=services, environ=environ, dialect=dialect)

    @property
    def base_url(self) -> str:
        """The URL that the client used, up to and including the API prefix, without a final slash."""
        environ = self.environ
        host = environ.get("HTTP_HOST") or get_host(environ)
        root = f"{environ['wsgi.url_scheme']}://{host}{environ['SCRIPT_NAME'].rstrip('/')}"
        return root + self.services.settings.api_prefix

    @property
    def body_bytes(self) -> int:
        """As in ActiveRequest."""
        length = self.environ.get("CONTENT_LENGTH") or ""
        return int(length) if length.isdecimal() else 0

    @property
    def is_pushed(self) -> bool:
        """Whether the server sends what is written at once, instead of iterating over the response; waitress
        does."""
        return self._client_disconnected is not None

    @property
    def store(self) -> Store:
        """The store, for what is the caller's. Raises StoreOff for a caller of whom nothing is stored."""
        if not self.record.caller.stores:
            raise StoreOff
        return self.services.store

    def begin(self) -> None:
        """Register it as active. Raises ShuttingDown."""
        self.services.active_requests.add(self)
        self.continue_here()

    def continue_here(self) -> None:
        """This thread answers it from now on."""
        request_tokens.begin()

    def serve(self, model: str | None, timeout: float | None) -> Served:
        """Return what serves it: engine, model, policy. `model`, `timeout` (seconds): of its body.

        Raises ModelNotFound, ModelLoading, and InvalidRequest if a required name is missing or the timeout
        exceeds the operator's limit.
        """
        services, settings = self.services, self.services.settings
        models, name = services.models, self.model or model or None
        agent, header = None, self.agent_header
        if header is not None or (name is not None and ":" in name):
            agent = services.agents.chosen(name, header, self.record.caller)
        if services.host_models is not None:
            named = name if agent is None else agent.definition.model
            self._take_turn(services.host_models, named, timeout)
        served = models.choose(name) if agent is None else models.of_agent(agent.definition.model)
        if served is None:
            raise AgentUnavailable("its model is not loaded")
        self.record.model = served.name  # also if the request is refused
        if agent is None:
            models.check(name, served)
        if not served.writes:
            raise bad_request.unsupported("model", f"names {served.name}, which writes no text.")
        self._limit_time(timeout)
        policy = services.policy.for_model(served.info)
        info = policy.with_fingerprint(served.info)
        if served.sampling:
            policy = policy.with_defaults(served.sampling, 0)
        if agent is not None:
            policy = policy.with_defaults(agent.sampling, agent.definition.max_tokens)
        engine, scheduler = served.engine, served.scheduler
        memory = None if agent is None else self._memory_of(agent)
        hear = self._hearing(info) if settings.transcribe_sounds else None
        return Served(
            engine,
            info,
            policy,
            settings,
            scheduler,
            self,
            services.hooks,
            agent,
            memory,
            MediaSources(hear, self.find_file),
            services.tool_servers,
        )

    def find_file(self, id: str, param: str) -> NamedFile:
        """The caller's file that a field of its request names. Raises StoredObjectNotFound, StoreOff,
        StoreUnavailable."""
        files, owner = self.store.files, self.record.caller.owner
        try:
            file = files.get(owner, id)
        except StoredObjectNotFound:
            raise StoredObjectNotFound(id, param=param) from None
        content = files.read(owner, id, 0, file.size)
        return NamedFile(file.name, file.media_type, file.purpose, file.size, content)

    def _take_turn(self, host: HostModels, name: str | None, timeout: float | None) -> None:
        """Wait until the host has the model loaded, and keep it loaded until the end of the request. Raises
        ModelLoadFailed, and what check_wanted raises."""
        if name is not None and self.services.models.is_added(name):
            return
        self._limit_time(timeout)
        lease = host.lease(name)
        if lease is not None:
            self.close_at_end(lease)
            while lease.wait() is None:
                self.check_wanted()

    def _hearing(self, info: EngineInfo) -> Hear | None:
        """For a model that takes no sounds, where there is another one that writes them down."""
        hearer = self.services.models.first_with(Capability.TRANSCRIPTION)
        if hearer is None or Capability.AUDIO in info.capabilities:
            return None
        transcripts = self.services.transcripts
        return lambda sound: transcripts.of(sound, hearer.engine, hearer.scheduler, self)

    def _memory_of(self, agent: Agent) -> UserMemory | None:
        """What the agent remembers of the user that the request names; None where it remembers nothing."""
        record, store = self.record, self.services.store
        if not agent.definition.memory or record.user is None:
            return None
        if store.keeps and record.caller.stores:
            from ..state.memories import MemoryKey  # with the database's library

            key = MemoryKey(record.caller.owner, agent.name, record.user)
            try:
                return UserMemory(store.memories, key)
            except StoreUnavailable:
                pass  # it is in the log, and the client has its answer nevertheless
        record.ignored.append("memory")
        return None

    def serve_able(
        self, capability: Capability, model: str | None, timeout: float | None
    ) -> Served:
        """The same with a model for something else than text. Raises NotConfigured if there is none."""
        services = self.services
        served = services.models.able(capability, self.model or model or None)
        self.record.model = served.name
        self._limit_time(timeout)
        engine, info, scheduler = served.engine, served.info, served.scheduler
        return Served(engine, info, services.policy, services.settings, scheduler, self, None)

    def _limit_time(self, timeout: float | None) -> None:
        most = self.services.settings.request_timeout
        if most and timeout is not None and timeout > most:
            raise bad_request.out_of_range("timeout", timeout, low=None, high=most)
        self.limit_time(timeout or most)

    def awaited_model(self) -> Residence | None:
        """The model that its answer waits for; None: it is loaded, or always there."""
        model = self.record.model
        residence = None if model is None else self.services.models.residence(model)
        return None if residence is None or residence.state == "loaded" else residence

    @property
    def agent_header(self) -> str | None:
        """The agent that a header names."""
        return self._first_header(self.services.agents.file.headers)

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
        request_tokens.end()
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
        if not self.goes_on:  # else what goes on says how it ends, perhaps before this
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
        request_tokens.end()
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
