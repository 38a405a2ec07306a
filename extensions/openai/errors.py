"""Every error a client can see, and the one envelope they all leave in.

    APIError                      anything that a client can get as an error
    ├── InvalidRequest       400  the request cannot be honoured as it stands
    │   ├── ContextLengthExceeded
    │   ├── PreviousResponseNotFound
    │   └── NotSupported          neither engine nor host can do what the endpoint is for
    ├── Unauthorized         401  no key, or the wrong one
    ├── Forbidden            403  a Host or Origin that is not on the list
    ├── NotFound             404  no such address
    │   ├── ModelNotFound
    │   ├── StoredObjectNotFound
    │   └── StoreOff
    ├── MethodNotAllowed     405
    ├── WebSocketRefused     426  the client wants to leave HTTP
    ├── BodyTooLarge         413
    ├── UnsupportedMediaType 415
    ├── RequestUnderWay      409  the same request is being answered
    ├── IdempotencyMismatch  422  another request had the same key
    ├── RequestTooSlow       408  the request itself did not come in time
    ├── RequestTimedOut      408  the answer took longer than it may
    ├── RateLimited          429  more requests than the key may make
    │   ├── UnitsLimited
    │   ├── QuotaExceeded
    │   └── TooManyWrongKeys
    ├── ShareExceeded        429  the caller has more here than anybody else, and the queue is full
    ├── InternalError        500  our fault; the reason stays in the log
    │   └── EngineFailed          the engine broke while it worked
    │       ├── ConstraintGivenUp
    │       ├── DecodeFailed
    │       ├── EngineOutOfMemory   503
    │       ├── EngineUnreachable   503
    │       ├── ExtensionFailed
    │       └── ModelLoadFailed
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
        └── ShuttingDown

Raise, never return, an error. `status`, `type` and `code` belong to the class; `message` and `param`
to the instance (a validation error brings its own `code`). Source: OpenAI guide "Error codes" and the
fields that the official SDK reads (`openai._exceptions.APIError`).
"""

from collections.abc import Sequence
from math import ceil
from typing import ClassVar

from typing_extensions import TypedDict


class ErrorBody(TypedDict):
    """What is inside `{"error": ...}`."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorEnvelope(TypedDict):
    """The JSON body of every answer that is not a success, and the last event of a failed stream."""

    error: ErrorBody


class APIError(Exception):
    """An error that reaches the client as it is, so its message must hold no key, prompt or path."""

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
        """Headers that belong to the answer, such as Retry-After."""
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
    """The request is malformed, out of range, or asks for what is not there."""

    status = 400
    type = "invalid_request_error"


class ContextLengthExceeded(InvalidRequest):
    """The prompt (and the answer asked for) does not fit into the model's context."""

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
        """`at_least`: the prompt may have more tokens than that, which need not be counted."""
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
    """The response that a request goes on from is not kept."""

    code = "previous_response_not_found"

    def __init__(self, id: str, why: str = "") -> None:
        """`why`: a sentence of its own."""
        super().__init__(
            f"Previous response with id '{id[:64]}' not found.{why and ' ' + why}",
            param="previous_response_id",
        )


class NotSupported(InvalidRequest):
    """The endpoint exists, but neither the engine nor the host can do what it is for."""

    code = "not_supported"


class Unauthorized(APIError):
    """No key, or not the right one."""

    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"

    @property
    def headers(self) -> dict[str, str]:
        return {"WWW-Authenticate": "Bearer"}


class Forbidden(APIError):
    """The caller is not one this server answers."""

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
        """`known`: names that would do, the likeliest first."""
        names = ", ".join(f"`{name}`" for name in known)
        super().__init__(
            f"The model `{model}` does not exist or you do not have access to it. "
            + (f"This server has {names}." if names else "GET /v1/models lists what there is."),
            param="model",
        )


class StoredObjectNotFound(NotFound):
    """No stored object with this id, or it belongs to another key."""

    code = "stored_object_not_found"

    def __init__(self, id: str, *, param: str | None = None) -> None:
        super().__init__(f"There is no stored object with the id '{id[:128]}'.", param=param)


class StoreOff(NotFound):
    """The operator lets nothing be stored, so there is nothing to find."""

    code = "store_off"

    def __init__(self) -> None:
        super().__init__("Nothing is stored on this server (its setting --store says so).")


class WebSocketRefused(APIError):
    """A client wants to change to WebSockets, and this server speaks HTTP only."""

    status = 426
    type = "invalid_request_error"
    code = "websocket_not_supported"

    def __init__(self) -> None:
        super().__init__(
            "This server speaks no WebSocket. Send the request over HTTP instead, as POST /v1/responses."
        )


class MethodNotAllowed(APIError):
    """The endpoint exists, but not for this HTTP method."""

    status = 405
    type = "invalid_request_error"
    code = "method_not_supported"

    def __init__(self, message: str, allowed: frozenset[str] = frozenset()) -> None:
        """`allowed`: the methods that there are."""
        asked = sorted(allowed - {"OPTIONS", "HEAD"})
        super().__init__(f"{message} Use {' or '.join(asked)}." if asked else message)
        self.allowed = allowed

    @property
    def headers(self) -> dict[str, str]:
        return {"Allow": ", ".join(sorted(self.allowed))} if self.allowed else {}


class BodyTooLarge(APIError):
    """The request body is longer than the server's limit."""

    status = 413
    type = "invalid_request_error"
    code = "request_too_large"


class RequestUnderWay(APIError):
    """A request with the same `Idempotency-Key` is being answered."""

    status = 409
    type = "invalid_request_error"
    code = "request_under_way"

    def __init__(self) -> None:
        super().__init__(
            "A request with this Idempotency-Key is under way; ask again when it has ended."
        )

    @property
    def headers(self) -> dict[str, str]:
        return {"Retry-After": "2"}


class IdempotencyMismatch(APIError):
    """Another request was sent with the same `Idempotency-Key` before."""

    status = 422
    type = "invalid_request_error"
    code = "idempotency_key_reused"

    def __init__(self) -> None:
        super().__init__(
            "This Idempotency-Key was sent with another request before. Each request needs its own."
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
        # Official clients would send the same request again, which would take as long.
        return {"x-should-retry": "false"}


class RateLimited(APIError):
    """The key, or this user of it, has made as many requests as it may."""

    status = 429
    type = "requests"
    code = "rate_limit_exceeded"

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        """Seconds after which to come back; None: not with this request."""
        super().__init__(message)
        self.retry_after = retry_after

    @property
    def headers(self) -> dict[str, str]:
        if self.retry_after is None:
            return {"x-should-retry": "false"}
        milliseconds = max(1, ceil(self.retry_after * 1000))
        # Official clients look for the finer one first.
        return {"Retry-After": str(ceil(milliseconds / 1000)), "retry-after-ms": str(milliseconds)}


class UnitsLimited(RateLimited):
    """The key, or this user of it, has used as many tokens in this minute as it may."""

    type = "tokens"

    def __init__(self, message: str, *, unit: str, retry_after: float | None = None) -> None:
        """`unit`: of what it would be too much; the type of this error."""
        super().__init__(message, retry_after=retry_after)
        self.type = unit


class QuotaExceeded(RateLimited):
    """The key, or this user of it, has used its tokens of the month."""

    type = "insufficient_quota"
    code = "insufficient_quota"


class TooManyWrongKeys(RateLimited):
    """Too many wrong keys came from the client's address."""

    code = "too_many_wrong_keys"


class RequestTooSlow(APIError):
    """The request, its head or its body, did not come in time."""

    status = 408
    type = "invalid_request_error"
    code = "request_too_slow"


class ShareExceeded(APIError):
    """The queue is full, and it is the caller who fills it."""

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
    """A fault of the server; what happened is in the log, not in the answer."""

    status = 500
    type = "server_error"
    code = "internal_error"


class EngineFailed(InternalError):
    """The engine gave up on a request."""

    code = "engine_failed"


class ConstraintGivenUp(EngineFailed):
    """A constraint became too complex to follow while the model wrote."""

    code = "constraint_given_up"


class DecodeFailed(EngineFailed):
    """The engine could not compute the next token."""

    code = "decode_failed"


class EngineOutOfMemory(EngineFailed):
    """There was no memory left for the request, the machine's or that of the model's context."""

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
    """Another extension of the host failed while it had a hand in the request."""

    code = "extension_failed"


class ModelLoadFailed(EngineFailed):
    """The model that was asked for cannot be loaded."""

    code = "model_load_failed"


class Unavailable(APIError):
    """The server cannot take the request now; `retry_after` says when to come back."""

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
    """The file that holds what keys have used cannot be read."""

    code = "usage_unreadable"
    retry_after = 5


class StoreUnavailable(Unavailable):
    """The database of stored objects cannot be read or written."""

    code = "store_unavailable"
    retry_after = 5


class ModelLoading(Unavailable):
    """There is no model yet."""

    code = "model_loading"
    retry_after = 2


class ModelChanged(Unavailable):
    """The model was taken away while the answer was being written."""

    code = "model_changed"


class ModelInUse(Unavailable):
    """The model cannot be changed now: something other than the API uses it."""

    code = "model_in_use"


class QueueFull(Unavailable):
    """As many requests wait as may wait."""

    code = "queue_full"
    retry_after = 5


class QueueTimeout(Unavailable):
    """The request has waited in the queue for as long as it may."""

    code = "queue_timeout"
    retry_after = 5


class RequestMemoryFull(Unavailable):
    """The bodies of all requests together take as much memory as they may."""

    code = "request_memory_full"
    retry_after = 5


class ShuttingDown(Unavailable):
    """The server is stopping."""

    code = "shutting_down"
    retry_after = 10


def all_errors() -> list[type[APIError]]:
    """Every class of this module that an answer can be made of, parents before children."""
    found: list[type[APIError]] = []
    waiting: list[type[APIError]] = [APIError]
    while waiting:
        error = waiting.pop(0)
        found.append(error)
        waiting[:0] = error.__subclasses__()
    return found[1:]
