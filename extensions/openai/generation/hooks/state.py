"""A request's parameters under a web UI's names, and the changes that hooks make to them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from ...engines.protocol import EngineInfo, Native
from ..sampling.table import PARAMETERS
from ..sampling.upstream_fields import FIELDS

State = dict[str, Any]
"""What hooks get and may change: sampler parameters under the UI's names, and the UI's settings."""


def state_of(
    settings: Mapping[str, Any],
    sampling: Native,
    limit: int | None,
    seed: int | None,
    info: EngineInfo,
) -> State:
    """The state of a request for hooks; `settings` are the UI's further values."""
    named = {
        name: sampling[native]
        for name, native in _names(info.sampler).items()
        if native in sampling
    }
    return {
        **_UI_DEFAULTS,
        **settings,
        **named,
        # As in a webui's own API; its prompt builder keeps this many tokens free for the answer.
        "max_new_tokens": min(512, info.context_length // 2) if limit is None else limit,
        "auto_max_new_tokens": limit is None,
        "seed": -1 if seed is None else seed,
        "stream": True,
        "truncation_length": info.context_length,
        "history": {"internal": [], "visible": []},
    }


_UI_DEFAULTS = {
    "mode": "instruct",
    "character": "None",
    "name1": "You",
    "name2": "AI",
    "context": "",
    "greeting": "",
    "user_bio": "",
    "custom_system_message": "",
}
"""Values of a UI's state that hooks read, for a host without a UI."""


def _ui_name(row: str) -> str:
    return _UI_NAMES.get(row, row)


@cache
def _names(sampler: str) -> Mapping[str, str]:
    """The parameters of a sampler, or of a kind of other servers: a UI's names, and its own."""
    if sampler in FIELDS:
        return {_ui_name(row): name for row, name in FIELDS[sampler].items()}
    return {
        _ui_name(row.name): row.native[sampler].name for row in PARAMETERS if sampler in row.native
    }


_UI_NAMES = {row.name: row.native["webui"].name for row in PARAMETERS if "webui" in row.native}
_NOT_SAMPLING = (
    "max_new_tokens",
    "auto_max_new_tokens",
    "seed",
    "stream",
    "truncation_length",
    "history",
)


def changed_sampling(before: State, after: State, info: EngineInfo) -> dict[str, Any]:
    """Parameters that hooks have set, under the engine's names; unknown ones only if the engine accepts all
    of a UI's."""
    columns = _names(info.sampler)
    accepts_all = info.sampler.startswith("webui")
    return {
        columns.get(name, name): value
        for name, value in after.items()
        if name not in _NOT_SAMPLING
        and (name not in before or before[name] != value)
        and (name in columns or accepts_all)
    }


def with_system(state: State, system: str) -> State:
    """The state with the text of a request's system messages.

    A UI has one value for it. In the mode `chat` its builder does not read that, so the text is also added to
    the character's description.
    """
    state = {**state, "custom_system_message": system}
    if state["mode"] == "chat" and system:
        state["context"] = _join(str(state["context"]), system)
    return state


def changed_system(before: State, after: State) -> str | None:
    """The system text after hooks; None: unchanged.

    A UI reads `custom_system_message` in the mode `instruct`, and not `context`. If a hook changed only the
    latter, it did not check the mode, and what it added is still used. In the mode `chat` it is the other way
    round. So a hook that changes both does not take effect twice.
    """
    mode, changed = after.get("mode"), after.get("custom_system_message")
    system, context = str(before["custom_system_message"]), str(before["context"])
    if mode != "chat" and changed != system:
        return str(changed or "")
    if mode in ("chat", "chat-instruct") or after.get("context") == context:
        return None
    return _join(system, _added(context, str(after.get("context") or "")))


def changed_context(before: State, after: State) -> str | None:
    """The character's description for the UI's builder in the mode `chat`; None: unchanged by hooks."""
    system, changed = str(before["custom_system_message"]), after.get("custom_system_message")
    context, in_chat_mode = str(before["context"]), before["mode"] == "chat"
    if after.get("mode") != "chat":
        return None
    if after.get("context") != context:
        new = str(after.get("context") or "")
        return new if in_chat_mode else _join(new, str(changed or ""))
    if changed == system:
        return None
    alone = context.removesuffix(system).rstrip("\n") if in_chat_mode else context
    return _join(alone, str(changed or ""))


def _join(text: str, more: str) -> str:
    return "\n".join(each for each in (text, more) if each.strip())


def _added(before: str, after: str) -> str:
    """What a hook added before or after a text; its whole result if it changed the text itself."""
    if before and before in after:
        head, _, tail = after.partition(before)
        return _join(head.strip("\n"), tail.strip("\n"))
    return after


def changed_limit(before: State, after: State, requested: int | None) -> int | None:
    changed = after.get("max_new_tokens")
    if changed == before["max_new_tokens"] or not isinstance(changed, int) or changed < 1:
        return requested
    return changed


def changed_seed(before: State, after: State, requested: int | None) -> int | None:
    changed = after.get("seed")
    if changed == before["seed"] or not isinstance(changed, int):
        return requested
    return None if changed == -1 else changed
