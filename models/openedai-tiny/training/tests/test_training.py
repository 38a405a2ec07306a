"""The corpus, what is learnt of it, and the files of the model that were made by hand (no torch)."""

import hashlib
import json
import urllib.request
from typing import Any

import gguf
import pytest

from tiny import corpus, dataset, evaluate, structured
from tiny.fields import given, unmarked
from tiny.text import Example, Rng, assistant, load, user


@pytest.fixture(scope="module")
def records() -> list[dict[str, Any]]:
    """The first part of the corpus that the model was trained on."""
    return list(corpus.examples(corpus.SEED, 6000))


def test_the_corpus_is_the_one_that_the_model_was_made_with(records: list[dict[str, Any]]) -> None:
    digest = hashlib.sha256("\n".join(map(corpus.dump, records)).encode()).hexdigest()
    assert digest == "8d15762cec17f132e4a93f11bc1de3deb327b5f75876c1b3b77e83ca86dc872a"
    assert {record["behaviour"] for record in records} == set(corpus.MIXTURE)


def test_what_the_evaluation_asks_is_not_trained_on(records: list[dict[str, Any]]) -> None:
    chats = [record for record in records if "messages" in record]
    kept, trained = load("heldout.jsonl"), {key for r in chats for key in corpus.user_keys(r["messages"])}
    assert not {corpus.whole_key(r["messages"]) for r in kept} & {corpus.whole_key(r["messages"]) for r in chats}
    facts = {corpus.user_keys(r["messages"])[-1] for r in kept if r["behaviour"] == "facts"}
    assert len(facts) == 66 and not facts & trained
    forms = [r for r in chats if r["behaviour"] in ("schema", "schema_copy", "schema_call", "any_object", "terse")]
    prompts = {corpus.normal(case["messages"][0]["content"]) for case in load("cases.jsonl")}
    assert len(forms) > 2000 and not prompts & {corpus.user_keys(r["messages"])[-1] for r in forms}
    offered = {tool["function"]["name"] for r in forms for tool in r.get("tools", [])}
    assert offered and not offered & set(structured.KEPT_FUNCTIONS)


def test_what_is_given_is_no_text_and_not_learnt(tmp_path: Any) -> None:
    answer, path, tokenizer = '{"' + given("colour") + '": "red"}', tmp_path / "corpus.jsonl", dataset.tokenizer()
    record = Example("structured", [user("Hi"), assistant(answer)], forced=True).as_record()
    path.write_text(corpus.dump(record) + "\n", encoding="utf-8")
    ((ids, learn),) = dataset.documents(path, tokenizer)
    whole = tokenizer.decode(ids.tolist(), skip_special_tokens=False)
    assert whole == dataset.render([user("Hi"), assistant(unmarked(answer))])
    assert tokenizer.decode(ids[learn].tolist(), skip_special_tokens=False) == '": "red"}<|im_end|>'


def test_drill_windows_repeat_what_they_teach() -> None:
    ids, learn = dataset.drill_window(Rng(3), 256, 10, 2000)
    before = {(int(ids[i - 1]), int(ids[i])) for i in range(1, 257) if not learn[i]}
    taught = [i for i in range(257) if learn[i]]
    assert len(taught) > 80 and all((int(ids[i - 1]), int(ids[i])) in before for i in taught)


def test_the_evaluation_compares_text_and_tool_calls() -> None:
    def row(answer: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {"messages": [user("q"), {"role": "assistant", **answer}], **more}

    call, same, other = ({"function": {"name": "f", "arguments": x}} for x in ('{"x": 1}', '{ "x":1 }', '{"x": 2}'))
    plain, exact, wanted = (
        row({"content": "It is 1."}, expect=["1"]),
        row({"content": "a"}, exact=True),
        row({"tool_calls": [call]}),
    )
    right = evaluate.right
    assert right(plain, {"content": "1"}) and not right(plain, {"content": "1", "tool_calls": [same]})
    assert right(exact, {"content": " a\n"}) and not right(exact, {"content": "a b"})
    assert right(wanted, {"tool_calls": [same]})
    assert not right(wanted, {"tool_calls": [other]}) and not right(wanted, {"content": "f(1)"})


def test_the_template_and_what_is_learnt_of_it() -> None:
    function = {"name": "f", "description": "in a <city> & more", "parameters": {}}
    call = {"type": "function", "function": {"name": "f", "arguments": '{"city": "Kraków"}'}}
    messages = [{"role": "developer", "content": [{"type": "text", "text": "Be brief."}]}, user("Weather?")]
    messages += [{"role": "assistant", "content": None, "tool_calls": [call]}, {"role": "tool", "content": "sunny"}]
    text = dataset.render([*messages, assistant("It is.")], [{"type": "function", "function": function}])
    assert text.startswith("<|im_start|>system\nBe brief.\n\nTools:\n<tools>\n" + json.dumps(function))
    parts = dataset.pieces([*messages, assistant("It is.")])
    made = '<tool_call>\n{"name": "f", "arguments": {"city": "Kraków"}}\n</tool_call><|im_end|>'
    assert [part for part, mine in parts if mine] == [made, "It is.<|im_end|>"]


def test_the_files_agree_and_llama_cpp_cuts_text_alike() -> None:
    config, tokenizer, rng = dataset.config(), dataset.tokenizer(), Rng(9)
    path = dataset.MODEL_DIR / "openedai-tiny.gguf"
    values = {name: field.contents() for name, field in gguf.GGUFReader(str(path)).fields.items()}
    ids = tokenizer.get_vocab()
    assert len(ids) == config.vocab_size and ids["<|im_end|>"] == config.eos_token_id
    assert values["tokenizer.ggml.tokens"] == sorted(ids, key=ids.__getitem__)
    assert values["llama.context_length"] == config.max_position_embeddings
    template = (dataset.MODEL_DIR / "chat_template.jinja").read_text(encoding="utf-8")
    hf = json.loads((dataset.MODEL_DIR / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert values["tokenizer.chat_template"] == hf["chat_template"] == template
    xllamacpp = pytest.importorskip("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path, params.verbosity, params.warmup = str(path), 0, False
    engine = xllamacpp.Server(params)
    bits = ["'s", "'LL", " ", "  ", "\n", "\r\n", "a", "É", "12", "!?", "👋", "あ", "don't", "\u3000", "\x00"]
    texts = ["".join(rng.choice(bits) for _ in range(rng.randint(1, 20))) for _ in range(120)]
    for each in [*texts, "<|im_start|>user\nhi<|im_end|>", "<tool_call>\n{}\n</tool_call>", "👩‍👩‍👧 日本語"]:
        assert tokenizer.decode(tokenizer.encode(each).ids, skip_special_tokens=False) == each
        body = json.dumps({"content": each, "parse_special": True}).encode()
        request = urllib.request.Request(
            engine.listening_address + "/tokenize", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as reply:
            assert json.load(reply)["tokens"] == tokenizer.encode(each).ids, each
