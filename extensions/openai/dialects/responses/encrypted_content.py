"""`encrypted_content` of items: what a client keeps for the server and cannot read.

Only this server, and those that share its keys, can open it, and only for the key that it was made for.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

from ...schemas import bad_request
from ...state.keyring import Keyring, NotOurs, Purpose
from .items import AnyItem, CompactionItem, ReasoningItem, ReasoningText


@dataclass(frozen=True, slots=True)
class ContentSeal:
    """Seals and opens for one owner."""

    keyring: Callable[[], Keyring]
    """Called where there is something to seal or to open; it may make the keys."""
    owner: str

    def seal(self, purpose: Purpose, text: str) -> str:
        return self.keyring().seal(purpose, self.owner, zlib.compress(text.encode()))

    def open(self, purpose: Purpose, sealed: str, param: str) -> str:
        """Raises InvalidRequest, naming the field."""
        try:
            return zlib.decompress(self.keyring().open(purpose, self.owner, sealed)).decode()
        except NotOurs:
            raise bad_request.not_sealed_here(param) from None

    def thought(self, text: str) -> str:
        """The `encrypted_content` of a thought."""
        return self.seal("reasoning", text)

    def conversation(self, text: str) -> str:
        """The `encrypted_content` of a compaction item."""
        return self.seal("compaction", text)

    def opened_conversation(self, sealed: str, where: str) -> str:
        """What is in a compaction item. Raises InvalidRequest."""
        param = f"{where}.encrypted_content" if "[" in where else where
        return self.open("compaction", sealed, param)

    def opened(self, item: AnyItem, where: str) -> AnyItem:
        """An item as it would come from the store: with its thought as text. Raises InvalidRequest, also for
        a compaction item that cannot be opened."""
        if isinstance(item, CompactionItem):
            self.opened_conversation(item.encrypted_content, where)
        if not isinstance(item, ReasoningItem) or item.encrypted_content is None:
            return item
        text = self.open("reasoning", item.encrypted_content, f"{where}.encrypted_content")
        content = [ReasoningText(type="reasoning_text", text=text)]
        return item.model_copy(update={"content": content, "encrypted_content": None})
