"""Models that requests load, without processes: the echo engine is each of them."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace

from flask import Flask

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.model_spec import ModelLoadError
from extensions.openai.engines.protocol import Engine
from extensions.openai.engines.resident.engine import ResidentEngine
from extensions.openai.engines.resident.library import Download, Watch
from extensions.openai.engines.resident.model import Report, ResidentModel
from extensions.openai.engines.resident.residents import Residents, Rules
from extensions.openai.engines.resident.room import Room
from extensions.openai.errors import ModelInFile


@dataclass
class Child:
    engine: Engine

    def has_ended(self, within: float = 0.0) -> bool:
        return False

    def close(self) -> None:
        pass


@dataclass
class Library:
    """One model can be downloaded, when the test says so."""

    residents: Residents
    may_load: threading.Event
    may_end: threading.Event = field(default_factory=threading.Event)
    fault: str = ""
    load_fails: bool = False
    deleted: list[str] = field(default_factory=list)

    def download(self, source: str) -> Download:
        return Download(self._fetch)

    def _fetch(self, watch: Watch) -> str:
        watch(lambda: 7, 10)
        assert self.may_end.wait(60)
        if self.fault:
            raise ValueError(self.fault)
        return "fetched"

    def delete(self, name: str) -> None:
        if name == "a":
            raise ModelInFile(name)
        self.deleted.append(name)


def model(name: str) -> ResidentModel:
    info = replace(EchoEngine(name=name).info, is_remote=True, sampler="openedai")
    return ResidentModel(name, info, 100, (f"{name}-alias",), arguments={"ctx-size": 512})


def library_of_two() -> Library:
    """Models `a` and `b`, of which one fits."""
    may_load = threading.Event()
    may_load.set()

    def start(each: ResidentModel, report: Report) -> Child:
        report(0.425)
        if library.load_fails:
            raise ModelLoadError("no")
        assert may_load.wait(60)
        return Child(EchoEngine(name=each.name))

    residents = Residents([model("a"), model("b")], start, Rules(Room(1, 150)))
    library = Library(residents, may_load)
    return library


def serve_library(app: Flask, library: Library) -> None:
    services = app.extensions["openai"]
    services.residents, services.library = library.residents, library
    for name in library.residents.names():
        services.models.add(name, ResidentEngine(library.residents, name), (f"{name}-alias",))
