"""The sampler table: every row can be asked for, is mapped, and is refused where it cannot be."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from extensions.openai.completions import CompletionRequest
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.engines.protocol import EngineInfo
from extensions.openai.errors import InvalidRequest
from extensions.openai.generation.chat.request import ChatCompletionRequest
from extensions.openai.generation.sampling.policy import Policy
from extensions.openai.generation.sampling.profiles import ORDER, PROFILES, ROLE_STOPS, to_native
from extensions.openai.generation.sampling.table import PARAMETERS, Parameter
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.support.api import Api, as_messages, assert_alike
from tests.support.reference import sse_chunks

LLAMA_CPP = EchoEngine().info
WEBUI = replace(LLAMA_CPP, sampler="webui")
CLASSIC = replace(LLAMA_CPP, sampler="webui-2023")
ANOTHER = replace(LLAMA_CPP, sampler="another sampler")
REQUESTS = (CompletionRequest, ChatCompletionRequest)
ROWS = pytest.mark.parametrize("row", PARAMETERS, ids=lambda row: row.name)


def request(kind: type[BaseModel], **fields: object) -> BaseModel:
    required = {} if kind is CompletionRequest else {"messages": [{"role": "user", "content": "x"}]}
    return kind.model_validate({**required, **fields})


def other_value(row: Parameter) -> object:
    """A value that is allowed and not the default."""
    if isinstance(row.default, bool):
        return not row.default
    if isinstance(row.default, list):
        return ["\n\n"]
    if row.name in ("sampler_priority", "samplers"):
        return ["top_k", "temperature"]
    if isinstance(row.default, str):
        return "something"
    value = row.high if row.default != row.high else row.low
    assert value is not None
    return int(value) if isinstance(row.default, int) else float(value)


def test_names_and_aliases_are_all_different() -> None:
    names = [name for row in PARAMETERS for name in (row.name, *row.aliases)]
    assert len(names) == len(set(names))
    for sampler in ("llama.cpp", "webui"):
        native = [row.native[sampler].name for row in PARAMETERS if sampler in row.native]
        assert len(native) == len(set(native))


@ROWS
def test_every_row_says_what_it_is(row: Parameter) -> None:
    assert row.meaning.endswith(".") and row.source
    assert row.native and all(column.name for column in row.native.values())
    assert all(column.convert is None or column.convert.__doc__ for column in row.native.values())
    assert not row.native.keys() - PROFILES.keys()
    assert all(main in {other.name for other in PARAMETERS} for main in row.refines)
    if isinstance(row.default, (int, float)) and not isinstance(row.default, bool):
        assert row.low is None or row.low <= row.default
        assert row.high is None or row.default <= row.high


@pytest.mark.parametrize("kind", REQUESTS)
@pytest.mark.parametrize(
    ("info", "row"),
    [
        pytest.param(info, row, id=f"{info.sampler}-{row.name}")
        for info in (LLAMA_CPP, WEBUI, CLASSIC)
        for row in PARAMETERS
        if info.sampler in row.native and row.name not in PROFILES[info.sampler].through
    ],
)
def test_every_row_is_a_field_that_reaches_the_sampler(
    kind: type[BaseModel], info: EngineInfo, row: Parameter
) -> None:
    column, value = row.native[info.sampler], other_value(row)
    for name in (row.name, *row.aliases):
        native = to_native(request(kind, **{name: value}), info)
        expected = value if column.convert is None else column.convert(value)
        assert native[column.name] == expected, name


@pytest.mark.parametrize("kind", REQUESTS)
def test_absent_null_and_off_mean_the_default(kind: type[BaseModel]) -> None:
    rows = [row for row in PARAMETERS if "llama.cpp" in row.native and row.default is not None]
    defaults = {row.native["llama.cpp"].name: row.default for row in rows}
    defaults["adaptive_target"] = -1.0  # for llama.cpp 0 is a target like any other
    assert to_native(request(kind), LLAMA_CPP) == defaults
    nulls = {row.name: None for row in PARAMETERS}
    assert to_native(request(kind, **nulls), LLAMA_CPP) == defaults
    off = {row.name: row.off[0] for row in PARAMETERS if row.off}
    assert off["top_k"] == -1  # what vLLM's clients send for "all"
    assert to_native(request(kind, **off), LLAMA_CPP) == defaults


@pytest.mark.parametrize("kind", REQUESTS)
@ROWS
def test_ranges_are_closed_and_nothing_beyond_them_passes(
    kind: type[BaseModel], row: Parameter
) -> None:
    for limit, step in ((row.low, -1), (row.high, 1)):
        if limit is not None:
            number = int if isinstance(row.default, int) else float
            request(kind, **{row.name: number(limit)})
            with pytest.raises(ValidationError):
                request(kind, **{row.name: number(limit) + step})
    if isinstance(row.default, float):
        for wild in (float("inf"), float("-inf"), float("nan")):
            with pytest.raises(ValidationError):
                request(kind, **{row.name: wild})


@pytest.mark.parametrize(
    ("name", "low", "high", "default"),
    [
        ("temperature", 0, 2, 1),
        ("top_p", 0, 1, 1),
        ("presence_penalty", -2, 2, 0),
        ("frequency_penalty", -2, 2, 0),
    ],
)
def test_the_ranges_of_the_reference(name: str, low: float, high: float, default: float) -> None:
    row = next(row for row in PARAMETERS if row.name == name)
    most = row.high if row.reference_high is None else row.reference_high
    assert (row.low, most, row.default) == (low, high, default)


def test_defaults_leave_the_native_samplers_off() -> None:
    """The neutral values of llama.cpp's samplers, so that an answer is the model's own."""
    neutral = {
        "top_k": 0,
        "min_p": 0.0,
        "typical_p": 1.0,
        "repeat_penalty": 1.0,
        "xtc_probability": 0.0,
        "dynatemp_range": 0.0,
        "dry_multiplier": 0.0,
        "mirostat": 0,
        "ignore_eos": False,
    }
    native = to_native(request(CompletionRequest), LLAMA_CPP)
    assert {name: native[name] for name in neutral} == neutral
    assert native["top_n_sigma"] < 0


@ROWS
def test_a_sampler_that_lacks_a_parameter_refuses_it_by_name(row: Parameter) -> None:
    assert to_native(request(CompletionRequest), ANOTHER) == {}
    assert to_native(request(CompletionRequest, **{row.name: row.default}), ANOTHER) == {}
    alone = request(CompletionRequest, **{row.name: other_value(row)})
    if row.refines:  # while what it refines is off, it changes nothing
        assert to_native(alone, ANOTHER) == {}
        return
    with pytest.raises(InvalidRequest) as caught:
        to_native(alone, ANOTHER)
    assert caught.value.param == row.name


def refused(info: EngineInfo, **fields: object) -> str | None:
    with pytest.raises(InvalidRequest) as caught:
        to_native(request(CompletionRequest, **fields), info)
    assert caught.value.code in ("unsupported_parameter", "invalid_parameter_combination")
    return caught.value.param


def test_what_refines_a_parameter_is_refused_when_that_is_in_force() -> None:
    assert refused(WEBUI, dry_multiplier=1.0, dry_penalty_last_n=99) == "dry_penalty_last_n"
    native = to_native(request(CompletionRequest, dry_penalty_last_n=99), WEBUI)
    assert "dry_penalty_last_n" not in native


def test_a_loader_honours_less_than_its_column() -> None:
    """A webui's loaders each know a part of its parameters."""
    loader = replace(WEBUI, honours=frozenset({"temperature", "top_p", "top_k", "min_p"}))
    native = to_native(request(CompletionRequest, min_p=0.1), loader)
    assert native["min_p"] == 0.1
    assert native["typical_p"] == 1.0  # the host needs every key
    assert refused(loader, typical_p=0.5) == "typical_p"
    assert refused(loader, dynatemp_range=0.5) == "dynatemp_range"
    assert to_native(request(CompletionRequest, do_sample=False), loader)["temperature"] == 0


def test_the_mapping_that_the_first_extension_documented() -> None:
    """Its README's table: on the left OpenAI's name, on the right what the webui of spring 2023 calls it."""
    documented = {
        "frequency_penalty": "encoder_repetition_penalty",
        "presence_penalty": "repetition_penalty",
        "best_of": "top_k",
        "stop": "custom_stopping_strings",
        "temperature": "temperature",
        "top_p": "top_p",
    }
    given = {
        "frequency_penalty": 0.5,
        "presence_penalty": 0.5,
        "best_of": 7,
        "stop": ["END"],
        "temperature": 0.5,
        "top_p": 0.5,
    }
    plain = to_native(request(CompletionRequest), CLASSIC)
    for name, value in given.items():
        native = to_native(request(CompletionRequest, **{name: value}), CLASSIC, ("END",))
        native = {**native, "custom_stopping_strings": ["END"] if name == "stop" else []}
        assert {key for key in native if native[key] != plain[key]} == {documented[name]}
    assert to_native(request(CompletionRequest, best_of=7), CLASSIC)["top_k"] == 7
    assert plain["typical_p"] == 1.0
    assert plain["num_beams"] == 1
    assert ROLE_STOPS == ("\nsystem:", "\nuser:", "\nhuman:", "\nassistant:", "\n###")
    assert PROFILES["webui-2023"].role_stops == ROLE_STOPS


class ClassicEcho(EchoEngine):
    """Echo, as if by the webui of spring 2023."""

    @property
    def info(self) -> EngineInfo:
        return CLASSIC


def test_best_of_is_no_number_of_candidates_with_the_classic_sampler() -> None:
    body = {"model": "echo", "prompt": "one\nuser: two", "best_of": 3, "stream": True}
    for engine, status in ((ClassicEcho(), 200), (EchoEngine(), 400)):
        answer = create_app(Settings(), engine).test_client().post("/v1/completions", json=body)
        assert answer.status_code == status
        if status == 200:  # and answers end before the role strings
            chunks = sse_chunks(answer.data)
            assert "".join(part["choices"][0]["text"] for part in chunks) == "one"


@pytest.mark.parametrize(
    ("name", "native", "rises"),
    [
        ("presence_penalty", "repetition_penalty", True),
        # Above 1 it raises tokens of the prompt, where a frequency penalty lowers what is repeated.
        ("frequency_penalty", "encoder_repetition_penalty", False),
    ],
)
def test_the_classic_penalties_are_monotonic_and_neutral_at_zero(
    name: str, native: str, rises: bool
) -> None:
    steps = [-2.0, -1.0, -0.25, 0.0, 0.25, 1.0, 2.0]
    found = [to_native(request(CompletionRequest, **{name: at}), CLASSIC)[native] for at in steps]
    assert found == sorted(found, reverse=not rises)
    assert len(set(found)) == len(found)
    assert found[3] == 1.0
    assert all(value > 0 for value in found)


def test_two_names_for_one_native_parameter_exclude_each_other() -> None:
    assert refused(CLASSIC, presence_penalty=1, repetition_penalty=1.1) == "repetition_penalty"
    assert refused(CLASSIC, best_of=3, top_k=4) == "best_of"
    native = to_native(request(CompletionRequest, repetition_penalty=1.1), CLASSIC)
    assert native["repetition_penalty"] == 1.1


def test_role_stops_are_in_force_with_the_classic_sampler_or_when_the_operator_says_so() -> None:
    body = CompletionRequest(stop="END")
    assert Policy().stops(body, LLAMA_CPP) == ("END",)
    assert Policy().stops(body, CLASSIC) == ("END", *ROLE_STOPS)
    assert Policy(role_stops="always").stops(body, LLAMA_CPP) == ("END", *ROLE_STOPS)
    assert Policy(role_stops="never").stops(body, CLASSIC) == ("END",)


def test_a_dynamic_temperature_means_the_same_in_both_forms() -> None:
    """llama.cpp: the temperature and how far it moves; the webui: from where to where."""
    low_high: dict[str, object] = {
        "dynamic_temperature": True,
        "dynatemp_low": 0.5,
        "dynatemp_high": 1.5,
    }
    native = to_native(request(CompletionRequest, **low_high), LLAMA_CPP)
    assert (native["temperature"], native["dynatemp_range"]) == (1.0, 0.5)
    ranged = request(CompletionRequest, temperature=1.0, dynatemp_range=0.5)
    native = to_native(ranged, WEBUI)
    assert {name: native[name] for name in low_high} == low_high


@pytest.mark.parametrize("info", [WEBUI, CLASSIC], ids=lambda info: info.sampler)
@pytest.mark.parametrize("greedy", [{"temperature": 0}, {"do_sample": False}])
def test_greedy_in_every_word_that_a_webuis_loaders_know(
    info: EngineInfo, greedy: dict[str, object]
) -> None:
    native = to_native(request(CompletionRequest, top_k=40, **greedy), info)
    assert native["do_sample"] is False
    assert native["top_k"] == 1
    assert native["temperature"] <= 0.001


def test_a_range_of_none_is_not_a_webuis_whole_text() -> None:
    """There 0 means all of it, so the penalties are switched off."""
    fields: dict[str, object] = {"repetition_penalty": 1.5, "repetition_penalty_range": 0}
    native = to_native(request(CompletionRequest, **fields), WEBUI)
    assert native["repetition_penalty"] == 1.0


@pytest.mark.parametrize("given", ['"\\n", "x"', '["\\n", "x"]', ["\n", "x"]])
def test_sequence_breakers_as_webui_clients_write_them(given: object) -> None:
    native = to_native(request(CompletionRequest, dry_sequence_breakers=given), LLAMA_CPP)
    assert native["dry_sequence_breakers"] == ["\n", "x"]
    native = to_native(request(CompletionRequest, dry_sequence_breakers=given), WEBUI)
    assert json.loads(native["dry_sequence_breakers"]) == ["\n", "x"]


@pytest.mark.parametrize(
    "given", ["top_k\ntemperature", "top_k, temperature", ["top_k", "temperature"]]
)
def test_the_order_of_samplers_as_webui_clients_write_it(given: object) -> None:
    native = to_native(request(CompletionRequest, sampler_priority=given), WEBUI)
    assert native["sampler_priority"] == ["top_k", "temperature"]


@pytest.mark.parametrize("name", ["stopping_strings", "custom_stopping_strings"])
def test_stop_strings_under_a_webuis_names(name: str) -> None:
    many = [f"\n{number}:" for number in range(20)]
    assert CompletionRequest.model_validate({name: many, "stop": "END"}).stops == ("END", *many)
    assert CompletionRequest.model_validate({name: "END"}).stops == ("END",)
    assert CompletionRequest.model_validate({name: ""}).stops == ()


@pytest.mark.parametrize("name", ["presence_penalty", "frequency_penalty"])
def test_the_references_penalties_look_at_the_whole_answer(name: str) -> None:
    """And not at llama.cpp's last 64 tokens."""
    native = to_native(request(CompletionRequest, **{name: 0.5}), LLAMA_CPP)
    assert native["repeat_last_n"] == LLAMA_CPP.context_length
    for given in (7, 64):
        own = request(CompletionRequest, **{name: 0.5, "repetition_penalty_range": given})
        assert to_native(own, LLAMA_CPP)["repeat_last_n"] == given


@pytest.mark.parametrize(
    ("frequency", "presence"), [(0.0, 0.0), (1.5, 0.0), (0.0, 2.0), (0.7, 1.1), (2, 2), (-0.5, 0)]
)
@pytest.mark.parametrize("prompt", ["Once upon a time", "In a village there was a cat. The cat"])
@pytest.mark.parametrize("path", ["completions", "chat"])
def test_penalties_by_the_formula_of_the_reference(
    tiny: Api, path: str, prompt: str, frequency: float, presence: float
) -> None:
    """mu[j] - c[j] * frequency - (c[j] > 0) * presence, recomputed from what is told of each place; c[j]
    is how often j was sampled.

    Source: OpenAI guide, "Frequency and presence penalties".
    """
    sampling = {
        "max_tokens": 40,
        "temperature": 0,
        "frequency_penalty": frequency,
        "presence_penalty": presence,
    }
    if path == "chat":
        reported = tiny.chat(prompt, logprobs=True, top_logprobs=20, **sampling)["choices"][0]
        entries = reported["logprobs"]["content"]
        tokens = [entry["token"] for entry in entries]
        tops = [{t["token"]: t["logprob"] for t in entry["top_logprobs"]} for entry in entries]
    else:
        whole = tiny.complete(prompt, logprobs=5, **sampling)["choices"][0]["logprobs"]
        tokens, tops = whole["tokens"], whole["top_logprobs"]
    seen: list[str] = []
    for token, top in zip(tokens, tops, strict=True):
        score = {
            text: logprob - seen.count(text) * frequency - (text in seen) * presence
            for text, logprob in top.items()
        }
        assert score[token] >= max(score.values()) - 0.02
        seen.append(token)
    assert len(tokens) > 3


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 2])
@pytest.mark.parametrize("path", ["completions", "chat/completions"])
def test_a_penalised_answer_is_one_answer(tiny: Api, path: str, seed: int) -> None:
    """However often llama.cpp has to be called for it: the same again for a seed, streamed, and with
    log-probabilities; its prompt is counted once, and each token."""
    prompt = "Once upon a time there was a cat, and the cat sat on a mat."
    body: dict[str, Any] = {"presence_penalty": 1.5, "seed": seed, "max_tokens": 50}
    if "chat" in path:
        body["messages"] = as_messages(f"Say this: {prompt}")
        logprobs: dict[str, Any] = {"logprobs": True}
    else:
        body["prompt"] = prompt
        logprobs = {"logprobs": 1}

    def wholly() -> Any:
        return tiny.chat(**body) if "chat" in path else tiny.complete(**body)

    whole = wholly()
    assert whole["usage"]["completion_tokens"] <= 50
    body["presence_penalty"] = 0
    assert whole["usage"]["prompt_tokens"] == wholly()["usage"]["prompt_tokens"]
    body["presence_penalty"] = 1.5
    assert_alike(tiny.folded(path, **body)["choices"][0], wholly()["choices"][0])
    body |= logprobs
    reported = wholly()
    assert reported["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"]
    assert {**reported["choices"][0], "logprobs": None} == {**whole["choices"][0], "logprobs": None}


def test_penalties_do_not_count_the_prompt(tiny: Api) -> None:
    """A conversation that is long already can still use the words that it is made of."""
    prompt = "Once upon a time, there was a cat. " * 8 + "Once upon a"
    plain = tiny.complete(prompt, temperature=0, max_tokens=1)
    for penalty in ({"frequency_penalty": 2}, {"presence_penalty": 2}):
        # The first token is one that was never sampled before.
        assert texts(tiny.complete(prompt, temperature=0, max_tokens=1, **penalty)) == texts(plain)
    own = {"frequency_penalty": 2, "repetition_penalty_range": 400}
    assert texts(tiny.complete(prompt, temperature=0, max_tokens=1, **own)) != texts(plain)


def texts(whole: dict[str, Any]) -> list[str]:
    return [choice["text"] for choice in whole["choices"]]


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (["top_k", "temperature"], ["top_k", "temperature"]),
        (["typical-p", "temp", "min-p"], ["typ_p", "temperature", "min_p"]),
        ("penalties;top_p;temperature", ["penalties", "top_p", "temperature"]),
        ("edskypmxt", list(ORDER)),
        ([], []),
    ],
)
def test_samplers_in_each_form_of_llama_cpp(given: object, names: list[str]) -> None:
    native = to_native(request(CompletionRequest, samplers=given), LLAMA_CPP)
    assert native["samplers"] == names
    if given:
        assert refused(WEBUI, samplers=given) == "samplers"


def test_the_order_of_samplers_is_llama_cpps_own(tiny: Api) -> None:
    """llama.cpp tells which samplers it applies unless told otherwise."""
    assert isinstance(tiny.engine, LlamaCppEngine)
    props = tiny.engine.model.listener.ask("/props")
    assert props["default_generation_settings"]["params"]["samplers"] == list(ORDER)


@pytest.mark.parametrize(
    "row", [row for row in PARAMETERS if "llama.cpp" in row.native], ids=lambda row: row.name
)
def test_llama_cpp_itself_says_that_it_took_the_value(tiny: Api, row: Parameter) -> None:
    """Its own route tells the settings that an answer was made with."""
    assert isinstance(tiny.engine, LlamaCppEngine)
    native = to_native(request(CompletionRequest, **{row.name: other_value(row)}), LLAMA_CPP)
    body = {**native, "prompt": "x", "n_predict": 1}
    settings = tiny.engine.model.listener.ask("/completion", body)["generation_settings"]
    for name, value in native.items():
        if name in NOT_TOLD:
            continue
        reported = settings[name]
        assert reported == (pytest.approx(value) if isinstance(value, float) else value), name


NO_SAMPLING = {
    "seed", "max_tokens", "n_predict", "n_keep", "n_discard", "stream", "n_probs", "post_sampling_probs",
    "chat_format", "reasoning_format", "reasoning_in_content", "generation_prompt", "timings_per_token",
    "backend_sampling", "speculative.types", "lora",
}  # fmt: skip


def test_every_sampler_of_llama_cpp_has_a_row(tiny: Api) -> None:
    """It tells its settings itself; those that are left are no sampling."""
    assert isinstance(tiny.engine, LlamaCppEngine)
    props = tiny.engine.model.listener.ask("/props")
    settings = set(props["default_generation_settings"]["params"])
    ours = {row.native["llama.cpp"].name for row in PARAMETERS if "llama.cpp" in row.native}
    assert settings - ours == NO_SAMPLING
    assert ours - settings == NOT_TOLD


NOT_TOLD = {"dry_sequence_breakers"}


@pytest.mark.parametrize("given", ["!!", "zt", ["bogus"], [5], 5, ["top_k"] * 65])
def test_unknown_samplers_are_refused_and_not_left_out(tiny: Api, given: object) -> None:
    """llama.cpp itself skips a name that it does not know."""
    assert tiny.refused("completions", samplers=given)["param"].startswith("samplers")


def test_the_order_of_samplers_changes_the_answer(tiny: Api) -> None:
    """A sampler that is not on the list is not applied, whatever its parameter says."""
    body: dict[str, Any] = {"seed": 3, "max_tokens": 12, "top_k": 1}
    # With a seed no prompt is read from the cache, whose rounding may decide between two likely words.
    greedy = texts(tiny.complete("Once upon a time", temperature=0, seed=3, max_tokens=12))
    assert texts(tiny.complete("Once upon a time", samplers=["top_k"], **body)) == greedy
    assert texts(tiny.complete("Once upon a time", samplers="k", **body)) == greedy
    free = texts(tiny.complete("Once upon a time", seed=3, max_tokens=12))
    assert texts(tiny.complete("Once upon a time", samplers=["temperature"], **body)) == free
    # Temperature 0 is greedy, whatever else is said.
    cold = tiny.complete("Once upon a time", samplers=[], temperature=0, seed=3, max_tokens=12)
    assert texts(cold) == greedy


def test_a_webuis_order_in_llama_cpps_words() -> None:
    native = to_native(
        request(
            CompletionRequest,
            sampler_priority=[
                "repetition_penalty",
                "presence_penalty",
                "temperature",
                "tfs",
                "top_k",
            ],
        ),
        LLAMA_CPP,
    )
    left_out = ["dry", "top_n_sigma", "typ_p", "top_p", "min_p", "xtc"]
    assert native["samplers"] == [*left_out, "penalties", "temperature", "top_k"]
    body = {"samplers": ["top_k"], "sampler_priority": ["top_k"]}
    assert refused(LLAMA_CPP, **body) == "sampler_priority"
    last = request(CompletionRequest, samplers=["temperature", "top_k"], temperature_last=True)
    assert to_native(last, LLAMA_CPP)["samplers"] == ["top_k", "temperature"]


def test_adaptive_p_prefers_tokens_near_its_target(tiny: Api) -> None:
    """The mean probability of what is sampled, told by the engine, follows the target."""

    def mean(**body: Any) -> float:
        reported = tiny.complete(
            "Once upon a time", seed=5, max_tokens=60, logprobs=0, ignore_eos=True, min_p=0, **body
        )
        logprobs = reported["choices"][0]["logprobs"]["token_logprobs"]
        return sum(math.exp(each) for each in logprobs) / len(logprobs)

    assert mean(adaptive_target=0.9) > mean(adaptive_target=0.05) + 0.1
    assert mean(adaptive_target=0) == mean(adaptive_target=-1) == mean()
    native = to_native(request(CompletionRequest, adaptive_target=0.5), LLAMA_CPP)
    assert native["samplers"] == [*ORDER, "adaptive_p"]


def test_n_probs_asks_for_log_probabilities(tiny: Api) -> None:
    body: dict[str, Any] = {"max_tokens": 3, "temperature": 0}
    own = tiny.complete("Once", n_probs=5, **body)["choices"][0]["logprobs"]
    assert own == tiny.complete("Once", logprobs=5, **body)["choices"][0]["logprobs"]
    assert tiny.complete("Once", n_probs=0, **body)["choices"][0]["logprobs"] is None
    reported = tiny.chat("Hello", n_probs=7, **body)["choices"][0]["logprobs"]
    assert [len(entry["top_logprobs"]) for entry in reported["content"]] == [7] * len(
        reported["content"]
    )
    assert tiny.refused("completions", n_probs=21)["param"] == "n_probs"
    assert tiny.refused("completions", post_sampling_probs=True)["param"] == "post_sampling_probs"


def test_bans_as_webui_clients_write_them(tiny: Api) -> None:
    first = tiny.engine.tokenize("Once upon a time")
    free = tiny.complete("Once upon a", temperature=0, max_tokens=1)
    assert texts(free) == [tiny.engine.detokenize([first[-1]])]
    bans = tiny.complete(
        "Once upon a", temperature=0, max_tokens=1, custom_token_bans=f"{first[-1]}, 5"
    )
    assert texts(bans) != texts(free)
    for wrong in ("x", "-1", "99999999"):
        error = tiny.refused("completions", custom_token_bans=wrong)
        assert error["param"] == "custom_token_bans"
    assert tiny.complete("Once", custom_token_bans="", max_tokens=1)
