"""A plain question to each family, and the templates that the tests use."""

from __future__ import annotations

import jinja2
import pytest

from tests.families.conftest import Speak
from tests.support.families import FAMILIES, Family

# llama.cpp shows the end token of this family as text.
EXACT = [family for family in FAMILIES.values() if family.name != "commandr"]


@pytest.mark.parametrize("family", EXACT, ids=lambda family: family.name)
def test_an_answer_is_its_text_and_nothing_else(family: Family, speak: Speak) -> None:
    served = speak(family, {"answer": family.says("Grüße 😀, the answer is 4.", thought="So.")})
    answer = served.ask("answer")
    assert (answer.content.lstrip(), answer.finish) == ("Grüße 😀, the answer is 4.", "stop")
    assert answer.reasoning.strip() == ("So." if family.thought else "")


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_a_template_ends_a_prompt_with_a_start_of_its_family(family: Family) -> None:
    def refuse(why: str) -> None:
        raise AssertionError(why)

    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Well."},
        {"role": "user", "content": "So?"},
    ]
    template = jinja2.Environment().from_string(family.template)
    prompt = template.render(
        messages=messages,
        add_generation_prompt=True,
        bos_token=family.speech.bos,
        eos_token=family.speech.eos,
        raise_exception=refuse,
    )
    assert prompt.endswith(family.speech.starts)
    assert all(prompt.count(str(message["content"])) == 1 for message in messages)
