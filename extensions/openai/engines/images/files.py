"""Pictures as files: a client's to one in memory, and one in memory to a file."""

from __future__ import annotations

import logging
from base64 import b64encode
from io import BytesIO
from typing import Any

from ...errors import InvalidRequest
from ..pictures import PictureFile

log = logging.getLogger("openedai")

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_PIXELS = 50_000_000  # a few kilobytes may unfold to more than a machine has
JPEG_QUALITY = 95
WHOLE = 100  # percent


def decoded(file: PictureFile, param: str, mode: str) -> Any:
    """The picture in a file, upright, in Pillow's `mode`. `param`: its field. Raises InvalidRequest."""
    from PIL import Image, ImageOps

    file.file.seek(0)
    try:
        with Image.open(file.file, formats=FORMATS) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise _refused(
                    param,
                    f"the picture has more than {MAX_PIXELS // 1_000_000} million pixels.",
                    "image_too_large",
                )
            return ImageOps.exif_transpose(picture).convert(mode)
    except InvalidRequest:
        raise
    except Exception as error:  # a decoder of strangers' bytes raises whatever comes to its mind
        log.debug("a picture cannot be decoded: %s", type(error).__name__)
        raise _refused(param, "the picture cannot be decoded.", "image_parse_error") from None


def encoded(picture: Any, format: str, compression: int | None) -> str:
    """A file in base64: `png`, `jpeg` or `webp`. `compression`: as the reference's `output_compression`."""
    made = BytesIO()
    quality = JPEG_QUALITY if compression in (None, WHOLE) else compression
    options = {} if format == "png" else {"quality": quality}
    picture.save(made, format.upper(), **options)
    return b64encode(made.getvalue()).decode()


def _refused(param: str, why: str, code: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid '{param}': {why}", param=param, code=code)
