"""Fields that the requests of all dialects share."""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar

from pydantic import AliasChoices, BeforeValidator, Field
from pydantic_core import PydanticCustomError
from typing_extensions import Self

from ..engines.protocol import BAN, Capability, EngineInfo
from ..schemas import bad_request
from ..schemas.validation import RequestModel
from .grammar.constraints import ConstraintFields, ResponseFormatField
from .sampling.table import ROWS, NativeSampling
from .sampling.unsupported_fields import IN_OTHER_DIALECTS, NeutralValues
from .token_bias import Bias

MAX_TOKENS_ALIASES = ("max_tokens", "max_output_tokens")
NATIVE_LIMITS = ("max_new_tokens", "n_predict")
"""Local servers' names for it; a negative number means no limit."""
NO_LIMIT = -1  # tokens
REFERENCE_STOPS = 4
MAX_BIASES = 10_000
MAX_REPEATS = 64
Stop = str | Annotated[list[str], Field(max_length=16)]
AllowedIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(max_length=MAX_BIASES)]
ManyIds = Annotated[list[int], Field(max_length=1024)]
MoreStops = str | Annotated[list[str], Field(max_length=64)]


def _from_pairs(value: Any) -> Any:
    """Turn llama.cpp's list of pairs, with an id or a text in each, into the object of the reference."""
    if isinstance(value, dict):
        return {key: BAN if bias is False else bias for key, bias in value.items()}
    if not isinstance(value, list):
        return value
    if len(value) > MAX_BIASES:
        raise PydanticCustomError("too_long", "too long", {"max_length": MAX_BIASES})
    found: dict[str, float] = {}
    for pair in value:
        match pair:
            case [bool(), _] | [_, True]:
                pass
            case [int() | str() as token, int() | float() as bias]:
                key = str(token) if isinstance(token, int) else json.dumps(token)
                found[key] = found.get(key, 0.0) + (BAN if bias is False else bias)
                continue
        raise PydanticCustomError("wrong_type", "an object, or an array of tokens and numbers")
    return found


LogitBias = Annotated[
    dict[str, Annotated[float, Field(ge=int(BAN), le=int(-BAN))]],
    Field(max_length=MAX_BIASES),
    BeforeValidator(_from_pairs),
]


class StreamOptions(RequestModel):
    """Options for a streamed answer."""

    include_usage: bool | None = Field(
        None, description="Send one more chunk before [DONE], with the token counts and no choices."
    )
    include_obfuscation: bool | None = Field(
        None, description="Taken and without effect: nothing is padded."
    )


class GenerationRequest(ConstraintFields, NativeSampling):
    """The fields of all dialects, and the native sampler's."""

    refused: ClassVar[NeutralValues] = IN_OTHER_DIALECTS
    least_tokens: ClassVar[int] = 1
    """Of an answer."""

    model: str | None = Field(None, description="A name that GET /v1/models lists.")
    stream: bool | None = Field(None, description="Send the answer as it is made.")
    stop: Stop | None = Field(
        None,
        description="A string, or up to 16 (4 with `--strict-parameters`), before which the answer ends; "
        "none is shown. Empty ones are none.",
    )
    stopping_strings: MoreStops | None = Field(
        None,
        validation_alias=AliasChoices(
            "stopping_strings", "custom_stopping_strings", "stop_sequences", "stop_sequence"
        ),
        description="More of them, up to 64, as webuis' clients send them. Not OpenAI's.",
    )
    seed: int | None = Field(
        None,
        ge=-(2**63),
        le=2**63 - 1,
        description="The same seed and request give the same answer; -1: chance decides, as without one.",
    )
    logit_bias: LogitBias | None = Field(
        None,
        description="What to add to the logits of tokens, by id; -100 bans a token. Also llama.cpp's list of "
        'pairs, `[[15043, 1.5], [" Hello", false]]`: an id or a text, and false for a ban.',
    )
    max_new_tokens: int | None = Field(
        None,
        ge=-2,
        description="`max_tokens` under webuis' name; negative: no limit but the context. Not OpenAI's.",
    )
    n_predict: int | None = Field(
        None,
        validation_alias=AliasChoices("n_predict", "num_predict"),
        ge=-2,
        description="The same under llama.cpp's name. Not OpenAI's.",
    )
    n_probs: int | None = Field(
        None,
        ge=0,
        le=20,
        description="llama.cpp's way to ask for log-probabilities with so many alternatives; 0: none. Not "
        "OpenAI's.",
    )
    preset: str | None = Field(
        None, description="A named set of parameters, kept by the operator. Not OpenAI's."
    )
    hooks: bool | None = Field(
        None,
        description="Whether the host's other extensions act on this request, where its operator lets them. "
        "Default: they do. Not OpenAI's.",
    )
    user: str | None = Field(
        None,
        description="The client's name for its user: the users of one key take turns in the queue.",
    )
    cache_salt: str | None = Field(
        None,
        max_length=256,
        description="What is kept of this prompt serves only requests of the same key with the same salt. "
        "Not OpenAI's.",
    )
    loop_detection: int | None = Field(
        None,
        ge=0,
        le=MAX_REPEATS,
        description="End the answer, with `length` and a `stop_reason` of `repetition`, once one text of up "
        "to 512 characters has come that many times (2 or more) in a row, over 256 characters or more; 0: "
        "never. Not OpenAI's.",
    )
    priority: int | None = Field(
        None,
        ge=-(2**31),
        le=2**31 - 1,
        description="Of the requests of one key and `user` that wait, the one with the lowest number is "
        "first; default 0. It has no effect on those of others. Not OpenAI's.",
    )
    timeout: float | None = Field(
        None,
        gt=0,
        le=86400,
        description="Seconds that the answer may take, waiting included; then 408. Not OpenAI's.",
    )

    allowed_token_ids: AllowedIds | None = Field(
        None,
        validation_alias=AliasChoices("allowed_token_ids", "allowed_tokens"),
        description="Only these tokens may be chosen, end tokens included: without one of them the answer "
        "goes on to its limit. Not beside a grammar, a schema or demanded calls. Not OpenAI's.",
    )
    custom_token_bans: str | None = Field(
        None,
        description="Token ids with commas between them that are never chosen, as webuis' clients send "
        "them. Not OpenAI's.",
    )
    banned_tokens: str | ManyIds | None = Field(
        None, description="The same, also as a list. Not OpenAI's."
    )
    min_tokens: int | None = Field(
        None,
        validation_alias=AliasChoices("min_tokens", "min_new_tokens"),
        ge=0,
        description="The least tokens of an answer. Accepted only if it equals `max_tokens` and there are no "
        "stop strings, or with `ignore_eos`. Not OpenAI's.",
    )
    stop_token_ids: ManyIds | None = Field(
        None,
        description="Tokens that end the answer. Only the model's own end tokens are accepted. Not OpenAI's.",
    )
    spaces_between_special_tokens: bool | None = Field(
        None, description="Taken and without effect: special tokens are left out. Not OpenAI's."
    )

    @property
    def stops(self) -> tuple[str, ...]:
        """The stop strings."""
        stops: list[str] = []
        for given in (self.stop, self.stopping_strings):
            stops += [given] if isinstance(given, str) else given or ()
        return tuple(dict.fromkeys(stop for stop in stops if stop))

    def check_limits(self, *, strict: bool, lenient: bool) -> None:
        """Raises InvalidRequest for limits that the operator does not allow. `strict`: only what the
        reference allows; `lenient`: -1 tokens mean no limit."""
        if strict:
            self.check_reference()
        for name in ("max_tokens", "max_completion_tokens", *NATIVE_LIMITS):
            limit = getattr(self, name, None)
            if limit is None or limit >= self.least_tokens:
                continue
            if limit >= 0 or not (lenient or name in NATIVE_LIMITS):
                raise bad_request.out_of_range(name, limit, low=self.least_tokens, high=None)

    def check_reference(self) -> None:
        """Raises InvalidRequest for values that the reference does not allow."""
        if isinstance(self.stop, list) and len(self.stop) > REFERENCE_STOPS:
            raise bad_request.wrong_length("stop", "array", len(self.stop), high=REFERENCE_STOPS)
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        if "" in stops:
            param = "stop" if isinstance(self.stop, str) else f"stop[{stops.index('')}]"
            raise bad_request.wrong_length(param, "string", 0, low=1)
        for name, row in ROWS.items():
            value = getattr(self, name, None)
            if row.reference_high is not None and value is not None and value > row.reference_high:
                raise bad_request.out_of_range(name, value, low=None, high=row.reference_high)

    @property
    def limit(self) -> tuple[int | None, str]:
        """The most tokens to generate, and the name of the field.

        Raises InvalidRequest when it is given under two names.
        """
        return self.agreed_limit(None, "max_tokens")

    @property
    def alternatives(self) -> int | None:
        """How many alternatives to report for each token; None: no log-probabilities."""
        return self.n_probs or None

    def agreed_limit(self, limit: int | None, param: str) -> tuple[int | None, str]:
        """The most tokens to generate (NO_LIMIT: as many as fit), and the name of the field. `limit` is the
        value of the field `param`. Raises InvalidRequest if two fields differ."""
        for name in NATIVE_LIMITS:
            other = getattr(self, name)
            if other is None:
                continue
            other = max(other, NO_LIMIT)
            if limit is None:
                limit, param = other, name
            elif limit != other:
                raise bad_request.conflicting(name, param)
        return limit, param

    def with_min_tokens(self, info: EngineInfo) -> Self:
        """Apply `min_tokens` and `stop_token_ids`.

        Raises InvalidRequest for what would end the answer otherwise than the engine does.
        """
        if not info.end_tokens.issuperset(self.stop_token_ids or ()):
            raise bad_request.unsupported(
                "stop_token_ids", "holds tokens that do not end the answers of the loaded model."
            )
        least, (limit, _) = self.min_tokens or 0, self.limit
        limit = None if limit == NO_LIMIT else limit
        if limit is not None and least > limit:
            raise bad_request.out_of_range("min_tokens", least, low=None, high=limit)
        if not least or (self.ignore_eos and not self.stops):
            return self
        if least != limit or self.stops:
            raise bad_request.unsupported(
                "min_tokens",
                "can only be as large as the limit on tokens, or stand with 'ignore_eos'; and not with stop "
                "strings.",
            )
        return self.model_copy(update={"ignore_eos": True})

    @property
    def reported_stop_tokens(self) -> frozenset[int]:
        """Tokens to tell apart in the report of what ended the answer."""
        return frozenset()

    @property
    def biases(self) -> list[Bias]:
        """What to add to logits, bans included."""
        pairs = [("logit_bias", key, bias) for key, bias in (self.logit_bias or {}).items()]
        for param, bans in (
            ("custom_token_bans", self.custom_token_bans),
            ("banned_tokens", self.banned_tokens),
        ):
            each = bans.split(",") if isinstance(bans, str) else map(str, bans or ())
            pairs += [(param, ban.strip(), BAN) for ban in each if ban.strip()]
        return pairs


class ChoicesRequest(ResponseFormatField, GenerationRequest):
    """More fields of completions and chats: several choices, and usage on request."""

    n: int | None = Field(None, ge=1, le=128, description="Choices for each prompt. Default 1.")
    stream_options: StreamOptions | None = Field(None, description="Only with `stream`.")
    truncate_prompt_tokens: int | None = Field(
        None,
        ge=-1,
        description="Keep the last so many tokens of the prompt, of a chat the latest messages that have no "
        "more; -1: as many as fit. What is left out is named in `x-openedai-ignored`. Default: a prompt that "
        "does not fit is refused. Not OpenAI's.",
    )
    return_stop_reason: bool | None = Field(
        None,
        description="Report what ended each choice, as `stop_reason` (vLLM's: the stop string, one of "
        "`stop_token_ids`, or null) and `stopping_word` (llama.cpp's). Not OpenAI's.",
    )
    timings_per_token: bool | None = Field(
        None,
        description="Report tokens and milliseconds so far as `timings`, in each chunk or once, under "
        "llama.cpp's names. Not OpenAI's.",
    )
    return_progress: bool | None = Field(
        None,
        description="With `stream`: report how far the prompt is read, as `prompt_progress`, under "
        "llama.cpp's names. Not OpenAI's.",
    )

    @property
    def reported_stop_tokens(self) -> frozenset[int]:
        return frozenset(self.stop_token_ids or ()) if self.return_stop_reason else frozenset()

    @property
    def shows_usage(self) -> bool:
        """Whether the client wants to see usage in its stream.

        Raises InvalidRequest for stream options without a stream.
        """
        if self.stream_options is not None and not self.stream:
            raise bad_request.unsupported(
                "stream_options", "is only allowed when 'stream' is true."
            )
        return bool(self.stream_options and self.stream_options.include_usage)


def needs(info: EngineInfo, capability: Capability, param: str) -> None:
    """Raises InvalidRequest, naming the field, if the engine lacks the capability."""
    if capability not in info.capabilities:
        raise bad_request.unsupported(
            param, "is not something that the loaded model's engine can do."
        )
