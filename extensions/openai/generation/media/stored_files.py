"""Files that messages name by their ids, instead of sending them once more with each request.

    {"type": "file", "file": {"file_id": "file-0123456789abcdef0123456789abcdef"}}

The store finds them; this reads them, within the bounds that hold for files in the body of a request.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from ...errors import InvalidRequest, StoredObjectNotFound

MIB = 1 << 20
TEXT_PURPOSES = ("user_data", "assistants")
"""Of files whose text a model may be given."""
PICTURE_PURPOSES = ("vision", "user_data", "assistants", "image_output")


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file of the caller's."""

    name: str
    media_type: str
    """Both from the client that uploaded it; any text."""
    purpose: str
    size: int
    """Bytes."""
    parts: Iterator[bytes]
    """Its content. May raise StoredObjectNotFound, if it is deleted meanwhile."""


Find = Callable[[str, str], NamedFile]
"""The file with an id, which this field of the request names. Raises StoredObjectNotFound for the field,
StoreOff, StoreUnavailable."""


class StoredFiles:
    """The files that one request names. Belongs to its thread."""

    def __init__(self, find: Find, max_bytes: int, max_total: int) -> None:
        """`max_bytes`: of each; `max_total`: of all together, as they are in memory like a body."""
        self._find, self._max_bytes, self._max_total = find, max_bytes, max_total
        self._left = max_total

    def read(self, id: str, param: str, purposes: Collection[str]) -> tuple[NamedFile, bytes]:
        """A file with one of these purposes, and its content. Raises InvalidRequest, and what Find raises."""
        file = self._find(id, param)
        if file.purpose not in purposes:
            allowed = ", ".join(f"'{name}'" for name in purposes)
            raise _refused(param, f"the file's purpose is '{file.purpose}', and not {allowed}.")
        if file.size > self._max_bytes:
            raise _refused(param, f"it is larger than {self._max_bytes // MIB} MiB.")
        if not file.size:
            raise _refused(param, "it is empty.")
        self._left -= file.size
        if self._left < 0:
            most = self._max_total // MIB
            raise _refused(param, f"the files of the request have more than {most} MiB together.")
        try:
            return file, b"".join(file.parts)
        except StoredObjectNotFound:
            raise StoredObjectNotFound(id, param=param) from None


def _refused(param: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"Invalid '{param}': {why}", param=param, code="invalid_value")
