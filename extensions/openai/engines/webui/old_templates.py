"""Templates in the form that webuis had before Jinja."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def from_old_form(form: Mapping[str, Any]) -> str:
    """A template as webuis had them before Jinja, as Jinja: `user`, `bot`, `turn_template`, `context`."""
    asked, _, answered = str(form["turn_template"]).partition("<|bot|>")

    def part(text: str) -> str:
        for mark in ("user", "bot"):
            text = text.replace(f"<|{mark}|>", str(form.get(mark) or ""))
        return "{{ " + json.dumps(text, ensure_ascii=False) + " }}"

    before, _, behind = asked.partition("<|user-message|>")
    opening, _, closing = f"<|bot|>{answered}".partition("<|bot-message|>")
    return "".join(
        (
            "{% if messages[0].role != 'system' %}" + part(str(form.get("context") or "")),
            "{% endif %}{% for m in messages %}{% if m.role == 'user' %}",
            part(before) + "{{ m.content }}" + part(behind),
            "{% elif m.role == 'assistant' %}" + part(opening) + "{{ m.content }}" + part(closing),
            "{% else %}{{ m.content }}" + part("\n\n") + "{% endif %}{% endfor %}",
            "{% if add_generation_prompt %}" + part(opening.rstrip(" ")) + "{% endif %}",
        )
    )
