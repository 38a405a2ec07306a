"""Our rules say what Werkzeug's say, in the first application that has them and in those after it."""

from __future__ import annotations

import pytest
from werkzeug.exceptions import NotFound
from werkzeug.routing import Map, MapAdapter, Rule

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from extensions.openai.web.routing.rule import MatchingRule

PATHS = (
    "/",
    "/v1/things",
    "/v1/things/<thing>",
    "/v1/things/<thing>/parts/<path:part>",
    "/v1/<path:anything>/end",
    "/v1/things/<int(min=3):number>/count",
    "/v1/things/<any(red, green):color>/color",
    "/a.b/c+d",
)
ASKED = (
    *("/", "/v1/things", "/v1/things/", "/v1/things/x", "/v1/things/x/parts/a/b"),
    *("/v1/a/b/end", "/v1/things/2/count", "/v1/things/3/count", "/v1/things/red/color"),
    *("/v1/things/blue/color", "/a.b/c+d", "/axb/c+d", "/v1", "/nothing"),
)


def adapter(kind: type[Rule]) -> MapAdapter:
    rules = [kind(path, endpoint=path) for path in PATHS]
    return Map(rules, strict_slashes=False, merge_slashes=False).bind("localhost")


def matched(adapter: MapAdapter, path: str) -> object:
    try:
        return adapter.match(path)
    except NotFound:
        return None


@pytest.mark.parametrize("path", ASKED)
def test_it_matches_what_werkzeugs_matches(path: str) -> None:
    wanted = matched(adapter(Rule), path)
    for _ in range(2):
        assert matched(adapter(MatchingRule), path) == wanted


@pytest.mark.parametrize("unknown", [{}, {"q": "a b"}])
def test_it_builds_what_werkzeugs_builds(unknown: dict[str, str]) -> None:
    values = {"thing": "a b", "part": "c/d", "anything": "e", "number": 7, "color": "red"}
    for path in PATHS:
        given = {name: value for name, value in values.items() if f"{name}>" in path} | unknown
        wanted = adapter(Rule).build(path, given)
        for _ in range(2):
            assert adapter(MatchingRule).build(path, given) == wanted


def test_each_application_has_all_of_its_rules() -> None:
    first, second = (create_app(Settings(), EchoEngine()).url_map for _ in range(2))
    rules = [(str(rule), rule.endpoint, rule.arguments) for rule in first.iter_rules()]
    assert len(rules) > 100 and any(arguments for _, _, arguments in rules)
    assert [(str(rule), rule.endpoint, rule.arguments) for rule in second.iter_rules()] == rules
    prefixed = create_app(Settings(api_prefix="/own"), EchoEngine()).url_map.bind("localhost")
    assert prefixed.match("/own/v1/models/echo")[1] == {"id": "echo"}
    assert matched(prefixed, "/v1/models/echo") is None
