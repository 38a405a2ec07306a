"""Chat templates: the text that a model was taught to read conversations in, as Jinja.

`render.py` has `ChatTemplate`, which all engines use. `sandbox/` runs templates within
bounds; `probe.py` finds out what one takes; `repair.py` mends what it refuses.
"""

from ..template_traits import TemplateTraits, ThinkingTraits
from .marks import SAMPLE_CALLS
from .program import CHATML, BadTemplate, TooCostlyTemplate
from .render import ChatTemplate, cached_template
from .tools_as_text import CALL_CLOSING, CALL_OPENING

__all__ = [
    "CALL_CLOSING",
    "CALL_OPENING",
    "CHATML",
    "SAMPLE_CALLS",
    "BadTemplate",
    "ChatTemplate",
    "TemplateTraits",
    "ThinkingTraits",
    "TooCostlyTemplate",
    "cached_template",
]
