"""Answers that are given again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask.testing import FlaskClient

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.protocol import Capability, EngineInfo, GenerateRequest, Pieces
from extensions.openai.generation.hooks.extension_hooks import Hooks
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from extensions.openai.web.kept_answers import KeptAnswers
from tests.support.keys import headers_of

HEADER = "x-openedai-answer-cache"
CHAT: dict[str, Any] = {
    "model": "echo",
    "messages": [{"role": "user", "content": "Hello"}],
    "temperature": 0,
}


class CountedEngine(EchoEngine):
    """Counts its answers."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = 0
        self.fingerprint = "fp_echo"
        self.meanwhile: Callable[[], object] | None = None
        """What happens while an answer is made."""

    @property
    def info(self) -> EngineInfo:
        info = super().info
        able = (*info.capabilities, Capability.MODES)
        return replace(info, fingerprint=self.fingerprint, capabilities=able)

    def generate(self, request: GenerateRequest) -> Pieces:
        self.answers += 1
        if self.meanwhile is not None:
            self.meanwhile()
        return super().generate(request)


@pytest.fixture
def engine() -> CountedEngine:
    return CountedEngine()


def client_of(engine: CountedEngine, **options: Any) -> FlaskClient:
    return create_app(Settings(**{"answer_cache": 1, **options}), engine).test_client()


def chat(client: FlaskClient, headers: Any = None, **more: Any) -> Any:
    answer = client.post("/v1/chat/completions", json={**CHAT, **more}, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer


def test_the_same_greedy_request_gets_the_same_answer(engine: CountedEngine) -> None:
    client = client_of(engine)
    first, second = (chat(client, nonsense=1) for _ in range(2))
    assert (first.headers[HEADER], second.headers[HEADER]) == ("miss", "hit")
    assert first.data == second.data and engine.answers == 1
    assert second.headers["x-openedai-ignored"] == first.headers["x-openedai-ignored"] == "nonsense"
    assert second.headers["x-request-id"] != first.headers["x-request-id"]
    chat(client, messages=[{"role": "user", "content": "Bye"}])
    chat(client, max_tokens=2)
    assert engine.answers == 3


@pytest.mark.parametrize(
    ("more", "kept"),
    [
        ({"temperature": None, "seed": 7}, True),
        ({"temperature": None}, False),
        ({"temperature": 0.5}, False),
        ({"temperature": None, "seed": -1}, False),
        ({"stream": True}, False),
        ({"metadata": {"file": "https://example.org/a"}}, False),
        ({"metadata": {"file": "HTTPS://example.org/a"}}, False),
        ({"tools": [{"type": "mcp", "server_label": "clock"}]}, False),
        ({"xtc_probability": 0.5}, False),
        ({"xtc_probability": 0.5, "seed": 7}, True),
        ({"dynamic_temperature": True}, False),
        ({"character": "Example"}, False),
        ({"adaptive_target": -1.0}, True),
        ({"store": True}, False),
    ],
)
def test_only_what_repeats_itself_is_kept(
    engine: CountedEngine, more: dict[str, Any], kept: bool
) -> None:
    client = client_of(engine, store="memory")
    for _ in range(2):
        answer = chat(client, **more)
    assert engine.answers == (1 if kept else 2)
    assert answer.headers.get(HEADER) == ("hit" if kept else None)


@pytest.mark.parametrize(
    "headers", [{"x-openedai-session-key": "s"}, {"Idempotency-Key": "k"}], ids=str
)
def test_what_depends_on_more_than_the_request_is_not(
    engine: CountedEngine, headers: dict[str, str]
) -> None:
    client = client_of(engine, store="memory")
    for _ in range(2):
        assert HEADER not in chat(client, headers).headers
    assert engine.answers == 2


def test_not_with_hooks_nor_where_the_operator_forces_a_temperature(engine: CountedEngine) -> None:
    forced = client_of(engine, sampling_forced={"temperature": 1})
    for _ in range(2):
        assert HEADER not in chat(forced).headers
    chancy = client_of(engine, sampling_defaults={"xtc_probability": 0.5})
    for _ in range(2):
        assert HEADER not in chat(chancy).headers
    hooked = client_of(engine)
    services = hooked.application.extensions["openai"]
    other = SimpleNamespace(input_modifier=lambda text, *_: text)
    services.hooks = Hooks(lambda: [("other", other)])
    for _ in range(2):
        assert HEADER not in chat(hooked).headers


def test_each_key_has_its_own(engine: CountedEngine, tmp_path: Path) -> None:
    options = {"data_folder": str(tmp_path), "rpm": 0}
    headers = headers_of(Settings(**options), "ann", "bob")  # type: ignore[arg-type]
    client = client_of(engine, **options)
    for who, found in (("ann", "miss"), ("bob", "miss"), ("ann", "hit"), ("bob", "hit")):
        assert chat(client, headers[who]).headers[HEADER] == found
    assert engine.answers == 2
    assert client.post("/v1/chat/completions", json=CHAT).status_code == 401


def test_other_endpoints_keep_theirs(engine: CountedEngine) -> None:
    client = client_of(engine)
    bodies: dict[str, dict[str, Any]] = {
        "/v1/completions": {"model": "echo", "prompt": "x", "seed": 1},
        "/v1/messages": {**CHAT, "max_tokens": 9},
        "/v1/engines/echo/completions": {"prompt": "x", "seed": 1},
    }
    for path, body in bodies.items():
        found = [client.post(path, json=body) for _ in range(2)]
        assert [each.headers[HEADER] for each in found] == ["miss", "hit"], path
        assert found[0].data == found[1].data


def test_errors_are_not_kept(engine: CountedEngine) -> None:
    client = client_of(engine, strict_models=True)
    assert chat(client).headers[HEADER] == "miss"
    for _ in range(2):
        answer = client.post("/v1/chat/completions", json={**CHAT, "model": "nope"})
        assert answer.status_code == 404 and HEADER not in answer.headers


def test_erasing_a_user_and_reading_the_settings_again_forget_all(engine: CountedEngine) -> None:
    client = client_of(engine, store="memory")
    services = client.application.extensions["openai"]
    chat(client)
    assert client.delete("/v1/internal/users/ann").status_code == 200
    assert chat(client).headers[HEADER] == "miss"
    services.reload(services.settings)
    assert chat(client).headers[HEADER] == "miss"
    assert chat(client).headers[HEADER] == "hit"


def test_what_is_forgotten_while_an_answer_is_made_is_not_kept(engine: CountedEngine) -> None:
    """Its user may be the one who is erased, and its policy the one from before."""
    client = client_of(engine)
    services = client.application.extensions["openai"]
    engine.meanwhile = lambda: services.reload(services.settings)
    assert chat(client).headers[HEADER] == "miss"
    engine.meanwhile = None
    assert [chat(client).headers[HEADER] for _ in range(2)] == ["miss", "hit"]


def test_an_answer_that_was_ended_early_is_not_kept(engine: CountedEngine) -> None:
    client = client_of(engine)
    engine.meanwhile = lambda: client.post("/v1/internal/stop-generation", json={})
    assert chat(client).json["choices"][0]["message"]["content"] == ""
    engine.meanwhile = None
    whole = chat(client)
    assert whole.headers[HEADER] == "miss"
    assert whole.json["choices"][0]["message"]["content"] == "Hello"


def test_an_answer_of_a_model_that_came_meanwhile_is_not_kept(engine: CountedEngine) -> None:
    client = client_of(engine)
    engine.meanwhile = lambda: setattr(engine, "fingerprint", "fp_other")
    assert chat(client).headers[HEADER] == "miss"
    engine.fingerprint = "fp_echo"
    assert chat(client).headers[HEADER] == "miss"


def test_names_of_ignored_fields_count_as_well(engine: CountedEngine) -> None:
    client = client_of(engine)
    size = len(chat(client).data) + 512
    client.application.extensions["openai"].answer_cache = KeptAnswers(2 * size)
    more = {f"nonsense{at}": 1 for at in range(900)}
    assert [chat(client, **more).headers[HEADER] for _ in range(2)] == ["miss", "miss"]


def test_without_the_option_nothing_is_kept(engine: CountedEngine) -> None:
    client = client_of(engine, answer_cache=0)
    for _ in range(2):
        assert HEADER not in chat(client).headers
    assert engine.answers == 2


def test_the_least_recently_used_is_dropped_first(engine: CountedEngine) -> None:
    client = client_of(engine)
    services = client.application.extensions["openai"]
    size = len(chat(client).data) + 512
    services.answer_cache = KeptAnswers(int(2.5 * size))

    def ask(word: str) -> str:
        said = [{"role": "user", "content": word}]
        return str(chat(client, messages=said).headers[HEADER])

    assert [ask(word) for word in ("one", "two", "one", "six")] == ["miss", "miss", "hit", "miss"]
    assert [ask(word) for word in ("one", "six", "two")] == ["hit", "hit", "miss"]


def test_an_answer_that_is_larger_than_the_cache_is_not_kept(engine: CountedEngine) -> None:
    client = client_of(engine)
    client.application.extensions["openai"].answer_cache = KeptAnswers(100)
    assert [chat(client).headers[HEADER] for _ in range(2)] == ["miss", "miss"]
