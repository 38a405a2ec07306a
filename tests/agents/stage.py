"""What a case plays on: a server whose engine is watched, a relay before it, an agent's folders."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from tests.agents.catalogue import CONTEXT, Agent, Place, scripts_of, surroundings
from tests.agents.relay import Exchange, Relay, wait_for
from tests.support.families import Family
from tests.support.process import ServerProcess
from tests.support.scripted_model import Script

USER_KEY, ADMIN_KEY = "key-of-the-agent", "key-of-the-operator"
SLOTS, QUEUE = 2, 1
PROGRAM = ("-m", "tests.agents.observed_server", "--extensions", "openai")
NUMBERS = 300
COUNTING = ", ".join(str(number) for number in range(1000, 1000 + NUMBERS))
"""A text that takes a while."""
SUMMARY = "<summary>All was read. Go on with say:after-the-summary.</summary>"
SUMMARY = f"<state_snapshot>{SUMMARY}</state_snapshot>"
"""In the tags that some agents look for."""
FILLED = 4
"""How many files a conversation reads until it is too long."""


@dataclass(frozen=True, slots=True)
class Finished:
    status: int
    output: str

    @property
    def tail(self) -> str:
        """Its end: what agents print of tools is long."""
        return f"exit status {self.status}: ...{self.output[-3000:]}"


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the engine was given."""

    text: str | None
    tokens: list[int]


class Stage:
    """One agent on one server."""

    def __init__(
        self, agent: Agent, family: Family, place: Place, relay: Relay, folder: Path
    ) -> None:
        self.agent, self.family, self.place, self.relay = agent, family, place, relay
        self.folder = folder
        self.server: ServerProcess | None = None

    def start(self, context: int = CONTEXT) -> None:
        """Start a server, which has the data of the one before."""
        self.stop()
        self._lines_before, self._context = 0, context
        self.server = ServerProcess(
            *("--model-dir", str(self.folder), "--model", self.family.name, "--threads", "1"),
            *("--model-aliases", "*", "--ctx-size", str(context), "--parallel", str(SLOTS)),
            *("--queue-limit", str(QUEUE), "--spare-seconds", "0", "--log-format", "json"),
            *("--api-key", USER_KEY, "--admin-key", ADMIN_KEY),
            environment={
                "OBSERVED": str(self.folder),
                "OPENEDAI_DATA_FOLDER": str(self.folder / "data"),
            },
            program=PROGRAM,
        )
        self.server.wait_until_ready()
        self.relay.target = self.server.url

    def begin_case(self) -> None:
        """Forget what was seen before."""
        if self.server is None or self._context != CONTEXT:
            self.start()
        wait_for(self.is_idle)
        self.relay.forget()
        self._lines_before = len(self._request_lines)
        for name in ("fail", "break", "slow"):
            (self.folder / name).unlink(missing_ok=True)
        (self.folder / "prompts.jsonl").write_text("")

    def stop(self) -> None:
        if self.server is not None:
            self.server.stop()
            self.server = None

    def run(self, prompt: str, *, resume: bool = False, patience: float = 240) -> Finished:
        process = self.begin(prompt, resume=resume)
        try:
            output, _ = process.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            raise AssertionError(f"{self.agent.name} did not end:\n{output}") from None
        return Finished(process.returncode, output)

    def begin(self, prompt: str, *, resume: bool = False) -> subprocess.Popen[str]:
        command = self.agent.resume if resume else self.agent.command
        assert command is not None
        return subprocess.Popen(
            command(self.place, prompt),
            cwd=self.place.work,
            env=surroundings(self.place) | self.agent.environment(self.place),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def tell_engine(self, what: str) -> None:
        """`fail`, `break` or `slow`: see observed_server.py."""
        (self.folder / what).touch()

    @property
    def prompts(self) -> list[Prompt]:
        lines = (self.folder / "prompts.jsonl").read_text().splitlines()
        return [Prompt(**json.loads(line)) for line in lines]

    def prompt_of(self, exchange: Exchange) -> Prompt:
        """The prompt of this request, found by its number of tokens."""
        usage = exchange.usage
        assert usage is not None, exchange.text
        found = [each for each in self.prompts if len(each.tokens) == usage.prompt]
        assert found, (
            f"no prompt has {usage.prompt} tokens: {[len(p.tokens) for p in self.prompts]}"
        )
        return found[-1]

    @property
    def log(self) -> list[dict[str, Any]]:
        """The server's lines about this case's requests."""
        return self._request_lines[self._lines_before :]

    @property
    def _request_lines(self) -> list[dict[str, Any]]:
        assert self.server is not None
        lines = (line for line in self.server.output.splitlines() if line.startswith("{"))
        return [found for line in lines if "route" in (found := json.loads(line))]

    def queue(self) -> dict[str, Any]:
        assert self.server is not None
        answer = httpx.get(f"{self.server.url}/v1/internal/queue", headers={"x-api-key": ADMIN_KEY})
        found: dict[str, Any] = answer.json()
        return found

    def is_idle(self) -> bool:
        return self._holds(0)

    def _holds(self, requests: int) -> bool:
        """Whether just so many run or wait."""
        state = self.queue()
        return int(state["running"]) + int(state["waiting"]) == requests

    @contextmanager
    def crowd(self, key: str) -> Iterator[None]:
        """All slots and places in the queue are taken, by requests with this key."""
        assert self.server is not None
        body = json.dumps(
            {"model": "any", "messages": [{"role": "user", "content": "say:endless"}]}
        ).encode()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nx-api-key: {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        with ExitStack() as held:
            for count in range(1, SLOTS + QUEUE + 1):
                connection = socket.create_connection(("127.0.0.1", self.server.port))
                held.enter_context(connection)
                connection.sendall(head.encode() + body)
                wait_for(partial(self._holds, count))
            yield

    def scripts(self) -> list[Script]:
        """All that the model can say."""
        sign = self.agent.compaction
        says, shows = self.family.says, self.agent.shows
        assert shows is not None
        steps = scripts_of(self.agent, self.family, self.place)[1:]
        long = says("Then say:long-output-seen.", shows(str(self.place.work / "long.txt")))
        fills = [
            Script(
                f"fill-number-{number}",
                says(
                    f"File {number}, then say:fill-number-{number + 1}.",
                    shows(str(self.place.work / f"file{number}.txt")),
                    thought=f"Thought {number}.",
                ),
            )
            for number in range(1, FILLED + 1)
        ]
        return [
            Script("nothing-asked", says("There is nothing to do.")),
            Script("plain-answer", says("The answer is 4.")),
            Script(
                "thoughtful-answer", says("The answer is 5.", thought="Two and three are five.")
            ),
            Script("counting-aloud", says(f"{COUNTING}. Done counting.")),
            *steps,
            Script("long-output-begins", long),
            Script("long-output-seen", says("It was long.")),
            *fills,
            Script(f"fill-number-{FILLED + 1}", says("All files are read.")),
            Script("after-the-summary", says("It went on.")),
            Script("second-question", says("The second answer is 8.")),
            Script("endless", "", loop="and so on, "),
            *([Script("compaction", says(SUMMARY), sign=sign)] if sign else ()),
        ]

    def write_model(self, merges: Sequence[str]) -> None:
        self.family.write(self.folder, self.scripts(), CONTEXT, merges, 2)
