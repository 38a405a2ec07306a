"""Pictures: looked through by Pillow, and turned into what every engine can decode."""

from __future__ import annotations

import logging
from io import BytesIO
from typing import Any, Literal

from ..engines.base import Media
from ..errors import InvalidRequest

log = logging.getLogger("openedai")

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")  # those that OpenAI takes
MAX_PIXELS = 50_000_000  # a few kilobytes may unfold to more than a machine has
MAX_RATIO = 200  # of the longer side to the shorter one; encoders break at more
LOW = 512  # pixels of each side, at most, with detail `low`
ORIENTATION = 0x0112  # EXIF: how the camera was held
PLAIN_MODES = ("1", "L", "P", "RGB")  # the others may be transparent, or of inks

Detail = Literal["auto", "low", "high"]


def read_picture(data: bytes, detail: Detail | None, param: str) -> Media:
    """The picture in a file. Raises InvalidRequest where it is none, broken, or of an insane size.

    What a PNG or JPEG decoder shows right is passed on as it is. Anything else becomes a PNG: other
    formats, turned pictures, transparent ones (on white), and large ones with detail `low`.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(BytesIO(data), formats=FORMATS) as picture:
            _check_size(picture.size, param)
            if getattr(picture, "is_animated", False):
                raise _refused(param, "an animated picture is not taken.", "invalid_image_format")
            picture.load()
            turned = picture.getexif().get(ORIENTATION, 1) != 1
            shrinks = detail == "low" and max(picture.size) > LOW
            see_through = picture.mode not in PLAIN_MODES or "transparency" in picture.info
            if picture.format in ("PNG", "JPEG") and not (turned or shrinks or see_through):
                return Media("image", "png" if picture.format == "PNG" else "jpeg", data)
            shown: Image.Image = ImageOps.exif_transpose(picture)
            if see_through and picture.mode != "CMYK":
                shown = shown.convert("RGBA")
                shown = Image.alpha_composite(Image.new("RGBA", shown.size, "white"), shown)
            shown = shown.convert("RGB")
            if shrinks:
                shown.thumbnail((LOW, LOW))
            made = BytesIO()
            shown.save(made, "PNG", compress_level=1)
            return Media("image", "png", made.getvalue())
    except InvalidRequest:
        raise
    except UnidentifiedImageError:
        kinds = ", ".join(FORMATS)
        raise _refused(param, f"it is none of {kinds}.", "unsupported_image_media_type") from None
    except Image.DecompressionBombError:
        raise _too_large(param) from None
    except Exception as error:  # a decoder of strangers' bytes raises whatever comes to its mind
        log.debug("a picture cannot be decoded: %s", type(error).__name__)
        raise _refused(param, "the picture cannot be decoded.", "image_parse_error") from None


def _check_size(size: tuple[Any, ...], param: str) -> None:
    longer, shorter = max(size), min(size)
    if longer * shorter > MAX_PIXELS:
        raise _too_large(param)
    if longer > shorter * MAX_RATIO:
        why = f"one side of the picture is more than {MAX_RATIO} times the other."
        raise _refused(param, why, "image_too_small")


def _too_large(param: str) -> InvalidRequest:
    why = f"the picture has more than {MAX_PIXELS // 1_000_000} million pixels."
    return _refused(param, why, "image_too_large")


def _refused(param: str, why: str, code: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid '{param}': {why}", param=param, code=code)
