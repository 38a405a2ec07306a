"""What clients of other local servers send: taken where it can be honoured, else refused by name."""

from __future__ import annotations

from typing import Any

import pytest

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from tests.support.api import Api

CHAT, COMPLETIONS = "chat/completions", "completions"
PATHS = [COMPLETIONS, CHAT]


def ask(api: Api, path: str, **body: Any) -> Any:
    """The first choice."""
    whole = api.chat("Hello", **body) if path == CHAT else api.complete("Once upon", **body)
    return whole["choices"][0]


def text(choice: Any) -> str:
    return str(choice["message"]["content"] if "message" in choice else choice["text"])


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("count", [4, 5, 16])
def test_many_stop_strings_all_stop(tiny: Api, path: str, count: int) -> None:
    free = text(ask(tiny, path, temperature=0, max_tokens=20))
    stops = [*(f"<never {n}>" for n in range(count - 1)), free[3:6]]
    body = {"temperature": 0, "max_tokens": 20, "stop": stops, "stopping_strings": stops}
    assert text(ask(tiny, path, **body)) == free[: free.index(free[3:6])]
    strict = Api(EchoEngine(), strict_parameters=True)
    if count > 4:
        error = strict.refused(path, stop=stops)
        assert (error["param"], error["code"]) == ("stop", "array_above_max_length")
    else:
        assert ask(strict, path, stop=stops)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("stop", ["", [], [""], None])
def test_no_stop_string(tiny: Api, path: str, stop: Any) -> None:
    body = {"temperature": 0, "max_tokens": 8}
    assert ask(tiny, path, stop=stop, **body) == ask(tiny, path, **body)
    if stop in ("", [""]):
        error = Api(EchoEngine(), strict_parameters=True).refused(path, stop=stop)
        assert error["code"] == "empty_string"


@pytest.mark.parametrize("path", PATHS)
def test_beyond_the_ranges_of_the_reference(tiny: Api, path: str) -> None:
    assert ask(tiny, path, temperature=5, max_tokens=5)
    strict = Api(EchoEngine(), strict_parameters=True)
    assert strict.refused(path, temperature=2.1)["param"] == "temperature"
    assert ask(strict, path, temperature=2)


def test_ten_alternatives_of_a_completion(tiny: Api) -> None:
    reported = ask(tiny, COMPLETIONS, logprobs=10, max_tokens=2)["logprobs"]["top_logprobs"]
    assert [len(each) for each in reported] == [10, 10]
    assert Api(EchoEngine(), strict_parameters=True).refused(COMPLETIONS, logprobs=6)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", ["n_predict", "num_predict", "max_new_tokens"])
def test_a_native_limit(tiny: Api, path: str, name: str) -> None:
    cut = {"temperature": 0, "ignore_eos": True}
    assert ask(tiny, path, **{name: 3}, **cut) == ask(tiny, path, max_tokens=3, **cut)
    assert ask(tiny, path, **{name: 3, "max_tokens": 3}, **cut)["finish_reason"] == "length"
    assert (
        tiny.refused(path, **{name: 3, "max_tokens": 4})["code"] == "invalid_parameter_combination"
    )


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("limit", [{"n_predict": -1}, {"max_new_tokens": -1}, {"num_predict": -2}])
def test_no_limit_is_the_context(tiny: Api, path: str, limit: Any) -> None:
    """The answer is longer than the reference's default, and ends by itself."""
    choice = ask(tiny, path, temperature=0, **limit)
    assert choice["finish_reason"] == "stop"
    assert choice == ask(tiny, path, temperature=0, max_tokens=400)


@pytest.mark.parametrize("path", PATHS)
def test_no_limit_under_the_references_name(tiny: Api, path: str) -> None:
    for name in ["max_tokens", *(["max_completion_tokens"] if path == CHAT else [])]:
        error = tiny.refused(path, **{name: -1})
        assert (error["param"], error["code"]) == (name, "integer_below_min_value")
        lenient = Api(tiny.engine, lenient_limits=True)
        assert ask(lenient, path, temperature=0, **{name: -1})["finish_reason"] == "stop"
        assert lenient.refused(path, **{name: -2})["param"] == name
        limited = Api(tiny.engine, lenient_limits=True, max_tokens_limit=2)
        assert ask(limited, path, **{name: -1}, ignore_eos=True)["finish_reason"] == "length"
    default = Api(tiny.engine, default_max_tokens=2)
    assert ask(default, path, temperature=0, n_predict=-1)["finish_reason"] == "stop"


def test_more_than_fits(tiny: Api) -> None:
    """An upper bound for chats, a demand for completions."""
    many = {"max_tokens": 32000, "temperature": 0}
    assert ask(tiny, CHAT, **many) == ask(tiny, CHAT, temperature=0)
    assert tiny.refused(COMPLETIONS, **many)["code"] == "context_length_exceeded"


def test_more_than_fits_ends_with_the_context(llamacpp: LlamaCppEngine) -> None:
    whole = Api(llamacpp).chat("Hello", max_tokens=10**6, ignore_eos=True)
    assert whole["choices"][0]["finish_reason"] == "length"
    assert whole["usage"]["total_tokens"] == llamacpp.info.context_length


@pytest.mark.parametrize("path", PATHS)
def test_a_seed_of_minus_one_is_none(tiny: Api, path: str) -> None:
    body = {"temperature": 3, "min_p": 0, "max_tokens": 30, "seed": -1}
    assert len({text(ask(tiny, path, **body)) for _ in range(4)}) > 1


@pytest.mark.parametrize("path", PATHS)
def test_biases_as_llama_cpp_writes_them(tiny: Api, path: str) -> None:
    body = {"temperature": 0, "max_tokens": 6}
    free = text(ask(tiny, path, **body))
    first = tiny.engine.tokenize(free)[0]
    banned = text(ask(tiny, path, logit_bias={str(first): -100}, **body))
    assert banned != free
    piece = tiny.engine.detokenize([first])
    for bias in ([[first, False]], [[first, -100]], [[piece, False]], {str(first): False},
                 [[first, -60], [first, -40.0]]):  # fmt: skip
        assert text(ask(tiny, path, logit_bias=bias, **body)) == banned
    assert text(ask(tiny, path, logit_bias=[], **body)) == free


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "bias",
    [[1], [[]], [[1]], [[1, 2, 3]], [["a", True]], [[True, 1]], [[None, 1]], [[1.5, 1]], "x", 5],
)
def test_what_is_no_bias(tiny: Api, path: str, bias: Any) -> None:
    error = tiny.refused(path, logit_bias=bias)
    assert (error["param"], error["code"]) == ("logit_bias", "invalid_type")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("bias", [[[10**9, 1]], [[-1, 1]], [[1, 101]], {"1": 101}])
def test_biases_that_cannot_be(tiny: Api, path: str, bias: Any) -> None:
    assert str(tiny.refused(path, logit_bias=bias)["param"]).startswith("logit_bias")


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("order", "same"),
    [
        (["top_k", "tfs_z", "temperature"], ["top_k", "temperature"]),
        (["top-k", "tail_free", "mirostat", "temp"], ["top_k", "temperature"]),
        (["repetition_penalty", "top_a", "top_k"], ["penalties", "top_k"]),
        ("kft", ["top_k", "temperature"]),
        ("top_k;tfs_z;temperature", ["top_k", "temperature"]),
        (["top_nsigma", "typ", "nucleus"], ["top_n_sigma", "typ_p", "top_p"]),
    ],
)
def test_samplers_that_are_off_may_be_named(tiny: Api, path: str, order: Any, same: Any) -> None:
    body = {"seed": 3, "max_tokens": 12, "temperature": 1.3, "top_k": 9, "repetition_penalty": 1.2}
    assert ask(tiny, path, samplers=order, **body) == ask(tiny, path, samplers=same, **body)
    assert tiny.refused(path, samplers=["no_such_sampler"])["param"] == "samplers[0]"
    assert tiny.refused(path, samplers=order, tfs=0.5)["param"] == "tfs"


@pytest.mark.parametrize("path", PATHS)
def test_windows_of_the_whole_context(tiny: Api, path: str) -> None:
    context = tiny.engine.info.context_length
    body = {"seed": 3, "max_tokens": 30, "repetition_penalty": 1.5, "dry_multiplier": 1.0}
    whole = {"repeat_last_n": -1, "dry_penalty_last_n": -1}
    same = {"rep_pen_range": context, "dry_penalty_last_n": context}
    assert ask(tiny, path, **whole, **body) == ask(tiny, path, **same, **body)


SILLYTAVERN: dict[str, Any] = {
    "max_new_tokens": 8, "max_tokens": 8, "n_predict": 8, "logprobs": 10, "temperature": 2.6, "top_p": 0.9,
    "typical_p": 1, "typical": 1, "sampler_seed": -1, "min_p": 0.05, "repetition_penalty": 1.1,
    "frequency_penalty": 0, "presence_penalty": 0, "top_k": -1, "skew": 0, "min_length": 0, "min_tokens": 0,
    "num_beams": 1, "length_penalty": 1, "early_stopping": False, "add_bos_token": True,
    "dynamic_temperature": False, "dynatemp_low": 1, "dynatemp_high": 1, "dynatemp_range": 0,
    "dynatemp_exponent": 1, "smoothing_factor": 0, "smoothing_curve": 1, "dry_allowed_length": 2,
    "dry_multiplier": 0, "dry_base": 1.75, "dry_sequence_breakers": '["\\n", ":", "\\"", "*"]',
    "dry_penalty_last_n": 0, "max_tokens_second": 0, "top_a": 0, "tfs": 1, "tfs_z": 1, "epsilon_cutoff": 0,
    "eta_cutoff": 0, "mirostat_mode": 0, "mirostat_tau": 5, "mirostat_eta": 0.1, "custom_token_bans": "",
    "banned_strings": [], "xtc_threshold": 0.1, "xtc_probability": 0, "nsigma": 0, "top_n_sigma": 0,
    "min_keep": 0, "guidance_scale": 1, "negative_prompt": "", "grammar_string": "", "seed": -1,
    "repeat_penalty": 1.1, "repetition_penalty_range": 0, "repeat_last_n": 0, "n_probs": 10,
    "ban_eos_token": False, "ignore_eos": False, "skip_special_tokens": True, "truncation_length": 4096,
    "include_reasoning": True, "adaptive_target": -0.01, "adaptive_decay": 0.9, "logit_bias": [],
    "samplers": ["penalties", "dry", "top_n_sigma", "top_k", "typ_p", "tfs_z", "typical_p", "top_p", "min_p",
                 "xtc", "temperature"],
    "stop": ["\nAnn:", "\nBob:", "\nEve:", "<|im_end|>", "###"],
    "stopping_strings": ["\nAnn:", "\nBob:", "\nEve:", "<|im_end|>", "###"],
    "cache_prompt": True, "id_slot": -1, "speculative_ngram": False,
}  # fmt: skip


def test_all_that_a_roleplay_client_sends(tiny: Api) -> None:
    choice = ask(tiny, COMPLETIONS, **SILLYTAVERN)
    assert choice["finish_reason"] in ("length", "stop")
    assert tiny.chunks(COMPLETIONS, prompt="Ann: Hi\nBob:", **SILLYTAVERN)
