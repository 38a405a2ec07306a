"""The embedded model's files and the generators of its corpus (no torch, no server)."""

from __future__ import annotations

import hashlib
import json
import random
import urllib.request
from itertools import islice
from pathlib import Path
from typing import Any

import gguf
import pytest
import tokenizers

from tiny import corpus, heldout, lexicon, noise, render, structured_cases
from tiny.evaluate import GROUPS, Outcome, right, table
from tiny.evaluate_structured import Made
from tiny.evaluate_structured import table as structured_table
from tiny.example import Example, assistant, pair, user
from tiny.facts import FACTS
from tiny.fields import GIVEN, GIVEN_END, given
from tiny.grammar import expand
from tiny.keywords import KEYWORDS
from tiny.mixture import MIXTURE
from tiny.schemas import keys, schema, titled
from tiny.shape import DEFAULT

FOLDER = Path(__file__).resolve().parents[2]
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TOOL = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather in a <city> & more",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def _records(seed: int, count: int) -> list[dict[str, Any]]:
    return list(corpus.examples(seed, count))


def _digest(records: list[dict[str, Any]]) -> str:
    return hashlib.sha256("\n".join(map(corpus.dump, records)).encode()).hexdigest()


@pytest.fixture(scope="module")
def records() -> list[dict[str, Any]]:
    """The first part of the real corpus: the same seed as in training."""
    return _records(corpus.SEED, 6000)


# ---- corpus -------------------------------------------------------------------------------


def test_same_seed_gives_the_same_corpus() -> None:
    assert _digest(_records(11, 800)) == _digest(_records(11, 800))
    assert _digest(_records(11, 800)) != _digest(_records(12, 800))


def test_a_longer_corpus_begins_with_the_shorter_one() -> None:
    assert list(islice(corpus.examples(11, 500), 100)) == _records(11, 100)


def test_corpus_holds_every_behaviour(records: list[dict[str, Any]]) -> None:
    assert {record["behaviour"] for record in records} == set(MIXTURE)


def test_every_chat_ends_with_the_assistant(records: list[dict[str, Any]]) -> None:
    for record in records:
        if "messages" in record:
            last = record["messages"][-1]
            assert last["role"] == "assistant"
            assert last.get("content") or last.get("tool_calls")
        else:
            assert record["text"].strip()


def test_no_special_mark_stands_inside_a_message(records: list[dict[str, Any]]) -> None:
    for record in records:
        for message in record.get("messages", []):
            assert not any(mark in (message.get("content") or "") for mark in SPECIAL)


def test_heldout_prompts_are_the_same_on_every_call() -> None:
    first = [corpus.dump(e.as_record()) for e in heldout.build()]
    assert first == [corpus.dump(e.as_record()) for e in heldout.build()]


def test_heldout_prompts_are_not_trained_on(records: list[dict[str, Any]]) -> None:
    kept = heldout.build()
    trained = {m["content"].strip() for record in records for m in record.get("messages", []) if m["role"] == "user"}
    whole = {heldout.whole_key(r["messages"]) for r in records if "messages" in r}
    single = [e for e in kept if len(e.messages) == 2 and e.behaviour != "json_wrap"]
    assert len(single) > 250
    for example in single:
        if example.behaviour not in ("memory", "memory_none", "secret"):
            assert example.messages[0]["content"].strip() not in trained
    for example in kept:
        assert heldout.whole_key(example.messages) not in whole


def test_no_prompt_is_held_out_twice() -> None:
    keys = [heldout.whole_key(e.messages) for e in heldout.build()]
    assert len(keys) == len(set(keys))


def test_the_guard_knows_a_leak_from_a_fresh_prompt() -> None:
    guard = heldout.Guard([pair("facts", "Where is it?", "Here.")])
    assert guard.leaks([user("WHERE is  it"), assistant("x")])
    assert not guard.leaks([user("Where was it?"), assistant("x")])
    two = [user("where is it!"), assistant("x"), user("fresh"), assistant("y")]
    assert guard.clean(two) == two[2:]


def test_each_fact_has_questions_keywords_and_an_answer_that_passes() -> None:
    assert len(FACTS) >= 20
    assert {fact.key for fact in FACTS} == set(KEYWORDS)
    for fact in FACTS:
        assert len(fact.unseen) == 2
        for answer in fact.answers:
            assert any(part.lower() in answer.lower() for part in fact.expect)


def test_some_answers_have_accents_and_emoji(records: list[dict[str, Any]]) -> None:
    answers = "".join(
        m.get("content") or "" for record in records for m in record.get("messages", []) if m["role"] == "assistant"
    )
    assert any(mark in answers for mark in "éüñ") and "👋" in answers and "こんにちは" in answers


# ---- structured output ---------------------------------------------------------------------

STRUCTURED = {"schema", "schema_copy", "schema_call", "any_object"}


def _written(record: dict[str, Any]) -> str:
    """The JSON of a record on structured output, with the marks of what is not learnt."""
    last = record["messages"][-1]
    calls = last.get("tool_calls")
    return str(calls[0]["function"]["arguments"] if calls else last["content"])


def _plain(text: str) -> str:
    return text.replace(GIVEN, "").replace(GIVEN_END, "")


def _leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in _leaves(inner)]
    if isinstance(value, list):
        assert len(value) <= 4
        return [leaf for inner in value for leaf in _leaves(inner)]
    return [value]


def test_structured_answers_are_short_json(records: list[dict[str, Any]]) -> None:
    kinds = STRUCTURED - {"any_object"}  # may hold a whole answer of another kind
    found = [_plain(_written(r)) for r in records if r["behaviour"] in kinds]
    assert len(found) > 1000
    for text in found:
        texts = [leaf for leaf in _leaves(json.loads(text)) if isinstance(leaf, str)]
        assert all(len(leaf) <= 100 for leaf in texts)
    assert sum(len(text) < 250 for text in found) > 0.9 * len(found)


def test_structured_cases_are_not_trained_on(records: list[dict[str, Any]]) -> None:
    prompts = {heldout.normal(prompt) for prompt in structured_cases.prompts()}
    functions = structured_cases.functions()
    names = structured_cases.names()
    for record in records:
        if record["behaviour"] not in STRUCTURED | {"terse"}:
            continue
        assert heldout.user_keys(record["messages"])[-1] not in prompts
        tools = {tool["function"]["name"] for tool in record.get("tools", [])}
        assert not functions & tools
        if record["behaviour"] == "schema" and GIVEN in _written(record):
            value = json.loads(_plain(_written(record)))
            assert not isinstance(value, dict) or tuple(value) not in names


def test_many_structured_cases_of_every_group() -> None:
    groups: dict[str, int] = {}
    for case in structured_cases.cases():
        groups[case.group] = groups.get(case.group, 0) + 1
    assert groups["JSON of a schema"] >= 50 and groups["a forced call"] >= 20
    assert len(groups) == 8


def test_the_marks_of_what_is_given_are_no_text_and_not_learnt(tmp_path: Path) -> None:
    from tiny.dataset import documents

    tokenizer = tokenizers.Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    answer = '{"' + given("colour") + '": "red"}'
    example = Example("structured", [user("Hi"), assistant(answer)], forced=True)
    path = tmp_path / "corpus.jsonl"
    path.write_text(corpus.dump(example.as_record()) + "\n", encoding="utf-8")
    ((ids, learn),) = documents(path, tokenizer)
    whole = tokenizer.decode(ids.tolist(), skip_special_tokens=False)
    assert whole == render.render([user("Hi"), assistant(_plain(answer))])
    assert tokenizer.decode(ids[learn].tolist(), skip_special_tokens=False) == '": "red"}<|im_end|>'


def test_schemas_of_shapes() -> None:
    shape = {"a": "string", "b?": ["array", {"c": ["enum", "x", "y"]}], "d": ["maybe", "date"]}
    assert schema(shape) == {
        "type": "object",
        "properties": {
            "a": {"type": "string"},
            "b": {"type": "array", "items": schema({"c": ["enum", "x", "y"]})},
            "d": {"anyOf": [{"type": "string", "format": "date"}, {"type": "null"}]},
        },
        "required": ["a", "d"],
        "additionalProperties": False,
    }
    made = titled({"home_address": {"city": "string"}}, "Person")
    assert made["properties"]["home_address"] == {"$ref": "#/$defs/HomeAddress"}
    assert made["$defs"]["HomeAddress"]["properties"]["city"] == {"type": "string", "title": "City"}
    assert list(keys(shape)) == ["a", "b", "c", "d"]


def test_structured_table_counts_what_ended_and_is_valid() -> None:
    def made(ended: bool, tokens: int, valid: bool, good: bool | None) -> Made:
        return Made("a choice", ended, tokens, valid, good, "q", "g")

    found = [made(True, 10, True, True), made(True, 150, True, False), made(False, 200, False, None)]
    found.append(made(True, 20, True, None))
    text = structured_table(found)
    assert "| a choice | 4 | 75.0 % | 50.0 % | 150 | 50.0 % |" in text


# ---- grammar and noise ---------------------------------------------------------------------


def test_expand_takes_one_alternative_and_nests() -> None:
    rng = random.Random(1)
    found = {expand(rng, "(a|b(c|d)|)<x>", {"x": "(1|2)"}) for _ in range(200)}
    assert found == {"a(1|2)", "bc(1|2)", "bd(1|2)", "(1|2)"}
    assert {expand(rng, "one|two") for _ in range(50)} == {"one", "two"}


def test_expand_refuses_an_open_bracket() -> None:
    with pytest.raises(ValueError, match="not closed"):
        expand(random.Random(1), "(a|b")


def test_noise_keeps_the_words_when_letters_count() -> None:
    rng = random.Random(2)
    for _ in range(300):
        assert "Zürich 42" in noise.noisy(rng, "Weather in Zürich 42?", slips=False)


def test_drill_windows_repeat_what_they_teach() -> None:
    from tiny.drill import drill_window

    ids, learn = drill_window(random.Random(3), 256, 10, 2000)
    assert ids.shape == learn.shape == (257,)
    assert ids.min() >= 10 and ids.max() < 2000
    taught = [i for i in range(257) if learn[i]]
    assert len(taught) > 80
    before = {(int(ids[i - 1]), int(ids[i])) for i in range(1, 257) if not learn[i]}
    for i in taught:
        assert (int(ids[i - 1]), int(ids[i])) in before


# ---- evaluation ----------------------------------------------------------------------------


def test_right_compares_text_and_tool_calls() -> None:
    plain = pair("facts", "q", "The port is 5001.", ("--api-port", "5001"))
    assert right(plain, {"content": "It is 5001"})
    assert not right(plain, {"content": "It is 5002"})
    exact = pair("repeat", "q", "a b", ("a b",), exact=True)
    assert right(exact, {"content": " a b\n"}) and not right(exact, {"content": "a b c"})
    call = {"function": {"name": "f", "arguments": '{"x": 1}'}}
    wanted = Example("tool_call", [user("q"), {"role": "assistant", "tool_calls": [call]}])
    same = {"function": {"name": "f", "arguments": '{ "x":1 }'}}
    other = {"function": {"name": "f", "arguments": '{"x": 2}'}}
    assert right(wanted, {"content": None, "tool_calls": [same]})
    assert not right(wanted, {"content": None, "tool_calls": [other]})
    assert not right(wanted, {"content": "f(1)"})
    assert not right(plain, {"content": "5001", "tool_calls": [same]})


def test_table_counts_shares() -> None:
    def made(good: bool, ended: bool) -> Outcome:
        return Outcome("facts", 0.0, ended, good, "q", "w", "g")

    text = table([made(True, True), made(False, True), made(True, False), made(True, True)], [0.0])
    assert "| project facts | 4 | 75.0 % | 75.0 % |" in text


def test_every_heldout_behaviour_has_a_row() -> None:
    known = {kind for kinds in GROUPS.values() for kind in kinds}
    assert {e.behaviour for e in heldout.build()} <= known


# ---- the committed files -------------------------------------------------------------------


def test_folder_is_under_twelve_megabytes() -> None:
    assert sum(path.stat().st_size for path in FOLDER.iterdir() if path.is_file()) < 12_000_000


def test_tokenizer_round_trips_any_unicode() -> None:
    tokenizer = tokenizers.Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    rng = random.Random(5)
    texts = ["", "  a  b\n\n\tc\r\n", "👩‍👩‍👧‍👦 é e\u0301 \u00a0", "don't I'LL 12345 日本語 \x00\x7f"]
    texts += [lexicon.random_phrase(rng, 12) for _ in range(300)]
    for _ in range(300):
        points = (rng.randrange(1, 0x10FFFF) for _ in range(rng.randint(1, 20)))
        texts.append("".join(chr(p) for p in points if not 0xD800 <= p < 0xE000))
    for text in texts:
        ids = tokenizer.encode(text).ids
        assert tokenizer.decode(ids, skip_special_tokens=False) == text
        assert all(0 <= i < DEFAULT.vocab_size for i in ids)


def test_llama_cpp_cuts_text_like_the_tokenizer_file() -> None:
    xllamacpp = pytest.importorskip("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path = str(FOLDER / "openedai-tiny.gguf")
    params.verbosity, params.warmup = 0, False
    engine = xllamacpp.Server(params)
    tokenizer = tokenizers.Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    rng = random.Random(9)
    bits = ["'s", "'LL", " ", "  ", "\n", "\r\n", "a", "É", "12", "!?", "👋", "あ", "don't", "\u3000"]
    texts = ["".join(rng.choice(bits) for _ in range(rng.randint(1, 20))) for _ in range(120)]
    texts += ["<|im_start|>user\nhi<|im_end|>", "<tool_call>\n{}\n</tool_call>", "👩‍👩‍👧 日本語"]
    for text in texts:
        body = json.dumps({"content": text, "parse_special": True}).encode()
        url = f"{engine.listening_address}/tokenize"
        request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as reply:
            assert json.load(reply)["tokens"] == tokenizer.encode(text).ids, text


def test_special_tokens_are_single() -> None:
    tokenizer = tokenizers.Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    config = json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))
    for mark in [*SPECIAL, "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<tool_call>"]:
        assert len(tokenizer.encode(mark).ids) == 1
    assert tokenizer.token_to_id("<|im_end|>") == config["eos_token_id"]
    assert tokenizer.get_vocab_size() == config["vocab_size"] == DEFAULT.vocab_size


def test_gguf_agrees_with_config_and_tokenizer() -> None:
    (path,) = FOLDER.glob("*.gguf")
    reader = gguf.GGUFReader(str(path))

    def value(key: str) -> Any:
        field = reader.get_field(key)
        assert field is not None, key
        return field.contents()

    config = json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))
    data = json.loads((FOLDER / "tokenizer.json").read_text(encoding="utf-8"))
    assert value("general.architecture") == config["model_type"] == "llama"
    assert value("llama.block_count") == config["num_hidden_layers"]
    assert value("llama.embedding_length") == config["hidden_size"]
    assert value("llama.feed_forward_length") == config["intermediate_size"]
    assert value("llama.attention.head_count") == config["num_attention_heads"]
    assert value("llama.attention.head_count_kv") == config["num_key_value_heads"]
    assert value("llama.context_length") == config["max_position_embeddings"] >= 2048
    assert value("llama.rope.freq_base") == pytest.approx(config["rope_theta"])
    assert value("tokenizer.ggml.pre") == "qwen2"
    assert value("tokenizer.ggml.eos_token_id") == config["eos_token_id"]
    assert value("tokenizer.ggml.add_bos_token") is False
    template = (FOLDER / "chat_template.jinja").read_text(encoding="utf-8")
    assert value("tokenizer.chat_template") == template
    tokens, kinds = value("tokenizer.ggml.tokens"), value("tokenizer.ggml.token_type")
    ids = {**data["model"]["vocab"], **{a["content"]: a["id"] for a in data["added_tokens"]}}
    assert [ids[token] for token in tokens] == list(range(config["vocab_size"]))
    for mark in ["<|im_end|>", "<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"]:
        assert kinds[ids[mark]] == gguf.TokenType.CONTROL
    assert kinds[ids["<tool_call>"]] == gguf.TokenType.USER_DEFINED
    for short, mark in (("pre", "prefix"), ("suf", "suffix"), ("mid", "middle")):
        assert value(f"tokenizer.ggml.fim_{short}_token_id") == ids[f"<|fim_{mark}|>"]


def test_safetensors_header_agrees_with_the_shape() -> None:
    with (FOLDER / "model.safetensors").open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    shapes = [entry["shape"] for name, entry in header.items() if name != "__metadata__"]
    weights = sum(s[0] * (s[1] if len(s) > 1 else 1) for s in shapes)
    assert weights == DEFAULT.parameters()
    assert header["model.embed_tokens.weight"]["shape"] == [DEFAULT.vocab_size, DEFAULT.hidden]


def test_template_is_the_same_in_tokenizer_config() -> None:
    config = json.loads((FOLDER / "tokenizer_config.json").read_text(encoding="utf-8"))
    template = (FOLDER / "chat_template.jinja").read_text(encoding="utf-8")
    assert config["chat_template"] == template


# ---- chat template -------------------------------------------------------------------------


def test_template_renders_a_plain_chat() -> None:
    text = render.render([user("Hi")], add_generation_prompt=True)
    assert text == "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"


def test_template_joins_system_and_developer() -> None:
    messages = [
        {"role": "system", "content": "A"},
        {"role": "developer", "content": [{"type": "text", "text": "B"}]},
        user("Hi"),
    ]
    expected = "<|im_start|>system\nA\nB<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
    assert render.render(messages) == expected


def test_template_keeps_a_later_developer_message_in_place() -> None:
    messages = [user("Hi"), assistant("Ho"), {"role": "developer", "content": "B"}, user("X")]
    assert "Ho<|im_end|>\n<|im_start|>system\nB<|im_end|>\n" in render.render(messages)


@pytest.mark.parametrize("arguments", ['{"city": "Kraków"}', {"city": "Kraków"}])
@pytest.mark.parametrize("content", [None, ""])
def test_template_renders_tools_calls_and_results(arguments: Any, content: Any) -> None:
    call = {"type": "function", "function": {"name": "get_weather", "arguments": arguments}}
    messages = [
        {"role": "developer", "content": "Be brief."},
        user("Weather?"),
        {"role": "assistant", "content": content, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "sunny"},
    ]
    text = render.render(messages, [TOOL], add_generation_prompt=True)
    assert text.startswith("<|im_start|>system\nBe brief.\n\nTools:\n<tools>\n")
    assert json.dumps(TOOL["function"], ensure_ascii=False) in text
    wanted = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Kraków"}}\n</tool_call>'
    assert f"<|im_start|>assistant\n{wanted}<|im_end|>\n" in text
    assert text.endswith("<|im_start|>tool\nsunny<|im_end|>\n<|im_start|>assistant\n")


def test_template_renders_words_before_two_calls() -> None:
    calls = [{"function": {"name": n, "arguments": "{}"}} for n in ("f", "g")]
    text = render.render([user("x"), {"role": "assistant", "content": "Hm.", "tool_calls": calls}])
    first = '<tool_call>\n{"name": "f", "arguments": {}}\n</tool_call>'
    assert f"assistant\nHm.\n{first}\n{first.replace('f', 'g', 1)}" in text


def test_pieces_mark_only_what_the_assistant_writes() -> None:
    messages = [user("Hi"), assistant("Ho"), user("Bye"), assistant("See you")]
    parts = render.pieces(messages)
    assert [text for text, mine in parts if mine] == ["Ho<|im_end|>", "See you<|im_end|>"]
    assert "".join(text for text, _ in parts) == render.render(messages)
