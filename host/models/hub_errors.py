"""What the user sees when a download fails: one line for each of the ways it can.

huggingface_hub and the HTTP library under it raise dozens of types, and other ones from version to
version, so they are all read here.
"""

import errno
import os
from pathlib import Path

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
NOT_ALLOWED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
NETWORK_ERRORS = frozenset({"TransportError", "RequestException"})
"""The roots of connection failures in the HTTP libraries huggingface_hub has used over time."""


def explain(error: BaseException, repo: str, folder: Path) -> str:
    """One line on why a download failed, from whatever was raised."""
    from huggingface_hub import constants, errors

    hub = constants.ENDPOINT
    for cause in _chain(error):
        if isinstance(cause, OSError) and cause.errno in NO_SPACE:
            return f"no space left in {folder} for {repo}"
        if isinstance(cause, OSError) and cause.errno == errno.EFBIG:
            return f"{folder} takes no file as large as those of {repo}"
        if isinstance(cause, OSError) and cause.errno in NOT_ALLOWED:
            return f"cannot write to {folder}: {os.strerror(cause.errno or 0)}"
        if isinstance(cause, errors.OfflineModeIsEnabled):
            return f"HF_HUB_OFFLINE is set, and {repo} is not complete in {folder}"
        if isinstance(cause, errors.GatedRepoError):
            page = f"{hub}/{repo}"
            return f"{repo} is gated: accept its terms on {page} and set HF_TOKEN"
        if isinstance(cause, errors.RepositoryNotFoundError):
            return f"no repository {repo} on {hub}; if it is a private one, set HF_TOKEN"
        if isinstance(cause, errors.HfHubHTTPError):
            status = getattr(cause.response, "status_code", None)
            if status in (401, 403):
                return f"{hub} does not let you read {repo}: set HF_TOKEN to a token that may"
            return f"{hub} answered {status} when asked for {repo}"
    for cause in _chain(error):
        if is_network_error(cause):
            hint = " (the same command resumes it)"
            if not any(folder.rglob("*.part")):
                hint = "; is there a network, or a proxy (HTTPS_PROXY)? A file needs none: --model PATH"
            return f"cannot download {repo} from {hub}: {_first_line(cause)}{hint}"
    return f"cannot download {repo}: {type(error).__name__}: {_first_line(error)}"


def is_network_error(error: BaseException) -> bool:
    """Whether a connection failed, as against a hub that answered something unwelcome."""
    return bool(NETWORK_ERRORS & {kind.__name__ for kind in type(error).__mro__})


def _chain(error: BaseException) -> list[BaseException]:
    """The error and what caused it, outermost first."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or current.__context__
    return chain


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
