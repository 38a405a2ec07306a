"""Models: the list, one of them, stand-in names, and names in the address."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.protocol import (
    Capability,
    EngineInfo,
    GenerateRequest,
    Pieces,
    TemplateTraits,
    ThinkingTraits,
)
from extensions.openai.engines.swappable import SwappableEngine
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.support.paced import PacedEngine
from tests.support.reference import assert_envelope


def client_with(name: str = "echo", **options: Any) -> FlaskClient:
    return create_app(Settings(**options), EchoEngine(name=name)).test_client()


def ask(client: FlaskClient, model: Any, url: str = "/v1/chat/completions") -> Any:
    body = {"messages": [{"role": "user", "content": "x"}]} if "chat" in url else {"prompt": "x"}
    return client.post(url, json=body | ({} if model is None else {"model": model}))


def test_the_list_of_the_reference(client: FlaskClient) -> None:
    listed = client.get("/v1/models").json
    assert listed.keys() == {"object", "data"} and listed["object"] == "list"
    assert [model["id"] for model in listed["data"]] == ["echo", "gpt-3.5-turbo"]
    for model in listed["data"]:
        assert model["object"] == "model"
        assert isinstance(model["created"], int) and model["created"] > 0
        assert isinstance(model["owned_by"], str) and model["owned_by"]
        assert model["context_length"] == 8192
        assert "chat" in " ".join(model["capabilities"])


def test_one_with_an_adapter_names_its_root() -> None:
    app = create_app(Settings(), EchoEngine())
    models = app.extensions["openai"].models
    models.add("base", EchoEngine(name="base"))
    models.add("base:legal", EchoEngine(name="base:legal"), root="base")
    client = app.test_client()
    assert client.get("/v1/models/base:legal").json["root"] == "base"
    assert "root" not in client.get("/v1/models/base").json
    assert ask(client, "base:legal").json["model"] == "base:legal"
    assert ask(client, "base:other").status_code == 404


def test_parameters_of_a_model_are_defaults_of_its_own() -> None:
    seen: list[dict[str, Any]] = []

    class Seeing(EchoEngine):
        def generate(self, request: GenerateRequest) -> Pieces:
            seen.append(dict(request.sampling))
            yield from super().generate(request)

    settings = Settings(sampling_defaults="temperature=0.9,min_p=0.1")
    app = create_app(settings, EchoEngine())
    app.extensions["openai"].models.add("cool", Seeing(name="cool"), sampling={"temperature": 0.25})
    client = app.test_client()
    body = {"model": "cool", "prompt": "x"}
    client.post("/v1/completions", json=body)
    client.post("/v1/completions", json={**body, "temperature": 0.5})
    assert [each["temperature"] for each in seen] == [0.25, 0.5]
    assert [each["min_p"] for each in seen] == [0.1, 0.1]


def test_what_the_template_takes_is_said() -> None:
    traits = TemplateTraits(
        system="first",
        user_twice=True,
        tools=True,
        call_id="9 letters and digits",
        thinking=ThinkingTraits("[THINK]", "[/THINK]", opens=True, switch="thinking"),
    )

    class Templated(EchoEngine):
        @property
        def info(self) -> EngineInfo:
            return replace(super().info, template=traits)

    model = create_app(Settings(), Templated()).test_client().get("/v1/models/echo").json
    assert model["template"] == {
        "order": {
            "system": "first",
            "several_system": False,
            "user_twice": True,
            "assistant_first": False,
            "assistant_twice": False,
            "assistant_last": False,
            "user_after_result": False,
            "result_without_call": False,
        },
        "tools": {
            "shown": True,
            "calls": False,
            "results": False,
            "parallel_calls": False,
            "text_beside_calls": False,
            "call_id": "9 letters and digits",
        },
        "thinking": {
            "opening": "[THINK]",
            "closing": "[/THINK]",
            "opened_by_prompt": True,
            "switch": "thinking",
            "effort": False,
        },
    }
    assert "template" not in client_with().get("/v1/models/echo").json


def test_a_model_is_what_the_list_says(client: FlaskClient) -> None:
    for model in client.get("/v1/models").json["data"]:
        for end in ("", "/"):
            assert client.get(f"/v1/models/{model['id']}{end}").json == model


@pytest.mark.parametrize(
    "name", ["gpt-4", "ECHO", "echo ", "a/b/c", "..", "%2e", "ünknown", "x" * 5000]
)
def test_an_unknown_model_is_not_found(client: FlaskClient, name: str) -> None:
    answer = client.get(f"/v1/models/{name}")
    assert answer.status_code == 404
    error = assert_envelope(answer.json, status=404)
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert len(error["message"]) < 1000


@pytest.mark.parametrize(
    "name", ["org/model", "org/model-GGUF:Q4_K_M", "a b", "模型", "x.gguf", "a%b"]
)
def test_names_with_slashes_and_signs(name: str) -> None:
    from urllib.parse import quote

    client = client_with(name)
    assert client.get("/v1/models").json["data"][0]["id"] == name
    for written in (quote(name, safe=""), quote(name)):
        assert client.get(f"/v1/models/{written}").json["id"] == name
        for url in (
            f"/v1/engines/{written}/completions",
            f"/openai/deployments/{written}/completions",
        ):
            answer = ask(client, None, url)
            assert answer.status_code == 200 and answer.json["model"] == name


@pytest.mark.parametrize("url", ["/v1/chat/completions", "/v1/completions"])
@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ("echo", 200, None),
        ("gpt-3.5-turbo", 200, None),
        ("gpt-4", 200, None),
        ("local-model", 200, None),
        ("x" * 5000, 200, None),
        ("", 400, "missing_required_parameter"),
        (None, 400, "missing_required_parameter"),
        (5, 400, "invalid_type"),
        (["echo"], 400, "invalid_type"),
    ],
)
def test_the_model_of_a_request(
    client: FlaskClient, url: str, model: Any, status: int, code: str | None
) -> None:
    answer = ask(client, model, url)
    assert answer.status_code == status
    if status == 200:
        assert answer.json["model"] == "echo", "the real model's name, also for a stand-in"
    else:
        error = assert_envelope(answer.json, status=status)
        assert (error["code"], error["param"]) == (code, "model")


@pytest.mark.parametrize("url", ["/v1/chat/completions", "/v1/completions"])
def test_names_can_be_checked(url: str) -> None:
    client = client_with("openedai-tiny", strict_models=True)
    for name in ("openedai-tiny", "gpt-3.5-turbo"):
        assert ask(client, name, url).json["model"] == "openedai-tiny"
    error = assert_envelope(ask(client, "gpt-4", url).json, status=404)
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert "This server has `openedai-tiny`, `gpt-3.5-turbo`." in error["message"]


@pytest.mark.parametrize(
    ("wrong", "first"),
    [
        ("openedai-tinny", "openedai-tiny"),
        ("OpenedAI-Tiny", "openedai-tiny"),
        ("openedai-tiny.gguf", "openedai-tiny"),
        ("gpt-3.5", "gpt-3.5-turbo"),
        ("gpt-35-turbo", "gpt-3.5-turbo"),
    ],
)
def test_a_misspelt_name_is_told_the_nearest_first(wrong: str, first: str) -> None:
    client = client_with("openedai-tiny", strict_models=True)
    for answer in (ask(client, wrong), client.get(f"/v1/models/{wrong}")):
        message = assert_envelope(answer.json, status=404)["message"]
        assert f"This server has `{first}`, " in message


def test_names_are_checked_where_clients_see_several_models() -> None:
    assert ask(client_with(list_host_models=True), "gpt-4").status_code == 404
    assert ask(client_with(list_host_models=True, model_aliases="*"), "gpt-4").status_code == 200


def test_a_stranger_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    client = client_with()
    with caplog.at_level("INFO", "openedai"):
        for name in ("gpt-4", "gpt-4", "echo", "bad\nname", *(f"model-{n}" for n in range(500))):
            assert ask(client, name).status_code == 200
    lines = [r.getMessage() for r in caplog.records if "asks for the model" in r.getMessage()]
    assert "'gpt-4'" in lines[0] and "'echo' answers" in lines[0] and "--strict-models" in lines[0]
    assert sum("'gpt-4'" in line for line in lines) == 1
    assert "\n" not in lines[1] and "bad\\nname" in lines[1]
    assert len(lines) < 300


def test_aliases_are_added() -> None:
    client = client_with(model_aliases=("gpt-4", "echo", "gpt-4o"), strict_models=True)
    names = [model["id"] for model in client.get("/v1/models").json["data"]]
    assert names == ["echo", "gpt-3.5-turbo", "gpt-4", "gpt-4o"]
    assert {ask(client, name).status_code for name in names} == {200}
    assert client.get("/v1/models/gpt-4").json["root"] == "echo"


@pytest.mark.parametrize(("aliases", "names"), [("none", []), ("none,gpt-4", ["gpt-4"])])
def test_none_leaves_the_default_alias_out(aliases: str, names: list[str]) -> None:
    client = client_with(model_aliases=aliases, strict_models=True)
    assert [m["id"] for m in client.get("/v1/models").json["data"]] == ["echo", *names]
    assert ask(client, "gpt-3.5-turbo").status_code == 404


def test_a_star_takes_any_name() -> None:
    client = client_with(model_aliases=("*",), strict_models=True)
    assert ask(client, "whatever").json["model"] == "echo"
    names = [model["id"] for model in client.get("/v1/models").json["data"]]
    assert names == ["echo", "gpt-3.5-turbo"]
    assert client.get("/v1/models/whatever").status_code == 404


def test_a_name_may_be_left_out_where_the_operator_says_so() -> None:
    client = client_with(require_model=False, strict_models=True)
    assert ask(client, None).json["model"] == "echo"
    assert ask(client, "gpt-4").status_code == 404


@pytest.mark.parametrize(
    "url",
    [
        "/v1/chat/completions",
        "/chat/completions",
        "/v1/completions",
        "/completions",
        "/v1/engines/echo/completions",
        "/engines/echo/completions",
        "/v1/engines/gpt-3.5-turbo/completions",
        "/v1/engines/echo/chat/completions",
        "/openai/v1/chat/completions",
        "/openai/deployments/echo/chat/completions?api-version=2024-10-21",
        "/openai/deployments/echo/completions?api-version=2024-10-21",
    ],
)
@pytest.mark.parametrize("prefix", ["", "/custom", "/a/b"])
def test_every_address(url: str, prefix: str) -> None:
    client = client_with(api_prefix=prefix)
    model = None if "echo/" in url or "turbo/" in url else "echo"
    assert ask(client, model, prefix + url).status_code == 200
    if prefix:
        answer = ask(client, model, url)
        assert answer.status_code == 404
        assert_envelope(answer.json, status=404)


def test_a_model_in_the_address_goes_before_the_one_in_the_body(client: FlaskClient) -> None:
    strict = client_with(strict_models=True)
    for url in ("/v1/engines/nope/completions", "/openai/deployments/nope/chat/completions"):
        assert ask(client, "echo", url).json["model"] == "echo"
        answer = ask(strict, "echo", url)
        assert answer.status_code == 404
        assert assert_envelope(answer.json)["code"] == "model_not_found"


@pytest.mark.parametrize("path", ["/models", "/v1/models", "/v1/models/echo", "/models/echo"])
def test_models_with_and_without_v1(client: FlaskClient, path: str) -> None:
    assert client.get(path).status_code == 200
    assert client.head(path).status_code == 200


def test_while_the_model_loads_everything_says_so_and_the_pages_are_there() -> None:
    engine = SwappableEngine()
    client = create_app(Settings(), engine).test_client()
    for answer in (
        client.get("/health"),
        client.get("/v1/models"),
        client.get("/v1/models/echo"),
        ask(client, "echo"),
        ask(client, "echo", "/v1/completions"),
    ):
        assert answer.status_code == 503
        assert assert_envelope(answer.json)["code"] == "model_loading"
        assert int(answer.headers["Retry-After"]) >= 1
    for path in ("/", "/docs", "/redoc", "/openapi.json"):
        assert client.get(path).status_code == 200
    engine.set(EchoEngine())
    assert client.get("/health").json == {"status": "ok"}
    assert client.get("/v1/models").status_code == 200


@pytest.mark.parametrize(
    ("path", "capability"),
    [
        ("/v1/audio/speech", Capability.SPEECH),
        ("/v1/embeddings", Capability.EMBEDDINGS),
        ("/v1/rerank", Capability.RERANK),
        ("/v1/images/generations", Capability.IMAGES),
    ],
)
def test_a_model_that_is_being_loaded_is_not_one_that_is_not_there(
    path: str, capability: Capability
) -> None:
    app = create_app(Settings(), PacedEngine())
    client, models = app.test_client(), app.extensions["openai"].models
    body = {"model": "x", "input": "x", "voice": "x", "prompt": "x", "query": "x"}
    assert client.post(path, json={**body, "documents": ["x"]}).status_code == 501
    models.expect([capability])
    answer = client.post(path, json={**body, "documents": ["x"]})
    assert answer.status_code == 503 and int(answer.headers["Retry-After"]) >= 1
    assert assert_envelope(answer.json)["code"] == "model_loading"
    models.expect([])
    assert client.post(path, json={**body, "documents": ["x"]}).status_code == 501


# Under their older name.


@pytest.mark.parametrize("prefix", ["/v1", "", "/openai/v1"])
def test_engines_are_the_models_in_the_shape_of_before(client: FlaskClient, prefix: str) -> None:
    """As the reference had it until 2022: `id`, `object`, `owner`, `ready`."""
    listed = client.get(f"{prefix}/engines").json
    assert listed.keys() == {"object", "data"} and listed["object"] == "list"
    names = [model["id"] for model in client.get("/v1/models").json["data"]]
    assert [engine["id"] for engine in listed["data"]] == names
    for engine in listed["data"]:
        assert engine["object"] == "engine" and engine["ready"] is True and engine["owner"]
        assert client.get(f"{prefix}/engines/{engine['id']}").json == engine


def test_an_unknown_engine_is_not_found(client: FlaskClient) -> None:
    answer = client.get("/v1/engines/davinci")
    assert answer.status_code == 404
    assert assert_envelope(answer.json, status=404)["code"] == "model_not_found"


def test_engines_while_there_is_no_model() -> None:
    client = create_app(Settings(), SwappableEngine()).test_client()
    assert client.get("/v1/engines").status_code == 503


@pytest.fixture
def several(tmp_path: Path) -> FlaskClient:
    """Two models and an agent of the second one."""
    agents = tmp_path / "agents.yaml"
    agents.write_text("agents: {helper: {system: 'Help.', model: second}}", encoding="utf-8")
    settings = Settings(agents=str(agents), model_aliases="small")
    app = create_app(settings, EchoEngine(name="main"))
    app.extensions["openai"].models.add("second", EchoEngine(name="second"), ("gpt-4o",))
    return app.test_client()


def test_each_of_several_models_is_listed_and_answers(several: FlaskClient) -> None:
    listed = several.get("/v1/models").json["data"]
    assert [(each["id"], each.get("root")) for each in listed] == [
        ("main", None),
        ("gpt-3.5-turbo", "main"),
        ("small", "main"),
        ("second", None),
        ("gpt-4o", "second"),
        ("agent:helper", "second"),
    ]
    for model in listed:
        assert several.get(f"/v1/models/{model['id']}").json == model
        answer = ask(several, model["id"])
        assert answer.json["model"] == model.get("root", model["id"])
        assert answer.json["choices"][0]["message"]["content"] == "x"
    for url in ("/v1/engines/second/completions", "/openai/deployments/gpt-4o/completions"):
        assert ask(several, None, url).json["model"] == "second"
    error = assert_envelope(ask(several, "secand").json, status=404)
    assert error["code"] == "model_not_found" and "This server has `second`, " in error["message"]
    assert several.get("/v1/internal/queue").json["slots"] == 8
