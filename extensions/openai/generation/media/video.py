"""Videos in messages, as pictures with their times: a model that sees reads those."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ...engines.protocol import Media
from ...errors import InvalidRequest
from ...schemas import bad_request
from .images import MAX_PIXELS, read_picture
from .worker import answer_of, place

WORKER_SCRIPT = Path(__file__).with_name("video_worker.py")
MAX_MEMORY_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class VideoReader:
    """How the videos of one request are read."""

    frames: int = 8
    """Pictures of a video, at most. 0: none is read."""
    cpu_seconds: float = 20.0
    """For a video."""
    max_side: int = 2048
    """Pixels that a picture keeps of each side."""
    check_wanted: Callable[[], None] = lambda: None
    """Raises when the client no longer waits."""

    def check(self, param: str) -> None:
        """Raises InvalidRequest where videos are not read at all, before one is fetched."""
        if self.frames == 0:
            raise bad_request.unsupported(param, "is a video, and this server reads none.")
        if find_spec("av") is None:
            raise bad_request.unsupported(
                param,
                "is a video, which this server needs a package for: pip install 'openedai[video]'.",
            )

    def pictures(self, content: bytes, param: str) -> list[str | Media]:
        """Pictures of a video, each behind a text with its time. Raises InvalidRequest for `param`, and what
        `check_wanted` raises."""
        job = {
            "frames": self.frames,
            "side": self.max_side,
            "pixels": MAX_PIXELS,
            "seconds": self.cpu_seconds,
            "bytes": MAX_MEMORY_BYTES,
        }
        with place(self.check_wanted):
            answer = answer_of(WORKER_SCRIPT, job, content, self.check_wanted)
        problem = answer.get("problem")
        if problem is not None:
            why = self._why(str(problem))
            raise InvalidRequest(f"Invalid '{param}': {why}", param=param, code="invalid_value")
        found: list[str | Media] = [f"[video of {answer['duration']:.1f} seconds]\n"]
        for seconds, picture in answer["frames"]:
            found.append(f"[{seconds:.1f} s]\n")
            found.append(read_picture(b64decode(picture), None, param, most=self.max_side))
            found.append("\n")
        return found

    def _why(self, problem: str) -> str:
        return {
            "format": "the video is none of MP4, MOV, WebM, Matroska and AVI.",
            "pixels": f"the video has more than {MAX_PIXELS // 1_000_000} million pixels.",
            "time": f"the video takes more than {self.cpu_seconds:g} seconds to read.",
            "memory": "the video takes too much memory to read.",
            "empty": "the video holds no pictures.",
        }.get(problem, "the video cannot be read.")
