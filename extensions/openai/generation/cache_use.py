"""What an answer may use of the prompts that an engine keeps."""

from __future__ import annotations

from itertools import count

from ..engines.protocol import CacheUse
from ..observability.record import RequestRecord
from ..settings import Settings

_groups = count(1)


def cache_use(record: RequestRecord, settings: Settings, salt: str, choices: int) -> CacheUse:
    """For one prompt that `choices` choices of a request continue. `salt`: the request's part of the space.
    How far it is read goes into the record.

    How long a prompt takes tells whether its beginning is known. So named keys share nothing, unless the
    operator says so: one key's client cannot find out, letter by letter, what another's sends.
    """
    space = [salt]
    if settings.isolate_cache != "off":
        space.append(record.caller.identity)
    if settings.isolate_cache == "users":
        space.append(record.user or "")
    return CacheUse("\0".join(space), choices, next(_groups), record.note_progress)
