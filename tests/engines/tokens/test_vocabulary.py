"""The bytes of tokens: against the tokenizer that came with the model, and against llama.cpp."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.engines.tokens.gguf import GGUFHeader, read_header
from extensions.openai.engines.tokens.vocabulary import Vocabulary, is_text, read_vocabulary
from tests.support.api import Api


def made_of(tokens: list[str], kinds: list[int], model: str = "llama", **more: int) -> Vocabulary:
    metadata = {
        "tokenizer.ggml.model": model,
        "tokenizer.ggml.tokens": list(tokens),
        "tokenizer.ggml.token_type": list(kinds),
        **{f"tokenizer.ggml.{name}": value for name, value in more.items()},
    }
    return read_vocabulary(GGUFHeader(metadata))  # type: ignore[arg-type]  # lists of strings


def test_byte_level_tokens_are_those_of_the_published_table(embedded_model: Path | None) -> None:
    """The table of bytes and characters, found here from the tokenizers library's own alphabet."""
    tokenizers = pytest.importorskip("tokenizers")
    if embedded_model is None:
        pytest.skip("this tree has no embedded model")
    model_manager = tokenizers.Tokenizer.from_file(str(embedded_model.parent / "tokenizer.json"))
    vocabulary = read_vocabulary(read_header(embedded_model))
    decoder = model_manager.decoder
    assert len(vocabulary.tokens) >= model_manager.get_vocab_size()
    checked = 0
    for word, id in model_manager.get_vocab().items():
        output = vocabulary.tokens[id]
        if is_text(output) and output:
            assert decoder.decode([word]) == output.decode()
            checked += 1
    assert checked > 2000


def test_the_longest_token_is_known_only_where_every_byte_is_one() -> None:
    control, output = "<|a_control_token|>", "\N{LOWER ONE EIGHTH BLOCK}word"
    every_byte = [f"<0x{byte:02X}>" for byte in range(256)]
    whole = made_of([control, output, *every_byte], [3, 1, *[6] * 256])
    assert whole.longest == len(control)
    assert made_of([control, output], [3, 1]).longest == 0  # <unk> stands for as much as you like


def test_the_tokens_of_a_text_join_to_its_bytes(tiny: Api, noise: Api) -> None:
    for api in (tiny, noise):
        assert isinstance(api.engine, LlamaCppEngine)
        vocabulary = api.engine.model.vocabulary
        for text in ("Hello there", "Grüße 🙂 日本", " two  spaces\n\t", "\x00\x7f", "a\u0301"):
            ids = api.engine.tokenize(text)
            assert b"".join(vocabulary.tokens[id] for id in ids) == text.encode()


def test_every_byte_is_a_token(tiny: Api, noise: Api) -> None:
    for api in (tiny, noise):
        assert isinstance(api.engine, LlamaCppEngine)
        vocabulary = api.engine.model.vocabulary
        for byte in range(256):
            assert vocabulary.tokens[vocabulary.ids[bytes([byte])]] == bytes([byte])


def test_special_tokens_say_nothing_and_are_known_by_name(embedded_model: Path | None) -> None:
    if embedded_model is None:
        pytest.skip("this tree has no embedded model")
    vocabulary = read_vocabulary(read_header(embedded_model))
    written = json.loads((embedded_model.parent / "tokenizer.json").read_text())
    ids = {token["content"]: token["id"] for token in written["added_tokens"]}
    assert vocabulary.special == {
        "fim_pre": ids["<|fim_prefix|>"],
        "fim_suf": ids["<|fim_suffix|>"],
        "fim_mid": ids["<|fim_middle|>"],
    }
    assert all(vocabulary.tokens[ids[name]] == b"" for name in ("<|im_start|>", "<|im_end|>"))


def test_sentencepiece_words_and_byte_tokens() -> None:
    vocabulary = made_of(
        ["<unk>", "<s>", "<0xE2>", "\u2581the", "▁", "x", "<tool>", "<unused>"],
        [2, 3, 6, 1, 1, 1, 4, 5],
    )
    assert vocabulary.tokens == (b"", b"", b"\xe2", b" the", b" ", b"x", b"<tool>", b"")


def test_the_first_of_several_tokens_with_the_same_bytes_counts() -> None:
    vocabulary = made_of(["<0x41>", "A"], [6, 1])
    assert vocabulary.ids == {b"A": 0}


def test_both_names_of_fill_in_tokens() -> None:
    for names in (
        ("prefix_token_id", "suffix_token_id", "middle_token_id"),
        ("fim_pre_token_id", "fim_suf_token_id", "fim_mid_token_id"),
    ):
        found = made_of(
            ["a", "b", "c"], [3, 3, 3], "llama", **dict(zip(names, (0, 1, 2), strict=True))
        )
        assert found.special == {"fim_pre": 0, "fim_suf": 1, "fim_mid": 2}


def spelling() -> Vocabulary:
    return made_of(["a", "b", "ab", "abc", "c"], [1] * 5)


@pytest.mark.parametrize(
    ("text", "count", "ids"),
    [
        (b"", 0, ()),
        (b"a", 0, None),
        (b"", 1, None),
        (b"abc", 1, (3,)),
        (b"abc", 2, (2, 4)),
        (b"abc", 3, (0, 1, 4)),
        (b"abc", 4, None),
        (b"abx", 2, None),
        (b"aab", 2, (0, 2)),
    ],
)
def test_spelling_with_a_number_of_tokens(
    text: bytes, count: int, ids: tuple[int, ...] | None
) -> None:
    vocabulary = spelling()
    assert vocabulary.spell(text, count) == ids
    if ids is not None:
        assert b"".join(vocabulary.tokens[id] for id in ids) == text


@pytest.mark.parametrize(
    ("output", "whole"),
    [(b"", True), (b"a", True), ("🙂".encode(), True), (b"\xf0\x9f", False), (b"a\xff", False)],
)
def test_whole_characters(output: bytes, whole: bool) -> None:
    assert is_text(output) is whole


def test_a_file_without_a_vocabulary_has_no_tokens() -> None:
    assert read_vocabulary(GGUFHeader({})).tokens == ()
