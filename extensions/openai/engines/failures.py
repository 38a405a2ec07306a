"""Why an engine failed after it had taken a request, in words that a client or an operator can act on.

What engines and libraries say may quote the prompt, so it is only looked through for what it is about.
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
"""What llama.cpp, torch and C++ say, in small letters."""


def failure_of(message: str, *, kind: str = "") -> APIError:
    """The error for what an engine reported, and what kind of exception that was, if it was one."""
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
            "The engine could not compute the next token. Ask again; where it fails again, the operator can "
            "load the model again, and finds more in the server's log."
        )
    what = f" ({kind})" if kind else ""
    return EngineFailed(
        f"The engine broke off this request for a reason of its own{what}. Ask again; where it fails again, "
        "the operator finds more in the server's log, with --debug all that the engine said."
    )


def failure_from(error: BaseException) -> APIError:
    """The error for an exception of an engine."""
    if isinstance(error, APIError):
        return error
    return failure_of(str(error), kind=type(error).__name__)


def unreachable() -> EngineUnreachable:
    """The engine's process does not answer."""
    return EngineUnreachable(
        "The engine does not answer: its process has ended, or hangs. Ask again in a moment; where it stays "
        "so, the operator has to load the model again."
    )


def taken_away() -> ModelChanged:
    """The model went while a request waited for it, or was being answered."""
    return ModelChanged(
        "The model was changed or unloaded before it had answered. Please ask again."
    )


def not_scored() -> EngineFailed:
    """llama.cpp was asked how likely one token is, and ended without a word of it."""
    return EngineFailed(
        "llama.cpp did not say how likely a token of this request is, so it could not be answered as a "
        "whole. Ask again; where it fails again, ask without log-probabilities ('logprobs', 'echo'). The "
        "operator can load the model again, and finds more in the server's log."
    )


def no_job() -> EngineFailed:
    """A webui ended a request before it made the job that this server takes over."""
    return EngineFailed(
        "The web UI ended this request before its ExLlamaV3 loader had begun to generate. Ask again; where "
        "it fails again, the operator finds the reason in the web UI's log, and can load the model again or "
        "with another loader. A version of the web UI that generates in another way than this extension "
        "knows needs an update of one of the two."
    )


def text_changed() -> EngineFailed:
    """A webui's loader went back on text that was sent already."""
    return EngineFailed(
        "The web UI's loader changed text of this answer after it was sent, so the rest of it does not fit "
        "and was left out. Ask again; where it fails again, the operator can load the model with another "
        "loader, such as llama.cpp, whose text this server makes of its tokens."
    )


def too_complex() -> ConstraintGivenUp:
    """A constraint that could not be followed any more."""
    return ConstraintGivenUp(
        "The constraint of this request became too complex to follow while the model wrote. Ask again with a "
        "simpler one: shorter lengths and counts, fewer alternatives."
    )
