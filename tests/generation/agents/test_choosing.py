"""Agents: how requests choose one, who sees them, and what they add to a request."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from flask.testing import FlaskClient

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.generation.agents.file import read_agents
from extensions.openai.generation.hooks.extension_hooks import Hooks
from extensions.openai.settings import Settings, SettingsError
from extensions.openai.web.app import create_app
from tests.support.calling_engine import CallingEngine, call
from tests.support.keys import headers_of
from tests.support.process import ROOT
from tests.support.reference import assert_envelope

CHATS = "/v1/chat/completions"
REQUEST_ID = re.compile("req_[0-9a-f]+")
SYSTEM = "Answer as a pirate."
FILE: dict[str, Any] = {
    "prefixes": ["moltbot"],
    "headers": ["X-Moltbot-Agent"],
    "agents": {
        "pirate": {
            "description": "Speaks as pirates do",
            "system": SYSTEM,
            "sampling": {"temperature": 0.5},
            "max_tokens": 3,
        },
        "plain": {"model": "gpt-3.5-turbo"},
        "secret": {"system": "For alice.", "keys": ["alice"]},
    },
}


def written(folder: Path, content: Any = FILE) -> str:
    path = folder / "agents.yaml"
    path.write_text(
        content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
    )
    return str(path)


LOOKUP: dict[str, Any] = {"type": "function", "name": "lookup", "parameters": {"type": "object"}}


def client_of(folder: Path, **options: Any) -> FlaskClient:
    return create_app(Settings(agents=written(folder), **options), EchoEngine()).test_client()


def chat(client: FlaskClient, model: str = "agent:pirate", **more: Any) -> Any:
    headers = more.pop("headers", {})
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], **more}
    return client.post(CHATS, json=body, headers=headers)


def prompt_tokens(answer: Any) -> int:
    assert answer.status_code == 200, answer.text
    found: int = answer.json["usage"]["prompt_tokens"]
    return found


def test_its_system_text_stands_before_the_conversation(tmp_path: Path) -> None:
    client = client_of(tmp_path)
    by_hand = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "Hi"}]
    expected = prompt_tokens(chat(client, "echo", messages=by_hand))
    assert expected > prompt_tokens(chat(client, "echo"))
    assert prompt_tokens(chat(client)) == expected
    mine = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    both = [by_hand[0], *mine]
    assert prompt_tokens(chat(client, messages=mine)) == prompt_tokens(
        chat(client, "echo", messages=both)
    )


def test_the_model_sees_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    render = EchoEngine.render

    def spying(self: EchoEngine, request: Any) -> str:
        seen.append(request)
        return render(self, request)

    monkeypatch.setattr(EchoEngine, "render", spying)
    assert chat(client_of(tmp_path)).status_code == 200
    assert [(message.role, message.content) for message in seen[0].messages] == [
        ("system", SYSTEM),
        ("user", "Hi"),
    ]
    assert seen[0].sampling["temperature"] == 0.5


def test_its_parameters_are_defaults(tmp_path: Path) -> None:
    client = client_of(tmp_path, default_max_tokens=2)
    assert chat(client).json["usage"]["completion_tokens"] == 3
    assert chat(client, max_tokens=1).json["usage"]["completion_tokens"] == 1
    assert chat(client, "echo").json["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize(
    ("model", "headers"),
    [
        ("agent:pirate", {}),
        ("moltbot:pirate", {}),
        ("echo", {"x-openedai-agent-id": "pirate"}),
        ("echo", {"x-moltbot-agent": "pirate"}),
        ("agent:pirate", {"x-openedai-agent-id": "plain"}),
    ],
)
def test_how_it_is_chosen(tmp_path: Path, model: str, headers: dict[str, str]) -> None:
    answer = chat(client_of(tmp_path, strict_models=True), model, headers=headers)
    assert prompt_tokens(answer) > len(SYSTEM)
    assert answer.json["model"] == "echo"  # who really answers


def test_on_every_dialect(tmp_path: Path) -> None:
    client = client_of(tmp_path)
    for path, body, counted in (
        ("/v1/responses", {"input": "Hi"}, "input_tokens"),
        (
            "/v1/messages",
            {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9},
            "input_tokens",
        ),
    ):
        tokens = {
            model: client.post(path, json={"model": model, **body}).json["usage"][counted]
            for model in ("echo", "agent:pirate")
        }
        assert tokens["agent:pirate"] >= tokens["echo"] + len(SYSTEM), path


DIALECTS: dict[str, dict[str, Any]] = {
    CHATS: {"messages": [{"role": "user", "content": "Hi"}]},
    "/v1/responses": {"input": "Hi"},
    "/v1/responses/input_tokens": {"input": "Hi"},
    "/v1/messages": {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 900},
    "/v1/messages/count_tokens": {"messages": [{"role": "user", "content": "Hi"}]},
}
SAID = {
    CHATS: lambda whole: whole["choices"][0]["message"]["tool_calls"][0]["function"]["name"],
    "/v1/responses": lambda whole: whole["output"][0]["name"],
    "/v1/messages": lambda whole: whole["content"][0]["name"],
}
TOOLED: dict[str, Any] = {
    "agents": {"clerk": {"tools": [LOOKUP, {**LOOKUP, "name": "write"}]}, "plain": {}}
}


def own_tool(path: str, name: str) -> dict[str, Any]:
    """A function of the request's own, in the dialect of an address."""
    if "messages" in path:
        return {"name": name, "input_schema": {"type": "object"}}
    return {"type": "function", "name": name}


def saying(path: str, text: str) -> dict[str, Any]:
    if "responses" in path:
        return {"input": text}
    return {**DIALECTS[path], "messages": [{"role": "user", "content": text}]}


@pytest.mark.parametrize("path", DIALECTS)
def test_its_tools_stand_beside_those_of_the_request(tmp_path: Path, path: str) -> None:
    engine = CallingEngine()
    settings = Settings(agents=written(tmp_path, TOOLED))
    client = create_app(settings, engine).test_client()
    for more, expected in (
        ({}, ["lookup", "write"]),
        ({"tools": [own_tool(path, "mine")]}, ["lookup", "write", "mine"]),
        ({"tools": [own_tool(path, "write")]}, ["lookup", "write"]),
    ):
        body = {"model": "agent:clerk", **DIALECTS[path], **more}
        answer = client.post(path, json=body)
        assert answer.status_code == 200, answer.text
        assert engine.tools == expected
    assert client.post(path, json={"model": "agent:plain", **DIALECTS[path]}).status_code == 200
    assert engine.tools == []
    none = {"type": "none"} if "messages" in path else "none"
    body = {"model": "agent:clerk", **DIALECTS[path], "tool_choice": none}
    assert client.post(path, json=body).status_code == 200
    assert engine.tools == []


@pytest.mark.parametrize("path", SAID)
def test_what_the_model_calls_of_them_is_a_call_for_the_client(tmp_path: Path, path: str) -> None:
    client = create_app(Settings(agents=written(tmp_path, TOOLED)), CallingEngine()).test_client()
    body = {"model": "agent:clerk", **saying(path, call("lookup", {"q": "x"}))}
    whole = client.post(path, json=body).json
    assert SAID[path](whole) == "lookup"


def test_a_choice_may_name_one_of_its_tools(tmp_path: Path) -> None:
    client = create_app(Settings(agents=written(tmp_path, TOOLED)), CallingEngine()).test_client()
    allowed = {"mode": "auto", "tools": [{"type": "function", "function": {"name": "lookup"}}]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    assert chat(client, "agent:clerk", tool_choice=choice).status_code == 200
    refused = chat(client, "agent:plain", tool_choice=choice)
    assert assert_envelope(refused.json, status=400)["param"] == "tool_choice"


def test_only_the_hooks_of_its_extensions_act(tmp_path: Path) -> None:
    agents = {
        "loud": {"hooks": ["shout"]},
        "quiet": {"hooks": []},
        "all": {},
        "none": {"hooks": ["gone"]},
    }
    client = create_app(
        Settings(agents=written(tmp_path, {"agents": agents})), EchoEngine()
    ).test_client()
    client.application.extensions["openai"].hooks = Hooks(
        lambda: [
            ("shout", SimpleNamespace(output_modifier=lambda text: text.upper())),
            ("mark", SimpleNamespace(output_modifier=lambda text: text + "!")),
        ]
    )
    said = {
        name: chat(client, f"agent:{name}").json["choices"][0]["message"]["content"]
        for name in ("loud", "quiet", "all")
    }
    assert said == {"loud": "HI", "quiet": "Hi", "all": "HI!"}
    refused = chat(client, "agent:none")
    assert assert_envelope(refused.json, status=500)["code"] == "extension_failed"
    assert "'gone'" in refused.text
    assert chat(client, "agent:none", hooks=False).status_code == 200


@pytest.mark.parametrize("path", DIALECTS)
def test_a_model_that_is_not_loaded_is_said(tmp_path: Path, path: str) -> None:
    agents = {"here": {"model": "gpt-3.5-turbo"}, "gone": {"model": "llama-70b"}}
    client = create_app(
        Settings(agents=written(tmp_path, {"agents": agents})), EchoEngine()
    ).test_client()
    assert client.post(path, json={"model": "agent:here", **DIALECTS[path]}).status_code == 200
    refused = client.post(path, json={"model": "agent:gone", **DIALECTS[path]})
    assert refused.status_code == 503 and "is not loaded" in refused.text
    listed = {each["id"]: each for each in client.get("/v1/models").json["data"]}
    assert listed["agent:gone"]["loaded"] is False and "root" not in listed["agent:gone"]
    assert listed["agent:here"]["root"] == "echo"


def test_completions_have_no_place_for_a_system_text(tmp_path: Path) -> None:
    client = client_of(tmp_path)
    refused = client.post("/v1/completions", json={"model": "agent:pirate", "prompt": "x"})
    assert assert_envelope(refused.json, status=400)["param"] == "model"
    assert (
        client.post("/v1/completions", json={"model": "agent:plain", "prompt": "x"}).status_code
        == 200
    )


def test_they_are_listed_among_the_models(tmp_path: Path) -> None:
    client = client_of(tmp_path)
    listed = {each["id"]: each for each in client.get("/v1/models").json["data"]}
    assert list(listed)[-2:] == ["agent:pirate", "agent:plain"]
    pirate = listed["agent:pirate"]
    assert pirate["description"] == "Speaks as pirates do" and pirate["root"] == "echo"
    assert client.get("/v1/models/agent:pirate").json == pirate
    assert SYSTEM not in client.get("/v1/models").text


PLACES = {
    **DIALECTS,
    "/v1/completions": {"prompt": "Hi"},
    "/v1/engines/NAME/completions": {"prompt": "Hi"},
}


def test_another_keys_agent_is_as_one_that_never_was(tmp_path: Path) -> None:
    """In every answer, byte for byte."""
    options = Settings(data_folder=str(tmp_path))
    headers = headers_of(options, "alice", "bob")
    client = client_of(tmp_path, data_folder=str(tmp_path), rpm=0)
    for path, body in PLACES.items():
        answers = []
        for name in ("secret", "nothin"):
            by_header = {**headers["bob"], "x-openedai-agent-id": name}
            texts = []
            for model, sent in ((f"agent:{name}", headers["bob"]), ("echo", by_header)):
                asked = {"model": model, **body}
                refused = client.post(path.replace("NAME", model), json=asked, headers=sent)
                assert refused.status_code == 404, path
                assert "agent:pirate" in refused.text and "alice" not in refused.text
                texts.append(REQUEST_ID.sub("", refused.text.replace(name, "NAME")))
            answers.append(texts)
        assert answers[0] == answers[1], path
        allowed = {"model": "agent:secret", **body}
        answer = client.post(
            path.replace("NAME", "agent:secret"), json=allowed, headers=headers["alice"]
        )
        assert answer.status_code == (400 if "completions" in path and "chat" not in path else 200)
    texts = [
        client.get(f"/v1/models/agent:{name}", headers=headers["bob"]).text.replace(name, "NAME")
        for name in ("secret", "nothin")
    ]
    assert texts[0] == texts[1] and "model_not_found" in texts[0]
    for who, sees in (("alice", True), ("bob", False)):
        assert ("agent:secret" in client.get("/v1/models", headers=headers[who]).text) is sees


def test_without_a_file_there_are_none() -> None:
    client = create_app(Settings(store="off"), EchoEngine()).test_client()
    for model, headers in (("agent:pirate", {}), ("echo", {"x-openedai-agent-id": "pirate"})):
        refused = chat(client, model, headers=headers)
        assert assert_envelope(refused.json, status=404)["code"] == "model_not_found"


def test_sending_it_again_with_another_agent_is_another_request(tmp_path: Path) -> None:
    client = client_of(tmp_path, store="memory")
    for agent, status in (("pirate", 200), ("pirate", 200), ("plain", 422)):
        headers = {"Idempotency-Key": "k", "x-openedai-agent-id": agent}
        assert chat(client, "echo", headers=headers, store=True).status_code == status


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[", "not YAML"),
        ("[]", "the file"),
        ({"agents": {"a b": {}}}, "a b"),
        ({"agents": {"a": {"sytem": "x"}}}, "agents.a: Unknown parameter: 'sytem'"),
        ({"agents": {"a": {"sampling": {"temperatur": 1}}}}, "temperatur"),
        ({"agents": {"a": {"sampling": {"temperature": 900}}}}, "temperature"),
        ({"agents": {"a": {"tools": [{"type": "mcp"}]}}}, "tools[0]"),
        ({"agents": {"a": {"tools": [LOOKUP, LOOKUP]}}}, "tools[1]"),
        ({"agents": {"a": {"hooks": "all"}}}, "hooks"),
        ({"agents": {}, "headers": ["a:b"]}, "headers.0"),
    ],
)
def test_what_the_file_cannot_be(tmp_path: Path, content: Any, said: str) -> None:
    with pytest.raises(SettingsError, match="setting agents") as refused:
        read_agents(Settings(agents=written(tmp_path, content)))
    assert said in str(refused.value)


def test_the_documents_example(tmp_path: Path) -> None:
    page = (ROOT / "docs/agents.md").read_text(encoding="utf-8")
    example = page.split("```yaml\n")[1].split("```")[0]
    agents = read_agents(Settings(agents=written(tmp_path, example)))
    assert [*agents.agents] == ["reviewer", "drafts", "companion"]
    assert agents.prefixes == ("agent", "moltbot") and "x-moltbot-agent" in agents.headers


def test_limits_of_the_operator_hold_for_agents(tmp_path: Path) -> None:
    settings = Settings(agents=written(tmp_path), sampling_limits={"temperature": 0.4})
    with pytest.raises(SettingsError, match="temperature is above its limit"):
        read_agents(settings)
    with pytest.raises(SettingsError, match="cannot be read"):
        read_agents(Settings(agents=str(tmp_path / "none.yaml")))


def test_they_are_read_again(tmp_path: Path) -> None:
    client = client_of(tmp_path)
    services = client.application.extensions["openai"]
    written(tmp_path, {"agents": {"another": {}}})
    services.reload(services.settings)
    assert chat(client).status_code == 404
    assert chat(client, "agent:another").status_code == 200
    written(tmp_path, "[")
    with pytest.raises(SettingsError):
        services.reload(services.settings)
    assert chat(client, "agent:another").status_code == 200
