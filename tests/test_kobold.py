"""KoboldCpp's own API, on the wire and as SillyTavern's server asks it."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from extensions.openai.dialects.kobold.request import KoboldGenerateRequest
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.protocol import GenerateRequest, Pieces
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.conftest import Serve
from tests.support.keys import headers_of
from tests.support.paced import LONG, PacedEngine
from tests.support.reference import assert_kobold_error, kobold_events
from tests.support.wire import Wire, ask

GENERATE, STREAM = "/api/v1/generate", "/api/extra/generate/stream"
CHECK, ABORT = "/api/extra/generate/check", "/api/extra/abort"
SILLY_TAVERN: dict[str, Any] = {
    "prompt": "Hello",
    **dict.fromkeys(
        ("use_story", "use_memory", "use_authors_note", "use_world_info", "singleline"), False
    ),
    "max_context_length": 4096,
    "max_length": 40,
    "rep_pen": 1.1,
    "rep_pen_range": 600,
    "rep_pen_slope": 0.9,
    "temperature": 0.7,
    "tfs": 1,
    "top_a": 0,
    "top_k": 20,
    "top_p": 0.9,
    "min_p": 0.1,
    "typical": 1,
    "sampler_order": [6, 0, 1, 3, 4, 2, 5],
    "use_default_badwordsids": False,
    "mirostat": 0,
    "mirostat_eta": 0.1,
    "mirostat_tau": 5,
    "grammar": "",
    "sampler_seed": -1,
    "stop_sequence": ["\nYou:"],
}
"""What src/endpoints/backends/kobold.js of SillyTavern makes of its sliders."""


class AskedEngine(EchoEngine):
    """Remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[GenerateRequest] = []

    def generate(self, request: GenerateRequest) -> Pieces:
        self.asked.append(request)
        return super().generate(request)


@pytest.fixture(scope="module")
def engine() -> AskedEngine:
    return AskedEngine()


@pytest.fixture(scope="module")
def wire(engine: AskedEngine) -> FlaskClient:
    return create_app(Settings(kobold_api=True), engine).test_client()


def text_of(answer: Any) -> str:
    (result,) = answer.json["results"]
    return str(result["text"])


def test_what_silly_tavern_asks_before_anything_else(wire: FlaskClient) -> None:
    """It streams with a KoboldCpp from 1.30 on, and sends stop strings to an API from 1.2.2 on."""
    found = wire.get("/api/extra/version").json
    assert found["result"] == "KoboldCpp" and found["protected"] is False
    assert tuple(map(int, found["version"].split("."))) > (1, 30)
    version = wire.get("/api/v1/info/version").json["result"]
    assert tuple(map(int, version.split("."))) >= (1, 2, 2)
    assert wire.get("/api/v1/model").json == {"result": "koboldcpp/echo"}
    assert wire.get("/api/latest/model").json == {"result": "koboldcpp/echo"}
    for path in ("/api/v1/config/max_context_length", "/api/extra/true_max_context_length"):
        assert wire.get(path).json == {"value": 8192}
    assert wire.get("/api/v1/config/max_length").json == {"value": 512}


def test_an_answer(wire: FlaskClient, engine: AskedEngine) -> None:
    answer = wire.post(GENERATE, json=SILLY_TAVERN)
    assert answer.json["results"] == [
        {
            "text": "Hello",
            "finish_reason": "stop",
            "logprobs": None,
            "prompt_tokens": 5,
            "completion_tokens": 6,
        }
    ]
    assert answer.headers["x-openedai-ignored"] == "rep_pen_slope"
    sampling = engine.asked[-1].sampling
    names = ("repeat_penalty", "repeat_last_n", "temperature", "top_k", "top_p", "min_p")
    assert [sampling[name] for name in names] == [1.1, 600, 0.7, 20, 0.9, 0.1]
    assert "samplers" not in sampling and engine.asked[-1].max_tokens == 40
    assert engine.asked[-1].seed is None


def test_a_stream(wire: FlaskClient) -> None:
    answer = wire.post(STREAM, json=SILLY_TAVERN)
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    events = kobold_events(answer.data)
    assert "".join(event["token"] for event in events) == "Hello"
    assert [event["finish_reason"] for event in events] == [None] * (len(events) - 1) + ["stop"]


def test_switches(wire: FlaskClient, engine: AskedEngine) -> None:
    assert text_of(wire.post(GENERATE, json={"prompt": "one\ntwo", "singleline": True})) == "one"
    stops = {"prompt": "one two", "stop_sequence": ["tw"], "singleline": True}
    assert text_of(wire.post(GENERATE, json=stops)) == "one "
    wire.post(GENERATE, json={"prompt": "x", "use_default_badwordsids": True, "max_length": 3})
    assert engine.asked[-1].sampling["ignore_eos"] is True
    wire.post(GENERATE, json={"prompt": "x", "sampler_order": [5, 0, 1, 2, 3, 4, 6]})
    order = engine.asked[-1].sampling["samplers"]
    assert order[:5] == ["top_n_sigma", "temperature", "xtc", "top_k", "top_p"]
    assert order[-2:] == ["penalties", "dry"]
    wire.post(GENERATE, json={"prompt": "x", "sampler_seed": 7})
    assert engine.asked[-1].seed == 7


def test_the_end_of_a_prompt_that_is_too_long_is_kept_and_the_memory(wire: FlaskClient) -> None:
    body = {"prompt": "Hello world", "max_context_length": 12, "max_length": 6}
    answer = wire.post(GENERATE, json=body)
    assert text_of(answer) == " world" and answer.headers["x-openedai-ignored"] == "prompt"
    answer = wire.post(GENERATE, json={**body, "memory": "M:"})
    assert text_of(answer) == "M:orld" and answer.headers["x-openedai-ignored"] == "prompt"
    whole = wire.post(GENERATE, json={"prompt": "Hello", "memory": "M:"})
    assert text_of(whole) == "M:Hello" and "x-openedai-ignored" not in whole.headers
    assert text_of(wire.post(GENERATE, json={"prompt": "x" * 9000})) == "x" * 512


def test_tokens_of_a_text(wire: FlaskClient) -> None:
    counted = wire.post("/api/extra/tokencount", json={"prompt": "ab", "special": True})
    assert counted.json == {"value": 2, "ids": [97, 98]}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"prompt": 1}, "'prompt'"),
        ({"max_length": 0}, "'max_length'"),
        ({"temperature": -1}, "'temperature'"),
        ({"tfs": 0.5}, "'tfs'"),
        ({"use_story": True}, "'use_story'"),
        ({"images": ["eA=="]}, "'images'"),
        ({"sampler_order": [9]}, "'sampler_order[0]'"),
        ({"timeout": 1}, "'timeout'"),
        ({"max_length": LONG // 20}, "maximum context length is 8192 tokens"),
    ],
)
@pytest.mark.parametrize("path", [GENERATE, STREAM])
def test_what_cannot_be_is_refused_by_name(
    wire: FlaskClient, path: str, body: dict[str, Any], words: str
) -> None:
    answer = wire.post(path, json={"prompt": "x", **body})
    assert answer.status_code == 400, answer.text
    assert words in assert_kobold_error(answer.json)["message"]


def test_it_is_off_unless_the_operator_turns_it_on() -> None:
    off = create_app(Settings(), EchoEngine()).test_client()
    answer = off.post(GENERATE, json={"prompt": "x"})
    assert answer.status_code == 404
    assert "--kobold-api" in assert_kobold_error(answer.json)["message"]


def test_an_answer_is_looked_at_and_ended_by_its_own_caller_only(
    serve: Serve, tmp_path: Any
) -> None:
    """And by the key that its request gave."""
    engine = PacedEngine(endless=True, pace=0.001, context_length=LONG)
    settings: dict[str, Any] = {"kobold_api": True, "data_folder": str(tmp_path), "rpm": 0}
    headers = headers_of(Settings(**settings), "ann", "bob")
    port = serve(engine, **settings).port

    def post(path: str, who: str, key: str) -> Any:
        return ask(port, "POST", path, {"genkey": key}, **headers[who]).json()

    with Wire(port) as wire:
        body = {"prompt": "x", "genkey": "k", "max_length": LONG // 2}
        wire.request("POST", STREAM, body, dict(headers["ann"]))
        assert wire.head()[1] == 200
        chunks = wire.chunks()
        first = kobold_events(next(chunks))[0]["token"]
        assert post(CHECK, "ann", "k")["results"][0]["text"].startswith(first)
        for who, key in (("bob", "k"), ("ann", "other"), ("ann", "")):
            assert post(CHECK, who, key) == {"results": [{"text": ""}]}
            assert post(ABORT, who, key) == {"success": "false", "done": "true"}
        assert post(ABORT, "ann", "k") == {"success": "true", "done": "true"}
        assert kobold_events(b"".join(chunks))[-1]["finish_reason"] == "stop"
    assert engine.wait_for_active(0, 30.0)


def test_without_a_key_the_answers_without_one_are_meant(serve: Serve) -> None:
    """SillyTavern sends neither."""
    engine = PacedEngine(endless=True, pace=0.001, context_length=LONG)
    port = serve(engine, kobold_api=True).port
    with Wire(port) as wire:
        wire.request("POST", STREAM, {"prompt": "x", "max_length": LONG // 2})
        wire.head()
        chunks = wire.chunks()
        next(chunks)
        assert ask(port, "POST", ABORT).json()["success"] == "true"
        assert kobold_events(b"".join(chunks))[-1]["finish_reason"] == "stop"
    assert engine.wait_for_active(0, 30.0)


def test_limits_of_tokens_count_what_a_request_asks_for() -> None:
    wire = create_app(Settings(kobold_api=True, api_key="k", tpm=50), EchoEngine()).test_client()
    key = {"Authorization": "Bearer k"}
    assert wire.post(GENERATE, json={"prompt": "x"}).status_code == 401
    answer = wire.post(GENERATE, json={"prompt": "x", "max_length": 60}, headers=key)
    assert answer.status_code == 429 and assert_kobold_error(answer.json)
    assert (
        wire.post(GENERATE, json={"prompt": "x", "max_length": 6}, headers=key).status_code == 200
    )


def test_every_field_that_silly_tavern_sends_is_known() -> None:
    body = KoboldGenerateRequest.model_validate(SILLY_TAVERN)
    assert not set(body.model_extra or {}) - {"rep_pen_slope"}
