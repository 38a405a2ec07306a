"""Signatures of thoughts: a client gives a thought back as it got it, or the model does not see it again.

Where the client wants no text, the signature holds the thought itself, compressed and sealed.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from ...state.keyring import Keyring, NotOurs


@dataclass(frozen=True, slots=True)
class ThoughtSigner:
    """Signs the thoughts of one owner's requests."""

    keyring: Keyring
    owner: str

    def sign(self, thought: str) -> str:
        """The signature of a thought that the client has as text."""
        return self.keyring.sign("thought", self.owner, thought.encode())

    def carry(self, thought: str) -> str:
        """The signature of a thought that the client does not get as text; it holds it."""
        return self.keyring.seal("thought", self.owner, zlib.compress(thought.encode()))

    def thought(self, text: str, signature: str) -> str | None:
        """The thought that a client has given back; None where this server did not sign it for the owner."""
        try:
            return zlib.decompress(self.keyring.open("thought", self.owner, signature)).decode()
        except NotOurs:
            pass  # it may be the signature of a text
        try:
            data = text.encode(errors="replace")
            self.keyring.verify("thought", self.owner, data, signature)
        except NotOurs:
            return None
        return text
