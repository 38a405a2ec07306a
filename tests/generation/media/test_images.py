"""Pictures are decoded, checked and encoded again."""

from __future__ import annotations

import random
from io import BytesIO

import pytest
from PIL import Image

from extensions.openai.engines.protocol import Media
from extensions.openai.errors import InvalidRequest
from extensions.openai.generation.media.images import FORMATS, MAX_PIXELS, read_picture
from tests.support.media import halves, picture


def seen(data: bytes, detail: str | None = None) -> Image.Image:
    """What an engine will see."""
    media = read_picture(data, detail, "p")  # type: ignore[arg-type]
    assert (media.kind, media.format) == ("image", "png")
    shown = Image.open(BytesIO(media.data))
    assert (shown.format, shown.mode) == ("PNG", "RGB")
    return shown


def colour(shown: Image.Image, at: tuple[int, int] = (0, 0)) -> tuple[int, ...]:
    found = shown.getpixel(at)
    assert isinstance(found, tuple)
    return tuple(round(value / 64) * 64 for value in found)  # JPEG is not exact


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_becomes_a_png(format: str) -> None:
    shown = seen(halves("red", "blue", format))
    assert shown.size == (32, 32)
    assert colour(shown) == (256, 0, 0) and colour(shown, (31, 31)) == (0, 0, 256)


@pytest.mark.parametrize(
    ("mode", "value"),
    [("1", 1), ("L", 255), ("LA", (0, 0)), ("P", 0), ("RGBA", (0, 0, 0, 0)), ("I;16", 65535)],
)
def test_every_mode_becomes_rgb(mode: str, value: object) -> None:
    shown = seen(picture(value, mode=mode))
    if mode not in ("P", "I;16"):
        assert colour(shown) == (256, 256, 256)


def test_inks_become_light() -> None:
    assert colour(seen(picture((0, 255, 255, 0), mode="CMYK", format="JPEG"))) == (256, 0, 0)


def test_a_palette_with_a_transparent_colour_is_put_on_white() -> None:
    assert colour(seen(picture(0, mode="P", transparency=0))) == (256, 256, 256)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_a_turned_picture_is_turned_back(format: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    shown = seen(halves("red", "blue", format, exif=exif))
    assert colour(shown) == (0, 0, 256) and colour(shown, (31, 31)) == (256, 0, 0)


@pytest.mark.parametrize(
    ("detail", "size"), [("low", (512, 256)), ("high", (2048, 1024)), (None, (2048, 1024))]
)
@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_detail(detail: str | None, size: tuple[int, int], format: str) -> None:
    assert seen(picture("red", (3000, 1500), format), detail).size == size
    assert seen(picture("red", (100, 50), format), detail).size == (100, 50)


def test_the_operator_says_how_large_a_picture_may_stay() -> None:
    for most, size in ((64, (64, 32)), (4000, (3000, 1500))):
        media = read_picture(picture("red", (3000, 1500)), "high", "p", most=most)
        assert Image.open(BytesIO(media.data)).size == size


def test_what_a_picture_says_of_itself_is_not_handed_on() -> None:
    exif = Image.Exif()
    exif[0x010E] = "a secret place"
    data = picture("red", format="JPEG", exif=exif)
    assert b"secret" in data and b"secret" not in read_picture(data, None, "p").data


def test_an_animated_picture_is_refused() -> None:
    made = BytesIO()
    frames = [Image.new("RGB", (8, 8), name) for name in ("red", "blue")]
    frames[0].save(made, "GIF", save_all=True, append_images=frames[1:])
    with pytest.raises(InvalidRequest) as caught:
        read_picture(made.getvalue(), None, "p")
    assert caught.value.code == "invalid_image_format"


def test_a_small_file_that_unfolds_is_refused_before_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bomb = picture(0, (MAX_PIXELS // 1000 + 1, 1000), mode="1")
    assert len(bomb) < 10_000
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("it was unfolded"))
    with pytest.raises(InvalidRequest) as caught:
        read_picture(bomb, None, "p")
    assert caught.value.code == "image_too_large"


def test_the_bytes_are_not_in_what_is_printed() -> None:
    assert "secret" not in repr(Media("image", "png", b"secret"))


@pytest.mark.parametrize("format", FORMATS)
def test_broken_files_are_refused_or_shown(format: str) -> None:
    """Nothing but InvalidRequest comes of a file with broken bytes, or of a part of one."""
    source = random.Random(1)
    whole = halves("red", "blue", format)
    for _ in range(150):
        data = bytearray(whole[: source.randint(1, len(whole))])
        for _ in range(source.randint(0, 8)):
            data[source.randrange(len(data))] = source.randrange(256)
        try:
            seen(bytes(data))
        except InvalidRequest as error:
            assert error.param == "p" and error.code
