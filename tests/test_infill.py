"""Infill: llama-server's shape, with other files of the repository."""

from __future__ import annotations

import json
from typing import Any

import pytest

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.engines.protocol import RepositoryFile
from extensions.openai.engines.tokens.infill import infill_tokens, repository_tokens
from tests.support.api import Api
from tests.support.reference import assert_envelope

BODY: dict[str, Any] = {
    "input_prefix": "def add(a, b):\n",
    "input_suffix": "\n\nadd(1, 2)",
    "n_predict": 12,
    "temperature": 0,
    "ignore_eos": True,
}
FILES = [{"filename": "a.py", "text": "import b\n"}, {"text": "x = 1\n"}]
LLAMA_VIM: dict[str, Any] = {
    "id_slot": 0,
    "input_extra": FILES,
    "prompt": "    return",
    "n_indent": 4,
    "stop": ["\n\n"],
    "top_k": 40,
    "top_p": 0.99,
    "samplers": ["top_k", "top_p", "infill"],
    "stream": False,
    "cache_prompt": True,
    "t_max_prompt_ms": 500,
    "t_max_predict_ms": 1000,
    "response_fields": ["content", "timings/prompt_n", "truncated", "nonsense"],
}
"""What the plugin of Vim sends."""


def ask(api: Api, status: int = 200, **body: Any) -> Any:
    answer = api.client.post("/infill", json={**BODY, **body})
    assert answer.status_code == status, answer.text
    return answer


def events(data: bytes) -> list[Any]:
    blocks = data.decode().removesuffix("\n\n").split("\n\n")
    return [json.loads(block.removeprefix("data: ")) for block in blocks]


def test_it_is_the_completion_with_a_suffix(tiny: Api) -> None:
    same = {"max_tokens": 12, "temperature": 0, "ignore_eos": True}
    wanted = tiny.complete(BODY["input_prefix"], suffix=BODY["input_suffix"], **same)
    whole = ask(tiny).json
    assert whole["content"] == wanted["choices"][0]["text"]
    assert (whole["index"], whole["stop"], whole["truncated"]) == (0, True, False)
    assert whole["tokens_evaluated"] == wanted["usage"]["prompt_tokens"]
    assert whole["tokens_predicted"] == wanted["usage"]["completion_tokens"] == 12
    assert whole["stop_type"] == "limit" and whole["timings"]["predicted_n"] == 12


def test_a_stream_adds_up_to_the_whole(tiny: Api) -> None:
    whole = ask(tiny).json
    parts = events(ask(tiny, stream=True).data)
    assert "".join(part["content"] for part in parts) == whole["content"]
    assert [part["stop"] for part in parts] == [False] * (len(parts) - 1) + [True]
    assert parts[-1]["tokens_predicted"] == 12


def test_a_stop_string_is_named(tiny: Api) -> None:
    text = ask(tiny).json["content"]
    stopped = ask(tiny, stop=[text[3]]).json
    assert (stopped["stop_type"], stopped["stopping_word"]) == ("word", text[3])
    assert stopped["content"] == text[: text.index(text[3])]


@pytest.mark.parametrize("files", [[], FILES], ids=["none", "two"])
def test_the_prompt_is_that_of_llama_cpp(tiny: Api, files: list[Any]) -> None:
    """Its own route says what prompt it has made."""
    assert isinstance(tiny.engine, LlamaCppEngine)
    body = {**BODY, "input_extra": files, "prompt": "    ret", "n_predict": 1}
    own = tiny.engine.model.listener.ask("/infill", body)
    asked = ask(tiny, input_extra=files, prompt="    ret", n_predict=1).json
    assert asked["tokens_evaluated"] == own["tokens_evaluated"]
    named = tuple(RepositoryFile(each.get("filename", "tmp"), each["text"]) for each in files)
    head = tiny.engine.repository(named) if named else ()
    rest = tiny.engine.infill(BODY["input_prefix"] + "    ret", BODY["input_suffix"])
    assert tiny.engine.detokenize((*head, *rest)) == own["prompt"]


def plain(text: str) -> tuple[int, ...]:
    return tuple(text.encode())


def test_models_with_tokens_for_files_get_them() -> None:
    """As llama.cpp's server documents it: `<REP>myproject`, then each file behind `<SEP>` and its name."""
    special = {"fim_pre": 1001, "fim_suf": 1002, "fim_mid": 1003, "fim_rep": 1004, "fim_sep": 1005}
    files = (RepositoryFile("a.py", "A"), RepositoryFile("b.py", "B"))
    assert repository_tokens(special, plain, files) == (
        *(1004, *b"myproject\n"),
        *(1005, *b"a.py\n", *b"A"),
        *(1005, *b"b.py\n", *b"B"),
        *(1005, *b"filename\n"),
    )
    assert infill_tokens(special, plain, "x", "") == (1001, *b"x", 1002, 1003)
    without = {name: id for name, id in special.items() if name not in ("fim_rep", "fim_sep")}
    snippet = b"\n\n--- snippet ---\n\n"
    assert repository_tokens(without, plain, files) == (*snippet, *b"A", *snippet, *b"B")


def test_of_many_files_the_last_ones_that_fit_are_read(tiny: Api) -> None:
    context = tiny.engine.info.context_length
    many = [{"filename": f"{at}.py", "text": "word " * 50} for at in range(context // 40)]
    whole = ask(tiny, input_extra=many, n_predict=4).json
    assert whole["tokens_evaluated"] == context - 4 and whole["tokens_predicted"] == 4
    long = "word " * context
    error = assert_envelope(ask(tiny, 400, input_prefix=long).json, status=400)
    assert error["code"] == "context_length_exceeded"


def test_what_the_plugin_of_vim_sends(tiny: Api) -> None:
    answer = ask(tiny, **LLAMA_VIM)
    assert set(answer.json) == {"content", "timings/prompt_n", "truncated"}
    named = answer.headers["x-openedai-ignored"].split(", ")
    assert named == ["n_indent", "t_max_prompt_ms", "t_max_predict_ms"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input_prefix": None}, "input_prefix"),
        ({"input_extra": [{"filename": "a"}]}, "input_extra[0].text"),
        ({"n_probs": 2}, "n_probs"),
        ({"temperature": -1}, "temperature"),
    ],
)
def test_what_cannot_be_is_refused_by_name(tiny: Api, body: dict[str, Any], param: str) -> None:
    assert assert_envelope(ask(tiny, 400, **body).json, status=400)["param"] == param


def test_a_model_that_cannot_fill_in_says_so() -> None:
    error = assert_envelope(ask(Api(EchoEngine()), 400).json, status=400)
    assert error["param"] == "suffix"
