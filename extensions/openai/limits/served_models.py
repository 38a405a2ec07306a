"""The models of requests: each found once by its name, and a snapshot from then on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from ..engines.protocol import Capability, Engine, EngineInfo, Residence
from ..errors import ModelLoading, ModelNotFound, NotConfigured
from ..schemas import bad_request
from ..settings import ANY_MODEL, Settings
from ..system.once import Once
from .scheduler import QueueState, Scheduler, merged

log = logging.getLogger("openedai")
MAX_LISTED = 20
"""Names that an error lists at most."""
MISSING: Mapping[Capability, str] = {
    Capability.EMBEDDINGS: "This server has no embedding model. Name one with --embedding-model "
    "(OPENEDAI_EMBEDDING_MODEL): hf:OWNER/REPO, a file, or self, as docs/embeddings.md says.",
    Capability.RERANK: "This server has no rerank model. Name one with --rerank-model "
    "(OPENEDAI_RERANK_MODEL): hf:OWNER/REPO or a file, as docs/embeddings.md says.",
    Capability.TRANSCRIPTION: "This server has no model for transcriptions. Name one with "
    "--transcription-model (OPENEDAI_TRANSCRIPTION_MODEL), the folder of a Whisper model, or one of another "
    "server in --upstreams, as docs/audio.md says.",
    Capability.SPEECH: "This server has no voice. Name one with --speech-model (OPENEDAI_SPEECH_MODEL), a "
    "Piper voice or espeak-ng, or a model of another server in --upstreams, as docs/audio.md says.",
    Capability.IMAGES: "This server has no model for images. Name one with --image-model "
    "(OPENEDAI_IMAGE_MODEL), or one of another server in --upstreams, as docs/images.md says; "
    "in a web UI, load one there.",
    Capability.MODERATION: "This server has no model for moderation. Name one of its own with "
    "--moderation-model (OPENEDAI_MODERATION_MODEL), or one of another server in --upstreams, as "
    "docs/moderation.md says.",
}
"""What to tell the clients of an endpoint that no model serves."""
WRITES = frozenset({Capability.COMPLETION, Capability.CHAT})
SELF = "self"
"""Names the default model in the setting `moderation_model`."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model as one request sees it."""

    name: str
    """Its name in answers, whatever name the request used."""
    engine: Engine
    """Its `info` stays the same while the model stays loaded."""
    info: EngineInfo
    scheduler: Scheduler
    """Grants the model's slots."""
    aliases: tuple[str, ...] | None = None
    """Further names of its own; None: it is the default model, whose aliases the settings list."""
    sampling: Mapping[str, Any] = field(default_factory=dict)
    """Parameters that a request does not give, by the rows of the sampler table."""
    root: str | None = None
    """The model that it is with an adapter; None: it is a model itself."""

    @property
    def writes(self) -> bool:
        """Whether it answers chats or continues prompts."""
        return not WRITES.isdisjoint(self.info.capabilities)


@dataclass(frozen=True, slots=True)
class _Other:
    """A model besides the default one."""

    name: str
    engine: Engine
    scheduler: Scheduler
    aliases: tuple[str, ...]
    sampling: Mapping[str, Any]
    root: str | None

    def snapshot(self) -> ServedModel:
        take: Callable[[], Engine] | None = getattr(self.engine, "snapshot", None)
        engine = self.engine if take is None else take()
        return ServedModel(
            self.name,
            engine,
            engine.info,
            self.scheduler,
            self.aliases,
            self.sampling,
            self.root,
        )


class ServedModels:
    """The models that requests may use: the default one, which may come and go, and those that were added.
    Thread-safe."""

    def __init__(self, engine: Engine, scheduler: Scheduler, settings: Settings) -> None:
        """`engine`, `scheduler`: of the default model."""
        self._engine, self._scheduler, self._settings = engine, scheduler, settings
        self._snapshot: Callable[[], Engine] | None = getattr(engine, "snapshot", None)
        self._others: tuple[_Other, ...] = ()
        self._by_name: Mapping[str, _Other] = {}
        self._leader: _Other | None = None
        self._expected: frozenset[Capability] = frozenset()
        self._strangers = Once()

    def configure(self, settings: Settings) -> None:
        """Use these settings from now on."""
        self._settings = settings
        for scheduler in self._schedulers:
            scheduler.configure(settings)

    def expect(self, capabilities: Collection[Capability]) -> None:
        """From now on models with these are being loaded, and no others."""
        self._expected = frozenset(capabilities)

    def add(
        self,
        name: str,
        engine: Engine,
        aliases: Sequence[str] = (),
        *,
        sampling: Mapping[str, Any] | None = None,
        root: str | None = None,
    ) -> None:
        """Serve one more model, with slots of its own. Its names come before the default model's aliases.
        `sampling`, `root`: as in ServedModel."""
        scheduler = Scheduler.of(self._settings)
        other = _Other(name, engine, scheduler, tuple(aliases), sampling or {}, root)
        self._others = (*self._others, other)
        self._by_name = {**self._by_name, **dict.fromkeys((name, *aliases), other)}

    def remove(self, name: str) -> None:
        """Serve it no longer."""
        other = self._by_name[name]
        self._others = tuple(each for each in self._others if each is not other)
        self._by_name = {key: each for key, each in self._by_name.items() if each is not other}

    def change(
        self, before: Sequence[str], now: Sequence[tuple[str, Engine, Sequence[str]]]
    ) -> None:
        """Serve these models, each with a name, an engine and aliases, in place of those called `before`; one
        with the same name keeps its slots and queue. Requests go on with the engine that they have."""
        known = {other.name: other for other in self._others}
        changed = []
        for name, engine, aliases in now:
            same = known.get(name)
            scheduler = Scheduler.of(self._settings) if same is None else same.scheduler
            changed.append(_Other(name, engine, scheduler, tuple(aliases), {}, None))
        gone = {*before, *(other.name for other in changed)}
        others = (*changed, *(other for other in self._others if other.name not in gone))
        leader = self._leader
        by_name = {name: other for other in others for name in (other.name, *other.aliases)}
        if leader is not None:
            self._leader = by_name.get(leader.name) or next(iter(others), leader)
        self._others, self._by_name = others, by_name

    def is_added(self, name: str) -> bool:
        """Whether it is a name of one besides the default model."""
        return name in self._by_name

    def residence(self, name: str) -> Residence | None:
        """How a model that comes and goes is now; None: it is none, or is no longer there."""
        other = self._by_name.get(name)
        return None if other is None else other.engine.info.residence

    def lead(self, name: str) -> None:
        """Make one that was added the default model, in place of the host's own, of which there is none."""
        self._leader = self._by_name[name]

    def loaded(self) -> ServedModel:
        """The default model. Raises ModelLoading."""
        if self._leader is not None:
            return self._leader.snapshot()
        engine = self._engine if self._snapshot is None else self._snapshot()
        info = engine.info
        return ServedModel(info.model, engine, info, self._scheduler)

    def others(self) -> list[ServedModel]:
        """Those besides the default one."""
        return [other.snapshot() for other in self._others if other is not self._leader]

    def all(self) -> list[ServedModel]:
        """All of them, the default one first. Raises ModelLoading if there is none."""
        try:
            return [self.loaded(), *self.others()]
        except ModelLoading:
            if not self._others:
                raise
            return self.others()

    def available(self) -> list[ServedModel]:
        """Those that can answer now; none while the only one is not loaded."""
        try:
            return self.all()
        except ModelLoading:
            return []

    def names(self, served: ServedModel) -> tuple[str, ...]:
        """The model's own name, then its aliases."""
        own = (served.name, *(served.aliases or ()))
        if not self._is_default(served):
            return own
        aliases = (
            name
            for name in self._settings.model_aliases
            if name != ANY_MODEL and name not in self._by_name
        )
        return tuple(dict.fromkeys((*own, *aliases)))

    def find(self, name: str) -> ServedModel:
        """The model with this name. Raises ModelNotFound, ModelLoading."""
        served = self.choose(name)
        if name not in self.names(served):
            raise self._not_found(name)
        return served

    def of_agent(self, name: str | None) -> ServedModel | None:
        """The model that answers for an agent with this one; None if it is not there. Raises ModelLoading."""
        served = self.choose(name)
        return served if name is None or name in self.names(served) else None

    def resolve(self, name: str | None) -> ServedModel:
        """The model that answers a request for this name; None: the request names none.

        Raises ModelNotFound, ModelLoading, and InvalidRequest if a required name is missing.
        """
        served = self.choose(name)
        self.check(name, served)
        return served

    def choose(self, name: str | None) -> ServedModel:
        """The model with this name, or else the default one, whatever it is called. Raises ModelLoading."""
        other = self._by_name.get(name) if self._by_name and name is not None else None
        return self.loaded() if other is None else other.snapshot()

    def able(self, capability: Capability, name: str | None) -> ServedModel:
        """The model with a capability that answers a request for this name.

        While one model has it, it answers to every name, as `check` says. Raises NotConfigured if none has
        it, ModelNotFound, ModelLoading, and InvalidRequest if a required name is missing.
        """
        able = [served for served in self.all() if capability in served.info.capabilities]
        if not able and capability in self._expected:
            raise ModelLoading(
                f"The model for {capability} is loading. Please try again in a moment."
            )
        if not able:
            raise NotConfigured(MISSING[capability])
        named = (served for served in able if name in self.names(served))
        served = next(named, able[0])
        self._check(name, served, is_a_choice=len(able) > 1)
        return served

    def capabilities(self, served: ServedModel) -> tuple[Capability, ...]:
        """What requests may use of a model: what its engine can do, what the operator named it for, and what
        another model does for it."""
        own, more = served.info.capabilities, []
        if self._moderates(served):
            more.append(Capability.MODERATION)
        hears = self._settings.transcribe_sounds and served.writes and Capability.AUDIO not in own
        if hears and self.first_with(Capability.TRANSCRIPTION) is not None:
            more.append(Capability.AUDIO)
        return (*own, *more)

    def _moderates(self, served: ServedModel) -> bool:
        named = self._settings.moderation_model
        if named is None or Capability.GRAMMAR not in served.info.capabilities:
            return False
        return self._is_default(served) if named == SELF else named in self.names(served)

    def first_with(self, capability: Capability) -> ServedModel | None:
        """The first model with a capability; None if there is none. Raises ModelLoading."""
        return next((each for each in self.all() if capability in each.info.capabilities), None)

    def default_for(self, capability: Capability) -> str | None:
        """Its name. Raises ModelLoading."""
        found = self.first_with(capability)
        return None if found is None else found.name

    def is_able(self, capability: Capability, name: str) -> bool:
        """Whether the model of this name has a capability. Raises ModelLoading."""
        able = (each for each in self.all() if capability in each.info.capabilities)
        return any(name in self.names(each) for each in able)

    def check(self, name: str | None, served: ServedModel) -> None:
        """Raises the errors of `resolve` if the model may not be used under this name.

        By default one model answers to every name, as some clients have a fixed one. Names are checked if the
        operator wants that, or if there are several models to choose from.
        """
        self._check(name, served, is_a_choice=self._is_a_choice)

    def _check(self, name: str | None, served: ServedModel, *, is_a_choice: bool) -> None:
        settings = self._settings
        if name is None:
            if settings.require_model:
                raise bad_request.missing("model")
        elif name in self.names(served) or ANY_MODEL in settings.model_aliases:
            pass
        elif settings.strict_models or is_a_choice or self._lists_others:
            raise self._not_found(name)
        elif self._strangers.first(name[:64]):
            log.info(
                "a request asks for the model %.64r: %r answers (--strict-models refuses other names)",
                name,
                served.name,
            )

    def queue(self) -> QueueState:
        """The queues of all models together."""
        return merged([scheduler.state() for scheduler in self._schedulers])

    @property
    def slots(self) -> int:
        """How many choices all models can generate at once; a model that is not loaded has no slots."""
        return sum(served.info.parallel for served in self.available())

    @property
    def count(self) -> int:
        """How many there may be."""
        return 1 + len(self._others)

    def refuse_new(self) -> None:
        """Give no more slots: the server stops."""
        for scheduler in self._schedulers:
            scheduler.close()

    def close(self) -> None:
        """Close the engines of those besides the default one."""
        for other in self._others:
            other.engine.close()

    @property
    def _schedulers(self) -> tuple[Scheduler, ...]:
        return (self._scheduler, *(other.scheduler for other in self._others))

    @property
    def _lists_others(self) -> bool:
        """Whether the list has models of the host that are not loaded."""
        return self._settings.list_host_models or self._settings.load_on_request

    @property
    def _is_a_choice(self) -> bool:
        """Whether requests can choose between several models that write."""
        return any(served.writes for served in self.others())

    def _is_default(self, served: ServedModel) -> bool:
        leads = self._leader is not None and served.name == self._leader.name
        return served.aliases is None or leads

    def _not_found(self, name: str) -> ModelNotFound:
        known = [each for served in self.all() for each in self.names(served)]
        return ModelNotFound(name[:200], nearest_first(name, known))


def nearest_first(name: str, known: Sequence[str]) -> list[str]:
    """Some of the known names, first those that `name` may be a misspelling of."""
    by_lower = {each.lower(): each for each in known}
    wanted = name[:200].lower()
    near = [by_lower[each] for each in get_close_matches(wanted, by_lower, n=3, cutoff=0.7)]
    return list(dict.fromkeys((*near, *known)))[:MAX_LISTED]
