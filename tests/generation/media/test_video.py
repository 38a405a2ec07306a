"""Videos in messages: pictures of them, within bounds, in a process of its own."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image

from extensions.openai.engines.protocol import Media
from extensions.openai.errors import InvalidRequest
from extensions.openai.generation.media import video as video_module
from extensions.openai.generation.media import video_worker
from extensions.openai.generation.media.video import VideoReader
from tests.support.api import Api
from tests.support.bare_server import ok, serving
from tests.support.media import base64, data_url, text, user

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))
RATE = 4  # frames a second
AT = "messages[0].content[0]"


def video(format: str = "mp4", side: int = 64, seconds: int = 3) -> bytes:
    """A second of each colour in turn."""
    made = BytesIO()
    with av.open(made, "w", format=format) as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        for at in range(seconds * RATE):
            shown = Image.new("RGB", (side, side), COLOURS[at // RATE % 3])
            frame = av.VideoFrame.from_image(shown)  # type: ignore[no-untyped-call]
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return made.getvalue()


VIDEO = video()


def part(data: bytes | str) -> dict[str, Any]:
    url = data if isinstance(data, str) else data_url(data, "video/mp4")
    return {"type": "video_url", "video_url": {"url": url}}


def colour(media: str | Media) -> tuple[int, int, int]:
    """The strongest channel of a picture's middle, as COLOURS has it."""
    assert isinstance(media, Media)
    with Image.open(BytesIO(media.data)) as shown:
        pixel = shown.getpixel((shown.width // 2, shown.height // 2))
    assert isinstance(pixel, tuple)
    return tuple(255 if each == max(pixel) else 0 for each in pixel)  # type: ignore[return-value]


@pytest.mark.parametrize("format", ["mp4", "matroska", "avi", "mov"])
def test_a_picture_of_each_part_with_its_time(format: str) -> None:
    content = video(format)
    found = VideoReader(frames=3).pictures(content, "x")
    texts = [each for each in found if isinstance(each, str)]
    assert texts[0] == "[video of 3.0 seconds]\n"
    assert texts[1::2] == ["[0.5 s]\n", "[1.5 s]\n", "[2.5 s]\n"]
    assert tuple(colour(each) for each in found if isinstance(each, Media)) == COLOURS


def test_no_more_pictures_than_there_are() -> None:
    found = VideoReader(frames=64).pictures(VIDEO, "x")
    assert 1 <= sum(isinstance(each, Media) for each in found) <= 3 * RATE


def test_the_model_sees_them(seeing: Api) -> None:
    api = Api(seeing.engine, media_video_frames=2)
    plain = api.chat(user(text("What?")), max_tokens=2)["usage"]["prompt_tokens"]
    once = api.chat(user(part(VIDEO), text("What?")), max_tokens=2)["usage"]["prompt_tokens"]
    assert once > plain
    other = {"type": "input_video", "input_video": {"data": base64(VIDEO), "format": "mp4"}}
    same = api.chat(user(other, text("What?")), max_tokens=2)
    assert same["usage"]["prompt_tokens"] == once and len(same["choices"]) == 1


def test_one_from_an_address(seeing: Api) -> None:
    with serving(ok(VIDEO, "Content-Type: video/mp4")) as server:
        here = f"127.0.0.1:{server.port}"
        url = f"http://{here}/a.mp4"
        api = Api(seeing.engine, media_hosts=(here,), media_video_frames=1)
        assert api.chat(user(part(url)), max_tokens=2)["usage"]["prompt_tokens"] > 0
        error = Api(seeing.engine).refused("chat/completions", messages=user(part(url)))
        assert error["param"] == f"{AT}.video_url.url"


def test_a_model_that_sees_nothing(tiny: Api) -> None:
    assert tiny.refused("chat/completions", messages=user(part(VIDEO)))["param"] == AT


def test_without_the_package_and_where_the_operator_wants_none(
    seeing: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = user(part(VIDEO))
    none = Api(seeing.engine, media_video_frames=0).refused("chat/completions", messages=messages)
    assert none["param"] == f"{AT}.video_url.url"
    small = Api(seeing.engine, media_max_mb=1)
    large = small.refused("chat/completions", messages=user(part(b"x" * (2 << 20))))
    assert "1 MiB" in large["message"]
    monkeypatch.setattr(video_module, "find_spec", lambda name: None)
    error = seeing.refused("chat/completions", messages=messages)
    assert "pip install 'openedai[video]'" in error["message"]


def why(content: bytes, **options: Any) -> str:
    with pytest.raises(InvalidRequest) as refused:
        VideoReader(**options).pictures(content, "x")
    return refused.value.message.removeprefix("Invalid 'x': ")


def test_files_that_are_none(tmp_path: Path) -> None:
    secret = tmp_path / "secret.mp4"
    secret.write_bytes(VIDEO)
    assert why(f"#EXTM3U\n#EXTINF:3,\n{secret}\n".encode()).startswith("the video is none of")
    assert why(f"ffconcat version 1.0\nfile {secret}\n".encode()).startswith("the video is none of")
    assert why(VIDEO[:200]) == "the video cannot be read."
    assert why(b"\x1aE\xdf\xa3" + b"\0" * 500) == "the video cannot be read."


def test_bounds_of_pixels_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video_module, "MAX_PIXELS", 64 * 64 - 1)
    assert why(VIDEO).startswith("the video has more than")
    monkeypatch.undo()
    long = video(side=512, seconds=60)
    assert (
        why(long, frames=64, cpu_seconds=0.05) == "the video takes more than 0.05 seconds to read."
    )


def test_a_client_that_leaves_ends_the_reading() -> None:
    class Left(Exception):
        pass

    def leave() -> None:
        raise Left

    with pytest.raises(Left):
        VideoReader(64, 60, check_wanted=leave).pictures(video(side=512, seconds=60), "x")


def test_formats_by_their_bytes() -> None:
    assert video_worker.format_of(VIDEO) == "mov"
    assert video_worker.format_of(video("matroska")) == "matroska"
    assert video_worker.format_of(video("avi")) == "avi"
    assert video_worker.format_of(b"#EXTM3U") is None and video_worker.format_of(b"") is None
