"""No template costs more than its bounds, whatever it does."""

from __future__ import annotations

import tracemalloc

import pytest

from extensions.openai.engines.chat_template import BadTemplate, ChatTemplate, TooCostlyTemplate
from extensions.openai.engines.protocol import ChatRequest, Message
from extensions.openai.errors import InvalidRequest

MAX_MEMORY_BYTES = 400_000_000
REPEAT = "{% for i in range(100000) %}{% for j in range(100000) %}"
DONE = "{% endfor %}{% endfor %}"
GROW = "{% set ns = namespace(s='abcdefgh', l=[1], k=[1]) %}{% for i in range(99) %}"

HOSTILE = {
    "recursion": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "two macros": "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}",
    "caller": "{% macro m() %}{{ caller() }}{% call m() %}{{ m() }}{% endcall %}{% endmacro %}"
    "{% call m() %}x{% endcall %}",
    "recursive loop": "{% for i in [[1]] recursive %}{{ loop([[1]]) }}{% endfor %}",
    "wide recursion": "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}"
    "{{ m(40) }}",
    "loops": REPEAT + "x" + DONE,
    "silent loops": REPEAT + DONE,
    "filtered loop": "{% for i in range(100000) %}{% for j in range(100000) if false %}" + DONE,
    "long range": "{% for i in range(10**9) %}{% endfor %}",
    "double": GROW + "{% set ns.s = ns.s ~ ns.s %}{% endfor %}",
    "add": GROW + "{% set ns.s = ns.s + ns.s %}{% endfor %}",
    "times": "{{ 'a' * 10**9 }}",
    "times small": GROW + "{% set ns.s = ns.s * 9 %}{% endfor %}",
    "list times": "{% set l = [1] * 10**9 %}",
    "list add": GROW + "{% set ns.l = ns.l + ns.l %}{% endfor %}",
    "block": GROW + "{% set t %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = t %}{% endfor %}",
    "macro text": "{% macro m(s) %}{{ s }}{{ s }}{% endmacro %}" + GROW
    + "{% set ns.s = m(ns.s) %}{% endfor %}",
    "power": "{{ 99999 ** 99999 }}",
    "squares": GROW + "{% set ns.n = (ns.n or 9) * (ns.n or 9) %}{% endfor %}",
    "nested list": GROW + "{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l }}",
    "nested json": GROW + "{% set ns.l = [ns.l, ns.l] %}{% endfor %}{{ ns.l | tojson }}",
    "nested compare": GROW + "{% set ns.l = [ns.l, ns.l] %}{% set ns.k = [ns.k, ns.k] %}{% endfor %}"
    "{{ ns.l == ns.k }}",
    "nested key": "{% set ns = namespace(t=(1,)) %}{% for i in range(99) %}{% set ns.t = (ns.t, ns.t) %}"
    "{% endfor %}{% set d = {ns.t: 1} %}",
    "nested item": "{% set ns = namespace(t=(1,)) %}{% for i in range(99) %}{% set ns.t = (ns.t, ns.t) %}"
    "{% endfor %}{{ {}[ns.t] }}",
    "nested in": GROW + "{% set ns.l = [ns.l, ns.l] %}{% set ns.k = [ns.k, ns.k] %}{% endfor %}"
    "{{ ns.l in [ns.k] }}",
    "nested test": GROW + "{% set ns.l = [ns.l, ns.l] %}{% set ns.k = [ns.k, ns.k] %}{% endfor %}"
    "{{ ns.l is eq(ns.k) }}",
    "nested sort": GROW + "{% set ns.l = [ns.l, ns.l] %}{% set ns.k = [ns.k, ns.k] %}{% endfor %}"
    "{{ [ns.l, ns.k] | sort }}",
    "itself": "{% set ns = namespace() %}{% set ns.a = ns %}{{ ns }}",
    "center": "{{ 'a' | center(10**9) }}",
    "ljust": "{{ 'a'.ljust(10**9) }}",
    "zfill": "{{ 'a'.zfill(10**9) }}",
    "indent": "{{ ('a\n' * 100000) | indent(100000) }}",
    "join": "{{ range(100000) | join('abcdefgh' * 10000) }}",
    "join method": "{{ ('abcdefgh' * 100000).join(['a'] * 100000) }}",
    "replace": "{{ ('a' * 100000) | replace('a', 'b' * 100000) }}",
    "replace method": "{{ ('a' * 100000).replace('', 'b' * 100000) }}",
    "format": "{{ '%1000000000d' % 1 }}",
    "format width": "{{ '%*d' % (1000000000, 1) }}",
    "format filter": "{{ '%1000000000s' | format('a') }}",
    "format method": "{{ '{:1000000000}'.format('a') }}",
    "format nested": "{{ '{:{w}}'.format('a', w='1000000000') }}",
    "format many": "{{ ('%s' * 100000) % (('abcdefgh' * 1000,) * 100000) }}",
    "json indent": "{{ [[[[1]]]] | tojson(indent=10**9) }}",
    "json indent text": "{{ [[[[1]]]] | tojson(indent='abcdefgh' * 1000000) }}",
    "json separators": "{{ range(9999) | list | tojson(separators=('a' * 999999, 'b')) }}",
    "deep json": "{% set ns = namespace(l=range(9999) | list) %}{% for i in range(900) %}"
    "{% set ns.l = [ns.l] %}{% endfor %}{{ ns.l | tojson(indent=32) }}",
    "batch": "{{ [1] | batch(10**9, 'x') | list }}",
    "slice": "{{ [1] | slice(10**9) | list }}",
    "sum": "{{ ([[1] * 10000] * 10000) | sum(start=[]) }}",
    "translate": "{{ ('a' * 100000).translate({97: 'b' * 100000}) }}",
    "maps": "{{ range(100000)" + " | map('string')" * 60 + " | list | length }}",
    "sort": "{% set s = 'a' * 9999999 %}{{ ([s, s ~ 'b', s ~ 'a'] * 30000) | sort | length }}",
    "split": "{{ REP }}".replace("REP", "('a ' * 4000000).split()" + ".copy()" * 3),
    "to bytes": "{{ (5).to_bytes(10**9, 'big') }}",
    "bytes": "{{ 'a'.encode().ljust(10**9) }}",
    "date": "{{ strftime_now('%A' * 1000000) }}",
    "slices": "{% set s = 'a' * 999999 %}" + "{% set t = s[1:] %}" * 2000,
    "escape": GROW + "{% set ns.s = (ns.s ~ '<') | e | string %}{% endfor %}",
    "objection": "{{ raise_exception('a' * 9999999) }}",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_template_ends_within_its_bounds(name: str) -> None:
    tracemalloc.start()
    try:
        with pytest.raises((BadTemplate, InvalidRequest)):
            template = ChatTemplate(HOSTILE[name])
            template.render(ChatRequest((Message("user", "Hello"),)))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MAX_MEMORY_BYTES


def test_what_costs_too_much_for_one_message_is_refused_at_once() -> None:
    with pytest.raises(TooCostlyTemplate, match="it takes too many steps"):
        ChatTemplate(HOSTILE["silent loops"])
    with pytest.raises(TooCostlyTemplate, match="it makes too much text"):
        ChatTemplate(HOSTILE["double"])
    with pytest.raises(TooCostlyTemplate, match="it calls itself too often"):
        ChatTemplate(HOSTILE["recursion"])


@pytest.mark.parametrize(
    "source",
    [
        "{% for %}",
        "{{ 'a' | no_such_filter }}",
        "{% include 'a' %}" * 2 + "{% endfor %}",
        "{{ " + "(" * 5_000 + ")" * 5_000 + " }}",
        "{% if a %}" * 5_000 + "{% endif %}" * 5_000,
        "{% for a in b %}" * 30 + "{% endfor %}" * 30,
        "{{ " + "not " * 5_000 + "a }}",
        "{{ a " + "+ a " * 5_000 + "}}",
        "x" * 200_000,
    ],
)
def test_what_is_no_template_is_told(source: str) -> None:
    with pytest.raises(BadTemplate):
        ChatTemplate(source)


@pytest.mark.parametrize(
    "source",
    [
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({}) }}",
        "{{ raise_exception.__globals__.sys }}",
        "{{ '{0.__class__.__init__.__globals__}'.format(messages) }}",
        "{% include 'chat_template' %}",
        "{{ lipsum() }}",
    ],
)
def test_a_template_gets_at_nothing_but_its_variables(source: str) -> None:
    with pytest.raises(InvalidRequest):
        ChatTemplate(source + "{{ messages[0].content }}").render(
            ChatRequest((Message("user", "Hello"),))
        )


def test_a_long_conversation_is_within_the_bounds() -> None:
    source = (
        "{% for m in messages %}{% for n in messages[loop.index0:] if n.role == 'system' %}{% endfor %}"
        "{{ m.role }}: {{ m.content.strip().split('</think>')[-1] | trim }}\n{% endfor %}"
    )
    turns = tuple(
        Message("user" if at % 2 == 0 else "assistant", f"{at} " + "word " * 1_000)
        for at in range(600)
    )
    prompt = ChatTemplate(source).render(ChatRequest(turns))
    assert prompt.count("\n") == len(turns) and len(prompt) > 2_900_000
