"""What hooks of other extensions do in a real webui: `hook_probe`, and the example that comes with the webui.

`make test-webui WEBUI_DIR=path [MODEL=name] [LOADER=name] [WEBUI_PYTHON=path]`, as `test_checkout.py`.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.support.process import ROOT, free_port
from tests.webui_checkout.checkout import TINY, Checkout, Webui
from tests.webui_checkout.test_checkout import (
    COUNTING,
    PARIS,
    answers,
    checkout,
    off_from,
    pytestmark,  # noqa: F401
    wait_for,
)
from tests.webui_host.numpy_llama import NumpyLlama

__all__ = ["checkout"]
GREEDY: dict[str, Any] = {"model": "my-alias", "temperature": 0, "max_tokens": 24}
LORE = " Dragons are blue."


@pytest.fixture(scope="module")
def hooked(checkout: Checkout) -> Iterator[Webui]:
    has_page = "nowebui" not in checkout.flags
    server = Webui(
        checkout,
        extensions=["hook_probe"],
        page=has_page,
        settings={f"{checkout.name}-model_aliases": ["my-alias"]},
    )
    yield server
    server.stop()


@pytest.fixture
def client(hooked: Webui) -> Iterator[openai.OpenAI]:
    base = f"{hooked.url}/v1"
    with openai.OpenAI(base_url=base, api_key="unused", max_retries=0, timeout=300) as client:
        yield client


def ask(client: openai.OpenAI, text: str, *, system: str = "", **more: Any) -> Any:
    first: Any = [{"role": "system", "content": system}] if system else []
    body = {**GREEDY, **{name: more.pop(name) for name in list(more) if name in SDK}}
    messages = [*first, {"role": "user", "content": text}]
    return client.chat.completions.create(messages=messages, extra_body=more, **body)


SDK = ("max_tokens", "logprobs", "top_logprobs", "stream", "response_format", "tools", "tool_choice",
       "logit_bias")  # fmt: skip


def output(answer: Any) -> str:
    return str(answer.choices[0].message.content)


def test_a_reply_that_is_passed_on_is_exact(client: openai.OpenAI, checkout: Checkout) -> None:
    if not checkout.is_tiny:
        pytest.skip("only the embedded model is computed here as well")
    model = NumpyLlama(ROOT / "models" / TINY, checkout.weights)
    assert off_from(model, client) < checkout.rounding


def test_a_reply_that_is_passed_on_keeps_to_forms_and_is_streamed(
    client: openai.OpenAI, checkout: Checkout
) -> None:
    schema = {
        "type": "object",
        "properties": {"size": {"enum": ["S", "L"]}},
        "required": ["size"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    answer = ask(client, "Which size?", response_format=form, max_tokens=60)
    assert json.loads(output(answer))["size"] in ("S", "L")
    tool = {"type": "function", "function": {"name": "pick", "parameters": schema}}
    called = ask(client, "Pick!", tools=[tool], tool_choice="required", max_tokens=60)
    (call,) = called.choices[0].message.tool_calls
    assert json.loads(call.function.arguments)["size"] in ("S", "L")
    chunks = list(ask(client, "What is the capital of France?", stream=True))
    texts = [c.choices[0].delta.content for c in chunks if c.choices and c.choices[0].delta.content]
    assert len(texts) > 3
    if checkout.is_tiny:
        assert "".join(texts) == "The capital of France is Paris."


def test_counts_and_ends_under_a_reply_that_is_passed_on(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        prompt=COUNTING, **{**GREEDY, "max_tokens": 9}, extra_body={"ignore_eos": True}
    )
    assert answer.usage is not None and answer.usage.completion_tokens == 9
    assert answer.choices[0].finish_reason == "length"
    free = answer.choices[0].text
    cut = client.completions.create(prompt=COUNTING, **GREEDY, stop=[free[-3:]]).choices[0]
    assert cut.finish_reason == "stop" and cut.text == free[: free.index(free[-3:])]


def test_a_reply_that_is_generated_is_the_answer_or_a_400_that_names_the_extension(
    client: openai.OpenAI,
) -> None:
    assert output(ask(client, "OWN words")) == "I say so"
    for wanted in ({"logprobs": True}, {"logit_bias": {"5": 1}}):
        with pytest.raises(openai.BadRequestError, match="hook_probe"):
            ask(client, "OWN words", **wanted)


def test_lore_acts_in_the_mode_instruct(client: openai.OpenAI) -> None:
    hooked = ask(client, "LORE Hello!", system="It rains.")
    plain = ask(client, "Hello!", system=f"It rains.{LORE}")
    without = ask(client, "Hello!", system="It rains.")
    assert hooked.usage.prompt_tokens == plain.usage.prompt_tokens > without.usage.prompt_tokens
    assert output(hooked) == output(plain)


@pytest.mark.parametrize("mode", ["chat", "chat-instruct"])
def test_lore_acts_where_a_character_talks(client: openai.OpenAI, mode: str) -> None:
    talk: dict[str, Any] = {"mode": mode, "user_name": "Ann", "bot_name": "Joe"}
    hooked = ask(client, "LORE Hello!", context="A sea.", **talk)
    plain = ask(client, "Hello!", context=f"A sea.{LORE}", **talk)
    without = ask(client, "Hello!", context="A sea.", **talk)
    assert hooked.usage.prompt_tokens == plain.usage.prompt_tokens > without.usage.prompt_tokens
    assert output(hooked) == output(plain)


def test_hooks_see_mode_character_and_names(client: openai.OpenAI) -> None:
    answer = output(ask(client, "SEE Hello!", mode="chat", user_name="Ann", bot_name="Joe"))
    mode, _, *names = answer.rpartition(" ")[2].split("|")
    assert (mode, names) == ("chat", ["Ann", "Joe"])
    assert "instruct|" in output(ask(client, "SEE Hello!"))


@pytest.mark.parametrize("mode", ["instruct", "chat"])
def test_prompts_by_the_hosts_own_function_are_those_of_the_mode(
    client: openai.OpenAI, mode: str
) -> None:
    """Also where no limit of tokens is given: it keeps room for them."""
    for limit in (24, openai.NOT_GIVEN):
        hooked = ask(client, "PROMPT Hello!", mode=mode, system="It rains.", max_tokens=limit)
        plain = ask(client, "Hello!", mode=mode, system="It rains.", max_tokens=limit)
        # Its builder strips texts and may write the start token.
        assert abs(hooked.usage.prompt_tokens - plain.usage.prompt_tokens) <= 2


def test_output_hooks_leave_streams_live(client: openai.OpenAI, checkout: Checkout) -> None:
    def texts(question: str) -> list[str]:
        chunks = list(ask(client, question, stream=True, max_tokens=40))
        found = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
        return [text for text in found if text]

    question = "What is the capital of France?"
    plain, upper = texts(question), texts(f"UPPER {question}")
    assert len(plain) > 3 and len(upper) > 2
    assert "".join(upper) == "".join(plain).upper()
    if checkout.is_tiny:
        assert "".join(plain) == "The capital of France is Paris."


@pytest.mark.parametrize("prompt", ["", None])
def test_an_empty_prompt_is_answered(client: openai.OpenAI, prompt: str | None) -> None:
    more: dict[str, Any] = {} if prompt is None else {"prompt": prompt}
    for _ in range(2):
        answer = client.post(
            "/completions",
            body={"model": "my-alias", "max_tokens": 6, "ignore_eos": True, **more},
            cast_to=dict[str, Any],
        )
        assert answer["usage"]["completion_tokens"] == 6


def test_the_example_of_the_webui_itself_changes_nothing(checkout: Checkout) -> None:
    """It has every hook, and makes prompts by the host's own function."""
    if not (checkout.folder / "extensions" / "example").is_dir() or "nowebui" not in checkout.flags:
        pytest.skip("this version has none, or always its UI")
    server = Webui(checkout, extensions=["example"], page=False)
    try:
        base = f"{server.url}/v1"
        with openai.OpenAI(base_url=base, api_key="unused", max_retries=0) as client:
            model = client.models.list().data[0].id
            answer = client.chat.completions.create(model=model, messages=PARIS, temperature=0)
            assert answer.choices[0].message.content
            if checkout.is_tiny:
                assert answer.choices[0].message.content == "The capital of France is Paris."
    finally:
        server.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_ends_a_webui_without_its_page(checkout: Checkout, number: int) -> None:
    """Also beside its own API, which holds the process itself."""
    if "nowebui" not in checkout.flags:
        pytest.skip("this version always has its UI")
    own = free_port()
    extension = (checkout.folder / "extensions" / "openai").is_dir() and checkout.name != "openai"
    beside = checkout.has_own_api or extension
    flags = ["--api", "--api-port", str(own)] if beside else []
    server = Webui(checkout, *flags, page=False)
    try:
        if beside:
            wait_for(lambda: answers(f"http://127.0.0.1:{own}/v1/models"))
        server.process.send_signal(number)
        server.process.wait(30)
    finally:
        server.stop()
