"""Log-probabilities in the two shapes of the reference."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Sequence

from typing_extensions import TypedDict

from ..engines.protocol import LikelyToken, TokenLogprob
from ..engines.tokens.vocabulary import is_text

DECODER = codecs.getincrementaldecoder("utf-8")


class TopLogprob(TypedDict):
    """An alternative token."""

    token: str
    logprob: float
    bytes: list[int]


class ChatTokenLogprob(TopLogprob):
    """A token of a message, and the likeliest tokens in its position."""

    top_logprobs: list[TopLogprob]


class ChatLogprobs(TypedDict):
    """The tokens of a message, or of a part of it."""

    content: list[ChatTokenLogprob]
    refusal: None


class CompletionLogprobs(TypedDict):
    """The tokens of a text, or of a part of it; all lists have the same length.

    `text_offset` are characters of the choice's whole text.
    """

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


def chat_logprobs(tokens: Iterable[TokenLogprob]) -> ChatLogprobs:
    """Chat's shape."""
    return {
        "content": [
            {
                "token": shown_bytes(token.bytes, ""),
                "logprob": token.logprob or 0.0,
                "bytes": list(token.bytes),
                "top_logprobs": [_alternative(other, token) for other in token.top],
            }
            for token in tokens
        ],
        "refusal": None,
    }


def _alternative(other: LikelyToken, taken: TokenLogprob) -> TopLogprob:
    """A token without text is reported by its name; the sampled one as it is in the text."""
    spelled = taken.bytes if _same(other, taken) else other.bytes
    return {"token": _name(other, taken, ""), "logprob": other.logprob, "bytes": list(spelled)}


def _same(other: LikelyToken, taken: TokenLogprob) -> bool:
    return other.id is not None and other.id == taken.id


def _name(other: LikelyToken, taken: TokenLogprob, mark: str) -> str:
    if _same(other, taken):
        return shown_bytes(taken.bytes, mark)
    return shown_bytes(other.bytes, mark) or other.name


def completion_logprobs(tokens: Sequence[TokenLogprob], offset: int) -> CompletionLogprobs:
    """The legacy shape of tokens whose text begins at character `offset`."""
    return {
        "tokens": [shown_bytes(token.bytes, "bytes:") for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [_legacy_top(token) for token in tokens],
        "text_offset": _offsets(tokens, offset),
    }


def append_logprobs(whole: CompletionLogprobs, part: CompletionLogprobs | None) -> None:
    """Append the tokens of the next part to `whole`."""
    if part is None:
        return
    whole["tokens"] += part["tokens"]
    whole["token_logprobs"] += part["token_logprobs"]
    whole["text_offset"] += part["text_offset"]
    whole["top_logprobs"] += part["top_logprobs"]


def _legacy_top(token: TokenLogprob) -> dict[str, float] | None:
    """The likeliest tokens and, as in the reference, the sampled one."""
    if token.logprob is None:
        return None
    likeliest = {_name(other, token, "bytes:"): other.logprob for other in token.top}
    return likeliest | {shown_bytes(token.bytes, "bytes:"): token.logprob}


def _offsets(tokens: Sequence[TokenLogprob], offset: int) -> list[int]:
    """The offset of each token; parts of one character share its offset."""
    offsets: list[int] = []
    decoder = DECODER(errors="replace")
    for token in tokens:
        begun = decoder.getstate()[0]
        # What does not go on with the character before it ends that: it becomes a replacement character.
        offsets.append(offset + (bool(begun) and not _goes_on(begun, token.bytes)))
        offset += len(decoder.decode(token.bytes))
    return offsets


def _goes_on(begun: bytes, data: bytes) -> bool:
    """Whether these bytes are more of a character of which there is a part."""
    try:
        DECODER().decode(begun + data[:1])
    except UnicodeDecodeError:
        return False
    return True


def shown_bytes(spelled: bytes, mark: str) -> str:
    """A token's text; bytes that are not UTF-8 are written as \\xNN, as OpenAI does."""
    if is_text(spelled):
        return spelled.decode()
    return mark + "".join(f"\\x{byte:02x}" for byte in spelled)
