"""Families of models: their tokens, and how they write thoughts, calls and answers.

A row each in FAMILIES; `templates/NAME.jinja` is a chat template in the shape of the family's own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.scripted_model import Script, Speech, write_scripted_model

TEMPLATES = Path(__file__).parent / "templates"
Call = tuple[str, Mapping[str, Any]]
"""The name of a function and its arguments."""
Write = Callable[[Sequence[Call]], str]


@dataclass(frozen=True, slots=True)
class Family:
    """What a model of this family says, and in which tokens."""

    name: str
    speech: Speech
    calls: Write
    thought: str | None = None
    """How a thought stands before an answer; None: it does not think."""
    opens: bool = False
    """The template opens the thought, so each answer has to close one."""
    always_thinks: bool = False
    """Each answer has a thought, maybe an empty one."""
    knows_tools: bool = True
    """The template has a place for tools. Where it has none, calls come in this server's own format."""
    several: bool = True
    """More than one call fits into an answer."""
    final: str = "{}"
    """How the text of an answer stands."""
    preamble: str | None = "{}\n\n"
    """How a text stands before a call; None: a call is the whole answer."""

    @property
    def template(self) -> str:
        return (TEMPLATES / f"{self.name}.jinja").read_text(encoding="utf-8").rstrip("\n")

    def says(self, text: str = "", *calls: Call, thought: str | None = None) -> str:
        """An answer with these parts in this family's format."""
        if thought is None and (self.opens or self.always_thinks):
            thought = ""
        begin = "" if thought is None or self.thought is None else self.thought.format(thought)
        if not calls:
            return begin + self.final.format(text)
        return (
            begin
            + (self.preamble.format(text) if text and self.preamble else "")
            + self.calls(calls)
        )

    def write(
        self,
        folder: Path,
        scripts: Sequence[Script],
        context: int = 4096,
        merges: Sequence[str] = (),
        memory: int = 3,
    ) -> Path:
        """Write the model NAME.gguf that knows these scripts."""
        return write_scripted_model(
            folder / f"{self.name}.gguf",
            self.template,
            scripts,
            self.speech,
            context=context,
            merges=merges,
            memory=memory,
        )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def in_tags(calls: Sequence[Call], key: str = "arguments") -> str:
    """<tool_call>\\n{"name": "f", "arguments": {"a": 1}}\\n</tool_call>"""
    each = (f"<tool_call>\n{_json({'name': n, key: dict(a)})}\n</tool_call>" for n, a in calls)
    return "\n".join(each)


def in_xml(calls: Sequence[Call]) -> str:
    """<tool_call>\\n<function=f>\\n<parameter=a>\\n1\\n</parameter>\\n</function>\\n</tool_call>"""
    found = []
    for name, arguments in calls:
        inner = "".join(
            f"<parameter={key}>\n{value if isinstance(value, str) else _json(value)}\n</parameter>\n"
            for key, value in arguments.items()
        )
        found.append(f"<tool_call>\n<function={name}>\n{inner}</function>\n</tool_call>")
    return "\n".join(found)


def _llama(calls: Sequence[Call]) -> str:
    """{"name": "f", "parameters": {"a": 1}}; {"name": ...}"""
    return "; ".join(_json({"name": n, "parameters": dict(a)}) for n, a in calls)


def _mistral(calls: Sequence[Call]) -> str:
    """[TOOL_CALLS][{"name": "f", "arguments": {"a": 1}, "id": "abcDEF120"}]"""
    listed = [
        {"name": name, "arguments": dict(arguments), "id": f"abcDEF12{at}"}
        for at, (name, arguments) in enumerate(calls)
    ]
    return f"[TOOL_CALLS]{_json(listed)}"


def _magistral(calls: Sequence[Call]) -> str:
    """[TOOL_CALLS]f[ARGS]{"a": 1}[TOOL_CALLS]..."""
    return "".join(f"[TOOL_CALLS]{n}[ARGS]{_json(dict(a))}" for n, a in calls)


def _deepseek(calls: Sequence[Call]) -> str:
    """<｜tool▁call▁begin｜>function<｜tool▁sep｜>f\\n```json\\n{"a": 1}\\n```<｜tool▁call▁end｜>"""
    each = (
        f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>{n}\n```json\n{_json(dict(a))}\n```<｜tool▁call▁end｜>"
        for n, a in calls
    )
    return "<｜tool▁calls▁begin｜>" + "\n".join(each) + "<｜tool▁calls▁end｜>"


def _harmony(calls: Sequence[Call]) -> str:
    """<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": 1}<|call|>"""
    ((name, arguments),) = calls
    head = f"<|channel|>commentary to=functions.{name} <|constrain|>json"
    return f"{head}<|message|>{_json(dict(arguments))}<|call|>"


def _granite(calls: Sequence[Call]) -> str:
    """<|tool_call|>[{"name": "f", "arguments": {"a": 1}}]"""
    return "<|tool_call|>" + _json([{"name": n, "arguments": dict(a)} for n, a in calls])


def _glm(calls: Sequence[Call]) -> str:
    """<tool_call>f\\n<arg_key>a</arg_key>\\n<arg_value>1</arg_value>\\n</tool_call>"""
    found = []
    for name, arguments in calls:
        inner = "".join(
            f"<arg_key>{key}</arg_key>\n"
            f"<arg_value>{value if isinstance(value, str) else _json(value)}</arg_value>\n"
            for key, value in arguments.items()
        )
        found.append(f"<tool_call>{name}\n{inner}</tool_call>")
    return "\n" + "\n".join(found)


def _kimi(calls: Sequence[Call]) -> str:
    """<|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{"a": 1}<|tool_call_end|>"""
    each = (
        f"<|tool_call_begin|>functions.{name}:{at}<|tool_call_argument_begin|>"
        f"{_json(dict(arguments))}<|tool_call_end|>"
        for at, (name, arguments) in enumerate(calls)
    )
    return "<|tool_calls_section_begin|>" + "".join(each) + "<|tool_calls_section_end|>"


THINKS = "<think>\n{}\n</think>\n\n"
OPENED = "{}\n</think>\n\n"
TAGS = ("<think>", "</think>", "<tool_call>", "</tool_call>", "\n\n")
CHATML = Speech("<|im_end|>", ("\n", "\n\n"), controls=("<|im_start|>",), whole=TAGS)

MISTRAL_STARTS = ("[/INST]", "[/TOOL_RESULTS]", "[/SYSTEM_PROMPT]", "[/AVAILABLE_TOOLS]")

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family("qwen3", CHATML, in_tags, thought=THINKS),
        Family("qwen35", CHATML, in_xml, thought=OPENED, opens=True),
        Family(
            "llama31",
            Speech(
                *("<|eot_id|>", ("\n\n",), "<|begin_of_text|>"),
                controls=(
                    "<|start_header_id|>",
                    "<|end_header_id|>",
                    "<|python_tag|>",
                    "<|eom_id|>",
                ),
            ),
            _llama,
            preamble=None,
        ),
        Family(
            "mistral7",
            Speech(
                *("</s>", MISTRAL_STARTS, "<s>"),
                controls=(
                    *("[INST]", "[/INST]", "[TOOL_CALLS]", "[TOOL_RESULTS]", "[/TOOL_RESULTS]"),
                    *("[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
                    *("[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
                ),
            ),
            _mistral,
        ),
        Family(
            "gemma3",
            Speech("<end_of_turn>", ("\n",), "<bos>", controls=("<start_of_turn>",)),
            in_tags,
            knows_tools=False,
        ),
        Family(
            "deepseek_r1",
            Speech(
                "<｜end▁of▁sentence｜>",
                ("\n", "\n\n", "<｜tool▁outputs▁end｜>", "<｜Assistant｜>"),
                "<｜begin▁of▁sentence｜>",
                controls=(
                    *("<｜User｜>", "<｜Assistant｜>", "<｜tool▁sep｜>"),
                    *("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"),
                    *("<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>"),
                    *("<｜tool▁outputs▁begin｜>", "<｜tool▁outputs▁end｜>"),
                    *("<｜tool▁output▁begin｜>", "<｜tool▁output▁end｜>"),
                ),
            ),
            _deepseek,
            thought=OPENED,
            opens=True,
            knows_tools=False,
        ),
        Family(
            "gptoss",
            Speech(
                *("<|return|>", ("assistant",)),
                controls=(
                    *("<|start|>", "<|end|>", "<|message|>", "<|channel|>"),
                    *("<|constrain|>", "<|call|>"),
                ),
            ),
            _harmony,
            thought="<|channel|>analysis<|message|>{}<|end|><|start|>assistant",
            several=False,
            final="<|channel|>final<|message|>{}",
            preamble="<|channel|>commentary<|message|>{}<|end|><|start|>assistant",
        ),
        Family(
            "phi4",
            Speech("<|im_end|>", ("<|im_sep|>",), controls=("<|im_start|>", "<|im_sep|>")),
            in_tags,
            knows_tools=False,
        ),
        Family(
            "commandr",
            Speech(
                *("<|END_OF_TURN_TOKEN|>", ("<|CHATBOT_TOKEN|>",), "<BOS_TOKEN>"),
                controls=(
                    *("<|START_OF_TURN_TOKEN|>", "<|SYSTEM_TOKEN|>"),
                    *("<|USER_TOKEN|>", "<|CHATBOT_TOKEN|>"),
                ),
            ),
            in_tags,
            knows_tools=False,
        ),
        Family(
            "hermes",
            Speech(*("<|im_end|>", ("\n",), "<|begin_of_text|>"), ("<|im_start|>",), TAGS),
            in_tags,
        ),
        Family("qwen3_coder", CHATML, in_xml),
        Family(
            "granite",
            Speech(
                *("<|end_of_text|>", ("<|end_of_role|>",)),
                controls=("<|start_of_role|>", "<|end_of_role|>", "<|tool_call|>"),
            ),
            _granite,
        ),
        Family(
            "glm45",
            Speech(
                *("<|user|>", ("<|assistant|>",)),
                controls=(
                    *("<|assistant|>", "<|system|>", "<|observation|>"),
                    *("[gMASK]", "<sop>"),
                ),
                whole=(*TAGS, "\n", "<arg_key>", "</arg_key>", "<arg_value>", "</arg_value>"),
            ),
            _glm,
            thought="\n<think>{}</think>",
            always_thinks=True,
            final="\n{}",
            preamble="\n{}",
        ),
        Family(
            "kimi2",
            Speech(
                *("<|im_end|>", ("<|im_middle|>",)),
                controls=(
                    *("<|im_user|>", "<|im_assistant|>", "<|im_system|>", "<|im_middle|>"),
                    *("<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
                    *("<|tool_call_begin|>", "<|tool_call_argument_begin|>", "<|tool_call_end|>"),
                ),
            ),
            _kimi,
        ),
        Family(
            "magistral",
            Speech(
                *("</s>", MISTRAL_STARTS, "<s>"),
                controls=(
                    *("[INST]", "[/INST]", "[TOOL_CALLS]", "[ARGS]", "[THINK]", "[/THINK]"),
                    *("[TOOL_RESULTS]", "[/TOOL_RESULTS]"),
                    *("[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"),
                    *("[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"),
                ),
            ),
            _magistral,
            thought="[THINK]{}[/THINK]",
        ),
    )
}
