"""A compiled chat template: conversations in, prompts out, and what can go wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from jinja2 import TemplateSyntaxError

from ..protocol import Message, Tool
from .forms import Forms, messages_of, size_of, tools_of
from .sandbox.environment import environment
from .sandbox.meter import Meter, TemplateTooCostly, concat, metered

MAX_SOURCE = 131_072  # characters; those of known models have 30,000 at most

NO_VARIABLES: Mapping[str, Any] = MappingProxyType({})

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


class TemplateRefused(Exception):
    """The template does not take what it was given; the message is its own sentence, without a full stop."""


class Program:
    """A compiled template. Thread-safe.

    `fixed`: variables that win over those of requests. Raises BadTemplate for a source that is no template.
    """

    def __init__(self, source: str, fixed: Mapping[str, Any]) -> None:
        self._fixed = fixed
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

    def run(
        self,
        messages: Sequence[Message],
        forms: Forms,
        tools: Sequence[Tool] = (),
        *,
        media_mark: str = "",
        variables: Mapping[str, Any] = NO_VARIABLES,
        answer: bool = True,
    ) -> str:
        """The prompt for a conversation; `answer`: up to where the answer begins.

        Raises TemplateRefused for any error, as a template may make each of them; TemplateTooCostly beyond
        the bounds.
        """
        given = {
            **variables,
            **self._fixed,
            "messages": messages_of(messages, forms, media_mark),
            "tools": tools_of(tools, forms) if tools else None,
            "documents": variables.get("documents"),
            "add_generation_prompt": answer,
        }
        size = len(messages) + len(tools), size_of(messages, tools)
        template = self._template
        try:
            with metered(Meter(*size)):
                return concat(template.root_render_func(template.new_context(given)))
        except TemplateTooCostly:
            raise
        except RecursionError:
            raise TemplateRefused("it is nested too deeply") from None
        except Exception as error:
            raise TemplateRefused(str(error).strip() or type(error).__name__) from None
