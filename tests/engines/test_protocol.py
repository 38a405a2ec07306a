"""What every engine must do, one suite for all of them."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import pytest

from extensions.openai.completions import CompletionRequest
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.engines.protocol import (
    Capability,
    ChatRequest,
    Engine,
    GenerateRequest,
    Message,
    Piece,
    Pieces,
)
from extensions.openai.engines.swappable import SwappableEngine
from extensions.openai.engines.upstreams_file import engines_of
from extensions.openai.engines.webui.engine import WebuiEngine
from extensions.openai.errors import ContextLengthExceeded, InvalidRequest, ModelChanged
from extensions.openai.generation.chat.answer import answer_chat
from extensions.openai.generation.chat.answer_shape import Wanted
from extensions.openai.generation.sampling.profiles import to_native
from extensions.openai.settings import Settings
from tests.support.abilities import infill
from tests.support.abilities import score as score_of
from tests.support.llama_server import LlamaServerProcess
from tests.support.paced import PacedEngine
from tests.support.process import ROOT, ServerProcess
from tests.support.random_encoder import write_encoder
from tests.support.random_model import WIDTH
from tests.webui_host import install

TINY = ROOT / "models" / "openedai-tiny"
STOP_SECONDS = 40.0  # within which closed work has ended, on a busy machine


WEBUIS = {
    "webui": ("2026", "Transformers"),
    "webui-old": ("2023", "Transformers"),
    "webui-served": ("2026", "llama.cpp"),
    "webui-python": ("2023", "llama-cpp-python"),
    "webui-text": ("2026", "TensorRT-LLM"),
    "webui-exllamav3": ("2026", "ExLlamav3"),
}


TOKENS = frozenset({"tokens", "completion", "empty prompt"})
REMOTE = frozenset({"completion", "logprobs", "counted penalties"})
MODEL = TOKENS | {"logprobs", "grammar", "any grammar", "ids", "context", "counted penalties"}
WEBUI_OF_2023 = MODEL - {"counted penalties"} | {"infill"}
CAN: dict[str, frozenset[str]] = {
    "echo": TOKENS | {"ids", "context", "counted penalties"},
    "deferred": TOKENS | {"ids", "context", "counted penalties"},
    "paced": TOKENS | {"counted penalties"},
    "llamacpp": MODEL,
    "embedded": MODEL | {"infill"},
    "seeing": MODEL,
    "webui": MODEL | {"infill"},
    "webui-old": WEBUI_OF_2023,
    "webui-served": MODEL | {"infill"},
    "webui-python": WEBUI_OF_2023,
    "webui-text": TOKENS | {"ids", "context", "counted penalties"},
    "webui-exllamav3": MODEL | {"infill"},
    "upstream": REMOTE | {"empty prompt", "grammar", "any grammar"},
    "router": REMOTE | {"empty prompt", "grammar", "any grammar"},
    "llama-server": REMOTE | {"grammar"},
    "external": frozenset(),
}
"""What of all that is tested here not every engine does: capabilities, and whether it has a tokenizer,
reads token ids, has a context, samples with penalties by count, answers an empty prompt (llama.cpp's own
server does not), and takes other grammars than JSON schemas."""


def counts(engine: Engine) -> bool:
    """Whether it counts its tokens, rather than estimate them."""
    return engine.info.sampler != "external"


def needs(*what: str) -> pytest.MarkDecorator:
    """Only the engines that can do this."""
    able = [name for name, can in CAN.items() if can.issuperset(what)]
    assert able, what
    return pytest.mark.parametrize("engine", able, indirect=True)


@pytest.fixture(params=CAN)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    if request.param == "echo":
        yield EchoEngine()
    elif request.param == "deferred":
        engine = SwappableEngine()
        engine.set(EchoEngine())
        yield engine
    elif request.param == "paced":
        yield PacedEngine(parallel=4)
    elif request.param in WEBUIS:
        age, loader = WEBUIS[request.param]
        with install(age, TINY) as host:
            host.load(loader=loader)
            yield WebuiEngine()
    else:
        yield request.getfixturevalue(request.param.replace("-", "_"))


@pytest.fixture(scope="module")
def embedded(embedded_model: Path | None) -> Iterator[Engine]:
    if embedded_model is None:
        pytest.skip("this tree has no embedded model")
    engine = LlamaCppEngine(embedded_model, name="embedded", threads=1)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def another() -> Iterator[str]:
    """The address of the embedded model in another process."""
    server = ServerProcess("--threads", "1")
    server.wait_until_ready()
    yield server.url
    server.stop()


@contextmanager
def served(rows: str) -> Iterator[Engine]:
    """The one model of a file of upstreams."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "upstreams.yaml"
        file.write_text(rows, encoding="utf-8")
        (found,) = engines_of(Settings(upstreams=str(file)))
    yield found.engine
    found.engine.close()


@pytest.fixture(scope="module")
def upstream(another: str) -> Iterator[Engine]:
    with served(f"upstreams: {{there: {{address: '{another}'}}}}") as engine:
        yield engine


@pytest.fixture(scope="module")
def router(another: str) -> Iterator[Engine]:
    """Two rows for the same server."""
    row = f"{{address: '{another}'}}"
    with served(f"upstreams: {{a: {row}, b: {row}}}") as engine:
        yield engine


@pytest.fixture(scope="module")
def external(another: str) -> Iterator[Engine]:
    """The same server, taken for a chat API of its own kind."""
    row = (
        f"address: '{another}/v1/chat/completions', text: 'choices[0].message.content', "
        "event_text: 'choices[0].delta.content', body: '{\"messages\": {{ messages | tojson }}, "
        '"model": "x", "stream": true, "temperature": {{ temperature or 0 }}}\''
    )
    with served(f"external: {{helper: {{{row}}}}}") as engine:
        yield engine


@pytest.fixture(scope="module")
def llama_server(embedded_model: Path | None) -> Iterator[Engine]:
    """llama.cpp's own server with the embedded model."""
    if embedded_model is None:
        pytest.skip("this tree has no embedded model")
    with LlamaServerProcess(embedded_model) as server, served(server.row) as engine:
        yield engine


@pytest.fixture(scope="module")
def seeing(random_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """With an encoder, llama.cpp is asked in another way."""
    encoder = tmp_path_factory.mktemp("encoder") / "mmproj.gguf"
    write_encoder(encoder, model_width=WIDTH, audio=False)
    engine = LlamaCppEngine(random_model, name="seeing", threads=1, mmproj=encoder)
    yield engine
    engine.close()


def completion(engine: Engine, prompt: object, max_tokens: int | None = 8, **fields: Any) -> Pieces:
    sampling = to_native(CompletionRequest(**{"temperature": 0.0, **fields}), engine.info)
    return engine.generate(GenerateRequest(prompt, max_tokens, sampling, 7))  # type: ignore[arg-type]


def conversation(engine: Engine, text: str, max_tokens: int | None = 8) -> Pieces:
    sampling = to_native(CompletionRequest(temperature=0.0), engine.info)
    request = ChatRequest((Message("user", text),), max_tokens, sampling, 7)
    return answer_chat(engine, request, wanted=Wanted())


def answer(engine: Engine, text: str, max_tokens: int | None = 8) -> Pieces:
    """A completion; a chat, where there are no others."""
    if Capability.COMPLETION in engine.info.capabilities:
        return completion(engine, text, max_tokens, ignore_eos=True)
    return conversation(engine, text, max_tokens)


def read(pieces: Pieces) -> list[Piece]:
    return [piece for piece in pieces if piece is not None]


def assert_answer(pieces: list[Piece], *, max_tokens: int | None, is_counted: bool = True) -> None:
    """What holds for all answers. `is_counted`: in the end, tokens are not estimated."""
    assert pieces, "an answer has at least the piece that ends it"
    assert [piece.finish is not None for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    told = [piece.prompt for piece in pieces if piece.prompt is not None]
    estimates = ([False], [True, False]) if is_counted else ([True],)
    assert [usage.is_estimate for usage in told] in estimates
    tokens = sum(piece.tokens for piece in pieces)
    assert all(piece.tokens >= 0 for piece in pieces)
    if max_tokens is not None:
        assert tokens <= max_tokens
        if pieces[-1].finish == "length":
            assert tokens == max_tokens
    for piece in pieces:
        piece.text.encode()  # whole characters: nothing that UTF-8 cannot say


def test_info_says_what_is_served(engine: Engine) -> None:
    info = engine.info
    assert info.model and info.owned_by and info.fingerprint and info.sampler
    assert info.context_length > 0 and info.parallel >= 1
    assert 0 < info.created <= time.time()
    assert Capability.CHAT in info.capabilities


def test_what_it_can_do_is_what_is_tested(engine: Engine, request: pytest.FixtureRequest) -> None:
    can = CAN[request.node.callspec.params["engine"]]
    optional = {"completion", "logprobs", "grammar", "infill"}
    assert {str(each) for each in engine.info.capabilities} & optional == can & optional
    asked = CompletionRequest(presence_penalty=1.0)
    honours = engine.info.honours
    if honours is not None and "presence_penalty" not in honours:
        with pytest.raises(InvalidRequest):
            to_native(asked, engine.info)
        return
    counted = to_native(asked, engine.info)
    assert ("presence_penalty" in counted) == ("counted penalties" in can)


@needs("tokens")
@pytest.mark.parametrize("max_tokens", [1, 2, 8, 40])
@pytest.mark.parametrize("prompt", ["Hello", "Grüße 🙂", " ", "a\x00b", "x\n" * 50])
def test_completions_end_once_and_count_exactly(
    engine: Engine, prompt: str, max_tokens: int
) -> None:
    pieces = read(completion(engine, prompt, max_tokens))
    assert_answer(pieces, max_tokens=max_tokens)
    usage = next(piece.prompt for piece in reversed(pieces) if piece.prompt)
    assert usage.tokens == len(engine.tokenize(prompt))
    assert 0 <= usage.cached <= usage.tokens


@pytest.mark.parametrize("text", ["Hello", "Grüße 🙂", "", "<|im_end|>"])
def test_chats_end_once_and_count(engine: Engine, text: str) -> None:
    pieces = read(conversation(engine, text, 12))
    assert_answer(pieces, max_tokens=12, is_counted=counts(engine))
    usage = next(piece.prompt for piece in reversed(pieces) if piece.prompt)
    assert usage.tokens >= len(text) / 4


@needs("tokens")
def test_token_ids_are_a_prompt_like_their_text(engine: Engine) -> None:
    text = "Hello there"
    by_text = read(completion(engine, text))
    by_tokens = read(completion(engine, engine.tokenize(text)))
    assert "".join(p.text for p in by_text) == "".join(p.text for p in by_tokens)


@needs("tokens")
@pytest.mark.parametrize("text", ["Hello", "Grüße 🙂 你好", "  two  spaces\n\n", "a\x00b"])
def test_tokens_go_there_and_back(engine: Engine, text: str) -> None:
    tokens = engine.tokenize(text)
    assert tokens and all(isinstance(token, int) and token >= 0 for token in tokens)
    assert engine.detokenize(tokens) == text


@needs("empty prompt")
def test_an_empty_text_has_a_completion(engine: Engine) -> None:
    assert_answer(read(completion(engine, "", 4)), max_tokens=4)


@needs("ids")
@pytest.mark.parametrize("token", [-1, 2**31 - 1, 2**40])
def test_token_ids_that_the_model_lacks_are_refused(engine: Engine, token: int) -> None:
    with pytest.raises(InvalidRequest) as caught:
        next(completion(engine, (1, token)))
    assert caught.value.param == "prompt"


@needs("ids")
@pytest.mark.parametrize("token", [-1, 2**31 - 1, 2**40])
def test_token_ids_that_the_model_lacks_have_no_text(engine: Engine, token: int) -> None:
    with pytest.raises(InvalidRequest):
        engine.detokenize((1, token))


def test_greedy_answers_are_the_same_every_time(engine: Engine) -> None:
    answers = {"".join(p.text for p in read(answer(engine, "Hello", 24))) for _ in range(4)}
    assert len(answers) == 1


@needs("context")
def test_a_prompt_that_does_not_fit_is_refused_before_the_first_piece(engine: Engine) -> None:
    context = engine.info.context_length
    one = engine.tokenize("a")[-1]
    for prompt, max_tokens in (((one,) * context, 1), ((one,) * (context + 50), 1)):
        with pytest.raises(ContextLengthExceeded) as caught:
            next(completion(engine, prompt, max_tokens))
        assert caught.value.param == "prompt"
        assert str(context) in str(caught.value) and str(len(prompt)) in str(caught.value)
    with pytest.raises(ContextLengthExceeded) as caught:
        read(conversation(engine, "a b " * context, None))
    assert caught.value.param == "messages"


@needs("context")
def test_a_prompt_and_its_answer_may_fill_the_context(engine: Engine) -> None:
    context = engine.info.context_length
    one = engine.tokenize("a")[-1]
    pieces = read(completion(engine, (one,) * (context - 4), 4))
    assert_answer(pieces, max_tokens=4)


@needs("context")
def test_an_answer_without_limit_ends_where_the_context_does(engine: Engine) -> None:
    context = engine.info.context_length
    one = engine.tokenize("a")[-1]
    pieces = read(completion(engine, (one,) * (context - 20), None, ignore_eos=True))
    assert_answer(pieces, max_tokens=None)
    assert pieces[-1].finish == "length"
    usage = next(piece.prompt for piece in reversed(pieces) if piece.prompt)
    assert usage.tokens + sum(piece.tokens for piece in pieces) <= context


def test_closing_frees_the_slot(engine: Engine) -> None:
    """After many answers were left half way, as many as there are slots run again."""
    for _ in range(2 * engine.info.parallel):
        pieces = answer(engine, "Hello", 500)
        next(pieces)
        pieces.close()
    with ThreadPoolExecutor(engine.info.parallel) as pool:
        answers = [
            pool.submit(lambda: read(answer(engine, "Hello", 4)))
            for _ in range(engine.info.parallel)
        ]
        for each in answers:
            pieces_of_it = each.result(timeout=STOP_SECONDS)
            assert_answer(pieces_of_it, max_tokens=4, is_counted=counts(engine))


def test_an_answer_that_is_never_read_costs_nothing(engine: Engine) -> None:
    for _ in range(3 * engine.info.parallel):
        answer(engine, "Hello", 4).close()
    assert_answer(read(answer(engine, "Hello", 4)), max_tokens=4, is_counted=counts(engine))


@needs("tokens")
def test_many_threads_at_once_do_not_disturb_each_other(engine: Engine) -> None:
    prompts = [f"Number {number}" for number in range(12)]
    alone = {p: len(engine.tokenize(p)) for p in prompts}

    def work(prompt: str) -> tuple[str, list[Piece]]:
        return prompt, read(completion(engine, prompt, 10))

    with ThreadPoolExecutor(8) as pool:
        for prompt, pieces in pool.map(work, prompts * 2):
            assert_answer(pieces, max_tokens=10)
            usage = next(piece.prompt for piece in reversed(pieces) if piece.prompt)
            assert usage.tokens == alone[prompt]


@needs("logprobs", "counted penalties", "tokens")
@pytest.mark.parametrize(("frequency", "presence"), [(0.8, 0.0), (0.0, 2.0), (1.1, 0.7)])
def test_penalties_count_what_was_sampled_and_not_the_prompt(
    engine: Engine, frequency: float, presence: float
) -> None:
    """mu[j] - c[j] * frequency - (c[j] > 0) * presence, recomputed from what is told of each place.

    Source: OpenAI guide, "Frequency and presence penalties".
    """
    asked = CompletionRequest(
        prompt="", temperature=0.0, frequency_penalty=frequency, presence_penalty=presence
    )
    sampling = to_native(asked, engine.info)
    reported_of = 0
    for prompt in (
        "Once upon a time, once upon a time",
        "The cat sat on the mat. The cat sat on the",
    ):
        seen: list[bytes] = []
        request = GenerateRequest(prompt, 24, sampling, seed=7, logprobs=40)
        pieces = read(engine.generate(request))
        for piece in pieces:
            if len(piece.logprobs) > 1:  # among broken characters control tokens may hide
                break
            if not piece.logprobs:
                continue
            reported = piece.logprobs[0]
            assert reported.logprob is not None
            likely = {each.bytes: each.logprob for each in reported.top} | {
                reported.bytes: reported.logprob
            }
            scores = {
                text: logprob - seen.count(text) * frequency - (text in seen) * presence
                for text, logprob in likely.items()
            }
            assert scores[reported.bytes] >= max(scores.values()) - 0.05
            seen.append(reported.bytes)
        reported_of += len(seen)
    assert reported_of >= 3


def test_an_answer_may_be_closed_from_another_thread(engine: Engine) -> None:
    pieces = answer(engine, "Hello", 50)
    next(pieces)
    thread = threading.Thread(target=pieces.close)
    thread.start()
    thread.join(STOP_SECONDS)
    assert not thread.is_alive()


@needs("tokens")
def test_token_ids_lie_below_the_size_of_the_vocabulary(engine: Engine) -> None:
    size = engine.info.vocabulary_size
    assert size > 0
    assert all(0 <= id < size for id in engine.tokenize("Grüße 🙂 an alle <|im_end|>"))


def test_capabilities_are_words_that_clients_know(engine: Engine) -> None:
    """Enumerated, and in the model list the plain words."""
    words = orjson.loads(orjson.dumps(list(engine.info.capabilities)))
    known = {"completion", "chat", "grammar", "logprobs", "tools", "reasoning", "infill", "vision"}
    known |= {"modes", "embeddings", "rerank"}
    assert set(words) <= known
    assert all(isinstance(each, Capability) for each in engine.info.capabilities)
    assert [f"{each}" for each in engine.info.capabilities] == words


@needs("tokens")
def test_a_conversation_is_rendered_in_its_order(engine: Engine) -> None:
    words = ["first things", "second things", "Grüße 🙂"]
    roles = ("user", "assistant", "user")
    conversation = tuple(Message(*pair) for pair in zip(roles, words, strict=True))  # type: ignore[arg-type]
    prompt = engine.render(ChatRequest(conversation))
    places = [prompt.find(word) for word in words]
    assert -1 not in places and places == sorted(places)


@needs("logprobs", "tokens")
@pytest.mark.parametrize("text", ["Hello there", "Grüße 🙂"])
@pytest.mark.parametrize("alternatives", [0, 3, 20])
def test_every_token_of_a_prompt_is_scored(engine: Engine, text: str, alternatives: int) -> None:
    tokens = engine.tokenize(text)
    scores = [each for each in score_of(engine, tokens, alternatives) if each is not None]
    assert len(scores) == len(tokens)
    assert b"".join(score.bytes for score in scores) == text.encode()
    assert scores[0].logprob is None and scores[0].top == ()
    for score in scores[1:]:
        assert score.logprob is not None and score.logprob <= 0
        assert len(score.top) == alternatives
        assert [t.logprob for t in score.top] == sorted(
            (t.logprob for t in score.top), reverse=True
        )


@needs("logprobs", "tokens")
def test_scoring_that_is_left_half_way_leaves_the_engine_well(engine: Engine) -> None:
    for _ in range(3):
        scores = score_of(engine, engine.tokenize("Hello there, all of you"), 1)
        next(scores)
        scores.close()
    assert_answer(read(completion(engine, "Hello", 4)), max_tokens=4)


@needs("logprobs", "tokens")
def test_tokens_that_the_model_lacks_are_not_scored(engine: Engine) -> None:
    with pytest.raises(InvalidRequest):
        list(score_of(engine, (1, engine.info.vocabulary_size), 0))


@needs("logprobs", "tokens")
def test_the_tokens_of_an_answer_make_its_text(engine: Engine) -> None:
    request = GenerateRequest("Hello", 20, {"temperature": 0.0}, seed=7, logprobs=2)
    pieces = read(engine.generate(request))
    assert_answer(pieces, max_tokens=20)
    reported = [token for piece in pieces for token in piece.logprobs]
    output = b"".join(token.bytes for token in reported)
    assert output.decode(errors="replace") == "".join(piece.text for piece in pieces)
    assert len(reported) == sum(piece.tokens for piece in pieces)


@needs("logprobs", "tokens")
def test_the_end_token_has_its_log_probability_and_no_text(engine: Engine) -> None:
    (end,) = engine.tokenize("<|im_end|>")
    bias = ((end, 100.0),)
    request = GenerateRequest("Hello", 9, {"temperature": 0.0}, logit_bias=bias, logprobs=2)
    pieces = read(engine.generate(request))
    (reported,) = [token for piece in pieces for token in piece.logprobs]
    assert (reported.bytes, reported.id, pieces[-1].finish) == (b"", end, "stop")
    assert sum(piece.tokens for piece in pieces) == 1
    assert reported.logprob is not None and reported.logprob < 0
    (score,) = [s for s in score_of(engine, (*engine.tokenize("Hello"), end), 0) if s][-1:]
    assert score.logprob == pytest.approx(reported.logprob, abs=0.05)
    assert score.bytes == b"<|im_end|>"


@needs("any grammar")
@pytest.mark.parametrize("seed", range(3))
def test_a_grammar_is_obeyed(engine: Engine, seed: int) -> None:
    grammar = 'start: "x" /[a-c]{2,4}/ "é"'
    request = GenerateRequest("Hello", 30, {"temperature": 1.0}, seed=seed, grammar=grammar)
    output = "".join(piece.text for piece in read(engine.generate(request)))
    assert re.fullmatch("x[a-c]{2,4}é", output)


@needs("logprobs", "tokens")
def test_a_banned_token_is_not_said(engine: Engine) -> None:
    (first,) = engine.tokenize("a")
    request = GenerateRequest("Hello", 5, {"temperature": 0.0}, logit_bias=((first, 100.0),))
    assert "".join(p.text for p in read(engine.generate(request))) == "aaaaa"
    request = GenerateRequest("Hello", 5, {"temperature": 0.0}, logit_bias=((first, -100.0),))
    assert "a" not in "".join(p.text for p in read(engine.generate(request))).split()


@needs("infill")
@pytest.mark.parametrize("before", ["def f(", "", (40, 41)])
def test_a_fill_in_prompt_holds_both_texts(engine: Engine, before: str | tuple[int, ...]) -> None:
    tokens = infill(engine, before, ") -> None")
    assert all(0 <= id < engine.info.vocabulary_size for id in tokens)
    text = engine.detokenize(tokens)
    head = before if isinstance(before, str) else engine.detokenize(before)
    assert head in text and text.index(") -> None") >= text.index(head) + len(head)
    assert_answer(
        read(engine.generate(GenerateRequest(tokens, 4, {"temperature": 0.0}))), max_tokens=4
    )


def test_silence_is_told_while_an_answer_waits(random_model: Path) -> None:
    """More answers than slots: those that wait yield None, and all of them end."""
    engine = LlamaCppEngine(random_model, name="narrow", threads=1, parallel=1)
    try:
        # A single answer has a second slot beside it (for judging tokens), so that two run.
        running = [completion(engine, "Hello", 1500, ignore_eos=True) for _ in range(2)]
        for answer in running:
            assert next(piece for piece in answer if piece is not None)
        late = completion(engine, "Hello", 4)
        assert next(late) is None
        for answer in running:
            answer.close()
        assert_answer(read(late), max_tokens=4)
    finally:
        engine.close()


def test_slots_have_no_gap_between_them(random_model: Path) -> None:
    """llama.cpp computes slots together where they are next to each other: with one more than answers run
    the slots at work might have a gap, and each step would be two. Answers that ask get along with them."""
    engine = LlamaCppEngine(random_model, name="narrow", threads=1, parallel=3)
    try:
        assert engine.model.listener.ask("/props")["total_slots"] == 3

        def answer(seed: int) -> list[Piece]:
            sampling = {"temperature": 1.0, "top_k": 0}
            request = GenerateRequest("Hello", 20, sampling, seed=seed, logprobs=1)
            return read(engine.generate(request))

        with ThreadPoolExecutor(5) as pool:
            answers = list(pool.map(answer, range(5)))
        for pieces in answers:
            assert_answer(pieces, max_tokens=20)
        asked = [piece for pieces in answers for piece in pieces if len(piece.logprobs) > 1]
        assert asked, "parts of characters were asked for"
    finally:
        engine.close()


def test_log_probabilities_wait_for_nobody_whose_slot_they_do_not_need(random_model: Path) -> None:
    engine = LlamaCppEngine(random_model, name="both", threads=1, parallel=2)
    try:
        long = completion(engine, "Hello", 1500, ignore_eos=True)
        assert next(piece for piece in long if piece is not None)
        short = GenerateRequest("Hello", 8, {"temperature": 1.0, "top_k": 0}, seed=3, logprobs=1)
        pieces = read(engine.generate(short))
        assert_answer(pieces, max_tokens=8)
        assert any(len(piece.logprobs) > 1 for piece in pieces), "a character of several tokens"
        rest = [piece for _, piece in zip(range(4), long, strict=False)]
        assert all(piece is None or piece.finish is None for piece in rest), "it still runs"
        long.close()
    finally:
        engine.close()


def test_closing_an_engine_ends_its_answers_and_twice_is_safe(random_model: Path) -> None:
    engine = LlamaCppEngine(random_model, name="closing", threads=1, parallel=2)
    pieces = completion(engine, "Hello", 1500, ignore_eos=True)
    assert next(piece for piece in pieces if piece is not None)
    engine.close()
    engine.close()
    try:
        rest = read(pieces)
    except ModelChanged:
        pass
    else:
        assert rest[-1].finish is not None
