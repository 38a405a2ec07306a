"""What clients get from a real webui, with its own loader, its UI, and extensions beside ours.

`make test-webui WEBUI_DIR=path [MODEL=name] [LOADER=name] [WEBUI_PYTHON=path]`. Texts are compared with
the embedded model only.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from tests.support.process import ROOT, free_port
from tests.webui_checkout.checkout import LOADER, TINY, Checkout, Webui, copy
from tests.webui_checkout.lora import write_lora
from tests.webui_host.numpy_llama import NumpyLlama
from tests.webui_host.tokenizer import HostTokenizer

WEBUI_DIR = os.environ.get("WEBUI_DIR")
pytestmark = [
    pytest.mark.skipif(
        not WEBUI_DIR, reason="needs a checkout: make test-webui WEBUI_DIR=path/of/the/webui"
    ),
    pytest.mark.timeout(600),
]
PARIS: Any = [{"role": "user", "content": "What is the capital of France?"}]
COUNTING = "1, 2, 3,"
"""The embedded model is sure of what follows: loaders that round otherwise what they remember say it too."""
LONG = 1900  # tokens; the first versions have a context of 2048
NO_HOOKS: Any = {"hooks": False}
"""Requests that the extensions of the host are kept away from."""


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    original = Path(str(WEBUI_DIR)).resolve()
    target = tmp_path_factory.mktemp("webui") / "webui"
    python, model = os.environ.get("WEBUI_PYTHON"), os.environ.get("MODEL")
    return copy(original, target, python or None, model or None)


@pytest.fixture(scope="module")
def webui(checkout: Checkout) -> Iterator[Webui]:
    server = Webui(
        checkout,
        extensions=["probe", "example_rewrite", "example_notes"],
        settings={f"{checkout.name}-model_aliases": ["my-alias"]},
    )
    yield server
    server.stop()


@pytest.fixture
def client(webui: Webui) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{webui.url}/v1", api_key="unused", max_retries=0, timeout=300
    ) as client:
        yield client


@pytest.fixture
def tiny(checkout: Checkout) -> bool:
    """Whether the words of answers are known."""
    return checkout.is_tiny


def chat(client: openai.OpenAI, messages: Any = PARIS, **fields: Any) -> Any:
    fields = {"model": "my-alias", "temperature": 0, "max_tokens": 40, **fields}
    fields.setdefault("extra_body", NO_HOOKS)
    return client.chat.completions.create(messages=messages, **fields)


def complete(client: openai.OpenAI, prompt: Any, **fields: Any) -> Any:
    fields = {"model": "my-alias", "temperature": 0, "max_tokens": 16, **fields}
    fields.setdefault("extra_body", NO_HOOKS)
    return client.completions.create(prompt=prompt, **fields)


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        threading.Event().wait(0.05)


def test_settings_and_models(client: openai.OpenAI, checkout: Checkout) -> None:
    listed = client.models.list().data
    assert [each.id for each in listed] == [checkout.model, "gpt-3.5-turbo", "my-alias"]
    assert listed[0].owned_by == "text-generation-webui"


def test_chat_streamed_or_not(client: openai.OpenAI, tiny: bool) -> None:
    whole = chat(client)
    text = whole.choices[0].message.content
    assert text and (not tiny or text == "The capital of France is Paris.")
    chunks = list(chat(client, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1]) == text
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason == "stop"
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    assert len(chunks) > 4, "it is streamed as it comes"


def test_several_choices_and_seeds(client: openai.OpenAI) -> None:
    def texts(**fields: Any) -> list[str]:
        return [
            choice.text for choice in complete(client, "Once", temperature=1.3, **fields).choices
        ]

    assert texts(seed=7) == texts(seed=7)
    three = texts(seed=7, n=3)
    assert len(three) == 3 and len(set(three)) > 1


def test_stop_strings_are_exact(client: openai.OpenAI) -> None:
    free = complete(client, COUNTING, max_tokens=24).choices[0].text
    for stop in (free[3:6], free[-4:]):
        choice = complete(client, COUNTING, max_tokens=24, stop=[stop]).choices[0]
        assert choice.finish_reason == "stop" and choice.text == free[: free.index(stop)]


def test_counts_are_exact(client: openai.OpenAI) -> None:
    for tokens in (1, 5, 12):
        answer = complete(
            client, "Once upon", max_tokens=tokens, extra_body={**NO_HOOKS, "ignore_eos": True}
        )
        assert answer.usage.completion_tokens == tokens
        assert answer.choices[0].finish_reason == "length"


def test_log_probabilities_are_of_the_sampled_tokens(client: openai.OpenAI) -> None:
    logprobs = complete(client, "Hello", logprobs=2, max_tokens=5).choices[0].logprobs
    assert logprobs is not None
    for token, logprob, top in zip(
        logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs, strict=True
    ):
        assert max(top.values()) == pytest.approx(logprob) and token in top, "greedy: the likeliest"


def test_log_probabilities_are_those_of_the_weights(
    client: openai.OpenAI, checkout: Checkout
) -> None:
    """Of prompt and answer. Temperature and bias, which has it say what it hardly would, do not show."""
    if not checkout.is_tiny:
        pytest.skip("only the embedded model is computed here as well")
    model = NumpyLlama(ROOT / "models" / TINY, checkout.weights)
    assert off_from(model, client) < checkout.rounding


def off_from(model: NumpyLlama, client: openai.OpenAI) -> float:
    """How far log-probabilities are from those of a model, at most."""
    names = HostTokenizer(ROOT / "models" / TINY).backend_tokenizer
    (letter,) = names.encode("a").ids
    logprobs = complete(
        client, "Once upon a", logprobs=0, max_tokens=8, echo=True, temperature=0.7,
        logit_bias={str(letter): 100},
    ).choices[0].logprobs  # fmt: skip
    tokens = [names.encode(token).ids[0] for token in logprobs.tokens]
    assert tokens[-8:] == [letter] * 8 and logprobs.token_logprobs[0] is None
    logits = model(np.array([tokens])).logits[0].astype(np.float64)
    expected = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    reported = np.array(logprobs.token_logprobs[1:])
    return float(np.abs(reported - expected[np.arange(len(reported)), tokens[1:]]).max())


def test_several_at_once_get_each_what_was_asked_for(client: openai.OpenAI, tiny: bool) -> None:
    (letter,) = HostTokenizer(ROOT / "models" / TINY).backend_tokenizer.encode("a").ids
    asked: list[dict[str, Any]] = [
        {"extra_body": {**NO_HOOKS, "grammar": 'root ::= "yes" | "no"'}},
        {"logit_bias": {str(letter): 100}, "max_tokens": 5},
        {"max_tokens": 9, "logprobs": 1, "extra_body": {**NO_HOOKS, "ignore_eos": True}},
        {"seed": 5, "temperature": 1.5, "max_tokens": 12},
    ]
    alone = [complete(client, "Once", **fields).choices[0].text for fields in asked]
    with ThreadPoolExecutor(8) as pool:
        reported = [pool.submit(complete, client, "Once", **fields) for fields in asked * 2]
        answers = [each.result() for each in reported]
    for at, answer in enumerate(answers):
        text = answer.choices[0].text
        if at % 4 == 0:
            assert text in ("yes", "no")
        elif at % 4 == 1:
            assert text == alone[1] and (text == "aaaaa" or not tiny)
        elif at % 4 == 2:
            assert len(answer.choices[0].logprobs.tokens) == answer.usage.completion_tokens == 9
        else:
            assert text == alone[3] or LOADER == "ExLlamav3"


def test_a_schema_is_kept_to(client: openai.OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 12}, "size": {"enum": ["S", "L"]}},
        "required": ["city", "size"],
        "additionalProperties": False,
    }
    form = {"type": "json_schema", "json_schema": {"name": "place", "schema": schema}}
    answer = json.loads(
        chat(client, response_format=form, max_tokens=100).choices[0].message.content
    )
    assert set(answer) == {"city", "size"} and answer["size"] in ("S", "L")


def test_tool_calls_that_are_demanded_come(client: openai.OpenAI) -> None:
    parameters = {
        "type": "object",
        "properties": {"country": {"type": "string", "maxLength": 12}},
        "required": ["country"],
        "additionalProperties": False,
    }
    tool = {"type": "function", "function": {"name": "capital_of", "parameters": parameters}}
    choice = chat(client, tools=[tool], tool_choice="required", max_tokens=100).choices[0]
    assert choice.finish_reason == "tool_calls"
    call = choice.message.tool_calls[0].function
    assert call.name == "capital_of" and set(json.loads(call.arguments)) == {"country"}


def test_what_is_not_there_is_a_400_that_names_it(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        chat(client, temperature=-1)
    assert caught.value.param == "temperature"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")
    with pytest.raises(openai.BadRequestError) as caught:
        chat(client, messages=[{"role": "user", "content": "x " * 9000}])
    assert caught.value.code == "context_length_exceeded"


def test_what_extensions_do_on_the_page_they_do_here(client: openai.OpenAI, tiny: bool) -> None:
    question = [{"role": "user", "content": "What is the capital of FR?"}]
    if tiny:
        answer = chat(client, question, extra_body={}).choices[0].message.content
        assert answer == "The capital of France is **Paris**."
        stream = chat(client, question, extra_body={}, stream=True)
        assert "".join(chunk.choices[0].delta.content or "" for chunk in stream) == answer
        code = [{"role": "user", "content": "What was the code?"}]
        assert "4711" in chat(client, code, extra_body={}).choices[0].message.content
        assert "4711" not in chat(client, code).choices[0].message.content


def test_a_client_that_leaves_ends_its_work(webui: Webui, client: openai.OpenAI) -> None:
    endless = {**NO_HOOKS, "ignore_eos": True}
    stream = complete(client, "Once", max_tokens=LONG, stream=True, extra_body=endless)
    next(iter(stream))
    stream.close()

    def idle() -> bool:
        return bool(webui.admin("GET", "queue").json()["running"] == 0)

    wait_for(idle)
    assert complete(client, "Once", max_tokens=2).choices


def test_the_page_and_the_api_never_cut_each_other_off(
    webui: Webui, client: openai.OpenAI, checkout: Checkout
) -> None:
    endless = {**NO_HOOKS, "ignore_eos": True}
    with ThreadPoolExecutor(4) as pool:
        page = [pool.submit(webui.at_the_page, "Once upon a time", 60) for _ in range(2)]
        api = [
            pool.submit(complete, client, "Once", max_tokens=60, extra_body=endless)
            for _ in range(2)
        ]
        left = complete(client, "Once", max_tokens=500, stream=True, extra_body=endless)
        left.close()
        assert [each.result().usage.completion_tokens for each in api] == [60, 60]
        texts = [each.result()["text"] for each in page]
    # Where several are generated at once, rounding depends on what else is; and some loaders answer a
    # prompt that they remember in another way.
    assert texts[0] == texts[1] or not checkout.repeats
    assert all(len(text.split()) > 10 for text in texts)


def test_models_are_changed_while_requests_run(
    webui: Webui, client: openai.OpenAI, checkout: Checkout
) -> None:
    other = checkout.other
    assert webui.admin("GET", "model/info").json()["model_name"] == checkout.model
    assert other in webui.admin("GET", "model/list").json()["model_names"]
    stream = complete(
        client, "Once", max_tokens=LONG, stream=True, extra_body={**NO_HOOKS, "ignore_eos": True}
    )
    next(iter(stream))
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(webui.load, other)
        try:
            for _ in stream:
                pass
        except openai.APIError as error:
            assert error.code == "model_changed"
        assert loading.result().status_code == 200, loading.result().text
    assert chat(client).model == other
    assert webui.admin("POST", "model/unload").json()["model_name"] is None
    with pytest.raises(openai.InternalServerError) as caught:
        chat(client)
    assert caught.value.status_code == 503
    loaded = webui.load(checkout.model)
    assert loaded.status_code == 200, loaded.text
    assert chat(client).choices[0].message.content


def test_a_lora_is_added_and_taken_away(
    webui: Webui, client: openai.OpenAI, checkout: Checkout
) -> None:
    if LOADER != "Transformers" or not checkout.is_tiny:
        pytest.skip("a LoRA for the embedded model in the Transformers loader")
    if "nowebui" not in checkout.flags:
        pytest.skip("the PEFT of this version reads no safetensors")
    folder = ROOT / "models" / TINY
    plain, changed = NumpyLlama(folder), NumpyLlama(folder)
    write_lora(checkout.models.parent / "loras" / "noise", changed)
    assert "noise" in webui.admin("GET", "lora/list").json()["lora_names"]
    added = webui.admin("POST", "lora/load", lora_names=["noise"])
    assert added.status_code == 200, added.text
    assert webui.admin("GET", "model/info").json()["lora_names"] == ["noise"]
    assert off_from(changed, client) < checkout.rounding < off_from(plain, client)
    assert webui.admin("POST", "lora/unload").status_code == 200
    assert webui.admin("GET", "model/info").json()["lora_names"] == []
    assert off_from(plain, client) < checkout.rounding


def test_the_block_is_on_the_page(webui: Webui) -> None:
    config = httpx.get(f"http://127.0.0.1:{webui.page_port}/config", timeout=60).json()
    block = {each["props"].get("elem_id"): each["props"] for each in config["components"]}
    assert block["openedai-url"]["value"] == f"{webui.url}/v1"
    assert not block["openedai-tunnel"]["value"]
    assert f"{webui.url}/v1" in webui.printed


def test_without_the_page_beside_the_webuis_own_api(checkout: Checkout) -> None:
    """The webui of before June 2023 has no such mode, that of before March 2026 no API of its own."""
    if "nowebui" not in checkout.flags:
        pytest.skip("this version always has its UI")
    own = free_port()
    flags = ["--api", "--api-port", str(own)] if checkout.has_own_api else []
    server = Webui(checkout, *flags, page=False)
    try:
        base = f"{server.url}/v1"
        with openai.OpenAI(base_url=base, api_key="unused", max_retries=0) as client:
            model = client.models.list().data[0].id
            answer = client.chat.completions.create(model=model, messages=PARIS, max_tokens=20)
            assert answer.choices[0].message.content
            assert server.load(model).status_code == 200
        if checkout.has_own_api:
            wait_for(lambda: answers(f"http://127.0.0.1:{own}/v1/models"))
    finally:
        server.stop()


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def test_requests_load_what_they_name(checkout: Checkout) -> None:
    settings = {f"{checkout.name}-load_on_request": True}
    server = Webui(checkout, page="nowebui" not in checkout.flags, settings=settings)
    try:
        with openai.OpenAI(
            base_url=f"{server.url}/v1", api_key="unused", max_retries=0, timeout=500
        ) as client:
            both = {checkout.model, checkout.other}
            assert both <= {each.id for each in client.models.list().data}

            def answered(name: str) -> tuple[str, str]:
                whole = chat(client, model=name)
                return whole.model, whole.choices[0].message.content or ""

            wanted = [checkout.other, checkout.model] * 4
            with ThreadPoolExecutor(8) as pool:
                found = list(pool.map(answered, wanted))
            assert [name for name, _ in found] == wanted
            # Both have the same weights.
            assert len({text for _, text in found}) == 1 and found[0][1]
            with pytest.raises(openai.NotFoundError):
                chat(client, model="no-such-model")
    finally:
        server.stop()
