"""Open WebUI, the real one, as a client of Ollama's API and of OpenAI's.

`make test-clients ARGS="-k open_webui"` runs this alone. What it sends is kept byte for byte in
tests/support/open_webui_requests.json, and sent again by tests/whole/test_open_webui_requests.py, which runs
everywhere. OPEN_WEBUI_RECORD=1 writes the file.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.agents.relay import Relay, wait_for
from tests.clients.open_webui_process import OpenWebUI, is_for_this_python
from tests.support.process import ROOT, ServerProcess

STREAMED = {False: "", True: ", streamed"}
INSTALLED = os.environ.get("CLIENTS_DIR")
pytestmark = [
    pytest.mark.skipif(not INSTALLED, reason="needs uv: make test-clients"),
    pytest.mark.skipif(not is_for_this_python(), reason="needs Python 3.11 or 3.12"),
    pytest.mark.timeout(900),
]
KEY = "sk-of-open-webui"
RECORDED = ROOT / "tests" / "support" / "open_webui_requests.json"
MODEL = "openedai-tiny"
SIDES = {
    MODEL: "/api/chat",
    f"chats.{MODEL}": "/v1/chat/completions",
    f"responses.{MODEL}": "/v1/responses",
    f"llama.{MODEL}": "/v1/chat/completions",
}
"""A model's name on the page, and where the server is asked for it."""
HELLO = [{"role": "user", "content": "Hello!"}]
ANSWER = "Hello! 👋 How can I help you?"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
        },
    },
}
ASKED = [{"role": "user", "content": "What is the weather in Paris?"}]
SCHEMA = {
    "type": "object",
    "properties": {"a": {"type": "integer"}},
    "required": ["a"],
    "additionalProperties": False,
}
SLIDERS = {
    "temperature": 0,
    "max_tokens": 12,
    "seed": 5,
    "stop": ["\\n\\n"],
    "top_k": 40,
    "top_p": 0.9,
    "min_p": 0.0,
    "frequency_penalty": 0.1,
    "presence_penalty": 0.1,
    "repeat_penalty": 1.1,
    "repeat_last_n": 64,
    "mirostat": 0,
    "mirostat_eta": 0.1,
    "mirostat_tau": 5.0,
    "num_keep": 24,
    "num_ctx": 2048,
    "num_batch": 512,
    "num_thread": 2,
    "num_gpu": 1,
    "use_mmap": True,
    "use_mlock": False,
    "keep_alive": "5m",
    "think": False,
    "logit_bias": "5:-100, 413:-100",
    "reasoning_effort": "low",
    "custom_params": {"xtc_probability": "0.1"},
}
"""All of its panel, and one that its user has typed in."""
LOADING = {"num_keep", "num_ctx", "num_batch", "num_thread", "num_gpu", "use_mmap", "use_mlock"}
PLAIN: dict[str, Any] = {"params": {"function_calling": "legacy", "temperature": 0}}
"""Without the tools that the page brings along."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """With a key, and told by the page who its users are."""
    own = ["--ollama-api", "--embedding-model", "self", "--threads", "1", "--api-key", KEY]
    users = ["--trusted-user-header", "X-OpenWebUI-User-Email", "--trusted-proxies", "127.0.0.1"]
    own += ["--rpm", "0"]
    process = ServerProcess(*own, *users)
    process.wait_until_ready()
    yield process
    process.stop()


@pytest.fixture(scope="module")
def page(server: ServerProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenWebUI]:
    clients = Path(str(INSTALLED)).resolve()
    run = [str(clients / "bin" / "uv"), "run", "--quiet", "--no-project"]
    relay = Relay(server.url)
    folder = tmp_path_factory.mktemp("open-webui")
    page = OpenWebUI(
        folder, relay, KEY, [*run, "--python", sys.executable, "--script"], clients / "uv"
    )
    try:
        page.wait_until_ready()
        yield page
    finally:
        page.stop()
        relay.stop()


def ask(page: OpenWebUI, model: str, messages: Any = HELLO, **body: Any) -> httpx.Response:
    """Its own chats, which scripts use; checks the request that came of it against the recorded one."""
    name = body.pop("name")
    page.relay.forget()
    answer = page.post("/api/chat/completions", {"model": model, "messages": messages, **body})
    sent = page.sent(SIDES[model])
    assert sent.headers["content-type"] == "application/json"
    check_recorded(name, SIDES[model], sent.sent)
    return answer


def check_recorded(what: str, path: str, body: bytes) -> None:
    name = f"{path} {what}"
    known = json.loads(RECORDED.read_text("utf-8")) if RECORDED.exists() else {}
    now = {"path": path, "body": body.decode()}
    if os.environ.get("OPEN_WEBUI_RECORD"):
        known[name] = now
        text = json.dumps(known, indent=1, sort_keys=True, ensure_ascii=False)
        RECORDED.write_text(text + "\n", "utf-8")
    assert known[name] == now


def text_of(answer: httpx.Response) -> str:
    """What its reader sees, streamed or not."""
    assert answer.status_code == 200, answer.text
    if not answer.headers["content-type"].startswith("text/event-stream"):
        return str(answer.json()["choices"][0]["message"]["content"])
    said = ""
    for event in events(answer):
        if "choices" in event:
            said += "".join(each["delta"].get("content") or "" for each in event["choices"])
        elif event.get("type") == "response.output_text.delta":
            said += event["delta"]
    return said


def call_of(answer: httpx.Response) -> tuple[str, Any]:
    """The only call of a tool: its name and arguments."""
    assert answer.status_code == 200, answer.text
    name = arguments = ""
    if not answer.headers["content-type"].startswith("text/event-stream"):
        (call,) = answer.json()["choices"][0]["message"]["tool_calls"]
        return call["function"]["name"], json.loads(call["function"]["arguments"])
    for event in events(answer):
        for choice in event.get("choices", ()):
            for call in choice["delta"].get("tool_calls") or ():
                name += call["function"].get("name") or ""
                arguments += call["function"].get("arguments") or ""
        if event.get("type") == "response.output_item.done":
            item = event["item"]
            if item["type"] == "function_call":
                name, arguments = item["name"], item["arguments"]
    return name, json.loads(arguments)


def events(answer: httpx.Response) -> Iterator[Any]:
    for line in answer.text.splitlines():
        if line.startswith("data: {"):
            yield json.loads(line[6:])


def test_both_sides_list_the_model(page: OpenWebUI) -> None:
    listed = {each["id"]: each["owned_by"] for each in page.get("/api/models")["data"]}
    assert listed.keys() >= SIDES.keys()
    assert listed[MODEL] == "ollama" and listed[f"chats.{MODEL}"] == "openai"
    (tag,) = (each for each in page.get("/ollama/api/tags")["models"] if each["model"] == MODEL)
    assert tag["expires_at"] > 0, "GET /api/ps was not understood"
    assert MODEL in [each["model"] for each in page.get("/ollama/api/ps")["models"]]
    assert page.get("/ollama/api/version")["version"].count(".") == 2
    shown = page.post("/ollama/api/show", {"model": MODEL}).json()
    assert {"completion", "tools"} <= set(shown["capabilities"])


def test_the_connections_are_verified(page: OpenWebUI) -> None:
    url = page.relay.url
    for path, address in (("/ollama/verify", url), ("/openai/verify", f"{url}/v1")):
        good = page.post(path, {"url": address, "key": KEY})
        assert good.status_code == 200, good.text


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", SIDES)
def test_a_chat(page: OpenWebUI, model: str, stream: bool) -> None:
    body = {"stream": stream, "params": {"temperature": 0}, "name": f"chat{STREAMED[stream]}"}
    answer = ask(page, model, **body)
    assert text_of(answer) == ANSWER
    if not stream:
        assert answer.json()["usage"]["total_tokens"] == 20


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", SIDES)
def test_a_tool_and_its_result(page: OpenWebUI, model: str, stream: bool) -> None:
    body = {"stream": stream, "tools": [WEATHER], "params": {"temperature": 0}}
    first = ask(page, model, ASKED, name=f"tool{STREAMED[stream]}", **body)
    assert call_of(first) == ("get_weather", {"city": "Paris"})
    function = {"name": "get_weather", "arguments": '{"city": "Paris"}'}
    call = {"index": 0, "id": "call_1", "type": "function", "function": function}
    turn = [
        *ASKED,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "18 degrees"},
    ]
    assert "18 degrees" in text_of(ask(page, model, turn, name=f"result{STREAMED[stream]}", **body))


@pytest.mark.parametrize("model", SIDES)
def test_all_of_its_sliders(page: OpenWebUI, model: str) -> None:
    answer = ask(page, model, stream=False, params=dict(SLIDERS), name="sliders")
    assert text_of(answer)
    left_out = page.sent(SIDES[model]).answered_header("x-openedai-ignored") or ""
    names = {each.strip().removeprefix("options.") for each in left_out.split(",")}
    assert names >= LOADING | {"keep_alive"}
    assert not names & {"temperature", "top_k", "min_p", "repeat_penalty", "xtc_probability"}


@pytest.mark.parametrize("model", SIDES)
def test_a_schema(page: OpenWebUI, model: str) -> None:
    wanted = {"name": "x", "strict": True, "schema": SCHEMA}
    form = {"type": "json_schema", "json_schema": wanted}
    answer = ask(page, model, stream=False, response_format=form, name="schema")
    if SIDES[model] == "/v1/responses":  # it sends what belongs to chats
        assert answer.status_code == 400 and "text.format" in answer.json()["error"]["message"]
    else:
        assert json.loads(text_of(answer)).keys() == {"a"}


def test_an_answer_is_continued_on_the_ollama_side(page: OpenWebUI) -> None:
    begun = [*HELLO, {"role": "assistant", "content": "Hello! 👋 How"}]
    answer = ask(page, MODEL, begun, stream=False, params={"temperature": 0}, name="continued")
    assert text_of(answer) == " can I help you?"


@pytest.mark.parametrize("model", SIDES)
def test_a_picture_for_a_model_that_sees_none(page: OpenWebUI, model: str) -> None:
    picture = "data:image/png;base64,iVBORw0KGgo="
    parts = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": picture}},
    ]
    turn = [{"role": "user", "content": parts}]
    answer = ask(page, model, turn, stream=False, name="picture")
    assert answer.status_code == 400 and "takes no pictures" in answer.text


def test_its_own_ollama_api(page: OpenWebUI) -> None:
    body = {"model": MODEL, "options": {"temperature": 0}}
    whole = page.post("/ollama/api/chat", {**body, "messages": HELLO, "stream": False}).json()
    assert whole["message"]["content"] == ANSWER and whole["done_reason"] == "stop"
    streamed = page.post("/ollama/api/chat", {**body, "messages": HELLO, "stream": True})
    lines = [json.loads(line) for line in streamed.text.splitlines()]
    assert "".join(each["message"]["content"] for each in lines) == ANSWER
    assert [each["done"] for each in lines] == [False] * (len(lines) - 1) + [True]
    made = page.post("/ollama/api/generate", {**body, "prompt": "Hello!", "stream": False}).json()
    assert made["response"] == ANSWER
    two = page.post("/ollama/api/embed", {"model": MODEL, "input": ["a", "b"]}).json()
    check_recorded("texts", "/api/embed", page.sent("/api/embed").sent)
    one = page.post("/ollama/api/embeddings", {"model": MODEL, "prompt": "a"}).json()
    check_recorded("text", "/api/embeddings", page.sent("/api/embeddings").sent)
    assert len(two["embeddings"]) == 2 and one["embedding"] == two["embeddings"][0]
    both = page.post("/api/embeddings", {"model": MODEL, "input": ["a", "b"]}).json()
    assert [each["embedding"] for each in both["data"]] == two["embeddings"]


@pytest.mark.parametrize("model", SIDES)
def test_a_chat_of_the_page_is_kept_with_its_usage(page: OpenWebUI, model: str) -> None:
    _, kept = page.ask_on_the_page(model, "Hello!", **PLAIN)
    assert kept["content"] == ANSWER and "error" not in kept
    assert kept["usage"]["input_tokens"] == 10 and kept["usage"]["output_tokens"] == 10


@pytest.mark.parametrize("model", [MODEL, f"llama.{MODEL}"])
def test_continue_goes_on_from_what_is_there(page: OpenWebUI, model: str) -> None:
    """Its OpenAI side asks for that only where the connection's provider is llama.cpp."""
    short = {"params": {**PLAIN["params"], "max_tokens": 3}}
    chat_id, kept = page.ask_on_the_page(model, "Hello!", **short)
    assert kept["content"] and ANSWER.startswith(kept["content"]) and kept["content"] != ANSWER
    assert page.continue_on_the_page(chat_id, kept, **PLAIN)["content"] == ANSWER


@pytest.mark.parametrize("model", SIDES)
def test_the_tools_of_the_page_need_a_larger_context(page: OpenWebUI, model: str) -> None:
    """The tiny model's context is 4096 tokens; the page says what the server said."""
    _, kept = page.ask_on_the_page(model, "Hello!", params={"temperature": 0})
    assert "maximum context length is 4096 tokens" in kept["error"]["content"]
    tools = page.sent(SIDES[model]).body["tools"]
    assert len(tools) > 20 and len(json.dumps(tools)) > 15_000


def test_they_are_left_out_where_its_admin_says_so(page: OpenWebUI) -> None:
    """As DEFAULT_MODEL_PARAMS does, or *Function Calling: Legacy* in its settings of models."""
    config = "/api/v1/configs/models"
    before = page.get(config)
    changed = page.post(config, {**before, "DEFAULT_MODEL_PARAMS": PLAIN["params"]})
    assert changed.status_code == 200, changed.text
    try:
        _, kept = page.ask_on_the_page(MODEL, "Hello!")
        assert kept["content"] == ANSWER and "tools" not in page.sent("/api/chat").body
    finally:
        page.post(config, before)


def test_what_only_the_operator_does_is_refused_in_words(page: OpenWebUI) -> None:
    unloaded = page.post("/ollama/api/unload", {"model": MODEL})
    assert "that is the operator's choice" in unloaded.json()["detail"]
    pulled = page.post("/ollama/api/pull", {"model": "nothing"})
    assert pulled.status_code == 404 and "models/download" in pulled.json()["detail"]


def test_each_user_of_the_page_is_one_of_the_server(page: OpenWebUI, server: ServerProcess) -> None:
    """Last: requests are the other user's from here on."""
    assert "key=user:ann@example.com" in server.output
    page.add_user("bob@example.com")
    begun = len(server.output)
    answer = page.post("/ollama/api/chat", {"model": MODEL, "messages": HELLO, "stream": False})
    assert answer.status_code == 200, answer.text
    wait_for(lambda: '"POST /api/chat"' in server.output[begun:])
    lines = [line for line in server.output[begun:].splitlines() if '"POST /api/chat"' in line]
    assert all("key=user:bob@example.com" in line for line in lines)
