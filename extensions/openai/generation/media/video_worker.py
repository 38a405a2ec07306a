"""Takes pictures out of one video in a process of its own: `video.py` runs it, and never imports it.

Its input is a line of JSON, then the file; its output one object:

    {"path": [...], "frames": 8, "side": 2048, "pixels": 50000000, "seconds": 20, "bytes": 1073741824}
    <the file>

    {"duration": 12.5, "frames": [[0.0, "<PNG in base64>"], ...]} or {"problem": "pixels"}
"""

from __future__ import annotations

import json
import runpy
import sys
from base64 import b64encode
from io import BytesIO
from pathlib import Path
from typing import Any

MATROSKA = b"\x1aE\xdf\xa3"


def format_of(content: bytes) -> str | None:
    """The container's format by its first bytes. No other is tried: playlists name files and addresses."""
    if content[4:8] == b"ftyp":
        return "mov"
    if content.startswith(MATROSKA):
        return "matroska"
    return "avi" if content[:4] == b"RIFF" and content[8:12] == b"AVI " else None


def read(content: bytes, count: int, side: int, max_pixels: int) -> dict[str, Any]:
    """Up to `count` pictures, as far apart as can be, or the name of what is wrong with the file."""
    import av

    kind = format_of(content)
    if kind is None:
        return {"problem": "format"}
    with av.open(BytesIO(content), format=kind) as container:
        if not container.streams.video:
            return {"problem": "empty"}
        stream = container.streams.video[0]
        if stream.codec_context.width * stream.codec_context.height > max_pixels:
            return {"problem": "pixels"}
        stream.codec_context.thread_count = 1
        base = stream.time_base
        duration = 0.0
        if stream.duration is not None and base is not None:
            duration = float(stream.duration * base)
        elif container.duration is not None:
            duration = container.duration / av.time_base
        begin = float((stream.start_time or 0) * base) if base is not None else 0.0
        # The middle of each of `count` equal parts, so that neither a black start nor the end is chosen.
        wanted = [duration * (2 * at + 1) / (2 * count) for at in range(count)]
        found: list[tuple[float, str]] = []
        shown = 0.0
        last = None
        for frame in container.decode(stream):
            if frame.width * frame.height > max_pixels:
                return {"problem": "pixels"}
            if len(found) == count:
                break
            shown = max(0.0, (frame.time or 0.0) - begin)
            last = frame
            if shown >= wanted[len(found)]:
                found.append((shown, png(frame, side)))
        if not found and last is not None:  # all of it is over before the first wanted moment
            found.append((shown, png(last, side)))
    return {"duration": duration, "frames": found} if found else {"problem": "empty"}


def png(frame: Any, side: int) -> str:
    """A frame as a PNG of at most `side` pixels a side, in base64."""
    picture = frame.to_image()
    picture.thumbnail((side, side))
    made = BytesIO()
    picture.save(made, "PNG", compress_level=1)
    return b64encode(made.getvalue()).decode("ascii")


def main() -> None:
    job: dict[str, Any] = json.loads(sys.stdin.buffer.readline())
    limit = runpy.run_path(str(Path(__file__).with_name("pdf_worker.py")))["limit"]
    limit(job["seconds"], job["bytes"])
    sys.path[:] = job["path"]
    try:
        answer = read(sys.stdin.buffer.read(), job["frames"], job["side"], job["pixels"])
    except MemoryError:
        answer = {"problem": "memory"}
    except Exception:  # a broken file raises anything at all
        answer = {"problem": "broken"}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
