"""Where in an answer something is: `reply`, `choices[0].text`, `data.items[-1].content`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

STEP = re.compile(r"\.?([^.\[\]]+)|\[(-?\d{1,6})\]")


@dataclass(frozen=True, slots=True)
class AnswerPath:
    """The steps to a value: names of members, and places in lists. None: it is the whole answer."""

    steps: tuple[str | int, ...]

    @classmethod
    def parse(cls, text: str) -> AnswerPath:
        """Raises ValueError for a text that is no path. An empty one is the whole answer."""
        steps: list[str | int] = []
        at = 0
        while at < len(text):
            step = STEP.match(text, at)
            if step is None or (at == 0 and step[0].startswith(".")):
                raise ValueError(f"{text!r} is no path such as reply or choices[0].text")
            steps.append(step[1] if step[1] is not None else int(step[2]))
            at = step.end()
        return cls(tuple(steps))

    def find(self, value: Any) -> Any:
        """What is there; None: nothing is."""
        for step in self.steps:
            if isinstance(step, str):
                value = value.get(step) if isinstance(value, dict) else None
            elif isinstance(value, list) and -len(value) <= step < len(value):
                value = value[step]
            else:
                return None
        return value
