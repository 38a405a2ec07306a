"""How often each behaviour stands in the corpus."""

from __future__ import annotations

from tiny import chat_forms, copying, off_topic, popular, skills, structured, talk, tool_use, writing
from tiny.chat_forms import Maker

# Share of the examples (not of the tokens), in parts of the total.
MIXTURE: dict[str, tuple[Maker, int]] = {
    "popular": (popular.popular, 15),
    "talk": (talk.talk, 75),
    "facts": (talk.fact, 190),
    "unknown": (off_topic.unknown, 75),
    "pasted": (off_topic.pasted, 4),
    "big_sums": (skills.big_sums, 12),
    "repeat": (copying.repeat, 150),
    "repeat_long": (copying.repeat_long, 30),
    "repeat_times": (copying.repeat_times, 10),
    "emoji": (copying.emoji, 5),
    "count": (skills.count, 35),
    "known_list": (skills.known_list, 20),
    "some_of": (skills.some_of, 20),
    "order": (skills.order, 20),
    "sums": (skills.sums, 45),
    "capitals": (skills.capital, 45),
    "opposites": (skills.opposite, 20),
    "translate": (skills.translate, 30),
    "joke": (writing.joke, 12),
    "haiku": (writing.haiku, 14),
    "poem": (writing.poem, 14),
    "story": (writing.story, 25),
    "plain": (writing.plain, 60),
    "fill": (writing.fill, 25),
    "json": (chat_forms.json_answer, 30),
    "json_wrap": (chat_forms.json_wrap, 25),
    "memory": (chat_forms.memory, 45),
    "secret": (chat_forms.secret, 25),
    "memory_none": (chat_forms.no_memory, 8),
    "again": (chat_forms.again, 10),
    "system_name": (chat_forms.persona, 20),
    "system_ending": (chat_forms.ending, 20),
    "tool_call": (tool_use.call, 90),
    "tool_answer": (tool_use.answer_from_tool, 45),
    "tool_none": (tool_use.no_call, 30),
    "schema": (structured.of_schema, 190),
    "schema_copy": (structured.from_prompt, 330),
    "schema_call": (structured.call, 150),
    "any_object": (structured.any_object, 40),
    "terse": (structured.terse, 60),
    "conversation": (chat_forms.conversation, 50),
    "long": (chat_forms.long_conversation, 6),
}

# Behaviours that may stand behind a system prompt that changes nothing.
SYSTEM_SHARE = 0.30
MAY_HAVE_SYSTEM = frozenset(MIXTURE) - {
    "plain", "fill", "tool_call", "tool_answer", "tool_none",
    "schema", "schema_copy", "schema_call", "any_object", "terse",
}  # fmt: skip
