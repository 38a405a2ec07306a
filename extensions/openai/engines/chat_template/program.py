"""A chat template that is compiled, and what can go wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jinja2 import TemplateSyntaxError

from .meter import Meter, TemplateTooCostly, metered
from .sandbox import environment

MAX_SOURCE = 131_072  # characters; those of known models have 30,000 at most

CHATML = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\\n' -}}{%- endif -%}"
)
"""For a model that comes without a template."""


class BadTemplate(Exception):
    """The source is no template; the message says why, and where."""


class TooCostlyTemplate(BadTemplate):
    """The cost of the template has no bound."""


class NeutralValues(Exception):
    """The template does not take what it was given; the message is its own sentence, without a full stop."""


class Program:
    """A compiled template. Thread-safe.

    Raises BadTemplate for a source that is no template.
    """

    def __init__(self, source: str) -> None:
        if len(source) > MAX_SOURCE:
            raise BadTemplate(f"it has {len(source)} characters, and {MAX_SOURCE} are allowed")
        try:
            with metered(Meter()):
                self._template = environment().from_string(source)
        except TemplateSyntaxError as error:
            raise BadTemplate(f"line {error.lineno}: {error.message}") from None
        except RecursionError:
            raise BadTemplate("it is nested too deeply") from None
        except TemplateTooCostly as error:
            raise TooCostlyTemplate(str(error)) from None
        except Exception as error:
            raise BadTemplate(str(error) or type(error).__name__) from None

    def run(self, variables: Mapping[str, Any], messages: int = 0, characters: int = 0) -> str:
        """The text that the template makes of variables, with bounds for so many messages and characters.

        Raises Refused for any error, for a template may make each of them; TemplateTooCostly beyond the
        bounds.
        """
        template = self._template
        try:
            with metered(Meter(messages, characters)):
                context = template.new_context(dict(variables))
                return environment().concat(template.root_render_func(context))
        except TemplateTooCostly:
            raise
        except RecursionError:
            raise NeutralValues("it is nested too deeply") from None
        except Exception as error:
            raise NeutralValues(str(error).strip() or type(error).__name__) from None
