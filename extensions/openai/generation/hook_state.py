"""The parameters of a request by the names that a page has for them, and what hooks made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..engines.base import EngineInfo, Native
from .sampling import PARAMETERS

State = dict[str, Any]
"""What hooks are given and may change: sampler parameters by the page's names, and the page's settings."""


def state_of(
    settings: Mapping[str, Any],
    sampling: Native,
    limit: int | None,
    seed: int | None,
    info: EngineInfo,
) -> State:
    """What hooks see of a request; `settings` is what the page holds besides."""
    named: State = {}
    for row in PARAMETERS:
        column = row.native.get(info.sampler)
        if column is not None and column.name in sampling:
            named[_page_name(row.name)] = sampling[column.name]
    return {
        **settings,
        **named,
        "max_new_tokens": limit if limit is not None else info.context_length,
        "seed": -1 if seed is None else seed,
        "stream": True,
        "truncation_length": info.context_length,
        "history": {"internal": [], "visible": []},
    }


def _page_name(row: str) -> str:
    return _PAGE_NAMES.get(row, row)


_PAGE_NAMES = {row.name: row.native["webui"].name for row in PARAMETERS if "webui" in row.native}
_OURS = ("max_new_tokens", "seed", "stream", "truncation_length", "history")


def changed_sampling(before: State, after: State, info: EngineInfo) -> dict[str, Any]:
    """Parameters that hooks have set, under the engine's names; what it does not know only where it
    takes all that a page does."""
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
