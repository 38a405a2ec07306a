"""best_of: the likeliest candidates by the mean of their log-probabilities, and biases on tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.engines.protocol import PromptUsage, TokenLogprob
from extensions.openai.generation.best_of import best_of
from extensions.openai.generation.events import Event, Events
from tests.support.abilities import infill
from tests.support.api import Api


def events_of(*choices: Sequence[float], rounds: int = 1) -> Events:
    """Each choice says its number once for each of its log-probabilities, then ends."""
    for _ in range(rounds):
        yield None
    for index, logprobs in enumerate(choices):
        for at, logprob in enumerate(logprobs):
            prompt = PromptUsage(5) if at == 0 else None
            token = (TokenLogprob(b"x", logprob),)
            yield Event(index, str(index), tokens=1, prompt=prompt, logprobs=token)
        yield Event(index, tokens=1, finish="stop")


def chosen(events: Events) -> dict[int, str]:
    texts: dict[int, str] = {}
    for event in events:
        if event is not None:
            texts[event.index] = texts.get(event.index, "") + event.text
    return texts


def test_the_mean_decides_and_not_the_sum() -> None:
    assert chosen(best_of(events_of([-1, -1, -1], [-1.5]), n=1, candidates=2)) == {0: "000"}
    assert chosen(best_of(events_of([-1.5], [-1, -1, -1]), n=1, candidates=2)) == {0: "111"}


def test_the_best_come_first_for_each_prompt() -> None:
    events = events_of([-3], [-1], [-2], [-0.1], [-0.3], [-0.2])
    assert chosen(best_of(events, n=2, candidates=3)) == {0: "1", 1: "2", 2: "3", 3: "5"}


def test_an_answer_of_nothing_is_the_last_choice() -> None:
    assert chosen(best_of(events_of([], [-9]), n=1, candidates=2)) == {0: "1"}


def test_all_candidates_count() -> None:
    events = [e for e in best_of(events_of([-1, -1], [-2]), n=1, candidates=2) if e is not None]
    assert sum(event.tokens for event in events) == 5
    assert [event.finish for event in events if event.finish] == ["stop"]


def test_an_echo_does_not_count_for_the_mean() -> None:
    def made() -> Events:
        for index, logprob in enumerate((-2.0, -1.0)):
            echoed = (TokenLogprob(b"p", -100.0 if index else 0.0),)
            yield Event(index, "p", logprobs=echoed, echo=True)
            yield Event(index, str(index), tokens=1, logprobs=(TokenLogprob(b"x", logprob),))
            yield Event(index, finish="length")

    assert chosen(best_of(made(), n=1, candidates=2)) == {0: "p1"}


def test_silence_is_passed_on() -> None:
    assert next(best_of(events_of([-1], [-2], rounds=3), n=1, candidates=2)) is None


def mean(choice: dict[str, Any]) -> float:
    logprobs = choice["logprobs"]["token_logprobs"]
    return sum(logprobs) / len(logprobs) if logprobs else float("-inf")


@pytest.mark.parametrize("seed", [1, 2, 3, 40])
@pytest.mark.parametrize(("n", "most"), [(1, 2), (1, 5), (2, 4), (3, 3)])
def test_the_likeliest_candidates_are_chosen(tiny: Api, n: int, most: int, seed: int) -> None:
    """The same candidates, asked for one by one, say which are the likeliest."""
    body: dict[str, Any] = {"max_tokens": 8, "temperature": 1.2, "logprobs": 0, "seed": seed}
    tiny.complete("The", n=most, **body)  # the cache as it will be: it changes the last digits
    every = tiny.complete("The", n=most, **body)
    best = tiny.complete("The", n=n, best_of=most, **body)
    likeliest = every["choices"]
    if most > n:
        likeliest = sorted(every["choices"], key=mean, reverse=True)[:n]
    assert [choice["text"] for choice in best["choices"]] == [each["text"] for each in likeliest]
    assert [choice["index"] for choice in best["choices"]] == list(range(n))
    for one, other in zip(best["choices"], likeliest, strict=True):
        assert mean(one) == pytest.approx(mean(other), abs=0.05)
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert best["usage"][name] == every["usage"][name]


def test_log_probabilities_are_told_only_when_asked_for(tiny: Api) -> None:
    whole = tiny.complete("The", best_of=3, max_tokens=4)
    assert whole["choices"][0]["logprobs"] is None


def test_each_of_several_prompts_has_its_best(tiny: Api) -> None:
    body: dict[str, Any] = {"max_tokens": 6, "logprobs": 0, "seed": 5, "temperature": 1.3}
    prompts = ["The", "Once upon a", "I"]
    tiny.complete(prompts, n=3, **body)
    best = tiny.complete(prompts, best_of=3, n=1, **body)
    every = tiny.complete(prompts, n=3, **body)
    for at in range(3):
        likeliest = max(every["choices"][3 * at : 3 * at + 3], key=mean)
        assert best["choices"][at]["text"] == likeliest["text"]
    assert best["usage"]["completion_tokens"] == every["usage"]["completion_tokens"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"best_of": 2, "n": 3}, "best_of"),
        ({"best_of": 21}, "best_of"),
        ({"best_of": -1}, "best_of"),
        ({"best_of": "2"}, "best_of"),
    ],
)
def test_what_is_no_best_of_is_refused(tiny: Api, body: dict[str, Any], param: str) -> None:
    assert tiny.refused("completions", **body)["param"] == param


def test_candidates_cannot_be_streamed(tiny: Api) -> None:
    answer = tiny.client.post(
        "/v1/completions",
        json={"model": "tiny", "prompt": "x", "best_of": 2, "stream": True},
    )
    assert answer.status_code == 400
    assert answer.json["error"]["param"] == "best_of"
    # As many candidates as choices is nothing to choose from.
    chunks = tiny.chunks("completions", prompt="x", best_of=2, n=2, max_tokens=2)
    assert {choice["index"] for chunk in chunks for choice in chunk["choices"]} == {0, 1}


def ids_of(api: Api, text: str) -> list[str]:
    return [str(id) for id in api.engine.tokenize(text)]


@pytest.mark.parametrize("path", ["completions", "chat/completions"])
@pytest.mark.parametrize("logprobs", [False, True])
def test_a_bias_of_minus_100_bans_a_token(tiny: Api, path: str, logprobs: bool) -> None:
    """The greedy answer's tokens, banned one after the other, never come back."""
    banned: dict[str, float] = {}
    for _ in range(6):
        text = first_token(tiny, path, banned, logprobs)
        ids = ids_of(tiny, text) if text else []
        if len(ids) != 1:
            break
        assert ids[0] not in banned
        banned[ids[0]] = -100
    assert len(banned) >= 3


def first_token(api: Api, path: str, bias: dict[str, float], logprobs: bool) -> str:
    body: dict[str, Any] = {"logit_bias": bias, "temperature": 0, "max_tokens": 1}
    if path == "completions":
        choice = api.complete("Once", logprobs=0 if logprobs else None, **body)["choices"][0]
        return str(choice["text"])
    choice = api.chat("Hello", logprobs=logprobs, **body)["choices"][0]
    return str(choice["message"]["content"])


@pytest.mark.parametrize("word", [" zebra", "!", "é", " time"])
@pytest.mark.parametrize("temperature", [0, 1])
def test_a_bias_of_100_forces_a_token(tiny: Api, word: str, temperature: float) -> None:
    forced = ids_of(tiny, word)[0]
    output = tiny.engine.detokenize([int(forced)])
    body: dict[str, Any] = {"logit_bias": {forced: 100}, "max_tokens": 3}
    choice = tiny.complete("Once", temperature=temperature, **body)["choices"][0]
    if "\ufffd" not in output:
        assert choice["text"] == output * 3
    chat = tiny.chat("Hello", temperature=temperature, **body)["choices"][0]
    if "\ufffd" not in output:
        assert chat["message"]["content"] == output * 3


def test_a_small_bias_shifts_the_odds_by_its_size(tiny: Api) -> None:
    """Two tokens whose log-probabilities lie d apart change places at a bias of d, not before."""
    reported = tiny.complete("The", logprobs=5, max_tokens=1, temperature=0)["choices"][0][
        "logprobs"
    ]
    ranked = sorted(reported["top_logprobs"][0].items(), key=lambda pair: -pair[1])
    (first, high), (second, low) = next(
        (ranked[0], other) for other in ranked[1:] if len(ids_of(tiny, other[0])) == 1
    )
    (id,) = ids_of(tiny, second)
    for bias, winner in ((high - low - 0.2, first), (high - low + 0.2, second)):
        choice = tiny.complete("The", logit_bias={id: bias}, max_tokens=1, temperature=0)
        assert choice["choices"][0]["text"] == winner


@pytest.mark.parametrize("key", ["2560", "99999999999999999999", "x", "", "-1", "1.5", "½", "²"])
@pytest.mark.parametrize("path", ["completions", "chat/completions"])
def test_a_bias_on_what_is_no_token_is_refused(tiny: Api, path: str, key: str) -> None:
    assert tiny.refused(path, logit_bias={key: 1})["param"] == "logit_bias"


@pytest.mark.parametrize("bias", [100.1, -100.1, "1", None, True])
def test_a_bias_that_is_none_is_refused(tiny: Api, bias: Any) -> None:
    error = tiny.refused("completions", logit_bias={"5": bias})
    assert error["param"] in ("logit_bias", "logit_bias.5")


@pytest.mark.parametrize(("before", "after"), [("def f(", ")"), ("Grüße ", " 🙂"), ([40, 41], "x")])
def test_a_suffix_is_filled_in_between(tiny: Api, before: Any, after: str) -> None:
    """The prompt is that of the model's fill-in tokens; the answer is what continues it."""
    body: dict[str, Any] = {"max_tokens": 8, "temperature": 0}
    filled = tiny.complete(before, suffix=after, **body)
    prompt = list(infill(tiny.engine, tuple(before) if isinstance(before, list) else before, after))
    asked = tiny.complete(prompt, **body)
    assert filled["choices"] == asked["choices"]
    assert filled["usage"]["prompt_tokens"] == len(prompt)
    assert (
        filled["choices"]
        == tiny.folded("completions", prompt=before, suffix=after, **body)["choices"]
    )
    echoed = tiny.complete(before, suffix=after, echo=True, **body)["choices"][0]["text"]
    shown = before if isinstance(before, str) else tiny.engine.detokenize(before)
    assert echoed == shown + filled["choices"][0]["text"]


@pytest.mark.parametrize(("before", "after"), [("def f(", ")"), ("Grüße ", " 🙂"), ("a\n", "\nb")])
def test_a_suffix_is_asked_for_as_llama_cpp_does(tiny: Api, before: str, after: str) -> None:
    """Its own route for filling in says what prompt it has made."""
    assert isinstance(tiny.engine, LlamaCppEngine)
    body = {"input_prefix": before, "input_suffix": after, "n_predict": 1, "prompt": ""}
    own = tiny.engine.model.listener.ask("/infill", body)
    assert own["prompt"] == tiny.engine.detokenize(infill(tiny.engine, before, after))
    asked = tiny.complete(before, suffix=after, max_tokens=1)
    assert asked["usage"]["prompt_tokens"] == own["tokens_evaluated"]


def test_an_empty_suffix_is_none(tiny: Api) -> None:
    plain = tiny.complete("Once", temperature=0)["choices"]
    for suffix in ("", None):
        assert tiny.complete("Once", temperature=0, suffix=suffix)["choices"] == plain


def test_a_suffix_is_refused_where_the_model_cannot_fill_in(noise: Api) -> None:
    error = noise.refused("completions", suffix="x")
    assert (error["param"], error["code"]) == ("suffix", "unsupported_parameter")


def test_a_suffix_counts_for_the_context(tiny: Api) -> None:
    error = tiny.refused("completions", prompt="x", suffix="a b c " * 4000)
    assert error["code"] == "context_length_exceeded"
