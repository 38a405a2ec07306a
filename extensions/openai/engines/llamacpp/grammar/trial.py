"""Tries small grammars when a model is loaded: whether llama.cpp follows them, and which token ends them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import orjson

from ..client import Complete
from ..stream_reader import choice_of

EMPTY_GRAMMAR = '%llguidance {}\nstart: ""'
TEXT_GRAMMAR = '%llguidance {}\nstart: %json {"type": "string", "minLength": 64}'
SAMPLE_TEXT = "say: a b, [c d]"


def end_of_grammars(complete: Complete, token: int) -> int | None:
    """The token with which llama.cpp ends an answer when its grammar is complete. Also makes llama.cpp build
    its tokenizer for grammars, which takes a moment with a large vocabulary. `token`: any, as the prompt."""
    for chunk in chunks_under(EMPTY_GRAMMAR, complete, token, 1):
        for entry in (choice_of(chunk)["logprobs"] or {}).get("content") or ():
            return int(entry["id"])
    return None


def follows_grammars(complete: Complete, token: int, end: int | None) -> bool:
    """Whether answers follow a grammar. `end`: a token that ends answers, if there is one.

    If a (SentencePiece) vocabulary puts a space before each text, llama.cpp passes wrong token texts to its
    grammar library (`llama_detokenize` of one token drops its space). And if the number of tokens is one less
    than a multiple of 32, the library fails inside a JSON string; llama.cpp then ignores the grammar.
    """
    sample = f'%llguidance {{}}\nstart: "{SAMPLE_TEXT}"'
    chunks = chunks_under(sample, complete, token, len(SAMPLE_TEXT) + 1)
    text = "".join(choice_of(chunk)["text"] or "" for chunk in chunks)
    if not text.startswith(SAMPLE_TEXT):  # the model may continue after the grammar's end
        return False
    if end is None:
        return True
    # A model that is biased to end must not end after the quotation mark.
    bias = {"logit_bias": [[end, 1000.0]]}
    chunks = chunks_under(TEXT_GRAMMAR, complete, token, 2, bias)
    return all(choice_of(chunk)["finish_reason"] != "stop" for chunk in chunks)


def chunks_under(
    grammar: str,
    complete: Complete,
    prompt: int,
    limit: int,
    parameters: Mapping[str, Any] = MappingProxyType({}),
) -> list[dict[str, Any]]:
    """The chunks of an answer of at most `limit` tokens under a grammar. Raises RuntimeError."""
    body = {"prompt": [prompt], "n_predict": limit, "n_probs": 1, "grammar": grammar, **parameters}
    chunks: list[dict[str, Any]] = []

    def receive(data: bytes) -> bool:
        chunks.append(orjson.loads(data))
        return False

    complete(orjson.dumps(body | {"stream": True, "temperature": 0.0}), receive)
    for chunk in chunks:
        if "error" in chunk:
            raise RuntimeError(str(chunk["error"])[:200])
    return chunks
