"""The scripted model says exactly its scripts, so that what a server makes of them can be judged."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from tests.support.api import Api
from tests.support.random_model import TEMPLATE
from tests.support.scripted_model import Script, Speech, write_scripted_model

CALL = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}\n</tool_call>'
SPEECH = Speech(
    *("<|im_end|>", ("\n", "\n\n"), None),
    controls=("<|im_start|>", "<|channel|>", "<|message|>"),
    whole=("<think>", "</think>", "<tool_call>", "</tool_call>", "\n\n"),
)
SCRIPTS = [
    Script("answer", "The answer is 4."),
    Script("again", "The answer is 4. The answer is 4. The answer is 4."),
    Script("thought", "<think>\nLet me see.\n</think>\n\nThe answer is 4."),
    Script("call", CALL),
    Script("calls", f"{CALL}\n{CALL}\n{CALL}"),
    Script("twice", "<|message|><|channel|>a<|message|><|channel|>b"),
    Script("controls", "<|channel|>analysis<|channel|>final<|channel|>more"),
    Script("bytes", "Grüße 😀 x", in_bytes=True),
]
PROMPT = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    path = tmp_path_factory.mktemp("scripted") / "scripted.gguf"
    loop = Script("loop", "I wonder", loop=" and wonder")
    write_scripted_model(path, TEMPLATE, [*SCRIPTS, loop], SPEECH, context=2048)
    engine = LlamaCppEngine(path, name="scripted", threads=1)
    yield Api(engine)
    engine.close()


def output(api: Api, prompt: str, limit: int = 200) -> str:
    whole = api.complete(prompt, max_tokens=limit)
    return str(whole["choices"][0]["text"])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_the_mark_in_the_prompt_chooses_the_script(api: Api, script: Script) -> None:
    assert output(api, PROMPT.format(f"Hello. {script.mark}")) == script.text
    far = f"{script.mark} " + "and so on " * 60
    assert output(api, PROMPT.format(far)) == script.text


def test_the_later_of_two_scripts_wins_wherever_its_mark_stands(api: Api) -> None:
    for order in ("say:call say:again", "say:again say:call"):
        assert output(api, PROMPT.format(order)) == CALL


def test_without_a_mark_the_first_script_is_said(api: Api) -> None:
    assert output(api, PROMPT.format("Hello.")) == "The answer is 4."


def test_behind_a_closed_thought_comes_what_stands_behind_it(api: Api) -> None:
    prompt = PROMPT.format("say:thought") + "<think>\n\n</think>\n\n"
    assert output(api, prompt) == "The answer is 4."


def test_a_loop_ends_only_at_the_limit(api: Api) -> None:
    text = output(api, PROMPT.format("say:loop"), limit=40)
    assert text.startswith("I wonder and wonder and wonder and wonder")


def test_after_a_token_of_no_script_the_turn_ends(api: Api) -> None:
    assert output(api, "Hello, world!") == ""


def test_a_script_that_is_ambiguous_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("scripted") / "ambiguous.gguf"
    with pytest.raises(ValueError, match="script 0 goes on in two ways"):
        write_scripted_model(path, TEMPLATE, [Script("a", "-abc-abd", in_bytes=True)], SPEECH)
