"""A webui's model through its own modules: who may stop whom, models that come and go, exact answers."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from extensions.openai.engines.chat_template import ChatTemplate
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.engines.protocol import (
    ChatMode,
    ChatRequest,
    GenerateRequest,
    Message,
    Piece,
    Pieces,
    Tool,
    ToolCall,
)
from extensions.openai.engines.tokens.gguf import read_header
from extensions.openai.engines.tokens.vocabulary import read_vocabulary, vocabulary_of
from extensions.openai.engines.webui import findings, ui_state
from extensions.openai.engines.webui.engine import WebuiEngine
from extensions.openai.engines.webui.ui_state import FALLBACK
from extensions.openai.errors import EngineFailed, InvalidRequest, ModelChanged, ModelLoading
from extensions.openai.generation.hooks.extension_hooks import Hooks
from tests.support.api import Api, as_messages
from tests.support.process import ROOT
from tests.webui_host import AGES, MiniHost, install

TINY = ROOT / "models" / "openedai-tiny"
PATIENCE = 40.0  # seconds, on a busy machine


@pytest.fixture(params=AGES)
def host(request: pytest.FixtureRequest) -> Iterator[MiniHost]:
    with install(request.param, TINY) as host:
        host.load()
        yield host


@pytest.fixture
def modern() -> Iterator[MiniHost]:
    with install("2026", TINY) as host:
        host.load()
        yield host


def read(pieces: Pieces) -> list[Piece]:
    return [piece for piece in pieces if piece is not None]


def text_of(pieces: Pieces) -> str:
    return "".join(piece.text for piece in read(pieces))


def greedy(prompt: Any = "Hello", tokens: int | None = 8, **more: Any) -> GenerateRequest:
    return GenerateRequest(prompt, tokens, {"do_sample": False, "temperature": 0.0}, 7, **more)


class InTheUI:
    """A user generates in the host's own UI, and reads the rest on `join`."""

    def __init__(self, host: MiniHost) -> None:
        self.texts: list[str] = []
        self._begun, self._go = threading.Event(), threading.Event()
        state = {**host.shared.settings, "max_new_tokens": 20, "ban_eos_token": True}
        state |= {"do_sample": False, "temperature": 0.0}
        generate_reply = vars(host.modules["text_generation"])["generate_reply"]
        self._replies = generate_reply("Hello", {**FALLBACK, **state}, is_chat=True)
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        assert self._begun.wait(PATIENCE)

    def _read(self) -> None:
        for text in self._replies:
            self.texts.append(text)
            self._begun.set()
            self._go.wait(PATIENCE)

    def join(self) -> str:
        self._go.set()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        return self.texts[-1]


def test_without_a_model_it_is_loading_and_a_new_one_is_seen_at_once(host: MiniHost) -> None:
    engine = WebuiEngine()
    assert engine.info.model == "tiny"
    host.load("other")
    assert engine.info.model == "other"
    before = engine.info.fingerprint
    host.unload()
    for ask in (
        lambda: engine.info,
        lambda: engine.tokenize("a"),
        lambda: read(engine.generate(greedy())),
    ):
        with pytest.raises(ModelLoading):
            ask()
    host.load("third")
    assert engine.info.model == "third" and engine.info.fingerprint != before
    assert text_of(engine.generate(greedy()))


def test_a_request_waits_for_the_page_and_leaves_it_alone(host: MiniHost) -> None:
    ui = InTheUI(host)
    pieces = WebuiEngine().generate(greedy())
    assert next(pieces) is None
    pieces.close()
    whole = ui.join()
    again = InTheUI(host).join()
    assert whole == again and len(whole) > 20
    assert not host.shared.stop_everything
    assert len(read(WebuiEngine().generate(greedy(tokens=4)))) == 4


def test_the_pages_stop_button_does_not_stop_the_api(host: MiniHost) -> None:
    engine = WebuiEngine()
    request = GenerateRequest("Hello", 60, {"do_sample": False, "ban_eos_token": True}, 7)
    whole = text_of(engine.generate(request))
    pieces = engine.generate(request)
    first = next(piece for piece in pieces if piece is not None)
    host.shared.stop_everything = True
    rest = read(pieces)
    assert first.text + "".join(piece.text for piece in rest) == whole
    assert rest[-1].finish == "length"


def test_closing_gives_the_generator_back_to_the_page(host: MiniHost) -> None:
    pieces = WebuiEngine().generate(
        GenerateRequest("Hello", 500, {"do_sample": False, "ban_eos_token": True}, 7)
    )
    next(piece for piece in pieces if piece is not None)
    pieces.close()
    assert host.shared.generation_lock.acquire(timeout=PATIENCE)
    host.shared.generation_lock.release()
    assert not host.shared.stop_everything


def test_a_model_that_is_switched_while_a_request_waits_is_one_clear_error(host: MiniHost) -> None:
    ui = InTheUI(host)
    engine = WebuiEngine()
    pieces = engine.generate(greedy())
    assert next(pieces) is None
    host.load("other")
    threading.Timer(0.1, ui.join).start()
    with pytest.raises(ModelChanged, match="changed or unloaded"):
        read(pieces)
    assert text_of(engine.generate(greedy()))


def test_an_answer_under_way_ends_well_on_the_model_it_began_with(host: MiniHost) -> None:
    engine = WebuiEngine()
    request = GenerateRequest("Hello", 40, {"do_sample": False, "ban_eos_token": True}, 7)
    whole = text_of(engine.generate(request))
    pieces = engine.generate(request)
    first = next(piece for piece in pieces if piece is not None)
    host.unload()
    assert first.text + text_of(pieces) == whole


def test_a_model_that_fails_is_one_clear_error(host: MiniHost) -> None:
    def fail(*args: Any, **options: Any) -> Any:
        raise MemoryError("the prompt was: secret")

    host.shared.model.generate = fail
    with pytest.raises(EngineFailed) as caught:
        read(WebuiEngine().generate(greedy()))
    assert "secret" not in str(caught.value)
    host.load()
    assert text_of(WebuiEngine().generate(greedy()))


def test_missing_settings_are_filled_in(host: MiniHost) -> None:
    host.shared.settings = {"truncation_length": 256}
    assert len(read(WebuiEngine().generate(greedy(tokens=4)))) == 4


@pytest.mark.parametrize(
    "loader", ["Transformers", "llama.cpp", "llama-cpp-python", "TensorRT-LLM", "ExLlamav3"]
)
def test_a_model_that_is_unloaded_is_held_by_nobody(modern: MiniHost, loader: str) -> None:
    """Its memory is wanted for the next one."""
    modern.load(loader=loader)
    engine, model = WebuiEngine(), weakref.ref(modern.shared.model)
    grammar = "start: /[a-z]+/" if "grammar" in engine.info.capabilities else None
    assert text_of(engine.generate(greedy(grammar=grammar)))
    modern.unload()
    deadline = time.monotonic() + PATIENCE  # threads have to end
    while model() is not None and time.monotonic() < deadline:
        if loader != "llama.cpp":  # there a host does not collect what refers to itself
            gc.collect()
        time.sleep(0.01)
    assert model() is None


def test_seeds_repeat_and_differ(host: MiniHost) -> None:
    def answer(seed: int) -> str:
        sampling = {"temperature": 1.5, "do_sample": True, "ban_eos_token": True}
        return text_of(WebuiEngine().generate(GenerateRequest("Hello", 12, sampling, seed)))

    assert answer(5) == answer(5)
    assert len({answer(seed) for seed in range(4)}) > 1


def test_log_probabilities_are_those_of_the_sampled_tokens(host: MiniHost) -> None:
    """A banned favourite: the sampled token is another one, and both keep their own probability."""
    engine = WebuiEngine()
    plain = read(engine.generate(greedy(tokens=1, logprobs=3)))[0].logprobs[0]
    favourite = engine.tokenize(plain.bytes.decode())[0]
    request = greedy(tokens=1, logprobs=3, logit_bias=((favourite, -100.0),))
    other = read(engine.generate(request))[0].logprobs[0]
    assert plain.top[0].bytes == plain.bytes and other.bytes != plain.bytes
    assert other.top == plain.top
    assert (
        other.logprob == pytest.approx(plain.top[1].logprob) and other.bytes == plain.top[1].bytes
    )
    tokens = np.array([engine.tokenize("Hello")])
    logits = host.shared.model(tokens).logits[0, -1].astype(np.float64)
    expected = logits[favourite] - np.log(np.exp(logits).sum())
    assert plain.logprob == pytest.approx(expected, abs=1e-4)


def test_a_model_around_a_model_is_taken_part_in_once(modern: MiniHost) -> None:
    """A LoRA that is added behind the first request: its model calls the one that we know already."""
    engine = WebuiEngine()
    request = greedy(tokens=4, logprobs=3, logit_bias=((engine.tokenize("a")[0], 100.0),))
    before = [token for piece in read(engine.generate(request)) for token in piece.logprobs]
    assert b"".join(token.bytes for token in before) == b"aaaa"

    class Adapted:
        def __getattr__(self, name: str) -> Any:
            return getattr(inner, name)

        def generate(self, **options: Any) -> Any:
            return inner.generate(**options)

    inner, modern.shared.model = modern.shared.model, Adapted()
    after = [token for piece in read(engine.generate(request)) for token in piece.logprobs]
    assert after == before


def test_the_answer_is_scored_as_it_was_sampled(modern: MiniHost) -> None:
    engine = WebuiEngine()
    answer = [t for p in read(engine.generate(greedy(tokens=6, logprobs=0))) for t in p.logprobs]
    prompt = engine.tokenize("Hello")
    as_messages = engine.tokenize("Hello" + b"".join(t.bytes for t in answer).decode())
    if as_messages[: len(prompt)] != prompt or len(as_messages) != len(prompt) + len(answer):
        pytest.skip("these tokens are not those that the text is split into")
    scores = [score for score in engine.score(as_messages, 0) if score is not None]
    for token, score in zip(answer, scores[len(prompt) :], strict=True):
        assert token.logprob == pytest.approx(score.logprob, abs=1e-3)


def test_what_extensions_do_to_logits_is_done(modern: MiniHost) -> None:
    class Extension:
        @staticmethod
        def logits_processor_modifier(processors: list[Any], input_ids: Any) -> None:
            def only(tokens: Any, scores: Any) -> Any:
                scores = np.full_like(scores, -np.inf)
                scores[0, letter] = 0
                return scores

            processors.append(only)

    (letter,) = WebuiEngine().tokenize("a")
    modern.extend(loud=Extension)
    assert text_of(WebuiEngine().generate(greedy(tokens=4))) == "aaaa"


def test_what_an_extension_generates_is_the_answer_when_it_is_whole(modern: MiniHost) -> None:
    class Extension:
        @staticmethod
        def custom_generate_reply(
            question: str, original: str, state: Any, stops: Any, is_chat: bool = False
        ) -> Iterator[str]:
            yield "Let me see..."
            yield f"You said: {question}"

    modern.extend(own=Extension)
    engine = WebuiEngine()
    pieces = read(engine.generate(greedy("Hello there", 50)))
    assert "".join(piece.text for piece in pieces) == "You said: Hello there"
    assert sum(piece.tokens for piece in pieces) == len(engine.tokenize("You said: Hello there"))


def test_calls_in_the_models_own_format_are_calls(modern: MiniHost) -> None:
    class Extension:
        @staticmethod
        def custom_generate_reply(*args: Any, **options: Any) -> Iterator[str]:
            yield 'I look it up. [TOOL_CALLS]capital[ARGS]{"of": "France"}'

    modern.extend(own=Extension)
    api = Api(WebuiEngine())
    function = {"name": "capital", "parameters": {"type": "object", "properties": {"of": {}}}}
    body = {"tools": [{"type": "function", "function": function}], "messages": as_messages("Hello")}
    for answer in (api.chat(**body), api.folded("chat/completions", **body)):
        (choice,) = answer["choices"]
        assert choice["finish_reason"] == "tool_calls"
        assert choice["message"]["content"] == "I look it up."
        (call,) = choice["message"]["tool_calls"]
        assert call["function"] == {"name": "capital", "arguments": '{"of": "France"}'}


def test_tools_are_described_where_the_template_knows_none(modern: MiniHost) -> None:
    modern.shared.tokenizer.chat_template = (
        "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}[assistant]"
    )
    engine = WebuiEngine()
    assert "tools" in engine.info.capabilities
    prompt = engine.render(ChatRequest(CONVERSATION, tools=TOOLS))
    assert prompt.startswith("[system]Be brief.\n\n") and '"name": "add"' in prompt
    assert "[assistant]<tool_call>\n" in prompt and "[user]<tool_response>\n3\n" in prompt


class Loud:
    """An extension as users write it for the UI."""

    states: tuple[Any, ...] = ()

    @staticmethod
    def state_modifier(state: dict[str, Any]) -> dict[str, Any]:
        Loud.states += (dict(state),)
        state["max_new_tokens"] = 6
        state["temperature"], state["do_sample"] = 0.0, False
        return state

    @staticmethod
    def input_modifier(string: str, state: dict[str, Any], is_chat: bool = False) -> str:
        return string.replace("secret word", "Hello! What can you do?")

    @staticmethod
    def output_modifier(string: str, state: dict[str, Any], is_chat: bool = False) -> str:
        return f"[{string}]"


def with_hooks(api: Api) -> Api:
    hooks = Hooks(ui_state.extensions, ui_state.ui_settings, findings.applied_hooks)
    api.app.extensions["openai"].hooks = hooks
    return api


def test_extensions_of_the_page_act_on_answers(host: MiniHost) -> None:
    Loud.states = ()
    plain = Api(WebuiEngine())
    expected = plain.chat("Hello! What can you do?", temperature=0, max_tokens=6)
    host.extend(loud=Loud)
    api = with_hooks(Api(WebuiEngine()))
    answer = api.chat("secret word", temperature=0, max_tokens=6)
    as_messages = answer["choices"][0]["message"]["content"]
    assert as_messages == f"[{expected['choices'][0]['message']['content']}]"
    assert answer["usage"] == expected["usage"]
    # Once for each request, also where the host's generator calls it itself.
    assert len(Loud.states) == 1
    assert Loud.states[0]["name1"] == "You" and "max_new_tokens" in Loud.states[0]
    assert api.folded("chat/completions", messages=[{"role": "user", "content": "secret word"}],
                      temperature=0, max_tokens=6)["choices"] == answer["choices"]  # fmt: skip


def test_what_an_extension_notes_in_the_state_is_there_while_it_generates(modern: MiniHost) -> None:
    class Noting:
        @staticmethod
        def state_modifier(state: dict[str, Any]) -> dict[str, Any]:
            return {**state, "note": "noted"}

        @staticmethod
        def custom_generate_reply(
            question: str, original: str, state: dict[str, Any], stops: Any, is_chat: bool = False
        ) -> Iterator[str]:
            yield f"{state['note']} {state['name1']}"

    modern.extend(noting=Noting)
    answer = with_hooks(Api(WebuiEngine())).chat("Hello")
    assert answer["choices"][0]["message"]["content"] == "noted You"


def test_a_loader_that_hands_over_text_takes_biases(modern: MiniHost) -> None:
    modern.load(loader="TensorRT-LLM")
    engine = WebuiEngine()
    (letter,) = engine.tokenize("a")
    assert text_of(engine.generate(greedy(tokens=3, logit_bias=((letter, 100.0),)))) == "aaa"
    request = greedy(tokens=3, logit_bias=((letter, -100.0),))
    assert "a" not in text_of(engine.generate(request)).split()


def test_tokens_of_text_are_counted_also_where_a_stop_string_ends_it(modern: MiniHost) -> None:
    modern.load(loader="TensorRT-LLM")
    engine = WebuiEngine()
    assert engine.info.parallel == 8
    answer = Api(engine).chat(
        "Hello! What can you do?", temperature=0, max_tokens=30, stop="questions"
    )
    as_messages = answer["choices"][0]["message"]["content"]
    least = len(engine.tokenize(as_messages))
    assert least <= answer["usage"]["completion_tokens"] <= least + 4
    assert answer["choices"][0]["finish_reason"] == "stop"


def test_a_loader_that_takes_text_back_is_one_clear_error(modern: MiniHost) -> None:
    modern.load(loader="TensorRT-LLM")
    as_messages = ("One", "One two", "Ten")
    modern.shared.model.generate_with_streaming = lambda prompt, state: iter(as_messages)
    with pytest.raises(EngineFailed, match=r"changed text .* operator can load"):
        read(WebuiEngine().generate(greedy()))


def test_a_loader_that_cannot_bias_says_so(modern: MiniHost) -> None:
    class Other:
        @staticmethod
        def generate_with_streaming(prompt: str, state: Any) -> Iterator[str]:
            yield "x"

    modern.load(loader="TensorRT-LLM")
    modern.shared.model = Other()
    with pytest.raises(InvalidRequest) as caught:
        WebuiEngine().generate(greedy((5,), logit_bias=((1, 1.0),)))
    assert caught.value.param == "logit_bias"


def test_extensions_may_make_prompts_with_the_hosts_own_function(host: MiniHost) -> None:
    """What it reads of the state is there, also where no settings say it."""
    prompts: list[str] = []

    class Retrieving:
        @staticmethod
        def custom_generate_chat_prompt(user_input: str, state: Any, **options: Any) -> str:
            make = vars(host.modules["chat"])["generate_chat_prompt"]
            prompts.append(make(f"{user_input} (noted)", state, **options))
            return prompts[-1]

    host.shared.settings = {"truncation_length": 256}
    host.extend(retrieving=Retrieving)
    api = with_hooks(Api(WebuiEngine()))
    answer = api.chat("Hello", max_tokens=2, temperature=0)
    assert prompts == ["\nYou: Hello (noted)\nAI:"]
    assert answer["usage"]["prompt_tokens"] == len(WebuiEngine().tokenize(prompts[0]))


TALK = (
    Message("system", "It rains."),
    Message("user", "one"),
    Message("assistant", "two"),
    Message("user", "three"),
)


@pytest.mark.parametrize(
    ("chat_mode", "prompt"),
    [
        (ChatMode("chat"), "A talk.\nIt rains.\nYou: one\nAI: two\nYou: three\nAI:"),
        (
            ChatMode("chat", "Jack"),
            "Jack is a pirate.\nIt rains.\nYou: one\nJack: two\nYou: three\nJack:",
        ),
    ],
)
def test_a_prompt_is_made_as_in_the_ui(host: MiniHost, chat_mode: ChatMode, prompt: str) -> None:
    engine = WebuiEngine()
    request = ChatRequest(TALK, chat_mode=chat_mode)
    assert engine.render(request) == prompt
    assert "\nYou:" in engine.turn_ends(request)


class Lore:
    """An extension that puts something into the text that the UI reads in a mode, as a lorebook does."""

    name = ""

    @staticmethod
    def chat_input_modifier(text: str, visible: str, state: dict[str, Any]) -> tuple[str, str]:
        name = Lore.name or ("custom_system_message" if state["mode"] == "instruct" else "context")
        state[name] += " Lore."
        return text, visible

    @staticmethod
    def custom_generate_chat_prompt(text: str, state: dict[str, Any], **options: Any) -> None:
        return None


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"mode": "chat"}, "A talk.\nIt rains. Lore.\nYou: Hi\nAI:"),
        ({"character": "Jack"}, "Jack is a pirate.\nIt rains. Lore.\nYou: Hi\nJack:"),
        (
            {"character": "Jack", "user_name": "Ann", "bot_name": "Joe", "context": "A sea."},
            "A sea.\nIt rains. Lore.\nAnn: Hi\nJoe:",
        ),
        (
            {"character": "Jack", "name1": "Ann"},
            "Jack is a pirate.\nIt rains. Lore.\nAnn: Hi\nJack:",
        ),
        (
            {"mode": "chat-instruct", "character": "Jack"},
            "System: It rains.\nJack is a pirate. Lore.\nYou: Hi\nJack:",
        ),
    ],
)
@pytest.mark.parametrize("own_prompt", [False, True])
def test_hooks_act_on_the_context_in_the_modes_of_the_page(
    modern: MiniHost,
    monkeypatch: pytest.MonkeyPatch,
    fields: dict[str, str],
    expected: str,
    own_prompt: bool,
) -> None:
    """Also where an extension makes the prompt, by the host's function, of the state that it is given."""
    chat, prompts = vars(modern.modules["chat"]), list[str]()
    make = chat["generate_chat_prompt"]

    def noting(*args: Any, **options: Any) -> str:
        prompts.append(make(*args, **options))
        return prompts[-1]

    monkeypatch.setitem(chat, "generate_chat_prompt", noting)
    if own_prompt:
        monkeypatch.setattr(Lore, "custom_generate_chat_prompt", noting)
    modern.extend(lore=Lore)
    messages = [{"role": "system", "content": "It rains."}, {"role": "user", "content": "Hi"}]
    with_hooks(Api(WebuiEngine())).chat(messages, max_tokens=2, **fields)
    assert set(prompts) == {expected}


def test_a_hook_that_changes_the_system_message_acts_in_the_mode_chat(
    modern: MiniHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Lore, "name", "custom_system_message")
    modern.extend(lore=Lore)
    chat, prompts = vars(modern.modules["chat"]), list[str]()
    make = chat["generate_chat_prompt"]

    def noting(*args: Any, **options: Any) -> str:
        prompts.append(make(*args, **options))
        return prompts[-1]

    monkeypatch.setitem(chat, "generate_chat_prompt", noting)
    messages = [{"role": "system", "content": "It rains."}, {"role": "user", "content": "Hi"}]
    with_hooks(Api(WebuiEngine())).chat(messages, mode="chat", max_tokens=2)
    assert set(prompts) == {"A talk.\nIt rains. Lore.\nYou: Hi\nAI:"}


def test_hooks_see_mode_character_and_names_of_a_request(modern: MiniHost) -> None:
    class Seeing:
        states: tuple[dict[str, Any], ...] = ()

        @staticmethod
        def state_modifier(state: dict[str, Any]) -> dict[str, Any]:
            Seeing.states += (dict(state),)
            return state

        @staticmethod
        def custom_generate_reply(
            question: str, original: str, state: dict[str, Any], *args: Any, **options: Any
        ) -> Iterator[str]:
            Seeing.states += (dict(state),)
            yield "said"

    modern.shared.settings["mode"] = "chat-instruct"
    modern.extend(seeing=Seeing)
    api = with_hooks(Api(WebuiEngine()))
    names = ("mode", "character", "name1", "name2", "context", "user_bio")
    api.chat("Hi", mode="chat", character="Jack", user_name="Ann", user_bio="A cook.")
    api.chat("Hi")
    api.complete("Hi")
    reported = [tuple(state[name] for name in names) for state in Seeing.states]
    jack = ("chat", "Jack", "Ann", "Jack", "Jack is a pirate.", "A cook.")
    assert reported[:2] == [jack, jack]
    assert [each[0] for each in reported[2:]] == ["instruct"] * 4


def test_a_hook_may_choose_the_mode(modern: MiniHost) -> None:
    class Choosing:
        @staticmethod
        def state_modifier(state: dict[str, Any]) -> dict[str, Any]:
            return {**state, "mode": "chat", "name1": "Ann"}

    modern.extend(choosing=Choosing)
    api = with_hooks(Api(WebuiEngine()))
    plain = WebuiEngine().tokenize("A talk.\nAnn: Hi\nAI:")
    assert api.chat("Hi", max_tokens=1)["usage"]["prompt_tokens"] == len(plain)


def test_templates_of_the_host_are_found_by_name(
    modern: MiniHost, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "instruction-templates"
    folder.mkdir()
    (folder / "Plain.yaml").write_text(
        "instruction_template: |-\n  {% for m in messages %}{{ m.role }}={{ m.content }};{% endfor %}\n"
    )
    (folder / "Old.yaml").write_text(
        'user: "USER:"\nbot: "BOT:"\ncontext: "A chat.\\n"\n'
        'turn_template: "<|user|> <|user-message|>\\n<|bot|> <|bot-message|></s>\\n"\n'
    )
    engine = WebuiEngine()

    def rendered(name: str, messages: tuple[Message, ...]) -> str:
        return engine.render(ChatRequest(messages, chat_mode=ChatMode(instruction_template=name)))

    assert rendered("Plain", TALK) == "system=It rains.;user=one;assistant=two;user=three;"
    assert rendered("Old", TALK[1:]) == "A chat.\nUSER: one\nBOT: two</s>\nUSER: three\nBOT:"
    for name in ("Nowhere", "../Plain"):
        with pytest.raises(InvalidRequest) as caught:
            rendered(name, TALK)
        assert caught.value.param == "instruction_template"


def test_what_the_page_lacks_is_refused_by_name(modern: MiniHost) -> None:
    api = Api(WebuiEngine())
    assert api.refused("chat/completions", character="Nobody")["param"] == "character"
    refused = api.refused("chat/completions", instruction_template="No")
    assert refused["param"] == "instruction_template"
    answer = api.chat("Hello", mode="chat", character="Jack", max_tokens=4, temperature=0)
    assert 0 < answer["usage"]["completion_tokens"] <= 4
    other = Api(EchoEngine())
    assert other.refused("chat/completions", mode="chat")["param"] == "mode"
    assert other.refused("chat/completions", character="Jack")["param"] == "character"
    assert other.chat("Hello", mode="instruct")["choices"][0]["message"]["content"] == "Hello"


CONVERSATION = (
    Message("system", "Be brief."),
    Message("user", "Grüße & <b>Küsse</b>"),
    Message("assistant", None, tool_calls=(ToolCall("call_1", "add", '{"a": 1, "b": [2]}'),)),
    Message("tool", "3", tool_call_id="call_1"),
    Message("assistant", "It is 3."),
    Message("user", "Thanks!"),
)
TOOLS = (Tool("add", "Adds.", {"type": "object", "properties": {"a": {"type": "number"}}}),)


@pytest.mark.parametrize("tools", [(), TOOLS])
@pytest.mark.parametrize("messages", [CONVERSATION[:2], CONVERSATION])
def test_prompts_are_those_that_llama_cpp_makes(
    host: MiniHost, tiny: Api, messages: tuple[Message, ...], tools: tuple[Tool, ...]
) -> None:
    request = ChatRequest(messages, tools=tools)
    assert isinstance(tiny.engine, LlamaCppEngine)
    assert WebuiEngine().render(request) == tiny.engine.render(request)


@pytest.mark.parametrize("loader", ["Transformers", "llama.cpp"])
@pytest.mark.parametrize("logprobs", [None, 1])
def test_marks_are_told_though_they_say_nothing(
    modern: MiniHost, loader: str, logprobs: int | None
) -> None:
    """The formats of calls are made of tokens that are no text."""
    modern.load(loader=loader)
    engine = WebuiEngine()
    special = read_vocabulary(read_header(next(TINY.glob("*.gguf")))).special["fim_pre"]
    forced = ((special, 100.0),)

    def as_messages(*marks: str) -> str:
        request = greedy(tokens=2, logit_bias=forced, marks=marks, logprobs=logprobs)
        return text_of(engine.generate(request))

    assert as_messages() == as_messages("<tool_call>", "<|fim_suffix|>") == ""
    assert as_messages("<|fim_prefix|>") == "<|fim_prefix|>" * 2


def test_the_vocabulary_is_that_of_the_gguf_file(modern: MiniHost) -> None:
    file = read_vocabulary(read_header(next(TINY.glob("*.gguf"))))
    read = vocabulary_of(modern.shared.tokenizer)
    assert read.tokens == file.tokens and read.names == file.names and read.special == file.special


@pytest.mark.parametrize(
    ("source", "ends"),
    [
        ("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}",
         ("<|im_end|>",)),
        ("{% for m in messages %}### {{ m.role }}:\n{{ m.content }}\n\n{% endfor %}", ("### user:",)),
        ("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", ("\nuser:",)),
        ("{{ raise_exception('no') }}", ()),
    ],
)  # fmt: skip
def test_a_template_tells_what_ends_a_turn(source: str, ends: tuple[str, ...]) -> None:
    found = ChatTemplate(source).turn_ends()
    assert all(any(end in each for each in found) for end in ends), found
    assert bool(found) == bool(ends)


@pytest.mark.parametrize("loader", ["Transformers", "llama.cpp", "TensorRT-LLM"])
def test_pages_answer_from_it(modern: MiniHost, loader: str) -> None:
    modern.load(loader=loader)
    api = Api(WebuiEngine())
    answer = api.chat("Hello!", max_tokens=12, temperature=0)
    assert answer["choices"][0]["message"]["content"]
    assert 0 < answer["usage"]["completion_tokens"] <= 12


TEMPLATES = ROOT / "tests" / "support" / "templates"


def test_messages_that_a_models_template_refuses_are_mended_in_a_webui(host: MiniHost) -> None:
    """Two of the user's in a row, under a template that alternates."""
    host.shared.tokenizer.chat_template = (TEMPLATES / "gemma3.jinja").read_text()
    api = Api(WebuiEngine())
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one"},
        {"role": "user", "content": "two"},
    ]
    talk = (Message("system", "Be brief."), Message("user", "one"), Message("user", "two"))
    prompt = WebuiEngine().render(ChatRequest(talk))
    assert prompt.count("<start_of_turn>user") == 1
    assert all(text in prompt for text in ("Be brief.", "one", "two"))
    assert api.chat(messages, max_tokens=2)["usage"]["completion_tokens"] <= 2
    strict = Api(WebuiEngine(message_repair=False))
    assert strict.refused("chat/completions", messages=messages)["param"].startswith("messages")


def test_tools_are_told_in_words_where_a_models_template_knows_none(host: MiniHost) -> None:
    host.shared.tokenizer.chat_template = (TEMPLATES / "gemma3.jinja").read_text()
    engine = WebuiEngine()
    assert "tools" in engine.info.capabilities
    prompt = engine.render(ChatRequest((Message("user", "1 + 1?"),), tools=TOOLS))
    assert '"add"' in prompt and "<tool_call>" in prompt
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    answer = Api(engine).chat("Hi", tools=[tool], max_tokens=4)
    assert answer["usage"]["prompt_tokens"] > len(engine.tokenize("Hi"))


def test_what_a_models_template_does_about_thinking_is_found_out(host: MiniHost) -> None:
    host.shared.tokenizer.chat_template = (TEMPLATES / "deepseek_r1.jinja").read_text()
    info = WebuiEngine().info
    assert "reasoning" in info.capabilities and info.thinking is not None
    host.shared.tokenizer.chat_template = (TEMPLATES / "gemma3.jinja").read_text()
    assert "reasoning" not in WebuiEngine().info.capabilities
