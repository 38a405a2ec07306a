"""What another server says of its models, at the start."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from ...errors import APIError
from ..protocol import TASK_CAPABILITIES, Capability
from ..remote.failures import failures_told, refusal_of
from ..remote.http_client import HttpClient
from .rows import Kind

log = logging.getLogger("openedai")

CONTEXT_FIELDS = ("context_length", "max_model_len", "max_context_length", "context_window")
OWNERS: Mapping[str, Kind] = {"vllm": "vllm", "sglang": "sglang", "llamacpp": "llama-server"}


SHOWN = frozenset({Capability.CHAT, *TASK_CAPABILITIES})
"""Of these every model that an OpenedAI lists has one."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A model in a server's list."""

    id: str
    created: int = 0
    """0: it does not say."""
    context_length: int | None = None
    capabilities: tuple[Capability, ...] | None = None
    root: str | None = None
    """The model that the name is another name of."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The list, and what it shows of the server."""

    models: Mapping[str, Listed]
    kind: Kind = "openai"


def ask_for_models(name: str, client: HttpClient) -> Listing:
    """What the server called `name` lists. Raises the errors for clients."""
    with failures_told(name), client.request("GET", "/models") as reply:
        if reply.status != 200:
            raise refusal_of(name, reply)
        data = b"".join(reply.body)
    try:
        listed = orjson.loads(data)["data"]
        return Listing({each["id"]: _listed(each) for each in listed}, _kind(listed))
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        log.warning("%s: its list of models cannot be read", name)
        return Listing({})


def models_or_none(name: str, client: HttpClient) -> Listing | None:
    """The same; None where the server does not answer."""
    try:
        return ask_for_models(name, client)
    except APIError as error:
        log.warning("%s does not list its models now (%s)", name, error.code)
        return None


def _listed(model: Mapping[str, Any]) -> Listed:
    meta = model.get("meta") or {}
    lengths = [model.get(field) for field in CONTEXT_FIELDS]
    lengths += [meta.get("n_ctx"), meta.get("n_ctx_train")]
    context = next((each for each in lengths if isinstance(each, int) and each > 0), None)
    created = model.get("created")
    return Listed(
        str(model["id"]),
        created if isinstance(created, int) else 0,
        context,
        _capabilities(model.get("capabilities")),
        model.get("root"),
    )


def _capabilities(said: Any) -> tuple[Capability, ...] | None:
    """What an OpenedAI lists; others list other things under that name."""
    known = {str(each): each for each in Capability}
    if not isinstance(said, list) or not SHOWN.intersection(
        known[each] for each in said if isinstance(each, str) and each in known
    ):
        return None
    # A prompt between two others and the modes of a webui are of its own requests only.
    here = {Capability.INFILL, Capability.MODES}
    if Capability.CHAT in said:
        here |= TASK_CAPABILITIES  # one that does both, as in mock mode, is asked for texts
    return tuple(known[each] for each in said if each in known and known[each] not in here)


def _kind(listed: list[Mapping[str, Any]]) -> Kind:
    for model in listed:
        owner = str(model.get("owned_by", "")).lower().replace(".", "").replace("-", "")
        if "template" in model or _capabilities(model.get("capabilities")):
            return "openedai"
        if owner in OWNERS:
            return OWNERS[owner]
    return "openai"
