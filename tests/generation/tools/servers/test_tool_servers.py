"""Tools that this server runs: a real MCP server of the official package, and an extension's functions."""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from mcp.types import CallToolResult

from extensions.openai.errors import ToolServerUnavailable
from extensions.openai.generation.hooks.extension_hooks import Hooks
from extensions.openai.generation.tools.servers import mcp_server, tool_servers
from extensions.openai.generation.tools.servers.rows import ToolServerRow, read_tool_servers
from extensions.openai.settings import Settings, SettingsError
from extensions.openai.web.app import create_app
from tests.support.calling_engine import CallingEngine, call
from tests.support.process import ROOT
from tests.support.reference import assert_envelope

SERVER = ROOT / "tests" / "support" / "mcp_server.py"
COMMAND = [sys.executable, str(SERVER)]
MCP = {"type": "mcp", "server_label": "small"}
ADD = call("small__add", {"a": 2, "b": 3})


class Home:
    """A server with tool servers, and what its model was asked."""

    def __init__(self, folder: Path, servers: dict[str, Any], rounds: int = 8, **options: Any):
        file = folder / "tools.yaml"
        file.write_text(yaml.safe_dump({"servers": servers, "rounds": rounds}))
        self.engine = CallingEngine()
        self.app = create_app(Settings(tool_servers=str(file), **options), self.engine)
        self.client = self.app.test_client()
        self.services = self.app.extensions["openai"]

    def chat(self, text: str, status: int = 200, **more: Any) -> Any:
        headers = more.pop("headers", {})
        body = {"model": "m", "messages": [{"role": "user", "content": text}], "tools": [MCP]}
        answer = self.client.post("/v1/chat/completions", json=body | more, headers=headers)
        assert answer.status_code == status, answer.text
        return answer.json

    def said(self, text: str, **more: Any) -> Any:
        return self.chat(text, **more)["choices"][0]["message"]

    def response(self, text: str, **more: Any) -> Any:
        body = {"model": "m", "input": text, "tools": [MCP], "store": False, **more}
        answer = self.client.post("/v1/responses", json=body)
        assert answer.status_code == 200, answer.text
        return answer

    def close(self) -> None:
        assert self.services.tool_servers is not None
        self.services.tool_servers.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """One program for all tests that do not end it."""
    rows = {
        "small": {"command": COMMAND, "max_output": 100, "timeout": 120},
        "some": {"command": COMMAND, "tools": ["add"], "keys": ["alice"]},
        "few": {"command": COMMAND, "tools": ["add"], "timeout": 120},
        "gone": {"command": ["/no/such/program"]},
        "hurried": {"command": COMMAND, "timeout": 0.001},
        "noisy": {"command": ["/bin/echo", "a line that is s3cret"]},
    }
    home = Home(tmp_path_factory.mktemp("tools"), rows)
    yield home
    home.close()


def test_the_model_gets_the_result_and_the_client_one_answer(home: Home) -> None:
    whole = home.chat(ADD)
    message = whole["choices"][0]["message"]
    assert message["content"] == "It is 5." and "tool_calls" not in message
    assert whole["choices"][0]["finish_reason"] == "stop"
    asked, result = home.engine.asked[-1].messages[-2:]
    assert [each.name for each in asked.tool_calls] == ["small__add"]
    assert (result.role, result.content) == ("tool", "It is 5.")
    # A token is a byte here: the tokens of the call, of the answer, and an end token of each.
    assert whole["usage"]["completion_tokens"] == len(ADD) + 1 + len("It is 5.") + 1


def test_the_model_sees_the_tools_with_their_schemas(home: Home) -> None:
    home.said("Hi")
    (add,) = (tool for tool in home.engine.asked[-1].tools if tool.name == "small__add")
    assert add.description == "Adds two numbers."
    assert set(add.parameters["properties"]) == {"a", "b"}
    home.said("Hi", tools=[MCP | {"allowed_tools": ["add"]}])
    assert home.engine.tools == ["small__add"]
    home.said("Hi", tools=[MCP | {"allowed_tools": {"tool_names": ["fail"]}}])
    assert home.engine.tools == ["small__fail"]


def test_a_tool_that_is_not_offered_is_not_run(home: Home) -> None:
    """The model has made it up, or knows it from an earlier answer."""
    some = MCP | {"allowed_tools": ["add"]}
    for name in ("fail", "nothing"):
        said = home.said(call(f"small__{name}", {}), tools=[some])
        assert said["content"] == "There is no such tool." and "tool_calls" not in said
        called, message = home.response(call(f"small__{name}", {}), tools=[some]).json["output"]
        assert (called["name"], called["status"], called["output"]) == (name, "failed", None)
        assert called["error"] == message["content"][0]["text"] == "There is no such tool."


def test_a_function_of_the_client_may_have_such_a_name(home: Home) -> None:
    own = {"type": "function", "function": {"name": "small__mine"}}
    (called,) = home.said(call("small__mine", {}), tools=[MCP, own])["tool_calls"]
    assert called["function"]["name"] == "small__mine"


def test_a_stream_is_the_same_answer(home: Home) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": ADD}], "tools": [MCP]}
    answer = home.client.post("/v1/chat/completions", json={**body, "stream": True})
    events = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    assert events.pop() == "[DONE]"
    deltas = [json.loads(event)["choices"][0]["delta"] for event in events]
    assert "".join(delta.get("content") or "" for delta in deltas) == "It is 5."
    assert not any("tool_calls" in delta for delta in deltas)


def test_a_call_of_the_clients_own_tool_is_left_to_the_client(home: Home) -> None:
    own = {"type": "function", "function": {"name": "mine"}}
    (called,) = home.said(call("mine", {}), tools=[MCP, own])["tool_calls"]
    assert called["function"]["name"] == "mine"


def test_responses_have_an_item_of_each_call(home: Home) -> None:
    whole = home.response(ADD).json
    called, message = whole["output"]
    assert called.pop("id").startswith("mcp_")
    assert called == {
        "type": "mcp_call",
        "status": "completed",
        "server_label": "small",
        "name": "add",
        "arguments": '{"a": 2, "b": 3}',
        "output": "It is 5.",
        "error": None,
    }
    assert message["content"][0]["text"] == "It is 5."
    assert whole["tools"] == [MCP]
    assert whole["usage"]["output_tokens"] == len(ADD) + 1 + len("It is 5.") + 1


def test_a_stream_of_a_response_tells_what_is_called(home: Home) -> None:
    answer = home.response(ADD, stream=True)
    events = [
        json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")
    ]
    calls = [event for event in events if event.get("output_index") == 0]
    assert [event["type"] for event in calls] == [
        "response.output_item.added",
        "response.mcp_call.in_progress",
        "response.mcp_call_arguments.delta",
        "response.mcp_call_arguments.done",
        "response.mcp_call.completed",
        "response.output_item.done",
    ]
    assert calls[0]["item"]["status"] == "in_progress" and calls[0]["item"]["output"] is None
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[-1]["response"]["output"][0] == calls[-1]["item"]


def test_a_tool_that_fails_is_reported_to_the_model_and_the_client(home: Home) -> None:
    called, message = home.response(call("small__fail", {})).json["output"]
    assert (called["status"], called["output"]) == ("failed", None)
    assert "out of paper" in called["error"] and called["error"] == message["content"][0]["text"]


def test_arguments_that_are_none_are_not_passed_on(home: Home) -> None:
    assert "error" in home.said(call("small__add", {"a": "x", "b": 1}))["content"].lower()


def test_a_long_result_is_cut(home: Home) -> None:
    said = home.said(call("small__letters", {"count": 5000}))["content"]
    assert said == "x" * 100 + "\n[The rest is left out.]"


def test_programs_get_none_of_our_environment(
    home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_OURS", "s3cret")
    monkeypatch.setenv("TOKEN_FOR_IT", "t0ken")
    row = {"command": COMMAND, "pass_env": ["TOKEN_FOR_IT"], "timeout": 120}
    other = Home(tmp_path, {"small": row})
    try:
        assert other.said(call("small__variable", {"name": "SECRET_OF_OURS"}))["content"] == "none"
        assert other.said(call("small__variable", {"name": "TOKEN_FOR_IT"}))["content"] == "t0ken"
    finally:
        other.close()


def test_the_log_has_each_call_without_what_it_says(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "openedai")
    home.chat(ADD, headers={"X-Request-ID": "req-7"})
    (line,) = (r.getMessage() for r in caplog.records if r.getMessage().startswith("tool call"))
    assert line.startswith("tool call: request req-7, server small, tool add, ")
    assert line.endswith(" ms, 8 characters, ok")


def test_a_program_that_ends_is_started_again(home: Home) -> None:
    assert "The tool failed" in home.said(call("small__end", {}))["content"]
    assert home.said(ADD)["content"] == "It is 5."


@pytest.mark.parametrize("label", ["gone", "hurried"])
def test_a_server_that_does_not_answer_is_a_503(home: Home, label: str) -> None:
    tools = [{"type": "mcp", "server_label": label}]
    error = assert_envelope(home.chat("Hi", 503, tools=tools), status=503)
    assert error["code"] == "tool_server_unavailable" and label in error["message"]


@pytest.mark.parametrize(
    ("tool", "field"),
    [
        ({"server_label": "nowhere"}, "server_label"),
        ({"server_label": "some"}, "server_label"),
        ({"server_label": "small", "require_approval": "always"}, "require_approval"),
        ({"server_label": "small", "allowed_tools": ["add", "x"]}, "allowed_tools"),
        ({"server_label": "few", "allowed_tools": {"tool_names": ["fail"]}}, "allowed_tools"),
    ],
    ids=["unknown", "of another key", "approval", "no such tool", "not on the operator's list"],
)
def test_what_cannot_be_is_refused_by_its_place(
    home: Home, tool: dict[str, Any], field: str
) -> None:
    error = assert_envelope(home.chat("Hi", 400, tools=[{"type": "mcp", **tool}]), status=400)
    assert error["param"] == f"tools[0].{field}"


def test_an_address_of_the_clients_is_never_called(home: Home) -> None:
    tool = MCP | {"server_url": "http://127.0.0.1:9/mcp"}
    body = {"model": "m", "messages": [{"role": "user", "content": ADD}], "tools": [tool]}
    answer = home.client.post("/v1/chat/completions", json=body)
    assert answer.json["choices"][0]["message"]["content"] == ADD
    assert "tools[0].mcp" in answer.headers["x-openedai-ignored"]


def test_a_request_that_is_stopped_ends_the_call(home: Home) -> None:
    """The tool waits for ten minutes."""
    answers: list[Any] = []
    asking = threading.Thread(
        target=lambda: answers.append(
            home.chat(call("small__wait", {}), headers={"X-Request-ID": "w"})
        )
    )
    before = len(home.engine.asked)
    asking.start()
    while len(home.engine.asked) == before and asking.is_alive():
        time.sleep(0.01)
    while asking.is_alive():
        home.client.post("/v1/internal/stop-generation", json={"id": "w"})
        asking.join(0.1)
    choice = answers[0]["choices"][0]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("stop", "")
    assert home.said(ADD)["content"] == "It is 5."


def test_a_server_at_an_address_is_called_with_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY_OF_IT", "k")
    with subprocess.Popen([*COMMAND, "--http"], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        url = f"http://127.0.0.1:{int(program.stdout.readline())}/mcp"
        home = Home(tmp_path, {"small": {"url": url, "key_env": "KEY_OF_IT", "timeout": 120}})
        try:
            assert home.said(ADD)["content"] == "It is 5."
            key = home.said(call("small__key", {}))["content"]
            assert key == "Bearer k"
        finally:
            home.close()
            program.kill()


def test_what_a_program_writes_besides_is_not_in_the_log(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    home.chat("Hi", 503, tools=[{"type": "mcp", "server_label": "noisy"}])
    assert "the tool server noisy does not answer" in caplog.text and "s3cret" not in caplog.text


class ListingClient:
    """Of a server without tools."""

    async def list_tools(self, **_: object) -> Any:
        return SimpleNamespace(tools=[], next_cursor=None)


def test_a_server_that_hangs_is_connected_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first connection is never made."""
    made: list[ToolServerRow] = []

    @asynccontextmanager
    async def connection(row: ToolServerRow) -> AsyncIterator[ListingClient]:
        made.append(row)
        if len(made) == 1:
            await asyncio.Event().wait()
        yield ListingClient()

    def answers() -> bool:
        try:
            return not [each for each in server.tools() if each is not None]
        except ToolServerUnavailable:
            return False

    monkeypatch.setattr(mcp_server, "connected", connection)
    loop = mcp_server.EventLoop()
    server = mcp_server.McpServer(ToolServerRow("slow", ("x",), timeout=0.05), loop)
    try:
        assert not answers()
        assert any(answers() for _ in range(40))
    finally:
        server.leave()
        assert loop.close(30)


def test_servers_that_do_not_end_hold_nothing_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tool_servers, "CLOSE_S", 0.01)
    loop = mcp_server.EventLoop()
    stuck: Any = SimpleNamespace(leave=lambda: loop.start(asyncio.sleep(600)))
    tool_servers.ToolServers(8, {"a": stuck}, loop).close()
    assert "not all tool servers have ended" in caplog.text


def test_a_result_without_content_is_its_structure() -> None:
    result = CallToolResult(content=[], structured_content={"city": "Zürich"})
    assert mcp_server.text_of(result) == '{"city": "Zürich"}'


def of_extension(arguments: dict[str, Any]) -> Any:
    if "nothing" in arguments:
        raise KeyError("nothing")
    if "error" in arguments:
        raise {"TimeoutError": TimeoutError, "SystemExit": SystemExit}[arguments["error"]]
    if "half" in arguments:
        return "\ud83d of a pair"
    return {"hours": arguments.get("hours", 0) + 1}


EXTENSION = SimpleNamespace(
    server_tools=lambda: [
        {
            "name": "later",
            "description": "One hour later.",
            "parameters": {"type": "object", "properties": {"hours": {"type": "integer"}}},
            "run": of_extension,
        }
    ]
)


@pytest.fixture
def clock(tmp_path: Path) -> Home:
    """An extension's tools, of which one caller has some and another one none."""
    rows: dict[str, Any] = {"clock": {"extension": "example"}, "none": {"extension": "no"}}
    rows["own"] = {"extension": "example", "keys": ["local"]}
    rows["other"] = {"extension": "example", "keys": ["alice"]}
    home = Home(tmp_path, rows, rounds=3)
    home.services.hooks = Hooks(lambda: [("example", EXTENSION)])
    return home


def of(label: str) -> list[dict[str, str]]:
    return [{"type": "mcp", "server_label": label}]


def test_functions_of_an_extension_are_tools(clock: Home) -> None:
    said = clock.said(call("clock__later", {"hours": 2}), tools=of("clock"))["content"]
    assert json.loads(said) == {"hours": 3}
    said = clock.said(call("clock__later", {"nothing": 2}), tools=of("clock"))["content"]
    assert said == "The tool failed: KeyError."
    clock.chat("Hi", 503, tools=of("none"))


@pytest.mark.parametrize("error", ["TimeoutError", "SystemExit"])
def test_whatever_a_function_raises_is_a_failed_call(clock: Home, error: str) -> None:
    said = clock.said(call("clock__later", {"error": error}), tools=of("clock"))["content"]
    assert said == f"The tool failed: {error}."


def test_a_result_that_is_no_text_is_mended(clock: Home) -> None:
    said = clock.said(call("clock__later", {"half": True}), tools=of("clock"))["content"]
    assert said == "\ufffd of a pair"


@pytest.mark.parametrize("change", [{"run": None}, {"name": 5}, {"description": 5}], ids=str)
def test_a_tool_that_is_none_is_not_offered(clock: Home, change: dict[str, Any]) -> None:
    (tool,) = EXTENSION.server_tools()
    other = SimpleNamespace(server_tools=lambda: [tool | change])
    clock.services.hooks = Hooks(lambda: [("example", other)])
    clock.chat("Hi", 503, tools=of("clock"))


def test_tools_whose_names_are_alike_are_told_apart(clock: Home) -> None:
    (tool,) = EXTENSION.server_tools()
    alike = ["a.b", "a b", "x" * 70, "x" * 71]
    tools = [tool | {"name": each, "run": lambda _, said=each: said} for each in alike]
    other = SimpleNamespace(server_tools=lambda: tools)
    clock.services.hooks = Hooks(lambda: [("example", other)])
    clock.said("Hi", tools=of("clock"))
    names = clock.engine.tools
    assert len(set(names)) == 4 and max(map(len, names)) == 64
    for name, said in zip(names, alike, strict=True):
        assert clock.said(call(name, {}), tools=of("clock"))["content"] == said


def test_a_caller_reaches_only_the_servers_that_are_open_to_it(clock: Home) -> None:
    """A request of this machine, while the server has no key, is that of `local`."""
    assert json.loads(clock.said(call("own__later", {}), tools=of("own"))["content"])
    clock.chat("Hi", 400, tools=of("other"))


def test_a_model_that_calls_for_ever_comes_to_an_end(
    clock: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    render, again = CallingEngine.render, call("clock__later", {})

    def insisting(self: CallingEngine, request: Any) -> str:
        return render(self, request).replace('{"hours": 1}', again)

    monkeypatch.setattr(CallingEngine, "render", insisting)
    assert clock.chat(again, tools=of("clock"))["choices"][0]["finish_reason"] == "stop"
    assert len(clock.engine.asked) == 3


def test_the_example_is_a_tool(clock: Home) -> None:
    module = importlib.import_module("extensions.example_tools.script")
    clock.services.hooks = Hooks(lambda: [("example", module)])
    said = clock.said(call("clock__now", {}), tools=of("clock"))["content"]
    assert datetime.fromisoformat(said).tzinfo is not None


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ({"a": {}}, "give one of command, url and extension"),
        ({"a": {"url": "http://x", "command": ["x"]}}, "give one of"),
        ({"a": {"url": "ftp://x"}}, "servers.a.url"),
        ({"a b": {"extension": "x"}}, "servers"),
        (
            {"a": {"command": ["x"], "pass_env": ["NO_SUCH_VARIABLE"]}},
            "NO_SUCH_VARIABLE is not set",
        ),
    ],
)
def test_a_file_that_is_wrong_stops_the_start(
    tmp_path: Path, rows: dict[str, Any], problem: str
) -> None:
    file = tmp_path / "tools.yaml"
    file.write_text(yaml.safe_dump({"servers": rows}))
    with pytest.raises(SettingsError, match=problem):
        read_tool_servers(str(file))
