"""What requests for completions and for chat have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field

from .. import refusals
from ..validation import NotYet, RequestModel
from .sampling import NativeSampling, parameter

Stop = str | Annotated[list[str], Field(max_length=4)]


class StreamOptions(RequestModel):
    """Options for a streamed answer."""

    include_usage: bool | None = Field(
        None, description="Send one more chunk before [DONE], with the token counts and no choices."
    )
    include_obfuscation: bool | None = Field(
        None, description="Taken and without effect: nothing is padded."
    )


class GenerationRequest(RequestModel, NativeSampling):
    """The fields of both pages, and the native sampler's."""

    refused: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "grammar": ("",),
        "json_schema": (),
        "guided_json": (),
        "guided_regex": (),
        "guided_choice": ([],),
        "guided_grammar": ("",),
        "structured_outputs": (),
        "min_tokens": (0,),
        "stop_token_ids": ([],),
        "chat_template_kwargs": ({},),
        "continue_final_message": (False,),
        "samplers": (),
    }

    model: str | None = Field(None, description="A name that GET /v1/models lists.")
    n: int | None = Field(None, ge=1, le=128, description="Choices for each prompt. Default 1.")
    stream: bool | None = Field(None, description="Send the answer as it is made.")
    stream_options: StreamOptions | None = Field(None, description="Only with `stream`.")
    stop: Stop | None = Field(
        None, description="A string, or up to 4, before which the answer ends; none is shown."
    )
    seed: int | None = Field(
        None, ge=-(2**63), le=2**63 - 1, description="The same seed and request give the same answer."
    )
    temperature: float | None = parameter("temperature")
    top_p: float | None = parameter("top_p")
    presence_penalty: float | None = parameter("presence_penalty")
    frequency_penalty: float | None = parameter("frequency_penalty")
    logit_bias: Annotated[dict[str, Any] | None, NotYet(({},))] = Field(
        None, description="Not there yet."
    )
    user: str | None = Field(None, description="Who asks, in the client's words; without effect.")

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings. Raises InvalidRequest for an empty one."""
        stops = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        for at, stop in enumerate(stops):
            if not stop:
                param = "stop" if isinstance(self.stop, str) else f"stop[{at}]"
                raise refusals.wrong_length(param, "string", 0, low=1)
        return stops

    @property
    def wants_usage(self) -> bool:
        """Whether the chunks carry usage, as those always do that are folded into one object.

        Raises InvalidRequest for stream options without a stream.
        """
        if self.stream_options is not None and not self.stream:
            raise refusals.unsupported("stream_options", "is only allowed when 'stream' is true.")
        return not self.stream or bool(self.stream_options and self.stream_options.include_usage)

    def seeds(self, choices: int) -> Sequence[int | None]:
        """A seed for each choice: they differ from each other, and not from run to run."""
        return [None if self.seed is None else self.seed + at for at in range(choices)]
