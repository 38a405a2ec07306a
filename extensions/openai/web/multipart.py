"""Bodies of multipart/form-data, read with bounded memory: large files go to disk, other fields are small."""

from __future__ import annotations

import io
import logging
from contextlib import suppress
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING, BinaryIO, cast

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser
from werkzeug.http import parse_options_header
from werkzeug.wsgi import get_content_length

from ..errors import InvalidRequest, RequestMemoryFull
from ..schemas.forms import Upload, parse_form
from ..schemas.validation import RequestModel
from ..system.data_folder import folder_for_temporary_files

if TYPE_CHECKING:
    from werkzeug.datastructures import FileStorage

    from .context import RequestContext

log = logging.getLogger("openedai")

FORM = "multipart/form-data"
MAX_FORM_PARTS = 100
MAX_FORM_FIELD_BYTES = 1 << 20  # of a field that is no file
SPOOLED_BYTES = 64 << 10  # of a file in memory; larger ones are on disk


class SpooledFile(SpooledTemporaryFile[bytes]):
    """One that is closed also where the disk has no room for its last bytes."""

    def close(self) -> None:
        with suppress(OSError):
            super().close()


def read_form(context: RequestContext, model: type[RequestModel], stream: BinaryIO) -> RequestModel:
    """The fields of a form, with its files, which are closed when the request has ended.

    Raises InvalidRequest, RequestMemoryFull.
    """

    folder = folder_for_temporary_files(context.services.settings)
    place = None if folder is None else str(folder)

    def spool(*_: object, **__: object) -> IO[bytes]:
        file = cast(IO[bytes], SpooledFile(SPOOLED_BYTES, dir=place))  # closed at the end
        context.close_at_end(file)
        return file

    parser = FormDataParser(
        spool,
        max_form_memory_size=MAX_FORM_FIELD_BYTES,
        max_form_parts=MAX_FORM_PARTS,
        silent=False,
    )
    kind, options = parse_options_header(context.environ.get("CONTENT_TYPE"))
    length = get_content_length(context.environ)
    try:
        _, fields, files = parser.parse(stream, kind, length, options)
        if None in fields or None in files:
            raise ValueError("a part has no name")
        uploads = [(name, _upload(each)) for name, each in files.items(multi=True)]
    except ValueError:
        raise InvalidRequest(
            f"The body of the request is not a complete form ({FORM}).", code="invalid_form"
        ) from None
    except RequestEntityTooLarge:
        raise InvalidRequest(
            f"The form has more than {MAX_FORM_PARTS} parts, or a field that is no file has more than "
            f"{MAX_FORM_FIELD_BYTES >> 20} MiB.",
            code="too_many_values",
        ) from None
    except OSError as error:
        log.error("an uploaded file cannot be written: %s", error.strerror)
        raise RequestMemoryFull(
            "The server has no room for the files of this request. Please try again."
        ) from None
    given: list[tuple[str, str | Upload]] = [*fields.items(multi=True), *uploads]
    return parse_form(model, given, strict=context.services.settings.strict_parameters)


def _upload(found: FileStorage) -> Upload:
    file = cast(BinaryIO, found.stream)
    file.seek(0, io.SEEK_END)
    size = file.tell()
    file.seek(0)
    return Upload(found.filename or "", found.content_type or "", file, size)
