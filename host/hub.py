"""`hf:OWNER/REPO[:FILE]`: find the model in the folder it was downloaded to, else download it.

huggingface_hub does the talking (addresses, tokens, retries, the progress bar). The unfinished file
is ours, named after the content's etag, because the library's own download throws it away when the
process ends, and a download of hours has to survive that.
"""

import errno
import logging
import os
import re
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from host import gguf_names
from host.errors import HostError
from host.gguf_names import Model
from host.model_files import FoundModel

log = logging.getLogger(__name__)

TIMEOUT = 10.0
"""Seconds to wait for the hub to answer a question; the download itself may take any time."""
PROGRESS_FIRST, PROGRESS_EVERY = 2.0, 15.0
"""Seconds before the first progress line in a log, and between the next."""
NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
NOT_ALLOWED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
NETWORK_ERRORS = frozenset({"TransportError", "RequestException"})
"""The roots of connection failures in the HTTP libraries huggingface_hub has used over time."""


@dataclass(frozen=True, slots=True)
class Request:
    """What `hf:OWNER/REPO[:FILE]` asks for. `file`: a path, a pattern, a quantisation, or empty."""

    repo: str
    file: str

    @classmethod
    def parse(cls, text: str) -> "Request":
        """Raises HostError when `text` does not have this form."""
        match = re.fullmatch(r"hf:([\w.-]+/[\w.-]+)(?::(.+))?", text.strip(), re.ASCII)
        if not match or ".." in match[1]:
            raise HostError(f"--model {text}: hf:OWNER/REPO or hf:OWNER/REPO:FILE was expected")
        return cls(match[1], match[2] or "")

    def folder(self, model_dir: Path) -> Path:
        return model_dir / self.repo.replace("/", "_")


@dataclass(frozen=True, slots=True)
class Listing:
    """The GGUF files of a repository at one commit."""

    commit: str | None
    sizes: dict[str, int]
    """Bytes by path; 0 where the hub does not say."""


def find_or_download(request: Request, model_dir: Path) -> FoundModel:
    """The model asked for, complete in `model_dir`/OWNER_REPO/.

    What is there already is used as it is, without any network. Raises HostError with one line for
    a wrong name, no network, a missing token, no space, a download that broke off (the part of it
    stays, the next call resumes) or a repository without GGUF.
    """
    folder = request.folder(model_dir)
    model = _choose(_complete_models(folder), request)
    if model is None:
        try:
            model = _download(request, folder)
        except HostError:
            raise
        except Exception as error:
            # The library and the HTTP library under it raise dozens of types: one place reads them.
            log.debug("download of %s failed", request.repo, exc_info=True)
            raise HostError(explain(error, request, folder)) from error
    else:
        log.info("using %s from %s", model.name, folder)
    alone = len([each for each in _complete_models(folder) if not each.is_projector]) == 1
    name = folder.resolve().name if alone and not request.file else model.name
    return FoundModel(folder / model.files[0], name)


def explain(error: BaseException, request: Request, folder: Path) -> str:
    """One line on why a download failed, from whatever was raised."""
    from huggingface_hub import constants, errors

    hub = constants.ENDPOINT
    for cause in _chain(error):
        if isinstance(cause, OSError) and cause.errno in NO_SPACE:
            return f"no space left in {folder} for {request.repo}"
        if isinstance(cause, OSError) and cause.errno == errno.EFBIG:
            return f"{folder} takes no file as large as those of {request.repo}"
        if isinstance(cause, OSError) and cause.errno in NOT_ALLOWED:
            return f"cannot write to {folder}: {os.strerror(cause.errno or 0)}"
        if isinstance(cause, errors.OfflineModeIsEnabled):
            return f"HF_HUB_OFFLINE is set, and {request.repo} is not complete in {folder}"
        if isinstance(cause, errors.GatedRepoError):
            page = f"{hub}/{request.repo}"
            return f"{request.repo} is gated: accept its terms on {page} and set HF_TOKEN"
        if isinstance(cause, errors.RepositoryNotFoundError):
            return f"no repository {request.repo} on {hub}; if it is a private one, set HF_TOKEN"
        if isinstance(cause, errors.HfHubHTTPError):
            status = getattr(cause.response, "status_code", None)
            if status in (401, 403):
                return (
                    f"{hub} does not let you read {request.repo}: set HF_TOKEN to a token that may"
                )
            return f"{hub} answered {status} when asked for {request.repo}"
    for cause in _chain(error):
        if NETWORK_ERRORS & {kind.__name__ for kind in type(cause).__mro__}:
            resumes = " (the same command resumes it)" if any(folder.rglob("*.part")) else ""
            return f"cannot download {request.repo} from {hub}: {_first_line(cause)}{resumes}"
    return f"cannot download {request.repo}: {type(error).__name__}: {_first_line(error)}"


def _download(request: Request, folder: Path) -> Model:
    listing = _list(request)
    model = _choose(gguf_names.models(listing.sizes), request)
    if model is None:
        if not listing.sizes:
            raise HostError(f"there is no GGUF file in the repository {request.repo}")
        files = ", ".join(sorted(listing.sizes)[:8])
        raise HostError(f"no GGUF file {request.file!r} in {request.repo}, which has: {files}")
    wanted = [file for file in model.files if not _is_whole(folder / file, listing.sizes[file])]
    _check_space(folder, sum(listing.sizes[file] for file in wanted))
    for file in wanted:
        _fetch(request.repo, file, listing.commit, folder)
    return model


def _list(request: Request) -> Listing:
    try:
        from huggingface_hub import HfApi
    except ImportError:
        raise HostError(
            "hf: needs the package huggingface_hub: pip install 'huggingface_hub>=0.30'"
        ) from None

    print(f"asking for {request.repo}", file=sys.stderr, flush=True)
    info = HfApi().model_info(request.repo, files_metadata=True, timeout=TIMEOUT)
    return Listing(
        info.sha,
        {
            file.rfilename: file.size or 0
            for file in info.siblings or []
            if file.rfilename.lower().endswith(".gguf") and _stays_inside(file.rfilename)
        },
    )


def _fetch(repo: str, file: str, commit: str | None, folder: Path) -> None:
    """Download one file to its place in `folder`, going on where an earlier run broke off."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils._headers import build_hf_headers

    url = hf_hub_url(repo, file, revision=commit)
    metadata = get_hf_file_metadata(url, timeout=TIMEOUT)
    final = folder / file
    final.parent.mkdir(parents=True, exist_ok=True)
    etag = re.sub(r"\W", "", metadata.etag or "")[:16] or "any"
    part = final.with_name(f"{final.name}.{etag}.part")
    for stale in final.parent.glob(f"{final.name}.*.part"):
        if stale != part:
            stale.unlink()
    part.touch()
    with part.open("r+b") as stream:
        _lock(stream, file)
        done = stream.seek(0, os.SEEK_END)
        if metadata.size is not None and done > metadata.size:
            done = stream.seek(0)
            stream.truncate()
        if done:
            print(f"resuming {file} at {_bytes(done)}", file=sys.stderr, flush=True)
        with _progress_lines(part, file, metadata.size):
            # The address of the repository, not the one it redirects to: that one expires.
            http_get(
                url,
                stream,
                resume_size=done,
                headers=build_hf_headers(),
                expected_size=metadata.size,
                displayed_filename=file,
            )
    part.replace(final)


@contextmanager
def _progress_lines(part: Path, file: str, size: int | None) -> Iterator[None]:
    """Where the library shows no bar because standard error is a log, write a line at times."""
    if sys.stderr.isatty():
        yield
        return
    over = threading.Event()

    def write() -> None:
        of = f" of {_bytes(size)}" if size else ""
        wait = PROGRESS_FIRST
        while not over.wait(wait):
            print(
                f"downloading {file}: {_bytes(part.stat().st_size)}{of}",
                file=sys.stderr,
                flush=True,
            )
            wait = PROGRESS_EVERY

    writer = threading.Thread(target=write, name="progress", daemon=True)
    writer.start()
    try:
        yield
    finally:
        over.set()
        writer.join()


def _choose(candidates: list[Model], request: Request) -> Model | None:
    if request.file:
        candidates = gguf_names.matching(candidates, request.file)
        if len(candidates) == 1:
            return candidates[0]
    return gguf_names.best(candidates)


def _complete_models(folder: Path) -> list[Model]:
    """The models in `folder` and below that have all their files; a file in its place is whole."""
    sizes = {
        path.relative_to(folder).as_posix(): path.stat().st_size
        for path in folder.rglob("*")
        if path.suffix.lower() == ".gguf" and path.is_file()
    }
    return [model for model in gguf_names.models(sizes) if not model.missing]


def _is_whole(path: Path, size: int) -> bool:
    return path.is_file() and size in (0, path.stat().st_size)


def _check_space(folder: Path, needed: int) -> None:
    """Raise HostError when the disk cannot take `needed` bytes more than is downloaded already."""
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    started = sum(part.stat().st_size for part in folder.rglob("*.part"))
    free = shutil.disk_usage(existing).free
    if needed - started > free:
        raise HostError(
            f"no space in {folder}: {_bytes(needed - started)} are needed, {_bytes(free)} are free"
        )


def _lock(stream: IO[bytes], file: str) -> None:
    """Keep a second process from writing the same part; the lock goes when the file is closed."""
    if sys.platform == "win32":
        return
    import fcntl

    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise HostError(f"{file} is being downloaded by another process") from None


def _stays_inside(path: str) -> bool:
    """Whether a path that a hub gave leads to a place below the folder it is joined to."""
    parts = PurePosixPath(path)
    return not parts.is_absolute() and ".." not in parts.parts and "\\" not in path


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


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.4g} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"
