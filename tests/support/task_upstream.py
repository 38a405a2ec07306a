"""Another server that does all tasks but writing, and this server's application over it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from extensions.openai.engines.upstreams_file import engines_of
from extensions.openai.settings import Settings
from tests.support.api import Api
from tests.support.fake_upstream import Asked, FakeUpstream, Scripted
from tests.support.paced import PacedEngine

MODELS = {
    "vectors": "text-embedding-3-small",
    "ranks": {"model": "ranker", "capabilities": ["rerank"]},
    "hears": "whisper-1",
    "speaks": "tts-1",
    "paints": "gpt-image-1",
    "judges": "omni-moderation-latest",
}


@dataclass(slots=True)
class TaskApi:
    """The other server answers what `answers` says for a path; `asked` is what came."""

    fake: FakeUpstream
    api: Api
    answers: dict[str, Scripted] = field(default_factory=dict)

    @property
    def client(self) -> Any:
        return self.api.client

    @property
    def last(self) -> Asked:
        return self.fake.posts[-1]

    def script(self, asked: Asked) -> Scripted:
        return self.answers[asked.path.removeprefix("/v1")]


@contextmanager
def task_api(folder: Path, kind: str = "openai", **options: Any) -> Iterator[TaskApi]:
    """`kind`: of the other server; `options`: settings of this one."""
    with FakeUpstream(Scripted()) as fake:
        path = folder / f"{kind}.yaml"
        row = {"address": fake.address, "kind": kind, "models": MODELS}
        path.write_text(json.dumps({"upstreams": {"gpu": row}}))
        api = Api(PacedEngine(), **options)
        services = api.app.extensions["openai"]
        engines = engines_of(Settings(upstreams=str(path)))
        for each in engines:
            services.models.add(each.name, each.engine, each.aliases)
        made = TaskApi(fake, api)
        fake.script = made.script
        yield made
        for each in engines:
            each.engine.close()
