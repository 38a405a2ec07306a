"""Converts grammars from GBNF, llama.cpp's format, to Lark in llguidance's dialect.

    root ::= "yes" | "no" [0-9]{1,3} more?
    more ::= ", " (root | [^\\n]+)   # a comment

One pass over the text, and one over the rules. Source: llama.cpp, grammars/README.md and
src/llama-grammar.cpp.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field

from .bounds import MAX_ALTERNATIVES, MAX_GRAMMAR_LENGTH, MAX_NESTING, MAX_REPETITIONS, MAX_RULES
from .lark import class_member, literal

_TOKEN = re.compile(
    r"""
      (?P<space> [ \t]+ | \# [^\r\n]* )
    | (?P<line> \r\n? | \n )
    | (?P<literal> " (?: [^"\\] | \\. )* " )
    | (?P<set> \[ (?: [^\]\\] | \\. )* \] )
    | (?P<defines> ::= )
    | (?P<name> [A-Za-z0-9_-]+ )
    | (?P<times> [*+?] | \{ \s* [0-9]{1,9} \s* (?: , \s* (?:[0-9]{1,9})? \s* )? \} )
    | (?P<any> \. )
    | (?P<or> \| )
    | (?P<open> \( )
    | (?P<close> \) )
    """,
    re.VERBOSE | re.DOTALL,
)
_HEX = "[0-9a-fA-F]"
_CODE = re.compile(rf"\\(?:x({_HEX}{{2}})|u({_HEX}{{4}})|U({_HEX}{{8}})|(.))|([^\\])", re.DOTALL)
_NAMED = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "[": "[", "]": "]", "-": "-"}
ANY_CHARACTER = r"/(.|\n)/"


class GBNFError(ValueError):
    """The problem of a grammar, with its line."""


@dataclass(slots=True)
class _Rule:
    name: str
    parts: list[str | _Reference] = field(default_factory=list)
    references: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Reference:
    name: str


def is_gbnf(text: str) -> bool:
    """Whether a grammar is GBNF, not Lark."""
    return _LARK.search(text) is None


_LARK = re.compile(r"^[ \t]*(%llguidance\b|start[ \t]*:(?!:=))", re.MULTILINE)


def gbnf_to_lark(text: str) -> str:
    """Convert a grammar to Lark. Raises GBNFError."""
    if len(text) > MAX_GRAMMAR_LENGTH:
        raise GBNFError(f"it has {len(text)} characters; at most {MAX_GRAMMAR_LENGTH}")
    rules = _Reader(text).rules()
    if "root" not in rules:
        raise GBNFError("there is no rule 'root'")
    for rule in rules.values():
        for name in rule.references:
            if name not in rules:
                raise GBNFError(
                    f"rule '{rule.name[:64]}' refers to '{name[:64]}', which is not a rule"
                )
    names = _names(rules, _terminals(rules))
    lines = []
    for name in _reachable(rules):
        lines.append(
            f"{names[name]}:{''.join(_written(part, names) for part in rules[name].parts)}"
        )
    return "%llguidance {}\n" + "\n".join(lines) + "\n"


class _Reader:
    """Parses the rules of one grammar."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._rule: _Rule | None = None
        self._depth = 0
        self._empty = True  # no item yet in this sequence
        self._repeated = False  # the last item has a repetition
        self._alternatives = 0

    def rules(self) -> dict[str, _Rule]:
        found: dict[str, _Rule] = {}
        at, tokens = 0, deque[tuple[str, str, int]]()
        while at < len(self._text):
            match = _TOKEN.match(self._text, at)
            if match is None or match.lastgroup is None:
                raise self._error(f"{self._text[at : at + 12]!r} is not understood", at)
            if match.lastgroup != "space":
                tokens.append((match.lastgroup, match[0], at))
            at = match.end()
        while tokens:
            kind, text, at = tokens.popleft()
            if kind == "line":
                self._end_line(found, tokens)
            elif kind == "name" and tokens and tokens[0][0] == "defines":
                tokens.popleft()
                self._end_rule(found, at)
                self._rule, self._depth, self._empty = _Rule(text), 0, True
                self._skip_lines(tokens)
                if len(found) >= MAX_RULES:
                    raise self._error(f"it has more than {MAX_RULES} rules", at)
            else:
                self._item(kind, text, at, tokens)
        self._end_rule(found, len(self._text))
        return found

    def _end_line(self, found: dict[str, _Rule], tokens: deque[tuple[str, str, int]]) -> None:
        """End the rule with its line, except inside brackets, and if the next line continues with `|`."""
        if self._depth:
            return
        self._skip_lines(tokens)
        if not tokens or tokens[0][0] != "or":
            self._end_rule(found, tokens[0][2] if tokens else len(self._text))

    @staticmethod
    def _skip_lines(tokens: deque[tuple[str, str, int]]) -> None:
        while tokens and tokens[0][0] == "line":
            tokens.popleft()

    def _end_rule(self, found: dict[str, _Rule], at: int) -> None:
        if self._rule is None:
            return
        if self._depth:
            raise self._error("a bracket is not closed", at)
        self._end_sequence(self._rule)
        found[self._rule.name] = self._rule
        self._rule = None

    def _end_sequence(self, rule: _Rule) -> None:
        if self._empty:
            rule.parts.append('""')
        self._empty = True

    def _item(self, kind: str, text: str, at: int, tokens: deque[tuple[str, str, int]]) -> None:
        rule = self._rule
        if rule is None:
            raise self._error("a rule begins with a name and ::=", at)
        if kind == "or":
            self._alternatives += 1
            if self._alternatives > MAX_ALTERNATIVES:
                raise self._error(f"it has more than {MAX_ALTERNATIVES} alternatives", at)
            self._end_sequence(rule)
            rule.parts.append("|")
            self._skip_lines(tokens)
        elif kind == "open":
            self._depth += 1
            if self._depth > MAX_NESTING:
                raise self._error(f"more than {MAX_NESTING} nested brackets", at)
            rule.parts.append("(")
            self._empty = True
        elif kind == "close":
            if not self._depth:
                raise self._error("a bracket is closed that was not opened", at)
            self._depth -= 1
            self._end_sequence(rule)
            rule.parts.append(")")
            self._empty = self._repeated = False
        elif kind == "times":
            self._repeat(rule, "".join(text.split()), at)
        elif kind == "defines":
            raise self._error("::= without a name", at)
        else:
            rule.parts.append(self._atom(kind, text, rule, at))
            self._empty = self._repeated = False

    def _repeat(self, rule: _Rule, times: str, at: int) -> None:
        if self._empty or self._repeated:
            of = "a repetition" if self._repeated and not self._empty else "nothing"
            raise self._error(f"a repetition of {of}", at)
        for number in re.findall("[0-9]+", times):
            if int(number) > MAX_REPETITIONS:
                raise self._error(
                    f"it repeats something {number} times; at most {MAX_REPETITIONS}", at
                )
        if times in ("{0}", "{0,0}"):  # the library does not support these
            if rule.parts[-1] == ")":
                raise self._error("a group is repeated zero times", at)
            rule.parts[-1] = '""'
        else:
            rule.parts.append(times)
        self._repeated = True

    def _atom(self, kind: str, text: str, rule: _Rule, at: int) -> str | _Reference:
        if kind == "name":
            rule.references.add(text)
            return _Reference(text)
        if kind == "any":
            return ANY_CHARACTER
        if kind == "literal":
            return literal("".join(c for c, _ in self._characters(text[1:-1], at)))
        return self._set(text[1:-1], at)

    def _set(self, inner: str, at: int) -> str:
        """Convert [^a-z\\]] to a regular expression."""
        negated = inner.startswith("^")
        characters = self._characters(inner[negated:], at)
        if not characters:
            if negated:
                return ANY_CHARACTER
            raise self._error("a set without characters", at)
        members, index = [], 0
        while index < len(characters):
            first, last = characters[index][0], ""
            if index + 2 < len(characters) and characters[index + 1] == ("-", False):
                last, index = characters[index + 2][0], index + 2
                if last < first:
                    raise self._error(f"the range {first!r} to {last!r} is reversed", at)
            members.append(class_member(first) + (f"-{class_member(last)}" if last else ""))
            index += 1
        return f"/[{'^' if negated else ''}{''.join(members)}]/"

    def _characters(self, text: str, at: int) -> list[tuple[str, bool]]:
        """The characters, each with whether it was escaped."""
        found = []
        for match in _CODE.finditer(text):
            digits = match[1] or match[2] or match[3]
            if match[5] is not None:
                found.append((match[5], False))
            elif digits is not None:
                code = int(digits, 16)
                if code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
                    raise self._error(f"{match[0]} is not a character", at)
                found.append((chr(code), True))
            elif match[4] in _NAMED:
                found.append((_NAMED[match[4]], True))
            else:
                raise self._error(f"unknown escape {match[0]!r}", at)
        return found

    def _error(self, problem: str, at: int) -> GBNFError:
        return GBNFError(f"line {self._text.count(chr(10), 0, at) + 1}: {problem}")


def _written(part: str | _Reference, names: dict[str, str]) -> str:
    if isinstance(part, _Reference):
        return f" {names[part.name]}"
    return part if part[0] in "*+?{" else f" {part}"


def _terminals(rules: dict[str, _Rule]) -> set[str]:
    """The rules without recursion, which a lexer can match as one token."""
    users: dict[str, list[str]] = {name: [] for name in rules}
    open_references = {name: len(rule.references) for name, rule in rules.items()}
    for name, rule in rules.items():
        for other in rule.references:
            users[other].append(name)
    found, ready = set[str](), deque(name for name, count in open_references.items() if not count)
    while ready:
        name = ready.popleft()
        if name == "root":
            continue
        found.add(name)
        for user in users[name]:
            open_references[user] -= 1
            if not open_references[user]:
                ready.append(user)
    return found


def _names(rules: dict[str, _Rule], terminals: set[str]) -> dict[str, str]:
    """Each rule's name in Lark: upper case for terminals."""
    names, used = {"root": "start"}, {"start"}
    for name in rules:
        if name == "root":
            continue
        plain = name.replace("-", "_").lower().strip("_") or "rule"
        plain = plain if plain[0].isalpha() else f"r_{plain}"
        if plain in used:
            plain = f"{plain}_{len(used)}"
            while plain in used:
                plain += "_"
        used.add(plain)
        names[name] = plain.upper() if name in terminals else plain
    return names


def _reachable(rules: dict[str, _Rule]) -> list[str]:
    """The rules that the root uses, directly or indirectly, in order."""
    seen, stack = {"root"}, ["root"]
    while stack:
        for name in rules[stack.pop()].references - seen:
            seen.add(name)
            stack.append(name)
    return [name for name in rules if name in seen]
