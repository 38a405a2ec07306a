"""What other servers are sent of the space in which prompts are shared."""

from __future__ import annotations

import pytest

from extensions.openai.engines.protocol import (
    CacheUse,
    ChatRequest,
    GenerateRequest,
    Message,
    RemoteChat,
)
from extensions.openai.engines.upstream.kinds import KINDS
from extensions.openai.engines.upstream.request_body import chat_body, completion_body
from extensions.openai.engines.upstream.rows import Kind


def salts(space: str, kind: Kind) -> tuple[object, object]:
    """`cache_salt` of a chat and of a completion."""
    cache = CacheUse(space)
    chat = RemoteChat(ChatRequest((Message("user", "Hi"),), cache=cache))
    completion = GenerateRequest("Hi", cache=cache)
    row = KINDS[kind]
    return (
        chat_body(chat, "m", row).get("cache_salt"),
        completion_body(completion, "m", row).get("cache_salt"),
    )


@pytest.mark.parametrize("kind", ["openedai", "vllm"])
def test_keys_share_nothing_and_stay_unknown(kind: Kind) -> None:
    alice, again = salts("\0alice", kind)
    assert alice == again and isinstance(alice, str) and "alice" not in alice
    assert alice != salts("\0bob", kind)[0]
    assert salts("x\0alice", kind)[0] not in (None, alice)


@pytest.mark.parametrize("kind", ["openai", "llama-server", "sglang"])
def test_others_know_no_such_field(kind: Kind) -> None:
    assert salts("\0alice", kind) == (None, None)


def test_where_there_is_no_key_all_share() -> None:
    assert salts("\0", "openedai") == (None, None)
