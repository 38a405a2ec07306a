"""Pictures: decoded by Pillow, and handed on as plain PNG."""

from __future__ import annotations

import logging
import threading
from io import BytesIO
from typing import Any, Literal

from ...engines.protocol import Media
from ...errors import InvalidRequest

log = logging.getLogger("openedai")

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")  # those that OpenAI takes
MAX_PIXELS = 50_000_000  # a few kilobytes may unfold to more than a machine has
MAX_RATIO = 200  # of the longer side to the shorter one; encoders break at more
LOW_DETAIL_PIXELS = 512  # pixels of each side, at most, with detail `low`
_decoding = threading.BoundedSemaphore(2)  # a large one takes half a gigabyte while it is unfolded

Detail = Literal["auto", "low", "high"]


def read_picture(data: bytes, detail: Detail | None, param: str, *, most: int = 2048) -> Media:
    """The picture in a file, as a PNG: upright, on white where it is transparent, and shrunk to at most
    `most` pixels a side, with detail `low` to LOW. So an engine's decoder never sees a file that a
    stranger has made, and a small file does not become a large one.

    Raises InvalidRequest where it is no picture, broken, animated or of an insane size.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with _decoding, Image.open(BytesIO(data), formats=FORMATS) as picture:
            _check_size(picture.size, param)
            if getattr(picture, "is_animated", False):
                raise _refused(param, "an animated picture is not taken.", "invalid_image_format")
            most = min(most, LOW_DETAIL_PIXELS) if detail == "low" else most
            picture.draft(None, (most, most))  # large JPEGs are unfolded smaller at once
            shown: Image.Image = ImageOps.exif_transpose(picture)
            if shown.has_transparency_data:
                shown = shown.convert("RGBA")
                white = Image.new("RGB", shown.size, "white")
                white.paste(shown, mask=shown.getchannel("A"))
                shown = white
            shown = shown.convert("RGB")
            shown.thumbnail((most, most))
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
