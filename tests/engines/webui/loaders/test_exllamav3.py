"""A webui's ExLlamaV3: its jobs are taken over whole, and those of others never touched. And the loaders
beside it that look like Transformers'."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from extensions.openai.engines.protocol import GenerateRequest
from extensions.openai.engines.webui.engine import WebuiEngine
from extensions.openai.engines.webui.host import host_model
from extensions.openai.engines.webui.loaders import exllamav3
from extensions.openai.engines.webui.loaders.registry import adapter_of
from extensions.openai.errors import ConstraintGivenUp, EngineFailed, ModelChanged
from tests.engines.webui.test_engine import PATIENCE, TINY, InTheUI, greedy, read, text_of
from tests.support.api import Api
from tests.webui_host import MiniHost, install

ENDLESS = {"do_sample": False, "temperature": 0.0, "ban_eos_token": True}


@pytest.fixture(params=["ExLlamav3", "ExLlamav3, one by one"])
def host(request: pytest.FixtureRequest) -> Iterator[MiniHost]:
    with install("2026", TINY) as host:
        host.load(TINY.name, request.param)
        yield host
        host.unload()


at_once = pytest.mark.parametrize("host", ["ExLlamav3"], indirect=True)
"""Only the loader that generates for several clients at once."""


def jobs(host: MiniHost) -> int:
    return len(host.shared.model.generator.jobs)


def endless(tokens: int) -> GenerateRequest:
    return GenerateRequest("Hello", tokens, ENDLESS, 7)


def test_it_can_do_what_sampling_step_by_step_can(host: MiniHost) -> None:
    mine = set(WebuiEngine().info.capabilities)
    host.unload()
    host.load(TINY.name)
    assert mine == set(WebuiEngine().info.capabilities)


def test_answers_are_those_of_the_model(host: MiniHost) -> None:
    """Of the same weights through the other way in."""
    mine = [text_of(WebuiEngine().generate(greedy(text, 12))) for text in ("Hello", "Once upon a")]
    host.unload()
    host.load(TINY.name)
    assert mine == [
        text_of(WebuiEngine().generate(greedy(text, 12))) for text in ("Hello", "Once upon a")
    ]


@pytest.mark.parametrize("limit", [1, 2, 3, 30])
def test_limits_are_exact(host: MiniHost, limit: int) -> None:
    pieces = read(WebuiEngine().generate(endless(limit)))
    assert sum(piece.tokens for piece in pieces) == limit and pieces[-1].finish == "length"
    assert jobs(host) == 0


def test_a_whole_context_can_be_used(host: MiniHost) -> None:
    engine = WebuiEngine()
    prompt = "Hello" + "\nx" * 220
    left = engine.info.context_length - len(engine.tokenize(prompt))
    assert 0 < left < 80
    pieces = read(engine.generate(GenerateRequest(prompt, None, ENDLESS, 7)))
    assert sum(piece.tokens for piece in pieces) == left and pieces[-1].finish == "length"


def test_log_probabilities_are_those_of_the_model(host: MiniHost) -> None:
    """Against the weights, with a bias that must not show."""
    engine = WebuiEngine()
    plain = [t for p in read(engine.generate(greedy(tokens=6, logprobs=3))) for t in p.logprobs]
    favourite = engine.tokenize(plain[0].bytes.decode())[0]
    request = greedy(tokens=1, logprobs=3, logit_bias=((favourite, -100.0),))
    other = read(engine.generate(request))[0].logprobs[0]
    assert other.top == plain[0].top and other.bytes == plain[0].top[1].bytes != plain[0].bytes
    prompt = engine.tokenize("Hello")
    output = (*prompt, *engine.tokenize("".join(token.bytes.decode() for token in plain)))
    assert len(output) == len(prompt) + len(plain)
    logits = host.shared.model.generator.model(np.array([output])).logits[0].astype(np.float64)
    logprobs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    scores = [score for score in engine.score(output, 2) if score is not None]
    assert scores[0].logprob is None and len(scores[1].top) == 2
    for at, token in enumerate(plain, len(prompt)):
        assert token.logprob == pytest.approx(logprobs[at - 1, output[at]], abs=0.01)
        assert scores[at].logprob == pytest.approx(token.logprob, abs=1e-6)


def test_biases_reach_the_sampler(host: MiniHost) -> None:
    engine = WebuiEngine()
    (letter,) = engine.tokenize("a")
    assert text_of(engine.generate(greedy(tokens=3, logit_bias=((letter, 100.0),)))) == "aaa"
    assert (
        "a"
        not in text_of(engine.generate(greedy(tokens=3, logit_bias=((letter, -100.0),)))).split()
    )


def test_seeds_repeat_and_differ(host: MiniHost) -> None:
    def answer(seed: int) -> str:
        sampling = {"temperature": 1.5, "do_sample": True, "ban_eos_token": True}
        return text_of(WebuiEngine().generate(GenerateRequest("Hello", 12, sampling, seed)))

    assert answer(5) == answer(5)
    assert len({answer(seed) for seed in range(4)}) > 1


def test_schemas_and_demanded_calls_are_kept_to(host: MiniHost) -> None:
    api = Api(WebuiEngine())
    schema = {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 8}, "size": {"enum": ["S", "L"]}},
        "required": ["city", "size"],
        "additionalProperties": False,
    }
    form = {
        "type": "json_schema",
        "json_schema": {"name": "place", "schema": schema, "strict": True},
    }
    answer = api.chat("Where?", response_format=form, temperature=1, seed=3, max_tokens=80)
    output = json.loads(answer["choices"][0]["message"]["content"])
    assert set(output) == {"city", "size"} and output["size"] in ("S", "L")
    assert answer["choices"][0]["finish_reason"] == "stop"
    tool = {"type": "function", "function": {"name": "look", "parameters": schema}}
    answer = api.chat("Where?", tools=[tool], tool_choice="required", temperature=0, max_tokens=90)
    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "look"
    assert set(json.loads(call["function"]["arguments"])) == {"city", "size"}


@at_once
def test_a_grammar_that_fails_is_one_error_and_ends_nobody_else(
    host: MiniHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = WebuiEngine()
    with ThreadPoolExecutor() as pool:
        other = pool.submit(text_of, engine.generate(endless(60)))
        request = greedy(tokens=20, grammar='start: /[a-z]{4}/ "x"')
        with monkeypatch.context() as patch:
            patch.setattr("llguidance.LLMatcher.is_error", lambda self: True)
            with pytest.raises(ConstraintGivenUp, match="too complex"):
                read(engine.generate(request))
        assert other.result(PATIENCE) == text_of(engine.generate(endless(60)))
    assert text_of(engine.generate(request)).endswith("x")


def test_closing_ends_the_job_and_nobody_elses(host: MiniHost) -> None:
    engine = WebuiEngine()
    pieces = engine.generate(endless(400))
    next(piece for piece in pieces if piece is not None)
    pieces.close()
    assert host.shared.generation_lock.acquire(timeout=PATIENCE)
    host.shared.generation_lock.release()
    assert sum(piece.tokens for piece in read(engine.generate(endless(5)))) == 5
    assert jobs(host) == 0


@at_once
def test_the_page_and_several_clients_go_on_beside_each_other(host: MiniHost) -> None:
    engine = WebuiEngine()
    alone = text_of(engine.generate(endless(40)))
    ui = InTheUI(host)
    with ThreadPoolExecutor() as pool:
        texts = [pool.submit(text_of, engine.generate(endless(40))) for _ in range(3)]
        assert {each.result(PATIENCE) for each in texts} == {alone}
    assert len(ui.join()) > 20


def test_the_pages_stop_button_does_not_stop_the_api(host: MiniHost) -> None:
    engine = WebuiEngine()
    whole = text_of(engine.generate(endless(60)))
    pieces = engine.generate(endless(60))
    first = next(piece for piece in pieces if piece is not None)
    host.shared.stop_everything = True
    rest = read(pieces)
    assert first.text + "".join(piece.text for piece in rest) == whole
    assert rest[-1].finish == "length"


@at_once
def test_a_model_that_is_unloaded_under_an_answer_is_one_clear_error(host: MiniHost) -> None:
    pieces = WebuiEngine().generate(endless(450))
    next(piece for piece in pieces if piece is not None)
    host.unload()
    with pytest.raises(ModelChanged, match="changed or unloaded"):
        read(pieces)


def test_a_generator_that_fails_is_one_clear_error(host: MiniHost) -> None:
    def fail(*_: Any) -> Any:
        raise MemoryError("the prompt was: secret")

    generator = host.shared.model.generator
    generator.model.read, right = fail, generator.model.read
    with pytest.raises(EngineFailed) as caught:
        read(WebuiEngine().generate(greedy()))
    assert "secret" not in str(caught.value)
    generator.model.read = right
    assert text_of(WebuiEngine().generate(greedy()))


def test_a_host_that_makes_no_job_is_one_clear_error(host: MiniHost) -> None:
    model = host.shared.model
    right = type(model).generate_with_streaming
    model.generate_with_streaming = lambda prompt, state: iter(("Not at all.",))
    with pytest.raises(EngineFailed, match=r"before its ExLlamaV3 loader .* operator"):
        read(WebuiEngine().generate(greedy()))
    model.generate_with_streaming = right.__get__(model)
    assert text_of(WebuiEngine().generate(greedy()))


def test_the_pages_own_jobs_are_made_as_ever(host: MiniHost) -> None:
    before = InTheUI(host).join()
    engine = WebuiEngine()
    read(engine.generate(greedy()))
    assert InTheUI(host).join() == before
    assert isinstance(adapter_of(host_model().model), exllamav3.ExLlamaV3Adapter)


def test_a_start_token_comes_once_and_only_where_the_model_wants_it(host: MiniHost) -> None:
    engine = WebuiEngine()
    tokenizer = host.shared.model.tokenizer
    plain = engine.tokenize("Hello")
    tokenizer.bos_token_id = tokenizer.eos_token_id
    assert engine.tokenize("Hello") == plain
    tokenizer.tokenizer_config_dict = {"add_bos_token": True}
    assert engine.tokenize("Hello") == (tokenizer.bos_token_id, *plain)
    assert engine.tokenize("<|im_end|>Hello") == (tokenizer.bos_token_id, *plain)
    host.shared.settings["add_bos_token"] = False
    assert engine.tokenize("Hello") == plain
