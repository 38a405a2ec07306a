"""Signatures of thoughts: a client gives a thought back as it got it, or the model does not see it again.

A signature is base64 of a byte that says its form, an HMAC-SHA256, and, where the client wanted no text, the
thought itself, compressed: signed, so that it can be taken back, and not encrypted.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
import zlib
from base64 import b64decode, b64encode

OF_TEXT, WITH_TEXT = b"\x01", b"\x02"
MAC_BYTES = 32


class ThoughtSigner:
    """Signs with one key. Thread-safe."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def sign(self, thought: str) -> str:
        """The signature of a thought that the client has as text."""
        return self._signed(OF_TEXT, thought.encode(), b"")

    def carry(self, thought: str) -> str:
        """The signature of a thought that the client does not get as text; it holds it."""
        packed = zlib.compress(thought.encode())
        return self._signed(WITH_TEXT, packed, packed)

    def thought(self, text: str, signature: str) -> str | None:
        """The thought that a client has given back; None where this server did not sign it."""
        try:
            data = b64decode(signature, validate=True)
        except (binascii.Error, ValueError):
            return None
        form, mac, packed = data[:1], data[1 : 1 + MAC_BYTES], data[1 + MAC_BYTES :]
        signed = packed if form == WITH_TEXT else text.encode(errors="replace")
        if form not in (OF_TEXT, WITH_TEXT) or not hmac.compare_digest(
            self._mac(form, signed), mac
        ):
            return None
        return zlib.decompress(packed).decode() if form == WITH_TEXT else text

    def _signed(self, form: bytes, data: bytes, carried: bytes) -> str:
        return b64encode(form + self._mac(form, data) + carried).decode()

    def _mac(self, form: bytes, data: bytes) -> bytes:
        return hmac.new(self._key, form + data, hashlib.sha256).digest()
