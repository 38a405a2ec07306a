"""An MCP server from npm behind `--tool-servers`, called by a scripted model: server-everything.

`make test-clients ARGS="-k mcp_server"` runs this alone.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.support.calling_engine import CallingEngine, call
from tests.support.keys import headers_of
from tests.support.reference import (
    assert_envelope,
    fold_chat,
    response_events,
    sse_chunks,
)

INSTALLED = os.environ.get("CLIENTS_DIR")
pytestmark = [
    pytest.mark.skipif(not INSTALLED, reason="needs npm packages: make test-clients"),
    pytest.mark.timeout(600),
]
PACKAGE = "@modelcontextprotocol/server-everything@2026.8.31"
SAYS = {"message": "Good morning"}
ECHO = call("everything__echo", SAYS)
ENVIRONMENT = call("everything__get-env", {})
SECRET = "it-is-not-passed-on"


class Home:
    """A server with the npm program, of which its operator lets named keys have one tool, one key all."""

    def __init__(self, program: Path, folder: Path) -> None:
        command = {"command": [str(program)], "timeout": 120}
        rows = {
            "everything": {**command, "tools": ["echo"], "keys": ["alice", "carol"]},
            "all": {**command, "keys": ["carol"]},
        }
        file = folder / "tools.yaml"
        file.write_text(yaml.safe_dump({"servers": rows}))
        settings = Settings(tool_servers=str(file), data_folder=str(folder / "data"), rpm=0)
        self.keys = headers_of(settings, "alice", "bob", "carol")
        self.engine = CallingEngine()
        app = create_app(settings, self.engine)
        self.client = app.test_client()
        self.services = app.extensions["openai"]

    def post(self, path: str, text: str, key: str = "alice", **more: Any) -> Any:
        said = (
            {"input": text}
            if path == "responses"
            else {"messages": [{"role": "user", "content": text}]}
        )
        body = {"model": "echo", "tools": tools("everything"), **said, **more}
        return self.client.post(f"/v1/{path}", json=body, headers=self.keys[key])


def tools(label: str, **more: Any) -> list[dict[str, Any]]:
    return [{"type": "mcp", "server_label": label, **more}]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Installed by npm."""
    npm, folder = shutil.which("npm"), tmp_path_factory.mktemp("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    cache = Path(str(INSTALLED)).resolve() / "npm"
    flags = ["--no-audit", "--no-fund", "--ignore-scripts", "--cache", str(cache)]
    (folder / "package.json").write_text('{"private": true}')
    done = subprocess.run(
        [npm, "install", *flags, PACKAGE],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder / "node_modules" / ".bin" / "mcp-server-everything"


@pytest.fixture(scope="module")
def home(program: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SECRET_OF_OURS", SECRET)
        home = Home(program, tmp_path_factory.mktemp("home"))
        yield home
        home.services.tool_servers.close()


def test_only_what_the_operator_lists_is_offered(home: Home) -> None:
    home.post("chat/completions", "Hi")
    assert home.engine.tools == ["everything__echo"]
    (echo,) = home.engine.asked[-1].tools
    assert echo.description and echo.parameters["required"] == ["message"]
    home.post("chat/completions", "Hi", "carol", tools=tools("all"))
    assert {"all__echo", "all__get-env", "all__get-sum"} < set(home.engine.tools)


def test_a_chat_says_what_the_tool_returned(home: Home) -> None:
    whole = home.post("chat/completions", ECHO).json
    message = whole["choices"][0]["message"]
    assert message["content"] == "Echo: Good morning" and "tool_calls" not in message
    usage = {"include_usage": True}
    streamed = home.post("chat/completions", ECHO, stream=True, stream_options=usage)
    folded = fold_chat(sse_chunks(streamed.data))
    assert folded["choices"][0]["message"]["content"] == message["content"]


def test_a_response_has_the_call_as_an_item(home: Home) -> None:
    whole = home.post("responses", ECHO).json
    events = response_events(home.post("responses", ECHO, stream=True).data)
    kinds = [event["type"] for event in events]
    assert "response.mcp_call.in_progress" in kinds and "response.mcp_call.completed" in kinds
    streamed = events[-1]["response"]
    for answer in (whole, streamed):
        called, message = answer["output"]
        assert (called["type"], called["status"]) == ("mcp_call", "completed")
        assert (called["server_label"], called["name"]) == ("everything", "echo")
        assert called["output"] == message["content"][0]["text"] == "Echo: Good morning"
        assert called["error"] is None


@pytest.mark.parametrize("path", ["chat/completions", "responses"])
@pytest.mark.parametrize("stream", [False, True])
def test_each_call_is_in_the_log_without_what_it_says(
    home: Home, caplog: pytest.LogCaptureFixture, path: str, stream: bool
) -> None:
    caplog.set_level(logging.INFO, "openedai")
    answer = home.post(path, ECHO, stream=stream)
    assert answer.status_code == 200 and answer.data
    (line,) = (r.getMessage() for r in caplog.records if r.getMessage().startswith("tool call"))
    request = answer.headers["x-request-id"]
    assert line.startswith(f"tool call: request {request}, server everything, tool echo, ")
    assert line.endswith(" ms, 18 characters, ok") and "morning" not in caplog.text


@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_that_is_not_on_the_list_is_not_run(
    home: Home, caplog: pytest.LogCaptureFixture, stream: bool
) -> None:
    caplog.set_level(logging.INFO, "openedai")
    chat = home.post("chat/completions", ENVIRONMENT, stream=stream)
    assert chat.status_code == 200 and "PATH" not in chat.text and "tool_calls" not in chat.text
    response = home.post("responses", ENVIRONMENT, stream=stream)
    whole = response_events(response.data)[-1]["response"] if stream else response.json
    called, message = whole["output"]
    assert (called["name"], called["status"]) == ("get-env", "failed")
    assert called["error"] == message["content"][0]["text"] == "There is no such tool."
    assert "tool call:" not in caplog.text


@pytest.mark.parametrize("path", ["chat/completions", "responses"])
def test_what_a_key_may_not_have_is_refused(home: Home, path: str) -> None:
    for stream in (False, True):
        beyond = home.post(
            path, "Hi", stream=stream, tools=tools("everything", allowed_tools=["get-env"])
        )
        error = assert_envelope(beyond.json, status=400)
        assert beyond.status_code == 400 and error["param"] == "tools[0].allowed_tools"
        for key, label in (("bob", "everything"), ("alice", "all"), ("alice", "nowhere")):
            refused = home.post(path, "Hi", key, stream=stream, tools=tools(label))
            error = assert_envelope(refused.json, status=400)
            assert refused.status_code == 400 and error["param"] == "tools[0].server_label"


def test_who_may_have_all_gets_what_it_returns(home: Home) -> None:
    def said(name: str, arguments: dict[str, Any]) -> str:
        asked = call(f"all__{name}", arguments)
        answer = home.post("chat/completions", asked, "carol", tools=tools("all")).json
        return str(answer["choices"][0]["message"]["content"])

    assert said("get-sum", {"a": 2, "b": 3}) == "The sum of 2 and 3 is 5."
    environment = said("get-env", {})
    assert '"PATH"' in environment and SECRET not in environment
    assert said("trigger-long-running-operation", {"duration": 1, "steps": 2}).startswith("Long")
    assert "[image]" in said("get-tiny-image", {})
    assert '"temperature"' in said("get-structured-content", {"location": "New York"})
    assert "nvalid" in said("get-sum", {"a": "two", "b": 3})
