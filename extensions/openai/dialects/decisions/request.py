"""What a request for decisions holds. Source: the official clients' types, `decision_create_params`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, StrictBool, StrictStr, Tag

from ...generation.deciding import YES_NO, letters
from ...schemas import bad_request
from ...schemas.task_request import TaskRequest
from ...schemas.validation import RequestPart
from ..responses.items import (
    CallOutputItem,
    CustomCallItem,
    FunctionCallItem,
    InputImage,
    InputText,
    OutputText,
    Refusal,
)

MAX_QUESTIONS = 400
MAX_CHOICES = 255
MAX_LEVELS = 10


class InputJson(RequestPart):
    """JSON, which the model reads as text."""

    type: Literal["input_json"]
    data: dict[str, Any] | list[dict[str, Any]]


class InputMessage(RequestPart):
    """What someone says."""

    type: Literal["message"] = "message"
    role: Literal["user", "assistant", "system", "developer"]
    content: (
        str
        | list[
            Annotated[
                InputText | InputImage | InputJson | OutputText | Refusal,
                Field(discriminator="type"),
            ]
        ]
    )
    phase: str | None = None


def _form(value: Any) -> str | None:
    kind = value.get("type", "message") if isinstance(value, dict) else None
    return FORMS.get(kind) if isinstance(kind, str) else None


FORMS = {
    "message": "<message>",
    "function_call": "<function_call>",
    "custom_tool_call": "<custom_tool_call>",
    "function_call_output": "<call_output>",
    "custom_tool_call_output": "<call_output>",
}
Item = Annotated[
    Annotated[InputMessage, Tag("<message>")]
    | Annotated[FunctionCallItem, Tag("<function_call>")]
    | Annotated[CustomCallItem, Tag("<custom_tool_call>")]
    | Annotated[CallOutputItem, Tag("<call_output>")],
    Discriminator(
        _form,
        custom_error_type="wrong_type",
        custom_error_message="a message, a call or a call's output",
    ),
]
QuestionParts = (
    Annotated[str, Field(min_length=1)]
    | Annotated[
        list[Annotated[InputText | InputImage | InputJson, Field(discriminator="type")]],
        Field(min_length=1),
    ]
)


class _Question(RequestPart):
    instructions: QuestionParts = Field(description="What is asked, or the statement.")
    name: str | None = None


class PredicateQuestion(_Question):
    """How likely a statement about the input is true."""

    type: Literal["predicate"]


class Option(RequestPart):
    """One of the values to choose from."""

    value: StrictStr | StrictBool
    description: str | None = None


class ChoiceQuestion(_Question):
    """Which of several values fits."""

    type: Literal["choice"]
    choices: list[Option] = Field(min_length=2, max_length=MAX_CHOICES)


class Level(RequestPart):
    """A level of a scale."""

    label: str
    description: str | None = None


class ScoreQuestion(_Question):
    """Where the input stands on a scale of levels, the lowest first."""

    type: Literal["score"]
    levels: list[Level] = Field(min_length=2, max_length=MAX_LEVELS)


Question = Annotated[
    PredicateQuestion | ChoiceQuestion | ScoreQuestion, Field(discriminator="type")
]


class PromptCacheOptions(RequestPart):
    """Taken and without effect."""

    mode: Literal["implicit", "explicit"] | None = None
    ttl: str | None = None


class DecisionRequest(TaskRequest):
    """Ask typed questions about an input."""

    model: str = Field(description="A name that GET /v1/models lists.")
    input: str | Annotated[list[Item], Field(min_length=1)] = Field(
        description="What the questions are about: a text, or messages, calls of tools and their outputs, in "
        "their order. Parts of messages: `input_text`, `input_image`, `input_json`."
    )
    questions: list[Question] = Field(
        min_length=1,
        max_length=MAX_QUESTIONS,
        description=f"Up to {MAX_QUESTIONS} questions. `predicate`: how likely `instructions` are a true "
        f"statement. `choice`: which of 2 to {MAX_CHOICES} `choices` (`value`, `description`) fits. `score`: "
        f"where the input stands on 2 to {MAX_LEVELS} `levels` (`label`, `description`), the lowest first.",
    )
    safety_identifier: str | None = Field(
        None, description="Another name for `user`, which is the one that counts."
    )
    prompt_cache_key: str | None = Field(
        None, description="Taken and without effect: what prompts share is found by itself."
    )
    prompt_cache_options: PromptCacheOptions | None = Field(
        None, description="Taken and without effect."
    )
    cache_salt: str | None = Field(
        None,
        description="Only requests with the same one share what is kept of prompts. Not OpenAI's.",
    )

    @property
    def end_user(self) -> str | None:
        return self.user or self.safety_identifier

    @property
    def prompt(self) -> list[Any]:
        """What limits of tokens are estimated by, besides the input."""
        return list(self.questions)


def check_values(question: Question, where: str) -> None:
    """Raises InvalidRequest for a value that is there twice."""
    if isinstance(question, ChoiceQuestion):
        values = [(type(each.value), each.value) for each in question.choices]
        for at, value in enumerate(values):
            if value in values[:at]:
                raise bad_request.not_unique(f"{where}.choices[{at}].value", str(value[1]))


def labels_of(question: Question) -> tuple[str, ...]:
    """What the model answers with, one for each answer."""
    if isinstance(question, PredicateQuestion):
        return YES_NO
    if isinstance(question, ChoiceQuestion):
        return letters(len(question.choices))
    return tuple(str(at) for at in range(len(question.levels)))
