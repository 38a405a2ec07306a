"""Named keys for tests."""

from __future__ import annotations

from extensions.openai.access.caller import Scope
from extensions.openai.access.key_files import KeyFiles
from extensions.openai.access.signed_keys import Grant
from extensions.openai.settings import Settings

BOTH: frozenset[Scope] = frozenset({"read", "write"})


def headers_of(
    settings: Settings, *names: str, scopes: frozenset[Scope] = BOTH
) -> dict[str, dict[str, str]]:
    """Make a key of each name in the data folder; the headers that send them."""
    files = KeyFiles.of(settings)
    keys = {name: files.create(Grant("", name, scopes)) for name in names}
    return {name: {"Authorization": f"Bearer {key}"} for name, key in keys.items()}
