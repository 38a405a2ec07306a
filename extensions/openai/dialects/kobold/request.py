"""What requests of Kobold's clients hold.

Source: LostRuins/koboldcpp, its OpenAPI document; what SillyTavern and Kobold Lite send.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

from pydantic import AliasChoices, Field
from typing_extensions import Self

from ...generation.request import GenerationRequest
from ...generation.sampling.sampler_names import SamplerName
from ...generation.sampling.unsupported_fields import IN_OTHER_DIALECTS, NeutralValues
from ...schemas.validation import RequestModel, Unsupported

ORDERS = ([6, 0, 1, 3, 4, 2, 5], [6, 0, 1, 2, 3, 4, 5])
"""Those that clients send by default: about the order that samplers have anyway."""
SAMPLERS: Mapping[int, Sequence[SamplerName]] = {
    0: ("top_k",),
    1: (),  # top-a, which llama.cpp lacks
    2: ("top_p", "min_p"),
    3: (),  # tail-free sampling, which llama.cpp lacks
    4: ("typ_p",),
    5: ("temperature", "xtc"),
    6: ("penalties", "dry"),
}
"""What Kobold's numbers stand for; samplers that have none stand beside their like."""

OfTheServer = Annotated[bool | None, Unsupported((False,))]


class KoboldGenerateRequest(GenerationRequest):
    """Continue a prompt. Names beyond Kobold's are the native sampler's, or say so."""

    refused: ClassVar[NeutralValues] = {**IN_OTHER_DIALECTS, "images": ([],), "n": (1,)}

    prompt: str = Field(description="The text to continue.")
    memory: str | None = Field(
        None, description="A text before the prompt, which stays when the prompt is cut."
    )
    max_length: int | None = Field(
        None, ge=1, description="Tokens to generate at most. Default 512, or half of the context."
    )
    max_context_length: int | None = Field(
        None,
        ge=1,
        description="The most tokens of prompt and answer. Of a longer prompt the end is kept, and the field "
        "is named in the header `x-openedai-ignored`. Default: the model's context.",
    )
    seed: int | None = Field(
        None,
        validation_alias=AliasChoices("sampler_seed", "seed"),
        ge=-(2**63),
        le=2**63 - 1,
        description="The same seed and request give the same answer; -1: chance decides.",
    )
    sampler_order: (
        Annotated[list[Annotated[int, Field(ge=0, le=6)]], Field(max_length=7)] | None
    ) = Field(None, description="The order of the samplers, by Kobold's numbers.")
    singleline: bool | None = Field(None, description="End the answer with its first line.")
    use_default_badwordsids: bool | None = Field(
        None, description="Never choose an end token: the answer continues to its limit."
    )
    genkey: str = Field(
        "", max_length=128, description="The client's name for the answer, to look at it or end it."
    )
    n_probs: Annotated[int | None, Unsupported((0,))] = Field(
        None, description="Refused: an answer has no log-probabilities."
    )
    timeout: Annotated[float | None, Unsupported()] = Field(None, description="Refused.")
    rep_pen_slope: float | None = Field(None, description="Taken and without effect.")
    quiet: bool | None = Field(None, description="Taken: prompts are never in the log.")
    trim_stop: bool | None = Field(None, description="Taken: stop strings are never shown.")
    gui_settings: bool | None = Field(None, description="Taken and without effect.")
    use_story: OfTheServer = Field(None, description="Refused: the server keeps no story.")
    use_memory: OfTheServer = Field(None, description="Refused, as `use_story`.")
    use_authors_note: OfTheServer = Field(None, description="Refused, as `use_story`.")
    use_world_info: OfTheServer = Field(None, description="Refused, as `use_story`.")
    bypass_eos: OfTheServer = Field(None, description="Refused.")

    @property
    def limit(self) -> tuple[int | None, str]:
        return self.agreed_limit(self.max_length, "max_length")

    @property
    def left_out(self) -> list[str]:
        return ["rep_pen_slope"] if self.rep_pen_slope not in (None, 0.0, 1.0) else []

    def asked(self, *, stream: bool) -> Self:
        """The request with Kobold's own switches as the fields that all dialects share."""
        update: dict[str, Any] = {"stream": stream}
        if self.singleline:
            more = self.stopping_strings or []
            update["stopping_strings"] = [*([more] if isinstance(more, str) else more), "\n"]
        if self.use_default_badwordsids:
            update["ignore_eos"] = True
        if self.sampler_order and self.sampler_order not in ORDERS:
            found = [name for number in self.sampler_order for name in SAMPLERS[number]]
            update["samplers"] = ["top_n_sigma", *dict.fromkeys(found)]
        return self.model_copy(update=update)


class KoboldKey(RequestModel):
    """Which answer is meant."""

    genkey: str = Field("", max_length=128, description="What its request said; default: nothing.")


class KoboldText(RequestModel):
    """A text."""

    prompt: str = Field(description="The text.")
    special: bool | None = Field(
        None, description="Put the start token before it. Default: yes, if the model wants one."
    )
