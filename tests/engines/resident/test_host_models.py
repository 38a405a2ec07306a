"""A webui's own models, each loaded when a request names it, in both ages of the small webui."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from extensions.openai.engines.resident.host_models import HostModels
from extensions.openai.engines.swappable import SwappableEngine
from extensions.openai.engines.webui.engine import WebuiEngine
from extensions.openai.engines.webui.model_manager import ChatModelManager
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.support.process import ROOT
from tests.support.reference import assert_envelope
from tests.webui_host import AGES, MiniHost, install
from tests.webui_host.model_tab import add_model_tab

SOON_S = 50.0
CHAT = {
    "model": "gpt-3.5-turbo",
    "messages": [{"role": "user", "content": "Hello"}],
    "max_tokens": 2,
}


@pytest.fixture(params=AGES)
def host(request: pytest.FixtureRequest) -> Iterator[MiniHost]:
    with install(request.param, ROOT / "models" / "openedai-tiny") as host:
        add_model_tab(host)
        host.load()
        yield host
        for name in list(host.modules):
            sys.modules.pop(name, None)


@pytest.fixture
def app(host: MiniHost) -> Iterator[Any]:
    engine = SwappableEngine()
    engine.set(WebuiEngine())
    app = create_app(Settings(load_on_request=True), engine)
    services = app.extensions["openai"]
    services.model_manager = ChatModelManager(engine, 0.1)
    services.host_models = HostModels(services.model_manager, engine)
    yield app
    services.host_models.close()


@pytest.fixture
def models(app: Any) -> HostModels:
    found: HostModels = app.extensions["openai"].host_models
    return found


def ask(app: Any, **fields: Any) -> Any:
    # Buffered: the client has all of it, and the request has ended.
    return app.test_client().post("/v1/chat/completions", json={**CHAT, **fields}, buffered=True)


def answered(app: Any, **fields: Any) -> str:
    answer = ask(app, **fields)
    assert answer.status_code == 200, answer.json
    return str(answer.json["model"])


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SOON_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def listed(app: Any) -> dict[str, Any]:
    return {each["id"]: each for each in app.test_client().get("/v1/models").json["data"]}


def test_a_request_loads_what_it_names(host: MiniHost, app: Any) -> None:
    found = listed(app)
    assert list(found) == ["tiny", "gpt-3.5-turbo", "other", "broken", "missing"]
    assert "chat" in found["tiny"]["capabilities"] and found["other"]["loaded"] is False
    host.shared.args.threads = 9  # as a user has set it for the model before
    assert answered(app, model="other") == "other"
    assert host.shared.model_name == "other"
    assert host.shared.args.threads == (4 if host.age == "2026" else 0), "the model's own"
    assert list(listed(app))[:2] == ["other", "gpt-3.5-turbo"]
    assert answered(app) == "other", "its alias means the one that is loaded"
    refused = ask(app, model="nothing")
    assert refused.status_code == 404
    assert assert_envelope(refused.json)["code"] == "model_not_found"


def test_requests_wait_for_their_turn(host: MiniHost, app: Any) -> None:
    wanted = ["tiny", "other"] * 4
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda name: answered(app, model=name), wanted))
    assert found == wanted


def test_the_model_that_answers_stays(host: MiniHost, app: Any, models: HostModels) -> None:
    lease = models.lease(None)
    assert lease is not None and lease.wait(SOON_S) is not None
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(answered, app, model="other")
        until(lambda: models.residents.status("other").waiting == 1)
        assert answered(app, model="tiny") == "tiny" and not waiting.done()
        lease.close()
        assert waiting.result(SOON_S) == "other"


def test_a_model_that_cannot_be_loaded(host: MiniHost, app: Any) -> None:
    for name in ("broken", "missing"):
        refused = ask(app, model=name)
        assert refused.status_code == 500
        assert assert_envelope(refused.json)["code"] == "model_load_failed"
    assert ask(app).status_code == 503, "none is loaded, and the request names none"
    assert answered(app, model="tiny") == "tiny"


def test_a_user_loads_another_one_in_the_page(host: MiniHost, app: Any, models: HostModels) -> None:
    assert answered(app, model="tiny") == "tiny"
    host.load("other")
    assert answered(app) == "other"
    assert answered(app, model="tiny") == "tiny"
    host.shared.model = host.shared.tokenizer = None  # unloaded there
    assert ask(app).status_code == 503
    assert answered(app, model="other") == "other"


def test_while_the_page_generates_its_model_stays(host: MiniHost, app: Any) -> None:
    with host.shared.generation_lock:
        refused = ask(app, model="other")
        assert assert_envelope(refused.json)["code"] == "model_in_use"
    assert host.shared.model_name == "tiny"


def test_what_an_operator_sees(host: MiniHost, app: Any) -> None:
    client, url = app.test_client(), "/v1/internal/models"
    found = client.get(url).json
    assert [each["id"] for each in found["data"]] == ["tiny", "other", "broken", "missing"]
    assert found["room"] == {"models": 1, "bytes": 0, "used": 0}
    assert client.post(f"{url}/load", json={"model": "other"}).json["state"] == "loaded"
    assert host.shared.model_name == "other"
    assert client.post(f"{url}/unload", json={"model": "other"}).json["loads"] == 1
    assert host.shared.model is None
    assert 'openedai_model_loads_total{model="other"} 1.0' in client.get("/metrics").text


def test_the_end_of_the_server_leaves_the_host_its_model(
    host: MiniHost, app: Any, models: HostModels
) -> None:
    assert answered(app, model="other") == "other"
    models.close()
    assert host.shared.model_name == "other" and host.shared.model is not None
    assert ask(app, model="tiny").status_code == 503
    until(lambda: all(each.name != "openai-residents" for each in threading.enumerate()))
