"""Prompts that come back: what is asked, and the table of what is computed of it."""

from __future__ import annotations

from benchmarks.load import last_number
from benchmarks.reading import Read, situations
from benchmarks.report import returning_table


def test_each_turn_goes_on_with_its_conversation() -> None:
    for situation in situations():
        prompts = [str(body.get("prompt")) for body in [*situation.first, *situation.then]]
        if situation.path != "/v1/completions":
            continue
        conversations = len({prompt.partition(":")[0] for prompt in prompts})
        for earlier, later in zip(prompts, prompts[conversations:], strict=False):
            assert later.startswith(earlier) and len(later) > len(earlier)


def test_agents_have_a_new_first_line_in_each_request() -> None:
    (agents,) = [each for each in situations() if each.path == "/v1/messages"]
    firsts = [body["system"][0]["text"] for body in agents.then]
    assert len(set(firsts)) == len(firsts) and len({str(b["system"][1]) for b in agents.then}) == 1


def test_the_table_has_a_row_for_each_situation() -> None:
    def read(server: str, computed: float) -> Read:
        return Read("six", server, {"computed": computed, "seconds": 1.5}, 1000)

    rows = returning_table([read("ours", 20), read("llama-server", 900)]).splitlines()
    assert (
        rows[0]
        == "|  | asked | ours: computed | llama-server: computed | ours: s | llama-server: s |"
    )
    assert rows[2] == "| six | 1,000 | 20 | 900 | 1.50 | 1.50 |"


def test_messages_tell_what_was_cached_in_words_of_their_own() -> None:
    raw = b'{"usage":{"input_tokens":7,"cache_read_input_tokens":30,"output_tokens":2}}'
    assert last_number(raw, "input_tokens") == 7
