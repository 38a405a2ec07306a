"""Errors for an engine that fails during a request, with messages that clients and operators can act on.

Messages of engines and libraries may quote the prompt, so they are only searched for known phrases.
"""

from __future__ import annotations

import logging

from ..errors import (
    APIError,
    ConstraintGivenUp,
    DecodeFailed,
    EngineFailed,
    EngineOutOfMemory,
    EngineUnreachable,
    ModelChanged,
    ModelLoading,
)

log = logging.getLogger("openedai")

OUT_OF_CACHE = (
    "context size has been exceeded",
    "memory slot",
    "kv cache",
    "kv_cache",
    "context shift",
)
OUT_OF_MEMORY = ("out of memory", "outofmemory", "bad_alloc", "memoryerror", "failed to allocate")
NOT_COMPUTED = (
    "compute error",
    "input batch",
    "decode",
    "cuda error",
    "cublas",
    "device-side",
    "hip error",
)
"""Phrases of llama.cpp, torch and C++, in lower case."""


def failure_of(message: str, *, kind: str = "") -> APIError:
    """The error for an engine's message; `kind` is the name of the exception's class, if there was one."""
    # An exception's text may quote the prompt, which is for --debug only.
    log.error("the engine failed: %s", kind or message)
    if kind:
        log.debug("%s: %s", kind, message)
    words = f"{kind} {message}".lower()
    if any(each in words for each in OUT_OF_CACHE):
        return EngineOutOfMemory(
            "The model's context memory became full while it worked on this request: too much ran at once. "
            "Ask again later, with a shorter prompt or a smaller 'max_tokens'. The operator can give a "
            "larger context, or let fewer answers run at once."
        )
    if any(each in words for each in OUT_OF_MEMORY):
        return EngineOutOfMemory(
            "The machine had no memory left for this request. Ask again later, with a shorter prompt or a "
            "smaller 'max_tokens'. The operator can load a smaller model, or a smaller context."
        )
    if "loading model" in words:
        return ModelLoading("The model is still being loaded. Please try again in a moment.")
    if any(each in words for each in NOT_COMPUTED):
        return DecodeFailed(
            "The engine could not compute the next token. Ask again; if it fails again, the operator can "
            "reload the model, and finds more in the server's log."
        )
    what = f" ({kind})" if kind else ""
    return EngineFailed(
        f"The engine aborted this request for a reason of its own{what}. Ask again; if it fails again, the "
        "operator finds more in the server's log, and with --debug everything that the engine said."
    )


def failure_from(error: BaseException) -> APIError:
    """The error for an exception of an engine."""
    if isinstance(error, APIError):
        return error
    return failure_of(str(error), kind=type(error).__name__)


def unreachable() -> EngineUnreachable:
    """The engine's process does not answer."""
    return EngineUnreachable(
        "The engine does not answer: its process has ended or hangs. Ask again in a moment; if that does not "
        "help, the operator has to reload the model."
    )


def model_changed() -> ModelChanged:
    """The model was unloaded while a request waited for it or was being answered."""
    return ModelChanged(
        "The model was changed or unloaded before it had answered. Please ask again."
    )


def not_scored() -> EngineFailed:
    """llama.cpp ended without the log-probability of a token that it was asked for."""
    return EngineFailed(
        "llama.cpp did not report the log-probability of a token of this request, so the answer is not "
        "complete. Ask again; if it fails again, ask without log-probabilities ('logprobs', 'echo'). The "
        "operator can reload the model, and finds more in the server's log."
    )


def no_job() -> EngineFailed:
    """A webui ended a request before it made the job that this server takes over."""
    return EngineFailed(
        "The web UI ended this request before its ExLlamaV3 loader began to generate. Ask again; if it fails "
        "again, the operator finds the reason in the web UI's log, and can reload the model, also with "
        "another loader. If this extension does not know how this version of the web UI generates, one of "
        "the two needs an update."
    )


def text_changed() -> EngineFailed:
    """A webui's loader changed text that was already sent."""
    return EngineFailed(
        "The web UI's loader changed text of this answer after it was sent, so the rest of it does not fit "
        "and was left out. Ask again; if it fails again, the operator can load the model with another "
        "loader, such as llama.cpp, whose tokens this server turns into text itself."
    )


def too_complex() -> ConstraintGivenUp:
    """A constraint could not be enforced to its end."""
    return ConstraintGivenUp(
        "The constraint of this request became too complex to follow while the model wrote. Ask again with a "
        "simpler one: shorter lengths and counts, fewer alternatives."
    )
