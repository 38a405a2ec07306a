"""That the corpus of recorded exchanges sees what differs, and nothing else."""

from __future__ import annotations

from pathlib import Path

from tests.whole.corpus import differences, in_order, steady
from tests.whole.corpus_servers import servers

ID = "chatcmpl-c4a6aee4bb13c03cba79d26ecbf6221e"
OTHER = ID.replace("c4a6", "ffff")


def test_an_id_is_any_id_but_the_same_one_throughout() -> None:
    assert steady(f"{ID} {ID}") == steady(f"{OTHER} {OTHER}")
    assert steady(f"{ID} {ID}") != steady(f"{ID} {OTHER}")


def test_times_and_ports_do_not_count_and_all_else_does() -> None:
    assert steady('{"created":1795917789,"n":1}') == steady('{"created":1795917790,"n":1}')
    assert steady("http://127.0.0.1:40001/v1") == steady("http://127.0.0.1:50001/v1")
    assert steady('{"created":1795917789,"n":1}') != steady('{"created":1795917789,"n":2}')


def test_choices_that_were_written_at_once_have_no_order_among_each_other() -> None:
    a, b, c = (f'data: {{"choices":[{{"index":{at},"delta":{{}}}}]}}' for at in (0, 0, 1))
    a = a.replace("{}", '{"content":"a"}')
    usage = 'data: {"choices":[],"usage":{}}'
    assert in_order("\n\n".join((a, c, b, usage))) == in_order("\n\n".join((c, a, b, usage)))
    assert in_order("\n\n".join((a, b))) != in_order("\n\n".join((b, a)))
    texts = [f'data: {{"choices":[{{"text":"{at}","index":{at}}}]}}' for at in (0, 1)]
    assert in_order("\n\n".join(texts)) == in_order("\n\n".join(reversed(texts)))


def test_what_differs_is_shown_by_its_name() -> None:
    old, new = {"a": "x", "b": "y", "c": "z"}, {"a": "x", "b": "w", "d": "z"}
    shown = list(differences(old, new, []))
    assert [text.splitlines()[0] for text in shown] == ["== b", "== c", "== d"]
    assert "-y" in shown[0] and "+w" in shown[0]
    assert not list(differences({"a": "one"}, {"a": "two"}, ["one|two"]))


def test_each_request_has_a_name_of_its_own(tmp_path: Path) -> None:
    names = [
        (server.name, each.name)
        for server in servers(tmp_path)
        for each in server.asked(server.model)
    ]
    assert len(names) == len(set(names)) > 400
