"""What an operator says of an agent, in the file of agents and over the API."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, StringConstraints

from ...schemas.validation import RequestModel
from ..tools.hosted_tools import nested
from ..tools.request import FunctionTool

NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
Name = Annotated[str, StringConstraints(pattern=f"^{NAME}$")]
ShortName = Annotated[str, Field(min_length=1, max_length=256)]
MAX_SYSTEM = 1 << 18


class AgentDefinition(RequestModel):
    """An agent, without its name."""

    always_strict: ClassVar[bool] = True

    description: str = Field("", max_length=1024, description="What GET /v1/models says of it.")
    system: str = Field(
        "",
        max_length=MAX_SYSTEM,
        description="Stands before the conversation; an empty text: nothing does.",
    )
    model: ShortName | None = Field(
        None,
        description="The model that answers, by a name that GET /v1/models lists. Default: the loaded one.",
    )
    sampling: dict[str, Any] = Field(
        default_factory=dict,
        description="Parameters for requests that do not give them, by their names in docs/parameters.md.",
    )
    max_tokens: int = Field(
        0,
        ge=0,
        le=32000,
        description="Tokens of an answer whose request gives no limit; 0: as the settings say.",
    )
    tools: list[Annotated[FunctionTool, BeforeValidator(nested)]] = Field(
        default_factory=list,
        max_length=128,
        description="Functions that the model may call besides those of a request.",
    )
    hooks: list[ShortName] | None = Field(
        None,
        max_length=64,
        description="The extensions whose hooks act on its answers; default: all.",
    )
    memory: bool = Field(
        False,
        description="Whether it remembers small facts of each user of a key, which the model saves with the "
        "tool `memory`.",
    )
    keys: list[ShortName] = Field(
        default_factory=list,
        max_length=1024,
        description="The names of the keys that may use it; empty: all.",
    )
