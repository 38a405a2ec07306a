"""What templates do about thinking is found by what they write, not by the names in them."""

from __future__ import annotations

import pytest

from extensions.openai.engines.chat_template import ChatTemplate
from extensions.openai.engines.protocol import ThinkingTraits

TURNS = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]"
WITH_THOUGHTS = (
    "{% for m in messages %}[{{ m.role }}]{% if m.reasoning_content %}<think>\n{{ m.reasoning_content }}\n"
    "</think>\n\n{% endif %}{{ m.content }}{% endfor %}[assistant]"
)
WITHOUT_THOUGHTS = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content.split('</think>')[-1] }}"
    "{% endfor %}[assistant]"
)


def probed(source: str) -> ThinkingTraits | None:
    return ChatTemplate(source).traits.thinking


@pytest.mark.parametrize(
    ("source", "traits"),
    [
        (TURNS, None),
        ("{# enable_thinking, reasoning_effort, <think> #}" + TURNS, None),
        (WITH_THOUGHTS, ThinkingTraits()),
        (WITHOUT_THOUGHTS, ThinkingTraits()),
        (TURNS + "<think>\n", ThinkingTraits(opens=True)),
        (TURNS + "[THINK]", ThinkingTraits("[THINK]", "[/THINK]", "\n[/THINK]\n\n", opens=True)),
        (
            WITH_THOUGHTS + "{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}",
            ThinkingTraits(switch="enable_thinking"),
        ),
        (
            WITH_THOUGHTS + "{% if thinking %}<think>{% else %}</think>{% endif %}",
            ThinkingTraits(switch="thinking"),
        ),
        (
            TURNS + "{% if not reasoning is false %}<think>\n{% endif %}",
            ThinkingTraits(opens=True, switch="reasoning"),
        ),
        (
            WITH_THOUGHTS.replace("<think>", "<|channel>thought").replace("</think>\n\n", "<channel|>"),
            ThinkingTraits("<|channel>thought", "<channel|>", "\n<channel|>"),
        ),
        ("Effort: {{ reasoning_effort }}" + WITH_THOUGHTS, ThinkingTraits(effort=True)),
        (
            WITH_THOUGHTS.replace("<think>", "<mull>").replace("</think>", "</mull>"),
            ThinkingTraits("<mull>", "</mull>", "\n</mull>\n\n"),
        ),
        (
            "{{ reasoning_effort }}{% for m in messages %}<|start|>{{ m.role }}<|message|>{{ m.content }}"
            "<|end|>{% endfor %}<|start|>assistant",
            ThinkingTraits("<|channel|>analysis<|message|>", "<|end|>", "<|end|>", effort=True),
        ),
        ("{{ raise_exception('no') }}", None),
        ("{% for m in messages[1:] %}{{ raise_exception('one only') }}{% endfor %}<think>",
         ThinkingTraits(opens=True)),
    ],
)  # fmt: skip
def test_what_a_template_does(source: str, traits: ThinkingTraits | None) -> None:
    assert probed(source) == traits
