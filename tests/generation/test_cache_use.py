"""Who shares what an engine keeps of prompts."""

from __future__ import annotations

from extensions.openai.access.caller import LOCAL, Caller
from extensions.openai.generation.cache_use import cache_use
from extensions.openai.observability.record import RequestRecord
from extensions.openai.settings import Settings


def space(name: str = "", *, user: str | None = None, salt: str = "", isolate: str = "auto") -> str:
    caller = LOCAL
    if name:
        caller = Caller(name, frozenset({"write"}), identity=f"{name}-1")
    record = RequestRecord()
    record.caller, record.user = caller, user
    return cache_use(record, Settings.model_validate({"isolate_cache": isolate}), salt, 1).space


def test_named_keys_share_nothing_unless_the_operator_says_so() -> None:
    assert space("ann") == space("ann") != space("ben")
    assert space("ann") != space()
    assert space("ann", isolate="off") == space("ben", isolate="off") == space(isolate="off")


def test_users_of_a_key() -> None:
    assert space("ann", user="x") == space("ann", user="y")
    assert space("ann", user="x", isolate="users") != space("ann", user="y", isolate="users")
    assert space(user="x", isolate="users") != space(user="y", isolate="users")


def test_a_salt_counts_always() -> None:
    for isolate in ("auto", "users", "off"):
        assert space("ann", salt="s", isolate=isolate) != space("ann", isolate=isolate)
    assert space("ann", salt="s") != space("ben", salt="s")


def test_choices_of_a_request_have_a_group_of_their_own() -> None:
    record, settings = RequestRecord(), Settings()
    first, second = (cache_use(record, settings, "", 4) for _ in range(2))
    assert first.choices == second.choices == 4 and first.group != second.group
