"""All errors that clients can get, and their envelope.

    APIError                      any error that a client can get
    ├── InvalidRequest       400  the request is not valid
    │   ├── ContextLengthExceeded
    │   ├── FileQuotaExceeded
    │   ├── InputTooLong
    │   ├── PreviousResponseNotFound
    │   ├── ConversationLocked
    │   ├── EventsGone
    │   └── NotSupported          neither engine nor host supports the endpoint
    ├── Unauthorized         401  no key, or a wrong one
    ├── Forbidden            403  a Host or Origin that is not on the list
    ├── NotFound             404  no such address
    │   ├── ModelNotFound
    │   ├── StoredObjectNotFound
    │   └── StoreOff
    ├── MethodNotAllowed     405
    ├── WebSocketRefused     426  the client asks for a WebSocket
    ├── BodyTooLarge         413
    ├── UnsupportedMediaType 415
    ├── RangeNotSatisfiable  416  the content has no such part
    ├── RequestUnderWay      409  the same request is being answered
    ├── RequestStopped       409  a client stopped it
    ├── StreamInUse          409  a stream with this name is under way
    ├── UpstreamRefused      422  the chat API that has the model refuses the request
    ├── IdempotencyMismatch  422  another request had the same Idempotency-Key
    ├── RequestTooSlow       408  the request did not arrive in time
    ├── RequestTimedOut      408  the answer took too long
    ├── RateLimited          429  the key has made too many requests
    │   ├── UnitsLimited
    │   ├── QuotaExceeded
    │   ├── TooManyWrongKeys
    │   └── UpstreamLimited
    ├── ShareExceeded        429  the queue is full, and the caller has the most requests in it
    ├── InternalError        500  our fault; the reason is only in the log
    │   └── EngineFailed          the engine failed during the request
    │       ├── ConstraintGivenUp
    │       ├── DecodeFailed
    │       ├── EngineOutOfMemory   503
    │       ├── EngineUnreachable   503
    │       ├── ExtensionFailed
    │       ├── ModelLoadFailed
    │       ├── UpstreamFailed      502  another server failed that has the model
    │       │   └── UpstreamUnreachable
    │       └── UpstreamTimeout     504
    ├── NotConfigured        501  the operator has given no model for it
    └── Unavailable          503  try again after `retry_after` seconds
        ├── KeysUnreadable
        ├── LimitsUnavailable
        ├── UsageUnreadable
        ├── StoreUnavailable
        ├── ModelLoading
        ├── ModelChanged
        ├── ModelInUse
        ├── QueueFull
        ├── QueueTimeout
        ├── RequestMemoryFull
        ├── UpstreamBusy
        └── ShuttingDown

Raise, never return, an error. The class defines `status`, `type` and `code`, the instance `message` and
`param` (validation errors also their `code`). Source: OpenAI guide "Error codes" and the fields that the
official SDK reads (`openai._exceptions.APIError`).
"""

from collections.abc import Sequence
from math import ceil
from typing import ClassVar

from typing_extensions import TypedDict


class ErrorBody(TypedDict):
    """The content of `{"error": ...}`."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorEnvelope(TypedDict):
    """The JSON body of every failed response, and the last event of a failed stream."""

    error: ErrorBody


class APIError(Exception):
    """An error that is sent to the client, so its message must not contain a key, prompt or path."""

    status: ClassVar[int] = 500
    type: str = "server_error"
    code: str | None = None

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        if code is not None:
            self.code = code

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the response, such as Retry-After."""
        return {}

    def envelope(self) -> ErrorEnvelope:
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "param": self.param,
                "code": self.code,
            }
        }


class InvalidRequest(APIError):
    """The request is malformed, out of range, or refers to something that does not exist."""

    status = 400
    type = "invalid_request_error"


class ContextLengthExceeded(InvalidRequest):
    """The prompt (and `max_tokens`) does not fit into the model's context."""

    code = "context_length_exceeded"

    def __init__(
        self,
        *,
        prompt_tokens: int,
        max_tokens: int,
        context_length: int,
        param: str,
        at_least: bool = False,
    ) -> None:
        """`at_least`: the prompt may have more tokens, which were not counted."""
        self.prompt_tokens, self.max_tokens = prompt_tokens, max_tokens
        self.context_length = context_length
        least = "at least " if at_least else ""
        asked = (
            f"you requested {least}{prompt_tokens + max_tokens} tokens "
            f"({prompt_tokens} in the prompt; {max_tokens} for the answer)"
            if max_tokens
            else f"your prompt has {least}{prompt_tokens} tokens and leaves no room for an answer"
        )
        super().__init__(
            f"This model's maximum context length is {context_length} tokens. However, {asked}. "
            "Please shorten the prompt or the answer, or start the model with a larger context.",
            param=param,
        )


class PreviousResponseNotFound(InvalidRequest):
    """The response that a request continues is not stored."""

    code = "previous_response_not_found"

    def __init__(self, id: str, why: str = "") -> None:
        """`why`: a sentence of its own."""
        super().__init__(
            f"Previous response with id '{id[:64]}' not found.{why and ' ' + why}",
            param="previous_response_id",
        )


class NotSupported(InvalidRequest):
    """The endpoint exists, but neither the engine nor the host supports it."""

    code = "not_supported"


class NotConfigured(APIError):
    """The endpoint exists, but the operator has given the server nothing to serve it with."""

    status = 501
    code = "not_configured"

    @property
    def headers(self) -> dict[str, str]:
        # Official clients would try again, and wait for nothing.
        return {"x-should-retry": "false"}


class FileQuotaExceeded(InvalidRequest):
    """The key has as many bytes of files as it may have (`--store-megabytes files=...`)."""

    code = "file_quota_exceeded"

    def __init__(self, most: int) -> None:
        """`most`: bytes."""
        super().__init__(
            f"This key would have more than {most >> 20} MiB of files; delete some first."
        )


class InputTooLong(InvalidRequest):
    """A text is longer than the model can read."""

    code = "context_length_exceeded"

    def __init__(self, *, tokens: int, context_length: int, param: str, advice: str) -> None:
        super().__init__(
            f"This model's maximum context length is {context_length} tokens. However, '{param}' has "
            f"{tokens} tokens. {advice}",
            param=param,
        )


class RequestStopped(APIError):
    """A client stopped the request before there was an answer."""

    status = 409
    type = "invalid_request_error"
    code = "request_stopped"

    def __init__(self) -> None:
        super().__init__("The request was stopped.")

    @property
    def headers(self) -> dict[str, str]:
        return {"x-should-retry": "false"}


class Unauthorized(APIError):
    """No key, or a wrong one."""

    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": "Bearer"}


class Forbidden(APIError):
    """This server does not answer this caller, host or origin."""

    status = 403
    type = "invalid_request_error"
    code = "forbidden"


class NotFound(APIError):
    """No endpoint at this address."""

    status = 404
    type = "invalid_request_error"


class ModelNotFound(NotFound):
    """A model name that this server does not serve."""

    code = "model_not_found"

    def __init__(self, model: str, known: Sequence[str] = ()) -> None:
        """`known`: names that exist, the likeliest first."""
        names = ", ".join(f"`{name}`" for name in known)
        super().__init__(
            f"The model `{model}` does not exist or you do not have access to it. "
            + (f"This server has {names}." if names else "GET /v1/models lists the names."),
            param="model",
        )


class StoredObjectNotFound(NotFound):
    """No stored object with this id, or it belongs to another key."""

    code = "stored_object_not_found"

    def __init__(self, id: str, *, param: str | None = None) -> None:
        super().__init__(f"There is no stored object with the id '{id[:128]}'.", param=param)


class StoreOff(NotFound):
    """The operator has turned the store off, so nothing can be found."""

    code = "store_off"

    def __init__(self) -> None:
        super().__init__("Nothing is stored on this server (its setting --store is off).")


class WebSocketRefused(APIError):
    """The client asks for a WebSocket, but this server supports HTTP only."""

    status = 426
    type = "invalid_request_error"
    code = "websocket_not_supported"

    def __init__(self) -> None:
        super().__init__(
            "This server does not support WebSockets. Send the request over HTTP, as POST /v1/responses."
        )


class MethodNotAllowed(APIError):
    """The endpoint exists, but not for this HTTP method."""

    status = 405
    type = "invalid_request_error"
    code = "method_not_supported"

    def __init__(self, message: str, allowed: frozenset[str] = frozenset()) -> None:
        """`allowed`: the endpoint's methods."""
        methods = sorted(allowed - {"OPTIONS", "HEAD"})
        super().__init__(f"{message} Use {' or '.join(methods)}." if methods else message)
        self.allowed = allowed

    @property
    def headers(self) -> dict[str, str]:
        return {"Allow": ", ".join(sorted(self.allowed))} if self.allowed else {}


class BodyTooLarge(APIError):
    """The request body is longer than the server's limit."""

    status = 413
    type = "invalid_request_error"
    code = "request_too_large"


class ConversationLocked(InvalidRequest):
    """Another response is being made in the conversation, and takes too long to wait for."""

    code = "conversation_locked"

    def __init__(self, id: str) -> None:
        super().__init__(
            f"Another response is being made in the conversation '{id[:100]}'; ask again when it has ended.",
            param="conversation",
        )


class EventsGone(InvalidRequest):
    """A stream is to go on from an event behind which some are not kept any more."""

    code = "events_gone"

    def __init__(self, first: int) -> None:
        """`first`: the number of the oldest one that is kept."""
        super().__init__(
            f"The events of this stream before number {first} are not kept any more (--stream-replay-mb).",
            param="starting_after",
        )


class RangeNotSatisfiable(APIError):
    """The header `Range` asks for a part that the content does not have."""

    status = 416
    type = "invalid_request_error"
    code = "range_not_satisfiable"

    def __init__(self, size: int) -> None:
        super().__init__(f"There is no such range: the content has {size} bytes.")
        self._size = size

    @property
    def headers(self) -> dict[str, str]:
        return {"Content-Range": f"bytes */{self._size}"}


class StreamInUse(APIError):
    """A stream with the name that a request gives its own is under way."""

    status = 409
    type = "invalid_request_error"
    code = "stream_in_use"

    def __init__(self, id: str) -> None:
        super().__init__(
            f"The stream '{id}' is under way: resume it (GET /v1/streams/{id}), or stop it (DELETE)."
        )


class RequestUnderWay(APIError):
    """A request with the same `Idempotency-Key` is being answered."""

    status = 409
    type = "invalid_request_error"
    code = "request_under_way"

    def __init__(self) -> None:
        super().__init__(
            "A request with this Idempotency-Key is being answered; ask again when it has ended."
        )

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": "2"}


class IdempotencyMismatch(APIError):
    """A different request was sent with the same `Idempotency-Key` before."""

    status = 422
    type = "invalid_request_error"
    code = "idempotency_key_reused"

    def __init__(self) -> None:
        super().__init__(
            "This Idempotency-Key was sent with a different request before. Each request needs its own."
        )


class UnsupportedMediaType(APIError):
    """The request body is not JSON by its Content-Type."""

    status = 415
    type = "invalid_request_error"
    code = "unsupported_content_type"


class RequestTimedOut(APIError):
    """The answer took longer than the request's `timeout`, or than the server allows."""

    status = 408
    type = "invalid_request_error"
    code = "request_timeout"

    @property
    def headers(self) -> dict[str, str]:
        # Official clients would retry the same request, which would take as long.
        return {"x-should-retry": "false"}


class RateLimited(APIError):
    """The key, or this user of it, has made too many requests."""

    status = 429
    type = "requests"
    code = "rate_limit_exceeded"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        """`retry_after`: seconds; None: do not retry this request."""
        super().__init__(message)
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        if self.retry_after is None:
            return {"x-should-retry": "false"}
        milliseconds = max(1, ceil(self.retry_after * 1000))
        # Official clients prefer the milliseconds.
        return {"Retry-After": str(ceil(milliseconds / 1000)), "retry-after-ms": str(milliseconds)}


class UnitsLimited(RateLimited):
    """The key, or this user of it, has used too much of a unit, such as tokens."""

    type = "tokens"

    def __init__(self, message: str, *, unit: str, retry_after: float | None = None) -> None:
        """`unit`: of the limit; becomes the type of this error."""
        super().__init__(message, retry_after=retry_after)
        self.type = unit


class QuotaExceeded(RateLimited):
    """The key, or this user of it, has used its tokens of the month."""

    type = "insufficient_quota"
    code = "insufficient_quota"


class TooManyWrongKeys(RateLimited):
    """Too many wrong keys came from the client's address."""

    code = "too_many_wrong_keys"


class UpstreamLimited(RateLimited):
    """The server that has the model takes no more requests from this one now."""

    code = "upstream_rate_limited"


class UpstreamRefused(APIError):
    """The chat API that has the model refuses the request."""

    status = 422
    type = "invalid_request_error"
    code = "upstream_refused"


class RequestTooSlow(APIError):
    """The head or body of the request did not arrive in time."""

    status = 408
    type = "invalid_request_error"
    code = "request_too_slow"


class ShareExceeded(APIError):
    """The queue is full, and this caller has the most requests in it."""

    status = 429
    type = "requests"
    code = "queue_share_exceeded"

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.retry_after)}


class InternalError(APIError):
    """A fault of the server; the log has the details, the response has not."""

    status = 500
    type = "server_error"
    code = "internal_error"


class EngineFailed(InternalError):
    """The engine gave up on a request."""

    code = "engine_failed"


class ConstraintGivenUp(EngineFailed):
    """A constraint became too complex to enforce while the model wrote."""

    code = "constraint_given_up"


class DecodeFailed(EngineFailed):
    """The engine could not compute the next token."""

    code = "decode_failed"


class EngineOutOfMemory(EngineFailed):
    """The machine's memory, or that of the model's context, was exhausted."""

    status = 503
    code = "engine_out_of_memory"

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": "5"}


class EngineUnreachable(EngineFailed):
    """The engine's process has ended, or does not answer."""

    status = 503
    code = "engine_unreachable"

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": "5"}


class ExtensionFailed(EngineFailed):
    """Another extension of the host failed during the request."""

    code = "extension_failed"


class ModelLoadFailed(EngineFailed):
    """The requested model cannot be loaded."""

    code = "model_load_failed"


class UpstreamFailed(EngineFailed):
    """The server that has the model failed, or answered something that cannot be read."""

    status = 502
    code = "upstream_failed"


class UpstreamUnreachable(UpstreamFailed):
    """The server that has the model does not answer at its address."""

    code = "upstream_unreachable"


class UpstreamTimeout(EngineFailed):
    """The server that has the model was silent for too long."""

    status = 504
    code = "upstream_timeout"


class Unavailable(APIError):
    """The server cannot handle the request now; `retry_after` says when to try again."""

    status = 503
    type = "server_error"
    retry_after: int = 1
    """Seconds."""

    def __init__(
        self, message: str, *, code: str | None = None, retry_after: int | None = None
    ) -> None:
        super().__init__(message, code=code)
        if retry_after is not None:
            self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": str(self.retry_after)}


class KeysUnreadable(Unavailable):
    """The files of the named keys cannot be read."""

    code = "keys_unreadable"
    retry_after = 5


class LimitsUnavailable(Unavailable):
    """The storage of the limits (Redis) does not answer."""

    code = "limits_unavailable"
    retry_after = 5


class UsageUnreadable(Unavailable):
    """The file with the usage of keys cannot be read."""

    code = "usage_unreadable"
    retry_after = 5


class StoreUnavailable(Unavailable):
    """The database of stored objects cannot be read or written."""

    code = "store_unavailable"
    retry_after = 5


class ModelLoading(Unavailable):
    """No model is loaded yet."""

    code = "model_loading"
    retry_after = 2


class AgentUnavailable(Unavailable):
    """An agent cannot answer now: its model is not loaded, or the settings do not allow what it is."""

    code = "agent_unavailable"

    def __init__(self, why: str) -> None:
        super().__init__(f"This agent cannot answer now: {why}. The operator can change that.")


class ToolServerUnavailable(Unavailable):
    """A tool server that the request names does not answer, or its extension is not active."""

    code = "tool_server_unavailable"

    def __init__(self, label: str) -> None:
        super().__init__(f"The tool server '{label}' does not answer. Please try again later.")


class AgentInFile(APIError):
    """The operator's file has an agent with this name, which can be changed there only."""

    status = 409
    type = "invalid_request_error"
    code = "agent_in_file"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The agent `{name}` is in the operator's file (--agents), and can be changed there only."
        )


class BatchEnded(APIError):
    """A batch that has ended cannot be cancelled, paused or resumed."""

    status = 409
    type = "invalid_request_error"
    code = "batch_ended"

    def __init__(self, action: str, status: str) -> None:
        super().__init__(f"Cannot {action} a batch with the status '{status}'.")


class BatchFileInUse(APIError):
    """A file cannot be deleted while a batch works with it."""

    status = 409
    type = "invalid_request_error"
    code = "file_in_use"

    def __init__(self, batch: str) -> None:
        super().__init__(f"The batch '{batch}' works with this file; cancel it first.")


class ModelInFile(APIError):
    """The operator named this model at the start, and its files can be deleted there only."""

    status = 409
    type = "invalid_request_error"
    code = "model_in_file"

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The model `{name}` is named in the operator's file (--models), and stays while it is there."
        )


class ModelChanged(Unavailable):
    """The model was unloaded while the answer was being written."""

    code = "model_changed"


class ModelInUse(Unavailable):
    """The model cannot be changed now, because something besides the API uses it."""

    code = "model_in_use"


class NoRoomForModel(Unavailable):
    """The model is not loaded, and there is no room for it beside those that are."""

    code = "no_room_for_model"
    retry_after = 5


class QueueFull(Unavailable):
    """The maximum of requests is waiting."""

    code = "queue_full"
    retry_after = 5


class QueueTimeout(Unavailable):
    """The request has waited too long in the queue."""

    code = "queue_timeout"
    retry_after = 5


class UpstreamBusy(Unavailable):
    """The server that has the model is overloaded, or starts or stops."""

    code = "upstream_busy"
    retry_after = 5


class RequestMemoryFull(Unavailable):
    """The bodies of all requests use all of the memory for them, or the disk has no room for their files."""

    code = "request_memory_full"
    retry_after = 5


class ShuttingDown(Unavailable):
    """The server is stopping."""

    code = "shutting_down"
    retry_after = 10


def all_errors() -> list[type[APIError]]:
    """Every error class of this module except APIError, parents before children."""
    found: list[type[APIError]] = []
    pending: list[type[APIError]] = [APIError]
    while pending:
        error = pending.pop(0)
        found.append(error)
        pending[:0] = error.__subclasses__()
    return found[1:]
