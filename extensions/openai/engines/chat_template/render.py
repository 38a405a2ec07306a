"""`ChatTemplate`: from a conversation to the prompt that a model was trained to read."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import Any

from ...errors import InvalidRequest
from ..protocol import ChatRequest, Message, Tool
from ..template_traits import TemplateTraits
from .forms import Forms, shape_of
from .joining import EMPTY_LINE, with_text_behind
from .marks import TOOL, expected, mark, marked
from .probe import Probe, forms_of, traits_of, turn_ends_of
from .program import BadTemplate, Program, TemplateRefused, TooCostlyTemplate
from .repair import Plan, mended, plans_for
from .sandbox.meter import TemplateTooCostly
from .tools_as_text import described, history_as_text

log = logging.getLogger("openedai")

MAX_KNOWN_SHAPES = 512
MAX_SENTENCE = 300  # characters of a template's objection that are quoted
WITH_TOOLS = "tool_use"
"""The name that model files have the template under that they use where there are tools."""


class ChatTemplate:
    """One model's chat template: compiled once, and probed when that is first needed. Thread-safe.

    `bos`, `eos`: the texts of the start and the end token. `named`: the model's other templates by their
    names. `fixed`: variables that win over those of requests. `repair`: whether messages that the template
    refuses are mended.

    Raises BadTemplate for a source that is no template, TooCostlyTemplate for one whose cost has no bound.
    """

    def __init__(
        self,
        source: str,
        *,
        bos: str = "",
        eos: str = "",
        named: Mapping[str, str] | None = None,
        fixed: Mapping[str, Any] | None = None,
        repair: bool = True,
    ) -> None:
        fixed = {"bos_token": bos, "eos_token": eos, **(fixed or {})}
        self._plain = self._with_tools = _Variant(source, fixed, repair=repair)
        other = (named or {}).get(WITH_TOOLS)
        if other:
            try:
                self._with_tools = _Variant(other, fixed, repair=repair)
            except BadTemplate as error:
                log.warning("the model's template for tools is not used: %s", error)

    @property
    def traits(self) -> TemplateTraits:
        """What the template takes."""
        traits = self._plain.traits
        if self._with_tools is self._plain:
            return traits
        other = self._with_tools.traits
        return replace(
            traits,
            tools=other.tools,
            calls=other.calls,
            results=other.results,
            parallel_calls=other.parallel_calls,
            text_beside_calls=other.text_beside_calls,
            call_id=other.call_id,
            arguments=other.arguments,
            call_sample=other.call_sample,
            two_calls_sample=other.two_calls_sample,
        )

    def turn_ends(self) -> tuple[str, ...]:
        """The texts that end an answer: what stands behind it, and what begins the next message. Empty for
        a template that does not show them."""
        return self._plain.turn_ends

    def render(self, request: ChatRequest, *, media_mark: str = "") -> str:
        """The prompt for a conversation, up to where the answer begins, with a mark where each of its media
        stands. Tools that the template does not show are described in the system message.

        Raises InvalidRequest, naming the message, for what the template refuses and what cannot be mended.
        """
        variant = self._with_tools if request.tools else self._plain
        variables = variant.variables_of(request)
        if request.tools and not variant.traits.tools:
            request = _with_tools_as_text(request)
        try:
            try:
                return variant.prompt(request.messages, request.tools, variables, media_mark)
            except TemplateRefused:
                # A template may look into the schemas of tools.
                if not request.tools or variant.takes_tools(request.tools):
                    raise
                request = _with_tools_as_text(request)
                return variant.prompt(request.messages, (), variables, media_mark)
        except TemplateRefused as error:
            raise variant.refusal(request, variables, error) from None
        except TemplateTooCostly as error:
            why = f"The model's chat template needs too much for these messages: {error}."
            raise InvalidRequest(why, param="messages") from None


class _Variant:
    """One of a model's templates."""

    def __init__(self, source: str, fixed: Mapping[str, Any], *, repair: bool) -> None:
        self._program = Program(source, fixed)
        self._probe = Probe(self._program)
        self._repair = repair
        self._lock = threading.Lock()
        self._known: OrderedDict[int, int] = OrderedDict()
        """Which of the plans goes with conversations of a shape, by its hash."""
        try:
            self._program.run([Message("user", mark("user"))], Forms())
        except TemplateTooCostly as error:
            raise TooCostlyTemplate(str(error)) from None
        except TemplateRefused:
            pass  # it may want more than that

    @cached_property
    def forms(self) -> Forms:
        return forms_of(self._probe)

    @cached_property
    def traits(self) -> TemplateTraits:
        return traits_of(self._probe, self.forms)

    @cached_property
    def turn_ends(self) -> tuple[str, ...]:
        return turn_ends_of(self._probe, self.forms)

    @cached_property
    def _plans(self) -> list[Plan]:
        return plans_for(self.traits) if self._repair else [()]

    def variables_of(self, request: ChatRequest) -> dict[str, Any]:
        """The request's variables; the one for thinking also under the template's own name for it."""
        variables = dict(request.template_variables)
        thinking = self.traits.thinking
        switch = thinking and thinking.switch
        if switch and "enable_thinking" in variables:
            variables.setdefault(switch, variables["enable_thinking"])
        return variables

    def prompt(
        self,
        messages: Sequence[Message],
        tools: Sequence[Tool],
        variables: Mapping[str, Any],
        media_mark: str,
    ) -> str:
        """The prompt, by the first plan with which the template takes the messages and shows all their texts.

        Raises TemplateRefused, with what it says of the messages as they are.
        """
        # Only the hash is kept: the shape of a long conversation is long.
        key = hash((shape_of(messages), bool(tools), repr(sorted(variables.items()))))
        forms, first = self.forms, None
        begin = self._known.get(key)
        for at, plan in enumerate(self._plans[begin or 0 :], begin or 0):
            try:
                if at != begin:
                    self._check_texts(messages, plan, tools, variables)
                prompt = self._program.run(
                    mended(messages, plan) if plan else messages,
                    forms,
                    tools,
                    media_mark=media_mark,
                    variables=variables,
                )
            except TemplateRefused as error:
                first = first or error
                continue
            if at != begin:
                self._remember(key, at)
            return prompt
        raise first or TemplateRefused("it takes none of them")

    def takes_tools(self, tools: Sequence[Tool]) -> bool:
        """Whether it takes just these tools, beside a plain question."""
        return self._probe.text([Message("user", mark("user"))], self.forms, tools) is not None

    def refusal(
        self, request: ChatRequest, variables: Mapping[str, Any], error: TemplateRefused
    ) -> InvalidRequest:
        """The error for a client: which message it is, and what the template says."""
        at = self._place(request, variables, str(error))
        param = f"messages[{at}]"
        return InvalidRequest(
            f"Invalid '{param}': the model's chat template refuses it: {str(error)[:MAX_SENTENCE]!r}.",
            param=param,
            code="invalid_value",
        )

    def _check_texts(
        self,
        messages: Sequence[Message],
        plan: Plan,
        tools: Sequence[Tool],
        variables: Mapping[str, Any],
    ) -> None:
        """Raises TemplateRefused where the template drops a text of the messages, or refuses them."""
        marks = marked(messages)
        prompt = self._program.run(
            mended(marks, plan), self.forms, [TOOL] if tools else (), variables=variables
        )
        for at, message in enumerate(marks):
            if not all(each in prompt for each in expected([message])):
                raise Dropped(at)
        self._check_roles(mended(marks, plan), prompt, tools, variables)

    def _check_roles(
        self,
        messages: Sequence[Message],
        prompt: str,
        tools: Sequence[Tool],
        variables: Mapping[str, Any],
    ) -> None:
        """Raises TemplateRefused where the template shows a message out of order as one of another role."""
        begin = next((at for at, m in enumerate(messages) if m.role != "system"), len(messages))
        odd = [at for at, m in enumerate(messages) if m.role == "system" and at > begin]
        if messages[begin:] and messages[begin].role == "assistant":
            odd.append(begin)
        for at in odd:
            for role in ("user", "assistant"):
                other = replace(messages[at], role=role, tool_calls=(), reasoning=None)
                swapped = [*messages[:at], other, *messages[at + 1 :]]
                if other.role != messages[at].role and prompt == self._probe.text(
                    swapped, self.forms, [TOOL] if tools else (), variables=variables
                ):
                    raise TemplateRefused(f"it takes it for a message of the role '{role}'")

    def _place(self, request: ChatRequest, variables: Mapping[str, Any], sentence: str) -> int:
        """Which message the template refuses: the first one with which it says so."""
        messages = request.messages
        for at in range(len(messages)):
            begun = messages[: at + 1]
            try:
                self._program.run(begun, self.forms, request.tools, variables=variables)
                self._check_texts(begun, (), request.tools, variables)
            except TemplateRefused as error:
                if str(error) == sentence:
                    return error.at if isinstance(error, Dropped) else at
        return max(0, len(messages) - 1)

    def _remember(self, key: int, plan: int) -> None:
        with self._lock:
            self._known[key] = plan
            while len(self._known) > MAX_KNOWN_SHAPES:
                self._known.popitem(last=False)


class Dropped(TemplateRefused):
    """The template leaves out what a message says. `at`: which one."""

    def __init__(self, at: int) -> None:
        super().__init__("it leaves out what this message says")
        self.at = at


@lru_cache(maxsize=16)
def cached_template(
    source: str, bos: str = "", eos: str = "", *, repair: bool = True
) -> ChatTemplate:
    """The template of a source, for those who are given the source again and again. Raises BadTemplate."""
    return ChatTemplate(source, bos=bos, eos=eos, repair=repair)


def _with_tools_as_text(request: ChatRequest) -> ChatRequest:
    messages, description = history_as_text(request.messages), described(request.tools)
    if messages and messages[0].role == "system":
        description, messages = with_text_behind(messages[0], description, EMPTY_LINE), messages[1:]
    return replace(request, messages=(description, *messages), tools=())
