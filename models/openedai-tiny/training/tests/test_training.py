"""The generators of the corpus, and the files of the model that were made by hand (no torch)."""

from __future__ import annotations

import hashlib
import json
import urllib.request
from typing import Any

import gguf
import pytest

from tiny import cases, corpus, dataset, render, text
from tiny.evaluate import right
from tiny.fields import given, unmarked
from tiny.text import Example, Rng, assistant, pair, user

TOOL = {"type": "function", "function": {"name": "f", "description": "in a <city> & more", "parameters": {}}}


@pytest.fixture(scope="module")
def records() -> list[dict[str, Any]]:
    """The first part of the corpus that the model was trained on."""
    return list(corpus.examples(corpus.SEED, 6000))


def test_the_corpus_is_the_one_that_the_card_speaks_of(records: list[dict[str, Any]]) -> None:
    digest = hashlib.sha256("\n".join(map(corpus.dump, records)).encode()).hexdigest()
    assert digest == "8d15762cec17f132e4a93f11bc1de3deb327b5f75876c1b3b77e83ca86dc872a"
    assert {record["behaviour"] for record in records} == set(corpus.MIXTURE)


def test_heldout_prompts_are_not_trained_on(records: list[dict[str, Any]]) -> None:
    kept = corpus.heldout()
    chats = [record["messages"] for record in records if "messages" in record]
    assert not {corpus.whole_key(e.messages) for e in kept} & set(map(corpus.whole_key, chats))
    facts = {corpus.user_keys(e.messages)[-1] for e in kept if e.behaviour == "facts"}
    assert len(facts) == 66 and not facts & {key for chat in chats for key in corpus.user_keys(chat)}


def test_structured_cases_are_not_trained_on(records: list[dict[str, Any]]) -> None:
    prompts = {corpus.normal(case.prompt) for case in cases.cases()}
    found = [r for r in records if r["behaviour"] in ("schema", "schema_copy", "schema_call", "any_object", "terse")]
    assert len(prompts) > 100 and len(found) > 2000
    for record in found:
        assert corpus.user_keys(record["messages"])[-1] not in prompts
        assert not cases.functions() & {tool["function"]["name"] for tool in record.get("tools", [])}


def test_what_is_given_is_no_text_and_not_learnt(tmp_path: Any) -> None:
    answer = '{"' + given("colour") + '": "red"}'
    path = tmp_path / "corpus.jsonl"
    record = Example("structured", [user("Hi"), assistant(answer)], forced=True).as_record()
    path.write_text(corpus.dump(record) + "\n", encoding="utf-8")
    tokenizer = render.tokenizer()
    ((ids, learn),) = dataset.documents(path, tokenizer)
    whole = tokenizer.decode(ids.tolist(), skip_special_tokens=False)
    assert whole == render.render([user("Hi"), assistant(unmarked(answer))])
    assert tokenizer.decode(ids[learn].tolist(), skip_special_tokens=False) == '": "red"}<|im_end|>'


def test_drill_windows_repeat_what_they_teach() -> None:
    ids, learn = dataset.drill_window(Rng(3), 256, 10, 2000)
    before = {(int(ids[i - 1]), int(ids[i])) for i in range(1, 257) if not learn[i]}
    taught = [i for i in range(257) if learn[i]]
    assert len(taught) > 80 and all((int(ids[i - 1]), int(ids[i])) in before for i in taught)


def test_recipes() -> None:
    rng = Rng(1)
    found = {rng.expand("(a|b(c|d)|)<x>", {"x": "(1|2)"}) for _ in range(200)}
    assert found == {"a(1|2)", "bc(1|2)", "bd(1|2)", "(1|2)"}
    with pytest.raises(ValueError, match="not closed"):
        rng.expand("(a|b")
    assert all("Zürich 42" in rng.noisy("Weather in Zürich 42?", slips=False) for _ in range(300))
    assert text.words("a b") == ["a", "b"] and text.words("a b|c") == ["a b", "c"]


def test_right_compares_text_and_tool_calls() -> None:
    plain, exact = pair("facts", "q", "It is 5001.", ("5001",)), pair("repeat", "q", "a b", exact=True)
    call, same, other = ({"function": {"name": "f", "arguments": x}} for x in ('{"x": 1}', '{ "x":1 }', '{"x": 2}'))
    wanted = Example("tool_call", [user("q"), {"role": "assistant", "tool_calls": [call]}])
    assert right(plain, {"content": "5001"}) and not right(plain, {"content": "5001", "tool_calls": [same]})
    assert right(exact, {"content": " a b\n"}) and not right(exact, {"content": "a b c"})
    assert right(wanted, {"tool_calls": [same]})
    assert not right(wanted, {"tool_calls": [other]}) and not right(wanted, {"content": "f(1)"})


def test_the_template() -> None:
    call = {"type": "function", "function": {"name": "f", "arguments": '{"city": "Kraków"}'}}
    messages = [
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        user("Weather?"),
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "sunny"},
    ]
    text = render.render(messages, [TOOL], add_generation_prompt=True)
    assert text.startswith("<|im_start|>system\nBe brief.\n\nTools:\n<tools>\n" + json.dumps(TOOL["function"]))
    made = '<tool_call>\n{"name": "f", "arguments": {"city": "Kraków"}}\n</tool_call><|im_end|>\n'
    assert f"<|im_start|>assistant\n{made}" in text
    assert text.endswith("<|im_start|>tool\nsunny<|im_end|>\n<|im_start|>assistant\n")
    parts = render.pieces([user("Hi"), assistant("Ho"), user("Bye"), assistant("See you")])
    assert [part for part, mine in parts if mine] == ["Ho<|im_end|>", "See you<|im_end|>"]


def test_the_files_agree() -> None:
    config, tokenizer = render.config(), render.tokenizer()
    reader = gguf.GGUFReader(str(render.MODEL_DIR / "openedai-tiny.gguf"))
    values = {name: field.contents() for name, field in reader.fields.items()}
    ids = tokenizer.get_vocab()
    assert len(ids) == config.vocab_size and ids["<|im_end|>"] == config.eos_token_id
    assert values["tokenizer.ggml.tokens"] == sorted(ids, key=ids.__getitem__)
    assert values["tokenizer.ggml.eos_token_id"] == config.eos_token_id
    assert values["llama.block_count"] == config.num_hidden_layers
    assert values["llama.context_length"] == config.max_position_embeddings
    assert values["llama.rope.freq_base"] == pytest.approx(config.rope_theta)
    template = (render.MODEL_DIR / "chat_template.jinja").read_text(encoding="utf-8")
    hf = json.loads((render.MODEL_DIR / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert values["tokenizer.chat_template"] == hf["chat_template"] == template


def test_llama_cpp_cuts_text_like_the_tokenizer_file() -> None:
    xllamacpp = pytest.importorskip("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path = str(render.MODEL_DIR / "openedai-tiny.gguf")
    params.verbosity, params.warmup = 0, False
    engine, tokenizer, rng = xllamacpp.Server(params), render.tokenizer(), Rng(9)
    bits = ["'s", "'LL", " ", "  ", "\n", "\r\n", "a", "É", "12", "!?", "👋", "あ", "don't", "\u3000", "\x00"]
    texts = ["".join(rng.choice(bits) for _ in range(rng.randint(1, 20))) for _ in range(120)]
    for each in [*texts, "<|im_start|>user\nhi<|im_end|>", "<tool_call>\n{}\n</tool_call>", "👩‍👩‍👧 日本語"]:
        ids = tokenizer.encode(each).ids
        assert tokenizer.decode(ids, skip_special_tokens=False) == each
        body = json.dumps({"content": each, "parse_special": True}).encode()
        request = urllib.request.Request(
            f"{engine.listening_address}/tokenize", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as reply:
            assert json.load(reply)["tokens"] == ids, each
