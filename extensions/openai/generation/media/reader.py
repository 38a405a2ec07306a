"""Parts of messages that are not text: pictures, sounds and files, as they come in a request.

What leaves here was decoded and encoded again: an engine's own decoder may take the whole process down with a
file that is not what it says. No message of an error quotes what was sent.
"""

from __future__ import annotations

import binascii
import mimetypes
import re
from base64 import b64decode
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Literal

from ...engines.protocol import Capability, Media
from ...errors import InvalidRequest
from ...outbound.fetch import Fetcher, FetchRules
from ...schemas import bad_request
from ...settings import Settings
from .audio import read_sound
from .images import Detail, read_picture
from .pdf import PdfReader
from .stored_files import PICTURE_PURPOSES, TEXT_PURPOSES, Find, NamedFile, StoredFiles
from .video import VideoReader

MIB = 1 << 20
DATA_URL = re.compile(
    r"data:(?P<type>[\w.+-]+/[\w.+-]+)?(?P<more>(?:;[^,;]*)*?)(?P<base64>;base64)?,"
)
MAX_URL_HEAD_CHARACTERS = 1024  # characters of an address that are looked at for its kind
TEXT_TYPES = re.compile(
    r"text/.+|application/((.+\+)?(json|xml|yaml)|x-yaml|toml|javascript|x-sh|sql|x-ndjson|jsonl)"
)
ANY_FILE_TYPES = ("application/octet-stream", "application/pdf")  # by their bytes
CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")  # that no text file has

Hear = Callable[[Media], str]
"""What is said in a sound."""
Fetch = Callable[[str, str], bytes]
"""The bytes at an http(s) address, and the field that holds it, for errors. Raises InvalidRequest."""


@dataclass(frozen=True, slots=True)
class MediaSources:
    """What a request's media come from besides its body."""

    hear: Hear | None = None
    """Says what is said in sounds, if the model takes none; None: they are refused."""
    find: Find | None = None
    """Finds the caller's files; None: requests cannot name any."""


NO_SOURCES = MediaSources()


@dataclass(frozen=True, slots=True)
class MediaReader:
    """What of one request's media is taken, and how. The default takes files only."""

    capabilities: Collection[str] = ()
    """The engine's: `vision` and `audio` are looked for."""
    max_bytes: int = 20 * MIB
    """Of each of them."""
    max_parts: int = 16
    """Of all messages together."""
    max_side: int = 2048
    """Pixels that a picture keeps of each side."""
    fetch: Fetch | None = None
    """None: http(s) addresses are refused."""
    hear: Hear | None = None
    """For a model that takes no sounds; None: they are refused."""
    pdf: PdfReader = field(default_factory=PdfReader)
    videos: VideoReader = field(default_factory=VideoReader)
    stored: StoredFiles | None = None
    """Those that the caller has uploaded; None: they are refused."""

    def check_count(self, count: int, param: str = "messages") -> None:
        """Raises InvalidRequest when a request has more media than it may. `param`: the field with them."""
        if count > self.max_parts:
            raise InvalidRequest(
                f"Invalid '{param}': it holds {count} pictures, sounds and files; this server takes "
                f"{self.max_parts} at most.",
                param=param,
                code="array_above_max_length",
            )

    def image(
        self,
        url: str,
        detail: Detail | None,
        where: str,
        field: str = "image_url.url",
        kind: str = "image_url",
    ) -> Media:
        """A picture from a data: URL, or from an http(s) address. `where`: the part's place; `field`, `kind`:
        the field of the part with the address, and the part's type."""
        if Capability.VISION not in self.capabilities:
            raise _not_taken(where, kind, "pictures")
        param = f"{where}.{field}"
        media_type, payload = _data_url(url)
        if media_type is None and url[:8].lower().startswith(("http://", "https://")):
            if self.fetch is None:
                raise bad_request.unsupported(
                    param,
                    "is an http(s) address, and this server fetches none; send the picture itself, as "
                    "data:image/png;base64,...",
                )
            return read_picture(self.fetch(url, param), detail, param, most=self.max_side)
        if media_type is None:
            raise InvalidRequest(
                f"Invalid '{param}': expected a data: URL with base64, or an http(s) address.",
                param=param,
                code="invalid_image_url",
            )
        if not media_type.startswith("image/"):
            raise InvalidRequest(
                f"Invalid '{param}': the type of the data: URL is not that of a picture.",
                param=param,
                code="unsupported_image_media_type",
            )
        data = self._decoded(payload, param, "invalid_base64_image", "image_file_too_large")
        return read_picture(data, detail, param, most=self.max_side)

    def sound(self, data: str, format: Literal["wav", "mp3"], where: str) -> str | Media:
        """A sound in base64, or what is said in it, for a model that takes no sounds."""
        is_heard = Capability.AUDIO in self.capabilities
        if not is_heard and self.hear is None:
            raise _not_taken(where, "input_audio", "sounds")
        param = f"{where}.input_audio.data"
        sound = read_sound(self._decoded(data, param), format, param)
        return sound if is_heard or self.hear is None else self.hear(sound)

    def video(self, url: str, where: str, field: str, kind: str) -> list[str | Media]:
        """A video from a data: URL, from an http(s) address, or in base64, as pictures with their times."""
        if Capability.VISION not in self.capabilities:
            raise _not_taken(where, kind, "pictures")
        param = f"{where}.{field}"
        self.videos.check(param)
        if url[:8].lower().startswith(("http://", "https://")):
            if self.fetch is None:
                raise bad_request.unsupported(
                    param,
                    "is an http(s) address, and this server fetches none; send the video itself, as "
                    "data:video/mp4;base64,...",
                )
            return self.videos.pictures(self.fetch(url, param), param)
        return self.videos.pictures(self._decoded(_data_url(url)[1], param), param)

    def file(self, name: str | None, data: str, where: str, field: str = "file.file_data") -> str:
        """A file of text or a PDF, as the text that the model is given. `data`: base64, or a data: URL."""
        param = f"{where}.{field}"
        kind, payload = _data_url(data)
        _check_type(kind, name, param)
        content = self._decoded(payload, param)
        return file_text(name, self._text(content, param))

    def stored_file(
        self, name: str | None, id: str, where: str, field: str = "file.file_id"
    ) -> str:
        """The same of a file that the caller has uploaded, under its own name if none is given."""
        param = f"{where}.{field}"
        file, content = self._stored(id, param, TEXT_PURPOSES)
        _check_type(file.media_type.partition(";")[0].strip().lower(), file.name, param)
        return file_text(name or file.name, self._text(content, param))

    def stored_image(
        self, id: str, detail: Detail | None, where: str, field: str, kind: str
    ) -> Media:
        """A picture that the caller has uploaded, or that was made here for it."""
        if Capability.VISION not in self.capabilities:
            raise _not_taken(where, kind, "pictures")
        param = f"{where}.{field}"
        _, content = self._stored(id, param, PICTURE_PURPOSES)
        return read_picture(content, detail, param, most=self.max_side)

    def _stored(self, id: str, param: str, purposes: Collection[str]) -> tuple[NamedFile, bytes]:
        if self.stored is None:
            raise bad_request.unsupported(
                param, "names a stored file, which is not possible here; send the file itself."
            )
        return self.stored.read(id, param, purposes)

    def _text(self, content: bytes, param: str) -> str:
        if content.startswith(b"%PDF-"):
            return self.pdf.text(content, param)
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = "\0"
        if CONTROL_CHARACTERS.search(text):
            raise bad_request.unsupported(
                param, "is neither text in UTF-8 nor a PDF, and this server takes no other files."
            )
        return text

    def _decoded(
        self,
        text: str,
        param: str,
        broken: str = "invalid_value",
        too_large: str = "invalid_value",
    ) -> bytes:
        """The bytes of base64. `broken` and `too_large`: the codes of what is wrong with it."""
        if len(text) * 3 // 4 - text[-2:].count("=") > self.max_bytes:
            raise InvalidRequest(
                f"Invalid '{param}': it is larger than {self.max_bytes // MIB} MiB.",
                param=param,
                code=too_large,
            )
        try:
            data = b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            raise InvalidRequest(
                f"Invalid '{param}': it is not valid base64.", param=param, code=broken
            ) from None
        if not data:
            code = "empty_image_file" if "image" in broken else "empty_string"
            raise InvalidRequest(f"Invalid '{param}': it is empty.", param=param, code=code)
        return data


def file_text(name: str | None, text: str) -> str:
    """A file's text as it stands in a prompt."""
    shown = re.sub(r"[^\w .,()+-]", "_", name)[:128] if name else "unnamed"
    end = "" if text.endswith("\n") else "\n"
    return f'<file name="{shown}">\n{text}{end}</file>\n'


def media_reader(
    settings: Settings,
    capabilities: Collection[str],
    check_wanted: Callable[[], None],
    sources: MediaSources,
) -> MediaReader:
    """For one request. `check_wanted` raises when the client no longer waits."""
    most = settings.media_max_mb * MIB
    fetch: Fetch | None = None
    if settings.media_urls or settings.media_hosts:
        rules = FetchRules(settings.media_urls, settings.media_hosts, most, settings.media_timeout)
        fetch = Fetcher(rules, check_wanted).get
    parts, side = settings.media_max_parts, settings.media_max_side
    pdf = PdfReader(settings.media_pdf_pages, settings.media_pdf_seconds, check_wanted)
    frames, seconds = settings.media_video_frames, settings.media_video_seconds
    videos = VideoReader(frames, seconds, side, check_wanted)
    stored, hear = None, sources.hear
    if sources.find is not None:
        stored = StoredFiles(sources.find, most, settings.max_body_mb * MIB)
    return MediaReader(capabilities, most, parts, side, fetch, hear, pdf, videos, stored)


def _data_url(url: str) -> tuple[str | None, str]:
    """The media type of a data: URL with base64 (None for anything else), and what follows it."""
    if url[:5].lower() != "data:":
        return None, url
    found = DATA_URL.match("data:" + url[5:MAX_URL_HEAD_CHARACTERS])
    if found is None or not found["base64"]:
        return None, url
    return (found["type"] or "text/plain").lower(), url[found.end() :]


def _check_type(kind: str | None, name: str | None, param: str) -> None:
    """Raises InvalidRequest where a media type, or that of a file's name, is of nothing that holds text."""
    for given in (kind, mimetypes.guess_type(name or "")[0]):
        if given and given not in ANY_FILE_TYPES and not TEXT_TYPES.fullmatch(given):
            raise bad_request.unsupported(param, "is not of a type that holds text.")


def _not_taken(where: str, kind: str, things: str) -> InvalidRequest:
    return bad_request.unsupported(
        where, f"is a part of type '{kind}', and the loaded model takes no {things}."
    )
