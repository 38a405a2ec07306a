"""Lines of batches whose tools this server runs."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from extensions.openai.engines.protocol import EngineInfo, GenerateRequest, Pieces
from extensions.openai.generation.hooks.extension_hooks import Hooks
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.support.batches import PATIENCE_S, batch_of, chat_line, lines_in, settled
from tests.support.calling_engine import CallingEngine, call
from tests.support.paced import TICK_S

URL = "/v1/chat/completions"


class Engine(CallingEngine):
    """It has one slot, and once a tool has returned it says nothing before its gate is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.gate, self.silent = threading.Event(), threading.Semaphore(0)

    @property
    def info(self) -> EngineInfo:
        return replace(super().info, parallel=1)

    def generate(self, request: GenerateRequest) -> Pieces:
        while "was called" in str(request.prompt) and not self.gate.wait(TICK_S):
            self.silent.release()
            yield None
        yield from super().generate(request)


def test_a_line_whose_tools_run_here_does_not_call_them_again(tmp_path: Path) -> None:
    called: list[Any] = []

    def run(arguments: Any) -> str:
        called.append(arguments)
        return "It was called."

    rows = {"servers": {"own": {"extension": "example"}}}
    (tmp_path / "tools.yaml").write_text(yaml.safe_dump(rows))
    engine = Engine()
    settings = Settings(store="memory", tool_servers=str(tmp_path / "tools.yaml"))
    app = create_app(settings, engine)
    services, client = app.extensions["openai"], app.test_client()
    tool = {"name": "act", "description": "", "parameters": {"type": "object"}, "run": run}
    example = SimpleNamespace(server_tools=lambda: [tool])
    services.hooks = Hooks(lambda: [("example", example)])
    mcp = [{"type": "mcp", "server_label": "own"}]
    made = batch_of(client, chat_line("a", call("own__act", {}), tools=mcp))

    def pass_some_steps() -> None:
        for _ in range(5):
            assert engine.silent.acquire(timeout=PATIENCE_S)

    pass_some_steps()
    with ThreadPoolExecutor(1) as pool:
        body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
        chat = pool.submit(app.test_client().post, URL, json=body)
        while not (services.models.queue().waiting or chat.done()):
            pass
        while engine.silent.acquire(blocking=False):
            pass
        # A line that is to give its slot back does so within these.
        pass_some_steps()
        engine.gate.set()
        assert chat.result().status_code == 200
    settled(app)
    assert called == [{}]
    done = client.get(f"/v1/batches/{made['id']}").json
    assert done["request_counts"] == {"total": 1, "completed": 1, "failed": 0}
    [line] = lines_in(client, done["output_file_id"])
    message = line["response"]["body"]["choices"][0]["message"]
    assert message["content"] == "It was called."
