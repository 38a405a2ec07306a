"""GBNF as Lark: what a grammar matches stays the same, and time grows with its length only."""

from __future__ import annotations

import pytest
from llguidance import LLMatcher, LLTokenizer

from extensions.openai.generation.grammar.gbnf import GBNFError, gbnf_to_lark, is_gbnf

BYTES = LLTokenizer("byte")


def matches(grammar: str, text: str) -> bool:
    matcher = LLMatcher(BYTES, gbnf_to_lark(grammar), log_level=0)
    assert not matcher.is_error(), matcher.get_error()
    output = list(text.encode())
    return matcher.try_consume_tokens(output) == len(output) and matcher.is_accepting()


# Source: llama.cpp, grammars/README.md.
@pytest.mark.parametrize(
    ("grammar", "good", "bad"),
    [
        ('root ::= "yes" | "no"', ["yes", "no"], ["", "yesno"]),
        ("root ::= [a-z0-9_]+", ["a_9"], ["", "A"]),
        ("root ::= [^\\n\\]]{2}", ["a\t", "é🙂"], ["a\n", "]]"]),
        ("root ::= [a-]", ["a", "-"], ["b"]),
        (r"root ::= [\x41-\u00e9] [\U0001F600]", ["é😀", "A😀"], ["@😀"]),
        (r'root ::= "\"\\\t\u00e9"', ['"\\\té'], ['"\\té']),
        ('root ::= ("a" | b)* "c"\nb ::= "b"{2,3}', ["c", "abbc", "bbbac"], ["abc"]),
        ('root ::= "a"{2} "b"{1,} "c"{0,1} "d"?', ["aab", "aabbcd"], ["ab", "aa"]),
        ('root ::= "a" | ', ["", "a"], ["b"]),
        ('root ::= ("a" | ) "b"', ["b", "ab"], ["a"]),
        ('root ::= # "x"\n "a" # comment\n\n# another\n', ["a"], ["x"]),
        ('root ::= ("a"\n | "b"\n)\nother ::= "c"', ["a", "b"], ["c"]),
        ('root ::= "a"\n  | "b"', ["a", "b"], ["c"]),
        ("root ::= . .", ["a\n", "é🙂"], ["a"]),
        ('root ::= foo-Bar\nfoo-Bar ::= Foo_bar\nFoo_bar ::= "x"', ["x"], ["y"]),
        ('root ::= start rule\nstart ::= "s"\nrule ::= "r" root?', ["sr", "srsr"], ["s"]),
        ('root ::= "(" root ")" | "x"', ["x", "((x))"], ["(x"]),
        ('root ::= x1 _ 9 -\nx1 ::= "1"\n_ ::= "_"\n9 ::= "9"\n- ::= "-"', ["1_9-"], ["1"]),
        ('root ::= "a"{0} "b"', ["b"], ["ab"]),
        ('root ::= "a"\r\nb ::= "b"\r\n', ["a"], ["b"]),
        ('root ::= "a"\nroot ::= "b"', ["b"], ["a"]),
    ],
)
def test_what_it_matches(grammar: str, good: list[str], bad: list[str]) -> None:
    assert is_gbnf(grammar)
    for text in good:
        assert matches(grammar, text), text
    for text in bad:
        assert not matches(grammar, text), text


@pytest.mark.parametrize(
    ("grammar", "word"),
    [
        ("", "root"),
        ('other ::= "a"', "root"),
        ("root ::= missing", "missing"),
        ('root ::= ("a"', "bracket"),
        ('root ::= "a")', "bracket"),
        ('root ::= "a', "line 1"),
        ("root ::= [a", "line 1"),
        ('root ::= "a"\n"b"', "line 2"),
        ('root ::= *', "nothing"),
        ('root ::= "a"**', "repetition"),
        ("root ::= []", "set"),
        ("root ::= [z-a]", "range"),
        (r'root ::= "\q"', "escape"),
        (r'root ::= "\ud800"', "character"),
        ('root ::= "a"{99999}', "10000"),
        ("root ::= " + "(" * 70 + '"a"' + ")" * 70, "64"),
        ("root ::= " + ' | "a"' * 5_000, "4000"),
        ('root ::= "a"\n' + "".join(f'r{at} ::= "a"\n' for at in range(5_000)), "2000"),
        ("root ::= " + " " * (300 << 10), "characters"),
        ('root ::= "a" ::= "b"', "name"),
    ],
)  # fmt: skip
def test_what_is_no_grammar(grammar: str, word: str) -> None:
    with pytest.raises(GBNFError, match=word):
        gbnf_to_lark(grammar)


@pytest.mark.parametrize(
    "lark", ['start: "a"', '%llguidance {}\nstart: "a"', '// x\n  start : "a"']
)
def test_lark_is_told_apart(lark: str) -> None:
    assert not is_gbnf(lark)
    assert is_gbnf('root ::= "start: "')


def steps(grammar: str) -> int:
    """Lines of Python that a conversion takes."""
    import sys

    count = 0

    def trace(*_: object) -> object:
        nonlocal count
        count += 1
        return trace

    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        gbnf_to_lark(grammar)
    finally:
        sys.settrace(None)
    return count


@pytest.mark.parametrize("shape", ["chain", "alternatives", "group", "blank"])
def test_twice_the_length_takes_twice_the_steps(shape: str) -> None:
    def grammar(size: int) -> str:
        if shape == "chain":
            rules = "".join(f'r{at} ::= "a" r{at + 1}\n' for at in range(size))
            return f'root ::= r0\n{rules}r{size} ::= "b"'
        if shape == "alternatives":
            return "root ::= " + " | ".join(f'"w{at}"' for at in range(size))
        if shape == "group":
            return "root ::= (" + '"a"? ' * size + "){2}"
        return 'root ::= "a"' + "\n# x\n" * size

    small, large = steps(grammar(500)), steps(grammar(1_000))
    assert large < 2.2 * small
