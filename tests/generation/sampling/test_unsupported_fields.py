"""Fields of other servers' clients: what is served does what it says, and the rest is refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from llguidance import LLMatcher, LLTokenizer

from extensions.openai.generation.grammar.constraints import ConstraintFields
from extensions.openai.generation.sampling.unsupported_fields import IN_CHAT, IN_COMPLETIONS
from extensions.openai.schemas.validation import check
from tests.generation.chat.test_answer import WHOLE, Scripted
from tests.support.api import Api, as_messages, assert_alike

CHAT = "chat/completions"
PATHS = [("completions", name, taken) for name, taken in IN_COMPLETIONS.items()]
PATHS += [(CHAT, name, taken) for name, taken in IN_CHAT.items()]


@pytest.mark.parametrize(("path", "name", "taken"), PATHS)
def test_what_would_change_the_answer_is_refused(
    tiny: Api, path: str, name: str, taken: tuple[Any, ...]
) -> None:
    other = next(value for value in (7, True, ["x"]) if value not in taken)
    error = tiny.refused(path, max_tokens=1, **{name: other})
    assert (error["param"], error["code"]) == (name, "unsupported_parameter")
    for value in (None, *taken):
        body: dict[str, Any] = {"max_tokens": 1, name: value}
        assert tiny.chat("Hello", **body) if path == CHAT else tiny.complete("Once", **body)


def greedy(api: Api, prompt: str, **body: Any) -> str:
    whole = api.complete(prompt, temperature=0, max_tokens=30, **body)
    return str(whole["choices"][0]["text"])


@pytest.mark.parametrize("name", ["bad_words", "banned_strings"])
@pytest.mark.parametrize("path", ["completions", CHAT])
def test_words_that_do_not_come(tiny: Api, path: str, name: str) -> None:
    """Each word that the greedy answer is made of is banned in its turn, and does not come again; also
    one inside of a token, and one over several."""

    def ask(words: list[str]) -> str:
        body: dict[str, Any] = {"temperature": 0, "max_tokens": 30, name: words}
        if path == CHAT:
            whole = tiny.chat("Hello", **body)
            assert_alike(tiny.folded(CHAT, messages=as_messages("Hello"), **body), whole)
            return str(whole["choices"][0]["message"]["content"])
        return str(tiny.complete("Once upon", **body)["choices"][0]["text"])

    banned: list[str] = []
    for at in range(6):
        text = ask(banned)
        assert not any(word in text for word in banned)
        middle = len(text) // 2
        banned.append(text[middle : middle + 1 + 2 * at])
    assert len(banned) == 6 and all(banned)


@pytest.mark.parametrize("word", ["/", '"', "\\", "[", "\n", "é🙂", ".*", "a b", "-"])
def test_words_are_no_patterns(word: str) -> None:
    """Judged by the library that enforces them: a text that holds the word does not match, all others do."""
    found = check(ConstraintFields, {"bad_words": [word, "zz"]}).constraint
    assert found is not None

    def matches(text: str) -> bool:
        matcher, data = LLMatcher(LLTokenizer("byte"), found[0], log_level=0), list(text.encode())
        return matcher.try_consume_tokens(data) == len(data) and matcher.is_accepting()

    for before in ("", "z", "a_b c"):
        assert matches(before) and matches(before + word[:-1])
        assert not matches(before + word) and not matches(f"{before}{word} and more")
    assert matches("xxay a  b é🙁 _") or word in "xxay a  b é🙁 _"
    assert not matches("zz")


def test_words_and_another_constraint_exclude_each_other(tiny: Api) -> None:
    error = tiny.refused("completions", bad_words=["x"], guided_choice=["a", "b"])
    assert (error["param"], error["code"]) == ("bad_words", "invalid_parameter_combination")


@pytest.mark.parametrize(
    "words", ["x", [5], [""], ["x" * 201], ["x"] * 129, {"a": 1}]
)  # fmt: skip
def test_what_is_no_list_of_words_is_refused(tiny: Api, words: Any) -> None:
    assert tiny.refused("completions", bad_words=words)["param"].startswith("bad_words")


def test_no_words_change_nothing(tiny: Api) -> None:
    assert greedy(tiny, "Once", bad_words=[]) == greedy(tiny, "Once")
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert tiny.refused(CHAT, bad_words=["x"], tools=tools, tool_choice="required")
    assert tiny.chat("Hello", bad_words=[], tools=tools, max_tokens=3)


@pytest.mark.parametrize("form", [list, lambda ids: ", ".join(map(str, ids))])
def test_tokens_that_do_not_come(tiny: Api, form: Any) -> None:
    """The greedy token, banned, does not come again, as with a bias of -100."""
    first = tiny.engine.tokenize(greedy(tiny, "Once")[:4])[-1]
    banned = greedy(tiny, "Once", banned_tokens=form([first]))
    assert banned == greedy(tiny, "Once", logit_bias={str(first): -100})
    assert tiny.refused("completions", banned_tokens=form([99999]))["param"] == "banned_tokens"


SCHEMA = {"const": "é🙂"}


@pytest.mark.parametrize(
    "body",
    [
        {"guided_json": json.dumps(SCHEMA)},
        {"guided_json": SCHEMA},
        {"regex": '"é🙂"'},
        {"regex_pattern": '"é🙂"'},
    ],
)
def test_other_names_for_what_an_answer_looks_like(tiny: Api, body: dict[str, Any]) -> None:
    choice = tiny.complete("Once", max_tokens=20, **body)["choices"][0]
    assert (choice["text"], choice["finish_reason"]) == ('"é🙂"', "stop")


def test_a_message_is_continued_as_vllms_clients_ask_for_it(tiny: Api) -> None:
    messages = [*as_messages("Hello"), {"role": "assistant", "content": "He"}]
    body = {"continue_final_message": True, "temperature": 0, "max_tokens": 5}
    plain = tiny.chat(messages, **body)["choices"]
    assert tiny.chat(messages, add_generation_prompt=False, **body)["choices"] == plain
    error = tiny.refused(CHAT, add_generation_prompt=False)
    assert (error["param"], error["code"]) == ("add_generation_prompt", "unsupported_parameter")
    assert tiny.chat("Hello", add_generation_prompt=True, max_tokens=1)


def test_thoughts_can_be_left_out() -> None:
    api = Api(Scripted(list(WHOLE)))
    body: dict[str, Any] = {"logprobs": True, "include_reasoning": False}
    whole = api.chat("Why?", **body)
    shown = api.chat("Why?", logprobs=True)
    message = whole["choices"][0]["message"]
    assert message["content"] == shown["choices"][0]["message"]["content"] == "Because </of> it."
    assert "reasoning_content" in shown["choices"][0]["message"]
    assert "reasoning_content" not in message
    assert whole["usage"] == shown["usage"]
    assert_alike(api.folded(CHAT, messages=as_messages("Why?"), **body), whole)


@pytest.mark.parametrize("name", ["chat_template_kwargs", "template_vars"])
def test_variables_of_the_template_under_both_names(tiny: Api, name: str) -> None:
    assert tiny.chat("Hello", max_tokens=1, **{name: {"x": 1}})
    assert tiny.refused(CHAT, **{name: 5})["param"] == name


def test_special_tokens_are_left_out_anyway(tiny: Api) -> None:
    body: dict[str, Any] = {"spaces_between_special_tokens": False}
    assert greedy(tiny, "Once", **body) == greedy(tiny, "Once")
    assert tiny.refused("completions", skip_special_tokens=False)["param"] == "skip_special_tokens"


@pytest.mark.parametrize("path", ["completions", CHAT])
@pytest.mark.parametrize("name", ["min_tokens", "min_new_tokens"])
def test_as_many_tokens_as_at_most(tiny: Api, path: str, name: str) -> None:
    """Longer than the model wants to talk: the end is banned, as benchmarks ask for it."""

    def count(**body: Any) -> tuple[int, str]:
        body |= {"temperature": 0}
        whole = tiny.chat("Hello", **body) if path == CHAT else tiny.complete("Once", **body)
        return whole["usage"]["completion_tokens"], whole["choices"][0]["finish_reason"]

    free, reason = count(max_tokens=300)
    assert reason == "stop"
    assert count(max_tokens=free + 20, **{name: free + 20}) == (free + 20, "length")
    assert count(max_tokens=free + 20, ignore_eos=True, **{name: 5}) == (free + 20, "length")
    assert count(max_tokens=300, **{name: 0}) == (free, "stop")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"min_tokens": 5, "max_tokens": 10}, "unsupported_parameter"),
        ({"min_tokens": 5}, "unsupported_parameter"),
        ({"min_tokens": 5, "max_tokens": 5, "stop": "x"}, "unsupported_parameter"),
        ({"min_tokens": 5, "max_tokens": 10, "ignore_eos": True, "stop": ["x"]}, None),
        ({"min_tokens": 6, "max_tokens": 5}, "integer_above_max_value"),
        ({"min_tokens": -1}, "integer_below_min_value"),
        ({"min_tokens": "5"}, "invalid_type"),
    ],
)
@pytest.mark.parametrize("path", ["completions", CHAT])
def test_a_least_number_of_tokens_that_cannot_be_kept(
    tiny: Api, path: str, body: dict[str, Any], code: str | None
) -> None:
    error = tiny.refused(path, **body)
    assert error["param"] == "min_tokens"
    assert code is None or error["code"] == code


@pytest.mark.parametrize("path", ["completions", CHAT])
def test_tokens_that_end_an_answer_anyway(tiny: Api, path: str) -> None:
    """They are those that bear the name, and `ignore_eos` bans; others are refused, as nothing ends there."""
    ends = sorted(tiny.engine.info.end_tokens)
    names = {"<|im_end|>", "<|endoftext|>"}
    specials = {tiny.engine.tokenize(name)[-1] for name in names}
    assert specials <= set(ends)
    body = {"temperature": 0, "max_tokens": 30}

    def ask(**more: Any) -> Any:
        if path == CHAT:
            return tiny.chat("Hello", **body, **more)["choices"]
        return tiny.complete("Once", **body, **more)["choices"]

    plain = ask()
    for ids in ([], ends, ends[:1]):
        assert ask(stop_token_ids=ids) == plain
    for ids in ([5], [*ends, 5], [-1], [10**9]):
        error = tiny.refused(path, stop_token_ids=ids)
        assert (error["param"], error["code"]) == ("stop_token_ids", "unsupported_parameter")
    assert tiny.refused(path, stop_token_ids=["x"])["param"] == "stop_token_ids[0]"
