"""What may come next after a prompt, after the request's samplers."""

from __future__ import annotations

from collections.abc import Generator

from ..engines.next_tokens import NextTokens, SamplesNext
from ..engines.protocol import Capability, GenerateRequest, LikelyToken, Tokenizer, run_on
from ..schemas import bad_request
from .continue_prompt import check_prompt, tokens_of
from .plan import Asked, Served, biases_of
from .request import needs
from .sampling.profiles import to_native
from .slot import run_in_slot


def next_tokens(
    served: Served, asked: Asked, prompt: str, count: int, names: tuple[str, str]
) -> Generator[tuple[LikelyToken, ...] | None, None, None]:
    """The likeliest tokens that `asked` leaves, at most `count` of them. `names`: of the fields for their
    number, and for samplers.

    Raises InvalidRequest where the engine cannot tell, and ContextLengthExceeded.
    """
    engine, info, (count_param, samplers_param) = served.engine, served.info, names
    needs(info, Capability.LOGPROBS, count_param)
    unsupported = bad_request.unsupported(
        samplers_param, "cannot be true: the loaded model's engine does not report it."
    )
    if info.is_remote:
        raise unsupported
    if asked.grammar is not None:
        raise bad_request.conflicting(asked.grammar_param, samplers_param)
    check_prompt(engine, info, prompt, 1)
    request = GenerateRequest(
        prompt,
        1,
        to_native(asked.sampling, info),
        seed=asked.seeds(1)[0],
        logit_bias=biases_of(asked, engine, info),
        logprobs=count,
        cache=asked.cache_use(served, 1),
    )

    def begin(inner: Tokenizer) -> NextTokens:
        if not isinstance(inner, SamplesNext):
            raise unsupported
        return inner.next_tokens(request)

    def counted() -> NextTokens:
        for tokens in run_on(engine, Tokenizer, begin):
            if tokens is not None:
                record = served.request.record
                record.prompt_tokens = len(tokens_of(engine, prompt))
                record.add_tokens(1)
            yield tokens

    return run_in_slot(served, counted)
