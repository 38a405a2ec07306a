"""What the requests have in common that a model answers with something else than text."""

from __future__ import annotations

from pydantic import Field

from .validation import RequestModel


class TaskRequest(RequestModel):
    """Its model, its user and its time."""

    model: str | None = Field(None, description="A name that GET /v1/models lists.")
    user: str | None = Field(
        None,
        description="The client's name for its user: the users of one key take turns in the queue.",
    )
    timeout: float | None = Field(
        None,
        gt=0,
        le=86400,
        description="Seconds that the answer may take, waiting included; then 408. Not OpenAI's.",
    )
