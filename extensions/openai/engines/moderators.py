"""Engines that say whether texts and pictures are harmful."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
"""Those of the reference."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a model says of one input."""

    flagged: bool
    categories: Mapping[str, bool]
    scores: Mapping[str, float]
    """From 0 to 1."""
    input_types: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Whether each category was looked for in `text` or `image`."""


@dataclass(frozen=True, slots=True)
class Judgements:
    """Of the next inputs."""

    judgements: tuple[Judgement, ...]
    tokens: int
    """Of the inputs; an estimate where the model does not say it."""


ModerationSteps = Generator["Judgements | None", None, None]
"""None as in `protocol.Pieces`; closing it ends the work."""


@runtime_checkable
class Moderator(Protocol):
    """Capability `moderation`."""

    def moderate(self, inputs: Any) -> ModerationSteps:
        """`inputs`: as the reference's `input` is, checked. Raises InvalidRequest, EngineFailed."""
