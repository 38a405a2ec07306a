"""Figures of messages: what is taken, what is refused, and that they go with their chat."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from flask.testing import FlaskClient

from extensions.openai.generation.hooks.extension_hooks import Hooks
from extensions.openai.schemas.figures import MAX_PLOTS
from extensions.openai.settings import Settings
from tests.support.keys import headers_of
from tests.support.reference import assert_envelope
from tests.test_stored_completions import CHATS, body, client_of, create, keyed

BARS = {"type": "bar", "x": ["Rome", "Paris"], "y": [2.8, 2.1]}
FIGURE = {"data": [BARS], "layout": {"title": {"text": "<b>Millions</b><br>of people"}}}


@pytest.fixture
def client(where: str, tmp_path: Path) -> Iterator[FlaskClient]:
    made = client_of(store=where, data_folder=str(tmp_path))
    yield made
    made.application.extensions["openai"].store.close()


def plots_of(id: str, message: int = 1) -> str:
    return f"{CHATS}/{id}/messages/{id}-{message}/plots"


def add(client: FlaskClient, path: str, figure: Any = FIGURE) -> Any:
    return client.post(path, json={"figure": figure})


def test_a_figure_comes_back_as_it_was_given(client: FlaskClient) -> None:
    id = create(client)["id"]
    assert client.get(plots_of(id)).json["data"] == []
    made = add(client, plots_of(id))
    assert made.status_code == 200, made.text
    plot = made.json
    assert plot.pop("id").startswith("plot_") and isinstance(plot.pop("created"), int)
    assert plot == {
        "object": "chat.completion.message.plot",
        "mime_type": "application/vnd.plotly.v1+json",
        "figure": FIGURE,
    }
    without = add(client, plots_of(id), {"data": [{"y": [1]}]}).json
    assert without["figure"] == {"data": [{"y": [1]}], "layout": {}}
    listed = client.get(plots_of(id)).json
    assert [each["figure"] for each in listed["data"]] == [FIGURE, without["figure"]]
    assert listed["last_id"] == without["id"] and listed["has_more"] is False
    page = client.get(f"{plots_of(id)}?limit=1&after={listed['first_id']}").json
    assert page["data"] == [without]
    assert client.get(plots_of(id, 0)).json["data"] == []  # of what the user wrote


def test_all_of_a_message_are_deleted(client: FlaskClient) -> None:
    id = create(client, n=2)["id"]
    for message in (1, 1, 2):
        add(client, plots_of(id, message))
    for _ in range(2):
        gone = client.delete(plots_of(id))
        assert gone.json == {
            "object": "chat.completion.message.plots.deleted",
            "id": f"{id}-1",
            "deleted": True,
        }
    assert client.get(plots_of(id)).json["data"] == []
    assert len(client.get(plots_of(id, 2)).json["data"]) == 1


def test_they_go_with_their_chat(client: FlaskClient) -> None:
    id = create(client)["id"]
    add(client, plots_of(id))
    client.delete(f"{CHATS}/{id}")
    for method in ("GET", "POST", "DELETE"):
        sent = {"figure": FIGURE} if method == "POST" else None
        refused = client.open(plots_of(id), method=method, json=sent)
        assert_envelope(refused.json, status=404)
    measured = client.application.extensions["openai"].store.measure()
    assert measured.by_kind["plots"] == (0, 0)


@pytest.mark.parametrize("message", ["2", "-1", "01", "x", "0%00"])
def test_only_messages_that_a_chat_has(client: FlaskClient, message: str) -> None:
    id = create(client)["id"]
    other = create(client)["id"]
    path = f"{CHATS}/{id}/messages"
    for wrong in (f"{path}/{id}-{message}/plots", f"{path}/{other}-1/plots", f"{path}/1/plots"):
        assert_envelope(add(client, wrong).json, status=404)
        assert_envelope(client.get(wrong).json, status=404)
        assert_envelope(client.delete(wrong).json, status=404)


@pytest.mark.parametrize(
    ("figure", "param"),
    [
        ({"data": [{"type": "scater"}]}, "figure.data[0].type"),
        ({"data": [BARS, {"type": ["bar"]}]}, "figure.data[1].type"),
        ({"data": [{"type": "scattermap"}]}, "figure.data[0].type"),
        ({"data": []}, "figure.data"),
        ({"data": [BARS] * 101}, "figure.data"),
        ({"data": ["bar"]}, "figure.data[0]"),
        ({"data": BARS}, "figure.data"),
        ({"layout": {}}, "figure.data"),
        ("<div></div>", "figure"),
        ({"data": [BARS], "layout": []}, "figure.layout"),
        ({"data": [BARS], "frames": [{}]}, "figure.frames"),
        ({"data": [BARS], "config": {"editable": True}}, "figure.config"),
        ({"data": [{"x": ["y" * (1 << 20)]}]}, "figure"),
    ],
)
def test_what_is_no_figure(client: FlaskClient, figure: Any, param: str) -> None:
    id = create(client)["id"]
    refused = add(client, plots_of(id), figure)
    assert assert_envelope(refused.json, status=400)["param"] == param
    assert client.get(plots_of(id)).json["data"] == []


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "a<img src=x onerror=alert(1)>",
        '<a href="javascript:alert(1)">x</a>',
        "<b onclick=x>x</b>",
        "<B\tonclick=x>",
        "</script>",
        "<!-- x",
        "<svg/onload=x>",
        "<bold>",
        "__proto__.x",
    ],
)
def test_no_markup_anywhere(client: FlaskClient, text: str) -> None:
    id = create(client)["id"]
    for figure in (
        {"data": [{"x": [text]}]},
        {"data": [{text: 1}]},
        {"data": [BARS], "layout": {"annotations": [{"text": f"see {text}"}]}},
    ):
        refused = add(client, plots_of(id), figure)
        assert assert_envelope(refused.json, status=400)["param"] == "figure"


@pytest.mark.parametrize(
    "layout",
    [
        {"images": [{"source": "https://a.example/pixel.png"}]},
        {"images": [{"source": "//a.example/pixel.png"}]},
        {"images": [{"source": "data:text/html,x"}]},
        {"template": {"layout": {"images": [{"source": "/v1/models"}]}}},
        {"updatemenus": [{"buttons": []}]},
        {"template": {"layout": {"sliders": [{}]}}},
        {"__proto__": {"x": 1}},
    ],
)
def test_nothing_is_fetched_or_acts(client: FlaskClient, layout: dict[str, Any]) -> None:
    id = create(client)["id"]
    refused = add(client, plots_of(id), {"data": [BARS], "layout": layout})
    assert assert_envelope(refused.json, status=400)["param"] == "figure"


@pytest.mark.parametrize(
    "trace",
    [
        {"hovertemplate": "%{y} people<extra></extra>"},
        {"x": ["a < b", "3 <4", 'he said "source":"x"', "H<sub>2</sub>O"]},
        {"y": {"dtype": "f8", "bdata": "AAAAAAAA8D8="}},
        {"type": "sankey", "link": {"source": [0, 1], "target": [1, 2], "value": [1, 2]}},
        {"type": "image", "source": "data:image/png;base64,AAAA"},
    ],
)
def test_what_plotly_writes_is_taken(client: FlaskClient, trace: dict[str, Any]) -> None:
    id = create(client)["id"]
    made = add(client, plots_of(id), {"data": [trace]})
    assert made.status_code == 200, made.text
    assert made.json["figure"]["data"] == [trace]


def test_a_message_has_so_many_at_most(client: FlaskClient) -> None:
    id = create(client)["id"]
    for _ in range(MAX_PLOTS):
        assert add(client, plots_of(id)).status_code == 200
    refused = assert_envelope(add(client, plots_of(id)).json, status=400)
    assert refused["code"] == "array_above_max_length"
    assert len(client.get(plots_of(id)).json["data"]) == MAX_PLOTS


def test_another_keys_are_as_what_never_was(tmp_path: Path) -> None:
    client, headers = keyed(tmp_path)
    id = client.post(CHATS, json=body(), headers=headers["alice"]).json["id"]
    client.post(plots_of(id), json={"figure": FIGURE}, headers=headers["alice"])
    never = "chatcmpl-" + "0" * 32
    for method in ("GET", "POST", "DELETE"):
        sent = {"figure": FIGURE} if method == "POST" else None
        texts = []
        for each in (id, never):
            answer = client.open(plots_of(each), method=method, json=sent, headers=headers["bob"])
            assert answer.status_code == 404
            texts.append(answer.text.replace(each, "ID"))
        assert texts[0] == texts[1]
    kept = client.get(plots_of(id), headers=headers["alice"]).json["data"]
    assert [each["figure"] for each in kept] == [FIGURE]


def test_scopes(tmp_path: Path) -> None:
    client, _ = keyed(tmp_path)
    mine = headers_of(Settings(data_folder=str(tmp_path)), "r", scopes=frozenset({"read"}))["r"]
    assert client.get(plots_of("x"), headers=mine).status_code == 404
    assert client.post(plots_of("x"), json={"figure": FIGURE}, headers=mine).status_code == 403
    assert client.delete(plots_of("x"), headers=mine).status_code == 403


def test_off() -> None:
    client = client_of(store="off")
    for method in ("GET", "POST", "DELETE"):
        sent = {"figure": FIGURE} if method == "POST" else None
        refused = client.open(plots_of("x"), method=method, json=sent)
        assert assert_envelope(refused.json, status=404)["code"] == "store_off"


def figures(client: FlaskClient, id: str, message: int = 1) -> list[Any]:
    return [each["figure"] for each in client.get(plots_of(id, message)).json["data"]]


def install(client: FlaskClient, *extensions: Any) -> None:
    named = [(f"ext{at}", each) for at, each in enumerate(extensions)]
    client.application.extensions["openai"].hooks = Hooks(lambda: named)


@pytest.mark.parametrize("stream", [False, True])
def test_an_extension_gives_figures_to_each_answer(client: FlaskClient, stream: bool) -> None:
    """By what it makes of the whole text."""

    def plots(text: str) -> list[Any]:
        return [{"data": [{"name": text, "y": [1]}], "layout": {}}]

    install(client, SimpleNamespace(plots_of=plots, output_modifier=lambda text, state: f"{text}!"))
    id = create(client, "Hi", n=2, stream=stream)["id"]
    for message in (1, 2):
        (figure,) = figures(client, id, message)
        assert figure["data"][0]["name"] == "Hi!"
    assert figures(client, id, 0) == []
    left_out = create(client, "Hi", stream=stream, hooks=False)["id"]
    assert figures(client, left_out) == []


@pytest.mark.parametrize("stream", [False, True])
def test_an_extension_that_fails_loses_no_answer(client: FlaskClient, stream: bool) -> None:
    def plots(text: str) -> list[Any]:
        raise ValueError

    install(client, SimpleNamespace(plots_of=plots), SimpleNamespace(plots_of=lambda: [FIGURE]))
    id = create(client, stream=stream)["id"]
    assert figures(client, id) == [FIGURE]


def test_the_example_draws_the_tables_of_an_answer(client: FlaskClient) -> None:
    install(client, importlib.import_module("extensions.example_plots.script"))
    id = create(client, "| City | People |\n|---|---|\n| Rome | 2.8 |\n| Paris | 2.1 |")["id"]
    (figure,) = figures(client, id)
    assert figure["data"] == [BARS | {"name": "People"}]


def test_a_tools_result_gives_its_figure_to_the_answer(client: FlaskClient) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "draw", "arguments": "{}"}}
    content = json.dumps({"application/vnd.plotly.v1+json": FIGURE, "text/plain": "a figure"})
    messages = [
        {"role": "user", "content": "Draw"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "content": content},
    ]
    for stream in (False, True):
        id = create(client, messages=messages, stream=stream)["id"]
        assert figures(client, id, 3) == [FIGURE]
        assert figures(client, id, 2) == []


def test_a_request_that_comes_again_adds_none(client: FlaskClient) -> None:
    install(client, SimpleNamespace(plots_of=lambda: [FIGURE]))
    for _ in range(2):
        answer = client.post(CHATS, json=body(), headers={"Idempotency-Key": "k"})
    assert answer.headers["Idempotent-Replayed"] == "true"
    assert figures(client, answer.json["id"]) == [FIGURE]
