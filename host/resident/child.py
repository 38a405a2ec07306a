"""A model in a child process, reached through a unix socket in a folder that only this user can open."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from extensions.openai.engines.model_spec import ModelLoadError
from extensions.openai.engines.protocol import TASK_CAPABILITIES, Engine
from extensions.openai.engines.remote.address import parse_address
from extensions.openai.engines.remote.http_client import HttpClient, Timeouts, Unreachable
from extensions.openai.engines.resident.model import Report, ResidentModel
from extensions.openai.engines.upstream.engine import UpstreamEngine
from extensions.openai.engines.upstream.listing import ask_for_models
from extensions.openai.engines.upstream.rows import Upstream, UpstreamModel
from extensions.openai.engines.upstream.task_engine import UpstreamTaskEngine
from host.folders import ROOT
from host.resident.child_main import FOLDER_PREFIX, progress_in

log = logging.getLogger(__name__)

SOCKET = "api.sock"
POLL_S = 0.05
LAST_LINES = 5
TIMEOUTS = Timeouts(connect=5.0, first=86400.0, silence=86400.0)
"""A long prompt may take hours on a small machine; a process that hangs is not told from one that reads."""
OTHER_VARIABLES = ("USE_MOCK_API",)
FLAGS = (
    *("--extensions=openai", "--store=off", "--usage-days=0", "--sessions=off", "--metrics=off"),
    *(
        *("--model-aliases=none", "--model-defaults=off"),
        "--spare-seconds=0",
        "--endpoints=chat,completions,models,health,tokens,embeddings,rerank",
    ),
)
"""It has one client, who decides everything."""


class ChildProcess:
    """The process of one model, from its start to `close`. Thread-safe."""

    def __init__(self, model: ResidentModel, arguments: Sequence[str], report: Report) -> None:
        """Start it, and wait until its model is loaded. `arguments`: of this host; `report`: how far it is.
        Raises ModelLoadError."""
        self._name, self._report = model.name, report
        self._folder = tempfile.TemporaryDirectory(prefix=FOLDER_PREFIX, ignore_cleanup_errors=True)
        socket = Path(self._folder.name) / SOCKET
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        own = (f"--unix-socket={socket}", f"--data-folder={self._folder.name}")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "host.resident.child_main", *FLAGS, *own, *arguments],
            env=_environment(os.environ, self._folder.name),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that Ctrl-C ends its answers only when this process says so
        )
        self._reader = threading.Thread(target=self._read, name=f"model-{model.name}", daemon=True)
        self._reader.start()
        self._client = HttpClient(
            parse_address(f"unix://{socket}", default_path="/v1"), {}, TIMEOUTS
        )
        try:
            self._engine = self._connected(model)
        except BaseException:
            self.close()
            raise

    @property
    def engine(self) -> Engine:
        return self._engine

    @property
    def pid(self) -> int:
        return self._process.pid

    def has_ended(self, within: float = 0.0) -> bool:
        """As in Child."""
        if not within:
            return self._process.poll() is not None
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(within)
        return self._process.poll() is not None

    def close(self) -> None:
        """As in Child. All that it has on the disk is in its folder, so it need not end by itself."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._client.close()
        self._reader.join()
        self._folder.cleanup()

    def _connected(self, model: ResidentModel) -> Engine:
        """An engine for the model, once it is loaded. Raises ModelLoadError if the process ends before."""
        while not self._is_ready():
            if self.has_ended(POLL_S):
                self._reader.join()
                raise ModelLoadError(f"{self._how_it_ended()}: {' / '.join(self._lines)}")
        (listed,) = [
            each
            for each in ask_for_models(model.name, self._client).models.values()
            if each.root is None
        ]
        upstream = Upstream(model.name, self._client.address, concurrent=model.info.parallel)
        there = UpstreamModel(model.name, listed.id)
        if TASK_CAPABILITIES.isdisjoint(model.info.capabilities):
            return UpstreamEngine(upstream, there, self._client, "openedai", listed)
        return UpstreamTaskEngine(upstream, there, self._client, "openedai", listed)

    def _how_it_ended(self) -> str:
        status = self._process.poll()
        if status is None or status >= 0:
            return "its process ended"
        # The kernel does so when there is no memory left.
        return f"its process was ended by signal {-status}"

    def _is_ready(self) -> bool:
        """Whether it answers for its model."""
        try:
            with self._client.request("GET", "/models") as reply:
                reply.finish()
                return reply.status == 200
        except Unreachable:
            return False

    def _read(self) -> None:
        """Pass on what it writes: warnings as such, the rest for those who debug."""
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                text = line.decode(errors="replace").rstrip()
                if (progress := progress_in(text)) is not None:
                    self._report(progress)
                    continue
                self._lines.append(text)
                level = logging.WARNING if _is_warning(text) else logging.DEBUG
                log.log(level, "%s: %s", self._name, text)


def _is_warning(line: str) -> bool:
    return any(word in line for word in ("WARNING", "ERROR", "CRITICAL"))


def _environment(variables: Mapping[str, str], folder: str) -> dict[str, str]:
    """The environment without this host's options, each of which would be an option of the child; temporary
    files go to this folder."""
    kept = {
        name: value
        for name, value in variables.items()
        if not name.startswith(("OPENEDAI_", "OPENAI_")) and name not in OTHER_VARIABLES
    }
    paths = os.pathsep.join(filter(None, (str(ROOT), kept.get("PYTHONPATH"))))
    return {**kept, "PYTHONPATH": paths, "TMPDIR": folder}
