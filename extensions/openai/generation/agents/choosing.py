"""The agents that there are, and how requests choose one: as their model, `agent:NAME`, or by a header.

Those of the operator's file are read with the settings; those that were made over the API are looked up in
the store for each request that names one, so that a change counts at once, on every server that shares it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import orjson

from ...access.caller import Caller
from ...errors import (
    AgentUnavailable,
    InvalidRequest,
    ModelNotFound,
    StoreUnavailable,
)
from ...limits.served_models import nearest_first
from ...schemas.validation import check
from ...settings import Settings
from .agent import PREFIX, Agent
from .definition import NAME, AgentDefinition
from .file import AgentFile

if TYPE_CHECKING:
    from ...state.agents import StoredAgent
    from ...state.store import Store

log = logging.getLogger("openedai")


class Agents:
    """All of them. Thread-safe; settings that change make another one."""

    def __init__(self, file: AgentFile, store: Store, settings: Settings) -> None:
        self.file, self._store, self._settings = file, store, settings
        self._known: dict[str, tuple[bytes, Agent]] = {}
        """Those of the store that were used, by name, with what they were made of."""

    def open_to(self, caller: Caller) -> tuple[Agent, ...]:
        """Those that the caller may use: the file's in its order, then the store's by name. Those that cannot
        be read now are left out."""
        return tuple(agent for agent in self._all() if agent.is_open_to(caller))

    def chosen(self, model: str | None, header: str | None, caller: Caller) -> Agent | None:
        """The agent that a request for this model, or with this header, is for; None for none. The model's
        name goes before the header.

        Raises ModelNotFound for one that is not there, or not for the caller; AgentUnavailable,
        StoreUnavailable.
        """
        prefix, colon, name = (model or "").partition(":")
        if colon and prefix in self.file.prefixes:
            return self._find(name, str(model), caller)
        return None if header is None else self._find(header, header, caller)

    def _find(self, name: str, asked: str, caller: Caller) -> Agent:
        agent = self.file.agents.get(name)
        if agent is None and self._store.is_there and re.fullmatch(NAME, name):
            stored = self._store.agents.get(name)
            agent = None if stored is None else self._of(stored)
        if agent is None or not agent.is_open_to(caller):
            known = [each.id for each in self.open_to(caller)]
            raise ModelNotFound(asked[:200], nearest_first(f"{PREFIX}:{name}", known))
        return agent

    def _all(self) -> Iterator[Agent]:
        yield from self.file.agents.values()
        if not self._store.is_there:
            return
        try:
            stored = self._store.agents.all()
        except StoreUnavailable:
            return  # it is in the log
        for each in stored:
            if each.name not in self.file.agents:
                try:
                    yield self._of(each)
                except AgentUnavailable:
                    continue  # it is in the log

    def _of(self, stored: StoredAgent) -> Agent:
        made_of, agent = self._known.get(stored.name, (b"", None))
        if agent is not None and made_of == stored.definition:
            return agent
        try:
            definition = check(AgentDefinition, orjson.loads(stored.definition))
            agent = Agent.of(stored.name, definition, self._settings)
        except InvalidRequest as error:
            log.warning("the agent %s cannot be used: %s", stored.name, error.message)
            raise AgentUnavailable("it is not valid under the settings of this server") from None
        self._known[stored.name] = stored.definition, agent
        return agent
