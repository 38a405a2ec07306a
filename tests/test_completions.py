"""Create completion, against the echo engine: a token is a byte, and an end token counts."""

from __future__ import annotations

import re
from typing import Any

import pytest
from flask.testing import FlaskClient

from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.support.paced import PacedEngine
from tests.support.reference import assert_chunks, assert_envelope, sse_chunks

URL = "/v1/completions"


def create(client: FlaskClient, **body: Any) -> dict[str, Any]:
    answer = client.post(URL, json={"model": "echo", **body})
    assert answer.status_code == 200, answer.get_data(as_text=True)
    assert answer.content_type == "application/json"
    whole = answer.json
    assert isinstance(whole, dict)
    return whole


def refused(client: FlaskClient, **body: Any) -> dict[str, Any]:
    answer = client.post(URL, json={"model": "echo", **body})
    assert answer.status_code == 400, answer.get_data(as_text=True)
    return assert_envelope(answer.json, status=400)


def texts(whole: dict[str, Any]) -> list[str]:
    assert [choice["index"] for choice in whole["choices"]] == list(range(len(whole["choices"])))
    return [choice["text"] for choice in whole["choices"]]


def test_the_shape_of_the_reference(client: FlaskClient) -> None:
    whole = create(client, prompt="Hello")
    assert re.fullmatch(r"cmpl-\w{20,}", whole["id"])
    assert whole["object"] == "text_completion"
    assert whole["model"] == "echo"
    assert isinstance(whole["created"], int) and isinstance(whole["system_fingerprint"], str)
    assert whole["choices"] == [
        {"text": "Hello", "index": 0, "logprobs": None, "finish_reason": "stop"}
    ]
    usage = whole["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (5, 6)
    assert usage["total_tokens"] == 11
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0}


def test_every_answer_has_an_id_of_its_own(client: FlaskClient) -> None:
    assert len({create(client, prompt="x")["id"] for _ in range(20)}) == 20


def test_sixteen_tokens_unless_asked_otherwise(client: FlaskClient) -> None:
    whole = create(client, prompt="x" * 30)
    assert texts(whole) == ["x" * 16]
    assert whole["choices"][0]["finish_reason"] == "length"
    assert whole["usage"]["completion_tokens"] == 16
    assert texts(create(client, prompt="x" * 30, max_tokens=None)) == ["x" * 16]


@pytest.mark.parametrize(
    ("prompt", "answers"),
    [
        ("one", ["one"]),
        (["one"], ["one"]),
        (["one", "two", ""], ["one", "two", ""]),
        ([104, 105], ["hi"]),
        ([[104, 105], [106]], ["hi", "j"]),
        ("", [""]),
        (None, [""]),
    ],
)
def test_every_form_of_prompt(client: FlaskClient, prompt: Any, answers: list[str]) -> None:
    whole = create(client, prompt=prompt)
    assert texts(whole) == answers
    assert whole["usage"]["prompt_tokens"] == sum(map(len, answers))
    assert whole["usage"]["completion_tokens"] == sum(len(answer) + 1 for answer in answers)


def test_n_choices_for_each_prompt_are_in_the_order_of_the_prompts(client: FlaskClient) -> None:
    whole = create(client, prompt=["ab", "c", "def"], n=3)
    assert texts(whole) == ["ab"] * 3 + ["c"] * 3 + ["def"] * 3
    # Prompts count once each, answers each time.
    assert whole["usage"]["prompt_tokens"] == 6
    assert whole["usage"]["completion_tokens"] == 3 * (3 + 2 + 4)


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("prompt", [["ab", "c"], [[97, 98], [99]]])
def test_echo_puts_the_prompt_in_front(client: FlaskClient, prompt: Any, n: int) -> None:
    whole = create(client, prompt=prompt, echo=True, n=n)
    assert texts(whole) == ["abab"] * n + ["cc"] * n
    assert whole["usage"]["prompt_tokens"] == 3


def test_no_tokens_at_all(client: FlaskClient) -> None:
    whole = create(client, prompt=["abc", "d"], max_tokens=0)
    assert texts(whole) == ["", ""]
    assert [choice["finish_reason"] for choice in whole["choices"]] == ["length"] * 2
    usage = whole["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (4, 0, 4)
    assert texts(create(client, prompt="abc", max_tokens=0, echo=True)) == ["abc"]


@pytest.mark.parametrize(
    ("prompt", "stop", "answer", "reason"),
    [
        ("one two", " two", "one", "stop"),
        ("one two", ["x", "wo"], "one t", "stop"),
        ("one two", ["two", "one"], "", "stop"),
        ("one two", "never", "one two", "stop"),
        ("one two", [], "one two", "stop"),
        ("one two", None, "one two", "stop"),
        ("grüße 🙂 hier", "🙂", "grüße ", "stop"),
        ("aaab", "aab", "a", "stop"),
        ("0123456789abcdefEND", "fEN", "0123456789abcdef", "length"),
    ],
)
def test_stop_strings(
    client: FlaskClient, prompt: str, stop: Any, answer: str, reason: str
) -> None:
    whole = create(client, prompt=prompt, stop=stop)
    assert texts(whole) == [answer]
    assert whole["choices"][0]["finish_reason"] == reason


def test_a_prompt_that_is_echoed_may_hold_the_stop_string(client: FlaskClient) -> None:
    whole = create(client, prompt="a STOP b", echo=True, stop="STOP", max_tokens=30)
    assert texts(whole) == ["a STOP ba "]


def test_characters_of_several_tokens_are_whole(client: FlaskClient) -> None:
    whole = create(client, prompt="é🙂日本", max_tokens=40)
    assert texts(whole) == ["é🙂日本"]
    assert whole["usage"]["prompt_tokens"] == 2 + 4 + 3 + 3


def test_a_stream_says_the_same_piece_by_piece(client: FlaskClient) -> None:
    data = client.post(URL, json={"model": "echo", "prompt": "aé", "stream": True}).data
    chunks = sse_chunks(data)
    assert_chunks(chunks, usage=False)
    parts = [chunk["choices"][0] for chunk in chunks]
    assert [part["text"] for part in parts] == ["a", "é", ""]
    assert [part["finish_reason"] for part in parts] == [None, None, "stop"]
    assert all(set(part) == {"text", "index", "logprobs", "finish_reason"} for part in parts)
    assert {chunk["object"] for chunk in chunks} == {"text_completion"}


def test_a_stream_with_usage(client: FlaskClient) -> None:
    body = {"model": "echo", "prompt": ["ab", "c"], "n": 2, "stream": True}
    data = client.post(URL, json=body | {"stream_options": {"include_usage": True}}).data
    chunks = sse_chunks(data)
    assert_chunks(chunks, usage=True)
    usage = chunks[-1]["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (3, 2 * (3 + 2))


def test_several_choices_stream_at_the_same_time() -> None:
    """Each of four choices begins before any of them has ended."""
    engine = PacedEngine(["a"] * 20, parallel=4, pace=0.005)
    client = create_app(Settings(), engine).test_client()
    body = {"model": "paced", "prompt": ["p", "q"], "n": 2, "stream": True, "max_tokens": 20}
    chunks = sse_chunks(client.post(URL, json=body).data)
    assert_chunks(chunks, usage=False)
    order = [choice["index"] for chunk in chunks for choice in chunk["choices"]]
    first_end = next(
        at for at, chunk in enumerate(chunks) if chunk["choices"][0]["finish_reason"] is not None
    )
    assert set(order[:first_end]) == {0, 1, 2, 3}


REFUSED: list[tuple[dict[str, Any], str, str | None]] = [
    ({"prompt": []}, "prompt", "empty_array"),
    ({"prompt": [[]]}, "prompt[0]", "empty_array"),
    ({"prompt": 7}, "prompt", "invalid_type"),
    ({"prompt": {"a": 1}}, "prompt", "invalid_type"),
    ({"prompt": [1.5]}, "prompt[0]", "invalid_type"),
    ({"prompt": [True]}, "prompt[0]", "invalid_type"),
    ({"prompt": ["a", 1]}, "prompt[1]", "invalid_type"),
    ({"prompt": "x", "max_tokens": -1}, "max_tokens", "integer_below_min_value"),
    ({"prompt": "x", "max_tokens": "5"}, "max_tokens", "invalid_type"),
    ({"prompt": "x", "max_tokens": 1.5}, "max_tokens", "invalid_type"),
    ({"prompt": "x", "n": 0}, "n", "integer_below_min_value"),
    ({"prompt": "x", "n": 129}, "n", "integer_above_max_value"),
    ({"prompt": "x", "temperature": 100.01}, "temperature", "decimal_above_max_value"),
    ({"prompt": "x", "temperature": "hot"}, "temperature", "invalid_type"),
    ({"prompt": "x", "temperature": True}, "temperature", "invalid_type"),
    ({"prompt": "x", "top_p": -0.1}, "top_p", "decimal_below_min_value"),
    ({"prompt": "x", "presence_penalty": 2.1}, "presence_penalty", "decimal_above_max_value"),
    ({"prompt": "x", "frequency_penalty": -3}, "frequency_penalty", "decimal_below_min_value"),
    ({"prompt": "x", "stop": ["a"] * 17}, "stop", "array_above_max_length"),
    ({"prompt": "x", "stop": 3}, "stop", "invalid_type"),
    ({"prompt": "x", "stop": [3]}, "stop[0]", "invalid_type"),
    ({"prompt": "x", "stream": "yes"}, "stream", "invalid_type"),
    ({"prompt": "x", "stream": 1}, "stream", "invalid_type"),
    ({"prompt": "x", "echo": "yes"}, "echo", "invalid_type"),
    ({"prompt": "x", "seed": "a"}, "seed", "invalid_type"),
    ({"prompt": "x", "user": 5}, "user", "invalid_type"),
    ({"prompt": "x", "stream_options": {"include_usage": True}}, "stream_options", None),
    ({"prompt": "x", "logprobs": 0}, "logprobs", "unsupported_parameter"),
    ({"prompt": "x", "logprobs": 5}, "logprobs", "unsupported_parameter"),
    ({"prompt": "x", "best_of": 2}, "best_of", "unsupported_parameter"),
    ({"prompt": "x", "suffix": "y"}, "suffix", "unsupported_parameter"),
    ({"prompt": "x", "logprobs": 21}, "logprobs", "integer_above_max_value"),
    ({"prompt": "x", "best_of": 21}, "best_of", "integer_above_max_value"),
    ({"prompt": "x", "best_of": 2, "n": 3}, "best_of", "integer_below_min_value"),
    ({"prompt": "x", "logit_bias": {"256": -100}}, "logit_bias", None),
    ({"prompt": "x", "logit_bias": {"-1": -100}}, "logit_bias", "invalid_value"),
    ({"prompt": "x", "logit_bias": {"1": 101}}, "logit_bias.1", "decimal_above_max_value"),
    ({"prompt": "x", "logit_bias": {"1": -101}}, "logit_bias.1", "decimal_below_min_value"),
    ({"prompt": "x", "logit_bias": [1]}, "logit_bias", "invalid_type"),
    ({"prompt": "x", "max_tokens": 2**70}, "max_tokens", None),
    ({"prompt": [300]}, "prompt", None),
    ({"prompt": [-1]}, "prompt", None),
]


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        *REFUSED,
        *(
            ({**body, "stream": True}, param, code)
            for body, param, code in REFUSED
            if not body.keys() & {"stream", "stream_options"}  # those are about not streaming
        ),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(
    client: FlaskClient, body: dict[str, Any], param: str, code: str | None
) -> None:
    error = refused(client, **body)
    assert error["param"] == param
    if code is not None:
        assert error["code"] == code


@pytest.mark.parametrize("echo", [False, True])
@pytest.mark.parametrize("max_tokens", [0, 1])
@pytest.mark.parametrize("prompt", [[300], [[104], [-1]], [2**40]])
def test_token_ids_that_the_model_lacks_are_refused(
    client: FlaskClient, prompt: Any, max_tokens: int, echo: bool
) -> None:
    assert refused(client, prompt=prompt, max_tokens=max_tokens, echo=echo)["param"] == "prompt"


@pytest.mark.parametrize(
    "extra",
    [
        {"grammar": 'root ::= "a"'},
        {"guided_grammar": 'root ::= "a"'},
        {"guided_regex": "a+"},
        {"guided_choice": ["a", "b"]},
        {"guided_json": {"type": "object"}},
        {"json_schema": {"type": "object"}},
        {"response_format": {"type": "json_object"}},
    ],
)
@pytest.mark.parametrize("path", ["completions", "chat/completions"])
def test_a_constraint_on_the_answer_is_never_dropped(
    client: FlaskClient, path: str, extra: dict[str, Any]
) -> None:
    body = {"model": "echo", **extra}
    body |= (
        {"prompt": "x"}
        if path == "completions"
        else {"messages": [{"role": "user", "content": "x"}]}
    )
    answer = client.post(f"/v1/{path}", json=body)
    assert answer.status_code == 400
    assert assert_envelope(answer.json)["param"] == next(iter(extra))


CONTEXT = 8192


@pytest.mark.parametrize(
    ("prompt", "max_tokens", "fits"),
    [
        ("x" * (CONTEXT - 16), None, True),
        ("x" * (CONTEXT - 15), None, False),
        ("x" * (CONTEXT - 1), 1, True),
        ("x" * CONTEXT, 1, False),
        ("x", CONTEXT - 1, True),
        ("x", CONTEXT, False),
        ("x", CONTEXT + 1, False),
        ("x" * CONTEXT, 0, True),
        ("x" * (CONTEXT + 1), 0, False),
        ([120] * (CONTEXT + 1), 1, False),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_prompt_and_answer_must_fit_into_the_context(
    client: FlaskClient, prompt: Any, max_tokens: int | None, fits: bool, stream: bool
) -> None:
    body = {"prompt": prompt, "max_tokens": max_tokens, "stream": stream}
    if fits:
        assert client.post(URL, json={"model": "echo", **body}).status_code == 200
        return
    error = refused(client, **body)
    assert error["code"] == "context_length_exceeded"
    assert error["param"] in ("prompt", "max_tokens")
    numbers = [int(number) for number in re.findall(r"\d+", error["message"])]
    wanted = 16 if max_tokens is None else max_tokens
    assert CONTEXT in numbers and len(prompt) + wanted in numbers


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("at", [0, 1, 6])
def test_one_prompt_of_several_that_does_not_fit_refuses_them_all(
    client: FlaskClient, at: int, stream: bool
) -> None:
    """An error that is known before the first token keeps its status, in a stream as well."""
    prompts = ["ok"] * 7
    prompts[at] = "x" * (CONTEXT + 1)
    assert refused(client, prompt=prompts, stream=stream)["code"] == "context_length_exceeded"


def test_a_number_too_long_to_print_is_refused(client: FlaskClient) -> None:
    body = b'{"model": "echo", "prompt": "x", "max_tokens": 1' + b"0" * 5000 + b"}"
    answer = client.post(URL, data=body, content_type="application/json")
    assert answer.status_code == 400
    assert len(assert_envelope(answer.json)["message"]) < 1000


def test_an_empty_prompt_counts_the_same_with_and_without_an_answer(
    random_client: FlaskClient,
) -> None:
    """An empty prompt stands for the beginning of a document."""
    counts = [
        random_client.post(URL, json={"model": "random", "prompt": "", "max_tokens": n}).json[
            "usage"
        ]
        for n in (0, 1)
    ]
    assert counts[0]["prompt_tokens"] == counts[1]["prompt_tokens"]


@pytest.fixture
def random_client(llamacpp: Any) -> FlaskClient:
    return create_app(Settings(), llamacpp).test_client()


def test_temperature_zero_is_repeatable(random_client: FlaskClient) -> None:
    body = {"model": "random", "prompt": "Hello", "max_tokens": 30, "temperature": 0}
    answers = {random_client.post(URL, json=body).json["choices"][0]["text"] for _ in range(3)}
    assert len(answers) == 1


def test_a_seed_is_repeatable_and_its_choices_differ(random_client: FlaskClient) -> None:
    body = {"model": "random", "prompt": "Hello", "max_tokens": 40, "seed": 5}
    answers = [random_client.post(URL, json=body).json["choices"][0]["text"] for _ in range(3)]
    assert len(set(answers)) == 1
    # Tokens chosen together with others differ in the last digits, so only that they differ is asked.
    choices = random_client.post(URL, json=body | {"n": 3}).json["choices"]
    assert len({choice["text"] for choice in choices}) == 3
    assert random_client.post(URL, json=body | {"seed": 6}).json["choices"][0]["text"] != answers[0]


def test_cached_tokens_are_told_and_never_more_than_the_prompt(random_client: FlaskClient) -> None:
    body = {"model": "random", "prompt": "A prompt to remember: " * 10, "max_tokens": 1}
    usages = [random_client.post(URL, json=body).json["usage"] for _ in range(2)]
    assert usages[0]["prompt_tokens"] == usages[1]["prompt_tokens"]
    cached = usages[1]["prompt_tokens_details"]["cached_tokens"]
    assert 0 < cached < usages[1]["prompt_tokens"]
