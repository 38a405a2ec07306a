"""`hf:OWNER/REPO[:FILE]`: find the model in the folder it was downloaded to, else download it.

huggingface_hub does the talking (addresses, tokens, retries, the progress bar). The unfinished file
is ours, named after the content's etag, because the library's own download throws it away when the
process ends, and a download of hours has to survive that.
"""

import glob
import logging
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from host import output
from host.models import gguf_names
from host.errors import HostError
from host.models.gguf_names import Model
from host.models.hub_errors import explain, is_network_error
from host.models.progress import Progress, readable
from host.models.spec import FoundModel

log = logging.getLogger(__name__)

TIMEOUT = 10.0
"""Seconds to wait for the hub to answer a question; the download itself may take any time."""


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


Watch = Callable[[Callable[[], int], int], None]
"""Called with what counts the bytes that are there, and how many there will be."""


def find_or_download(
    request: Request,
    model_dir: Path,
    *,
    projector: bool = False,
    watch: Watch = lambda count, total: None,
) -> FoundModel:
    """The model asked for, complete in `model_dir`/OWNER_REPO/; with it its projector, if `projector`
    and the repository has one. `watch` is called once it is known what is downloaded.

    What is there already is used as it is, without any network. Raises HostError with one line for
    a wrong name, no network, a missing token, no space, a download that broke off (the part of it
    stays, the next call resumes) or a repository without GGUF.
    """
    folder = request.folder(model_dir)
    model = _choose(_complete_models(folder), request)
    if model is None:
        try:
            model = _download(request, folder, projector, watch)
        except HostError:
            raise
        except Exception as error:
            # The library and the HTTP library under it raise dozens of types: one place reads them.
            log.debug("download of %s failed", request.repo, exc_info=True)
            raise HostError(explain(error, request.repo, folder)) from error
    else:
        log.info("using %s from %s", model.name, folder)
    there = _complete_models(folder)
    alone = len([each for each in there if not each.is_projector]) == 1
    name = folder.resolve().name if alone and not request.file else model.name
    encoder = gguf_names.best_projector(there) if projector else None
    return FoundModel(folder / model.files[0], name, folder / encoder.files[0] if encoder else None)


def is_complete(request: Request, model_dir: Path) -> bool:
    """Whether the model is there, so that nothing would be downloaded."""
    return _choose(_complete_models(request.folder(model_dir)), request) is not None


def _download(request: Request, folder: Path, projector: bool, watch: Watch) -> Model:
    listing = _list(request)
    models = gguf_names.models(listing.sizes)
    model = _choose(models, request)
    if model is None:
        if not listing.sizes:
            raise HostError(f"there is no GGUF file in the repository {request.repo}")
        there = ", ".join(sorted(listing.sizes)[:8])
        raise HostError(f"no GGUF file {request.file!r} in {request.repo}, which has: {there}")
    encoder = gguf_names.best_projector(models) if projector else None
    files = [*(encoder.files if encoder else ()), *model.files]
    wanted = [file for file in files if not _is_whole(folder / file, listing.sizes[file])]
    _check_space(folder, sum(listing.sizes[file] for file in wanted))
    watch(lambda: _bytes_of(folder, files), sum(listing.sizes[file] for file in files))
    for file in wanted:
        _fetch(request.repo, file, listing.commit, folder)
    return model


def _bytes_of(folder: Path, files: Iterable[str]) -> int:
    """How much of these files is there."""
    places = [place for file in files for place in folder.glob(f"{glob.escape(file)}*")]
    found = 0
    for place in places:
        with suppress(FileNotFoundError):  # a part has just become the file
            found += place.stat().st_size
    return found


def _list(request: Request) -> Listing:
    try:
        from huggingface_hub import HfApi
    except ImportError:
        raise HostError(
            "hf: needs the package huggingface_hub: pip install 'huggingface_hub>=0.30'"
        ) from None

    output.note(f"asking for {request.repo}")
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
        with _progress_lines(part, file, metadata.size):
            _fill(stream, url, file, metadata.size)
    part.replace(final)


def _fill(stream: BinaryIO, url: str, file: str, size: int | None) -> None:
    """Download what `stream` does not hold yet, again and again while each try brings something.

    Newer versions of the library go on by themselves when a connection breaks, older ones do not.
    """
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    while True:
        done = stream.seek(0, os.SEEK_END)
        if size is not None and done > size:
            done = stream.seek(0)
            stream.truncate()
        if done:
            output.note(f"resuming {file} at {readable(done)}")
        try:
            # The address of the repository, not the one it redirects to: that one expires.
            http_get(
                url,
                stream,
                resume_size=done,
                headers=build_hf_headers(),
                expected_size=size,
                displayed_filename=file,
            )
            return
        except Exception as error:
            if not is_network_error(error) or stream.seek(0, os.SEEK_END) <= done:
                raise
            log.debug("the download of %s broke off: %s", file, error)
            time.sleep(1)


@contextmanager
def _progress_lines(part: Path, file: str, size: int | None) -> Iterator[None]:
    """Where the library shows no bar because standard error is a log, write a line at times."""
    if sys.stderr.isatty() and not output.is_json():
        yield
        return
    over = threading.Event()
    progress = Progress(f"downloading {file}", size)

    def write() -> None:
        while not over.wait(0.5):
            progress.update(part.stat().st_size)

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
            f"no space in {folder}: {readable(needed - started)} are needed, {readable(free)} are free"
        )


def _lock(stream: BinaryIO, file: str) -> None:
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
