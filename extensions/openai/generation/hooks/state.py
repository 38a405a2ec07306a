"""The parameters of a request by the names that a web UI has for them, and what hooks made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...engines.protocol import EngineInfo, Native
from ..sampling.table import PARAMETERS

State = dict[str, Any]
"""What hooks are given and may change: sampler parameters by the UI's names, and the UI's settings."""


def state_of(
    settings: Mapping[str, Any],
    sampling: Native,
    limit: int | None,
    seed: int | None,
    info: EngineInfo,
) -> State:
    """What hooks see of a request; `settings` is what the UI holds besides."""
    named: State = {}
    for row in PARAMETERS:
        column = row.native.get(info.sampler)
        if column is not None and column.name in sampling:
            named[_page_name(row.name)] = sampling[column.name]
    return {
        **_PAGE,
        **settings,
        **named,
        # As a webui's own API has it; what makes a prompt keeps so many tokens free for the answer.
        "max_new_tokens": min(512, info.context_length // 2) if limit is None else limit,
        "auto_max_new_tokens": limit is None,
        "seed": -1 if seed is None else seed,
        "stream": True,
        "truncation_length": info.context_length,
        "history": {"internal": [], "visible": []},
    }


_PAGE = {
    "mode": "instruct",
    "character": "None",
    "name1": "You",
    "name2": "AI",
    "context": "",
    "greeting": "",
    "user_bio": "",
    "custom_system_message": "",
}
"""What hooks read of a UI's state, for a host that has no UI."""


def _page_name(row: str) -> str:
    return _PAGE_NAMES.get(row, row)


_PAGE_NAMES = {row.name: row.native["webui"].name for row in PARAMETERS if "webui" in row.native}
_OURS = (
    "max_new_tokens",
    "auto_max_new_tokens",
    "seed",
    "stream",
    "truncation_length",
    "history",
)


def changed_sampling(before: State, after: State, info: EngineInfo) -> dict[str, Any]:
    """Parameters that hooks have set, under the engine's names; what it does not know only where it
    takes all that a UI does."""
    columns = {
        _page_name(row.name): row.native[info.sampler].name
        for row in PARAMETERS
        if info.sampler in row.native
    }
    takes_all = info.sampler.startswith("webui")
    return {
        columns.get(name, name): value
        for name, value in after.items()
        if name not in _OURS
        and (name not in before or before[name] != value)
        and (name in columns or takes_all)
    }


def with_system(state: State, system: str) -> State:
    """The state with what the system messages of a request say.

    A UI has one text for it. In the mode `chat` its builder does not read it, so there it stands behind
    what the UI knows of the character, too.
    """
    state = {**state, "custom_system_message": system}
    if state["mode"] == "chat" and system:
        state["context"] = _below(str(state["context"]), system)
    return state


def changed_system(before: State, after: State) -> str | None:
    """What hooks made of the system messages; None where they left them as they are.

    A UI reads `custom_system_message` in the mode `instruct`, and not `context`. A hook that has changed
    only that one has not looked at the mode, and is not ignored: what it has added acts. In the mode `chat`
    it is the other way round. So a hook that changes both is not heard twice.
    """
    mode, changed = after.get("mode"), after.get("custom_system_message")
    system, context = str(before["custom_system_message"]), str(before["context"])
    if mode != "chat" and changed != system:
        return str(changed or "")
    if mode in ("chat", "chat-instruct") or after.get("context") == context:
        return None
    return _below(system, _added(context, str(after.get("context") or "")))


def changed_context(before: State, after: State) -> str | None:
    """What the UI's builder is to read of the character in the mode `chat`, where hooks changed it."""
    system, changed = str(before["custom_system_message"]), after.get("custom_system_message")
    context, in_chat_mode = str(before["context"]), before["mode"] == "chat"
    if after.get("mode") != "chat":
        return None
    if after.get("context") != context:
        made = str(after.get("context") or "")
        return made if in_chat_mode else _below(made, str(changed or ""))
    if changed == system:
        return None
    alone = context.removesuffix(system).rstrip("\n") if in_chat_mode else context
    return _below(alone, str(changed or ""))


def _below(text: str, more: str) -> str:
    return "\n".join(each for each in (text, more) if each.strip())


def _added(before: str, after: str) -> str:
    """What a hook has put in front of a text, or behind it; all that it made where it changed the text."""
    if before and before in after:
        head, _, tail = after.partition(before)
        return _below(head.strip("\n"), tail.strip("\n"))
    return after


def changed_limit(before: State, after: State, asked: int | None) -> int | None:
    changed = after.get("max_new_tokens")
    if changed == before["max_new_tokens"] or not isinstance(changed, int) or changed < 1:
        return asked
    return changed


def changed_seed(before: State, after: State, asked: int | None) -> int | None:
    changed = after.get("seed")
    if changed == before["seed"] or not isinstance(changed, int):
        return asked
    return None if changed == -1 else changed
