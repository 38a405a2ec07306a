"""What an agent meets, case by case, a row each in CASES."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise

from tests.agents.catalogue import DONE, TASKS
from tests.agents.relay import Exchange, wait_for
from tests.agents.stage import ADMIN_KEY, FILLED, NUMBERS, USER_KEY, Finished, Stage

Case = Callable[[Stage], None]
FULL = {"chat": 503, "responses": 503, "messages": 529}
MIDDLE = 20
"""Events; an answer has begun by then."""
DIFFERENT: dict[tuple[str, str], str] = {
    ("qwen-code-responses", "tools"): "gives its thoughts back as texts of the assistant",
    ("cline-messages", "tools"): "does not give its thoughts back",
    ("qwen-code-responses", "broken"): "gives up after an error in the stream",
    ("opencode-messages", "broken"): "gives up after an error in the stream",
    ("cline", "broken"): "gives up after an error in the stream",
    ("cline-messages", "broken"): "gives up after an error in the stream",
    ("qwen-code", "cut"): "gives up when a text had begun",
    ("qwen-code-responses", "cut"): "gives up when a text had begun",
    ("qwen-code-messages", "cut"): "gives up when a text had begun",
    ("cline", "cut"): "gives up when a text had begun",
    ("cline-messages", "cut"): "gives up when a text had begun",
}
"""What an agent does by itself in a case, where that is not what the case is about."""
LEFT_OUT: dict[tuple[str, str], str] = {
    ("cline", "resume"): "goes on with a conversation in a terminal only",
    ("cline-messages", "resume"): "goes on with a conversation in a terminal only",
}
"""What an agent cannot do."""
CACHED = 0.9
"""Of what two prompts have in common, at least this much is found in the cache."""


def answer(stage: Stage) -> None:
    done = stage.run("Say the answer, say:plain-answer.")
    _ended_well(stage, done, "The answer is 4.")


def tools(stage: Stage) -> None:
    """It writes a file, reads and changes it, and runs a command."""
    done = stage.run(TASKS)
    _ended_well(stage, done, DONE)
    for name in ("notes.txt", "copy.txt"):
        assert (stage.place.work / name).read_text() == "two\n", done.tail
    turns = stage.relay.main
    assert len(turns) >= 4
    _nothing_is_computed_twice(stage, turns)
    last = stage.prompt_of(turns[-1])
    assert last.text is not None
    seen = "<think>\nNow step 1.\n</think>" in last.text
    assert seen == ((stage.agent.name, "tools") not in DIFFERENT), (
        "whether the model sees what it has thought"
    )


def _nothing_is_computed_twice(stage: Stage, turns: Sequence[Exchange]) -> None:
    """What the prompts of two turns have in common is found in the cache, and that is nearly all."""
    for before, after in pairwise(turns):
        first, second, usage = stage.prompt_of(before), stage.prompt_of(after), after.usage
        assert usage is not None
        shared = _shared(first.tokens, second.tokens)
        print(stage.agent.name, len(first.tokens), len(second.tokens), shared, usage)
        assert usage.cached >= CACHED * shared, (usage, shared)
        assert shared >= CACHED * len(first.tokens), _around(first.text, second.text)


def reasoning(stage: Stage) -> None:
    """A thought is no part of the answer."""
    done = stage.run("Think, say:thoughtful-answer.")
    _ended_well(stage, done, "The answer is 5.")
    assert "<think>" not in done.output


def long_output(stage: Stage) -> None:
    lines = "".join(f"line {number} of a long file\n" for number in range(1_000))
    (stage.place.work / "long.txt").write_text(lines)
    done = stage.run("Read the file, say:long-output-begins.")
    _ended_well(stage, done, "It was long.")
    first, second = stage.relay.main[:2]
    assert _size(second) > _size(first) + 5000


def too_many_requests(stage: Stage) -> None:
    """429: the caller has its share of a full queue; the agent comes again after Retry-After."""
    _refused_once(stage, USER_KEY, 429)


def full_queue(stage: Stage) -> None:
    """The queue is full of others: 503, and 529 in Anthropic's dialect."""
    _refused_once(stage, ADMIN_KEY, FULL[stage.agent.dialect])


def failure(stage: Stage) -> None:
    """500, once."""
    stage.tell_engine("fail")
    done = stage.run("Say the answer, say:plain-answer.")
    assert _statuses(stage).count(500) == 1
    assert "The answer is 4." in done.output, done.tail


def cut(stage: Stage) -> None:
    """The connection dies in the middle of an answer: the work for it stops, and the agent asks again."""
    stage.tell_engine("slow")
    stage.relay.cut_next(after=MIDDLE)
    done = stage.run("Count, say:counting-aloud.")
    first, *_ = [each for each in stage.relay.exchanges if each.cut]
    assert "Done counting" not in first.text
    (left,) = [line for line in stage.log if line.get("cancelled")]
    assert left["completion_tokens"] < NUMBERS
    if (stage.agent.name, "cut") in DIFFERENT:
        assert done.status != 0 and "Done counting." not in done.output, done.tail
    else:
        assert "Done counting." in done.output, done.tail


def broken(stage: Stage) -> None:
    """The engine fails in the middle of an answer: an error is the last event."""
    stage.tell_engine("break")
    done = stage.run("Count, say:counting-aloud.")
    assert stage.relay.main[0].status == 200
    if (stage.agent.name, "broken") in DIFFERENT:
        assert done.status != 0 and "Done counting." not in done.output, done.tail
    else:
        assert "Done counting." in done.output, done.tail


def resume(stage: Stage) -> None:
    """Another run goes on with the conversation, after the server was started again."""
    _ended_well(stage, stage.run(TASKS), DONE)
    before = stage.prompt_of(stage.relay.main[-1])
    stage.start()
    stage.relay.forget()
    done = stage.run("And the second one? say:second-question.", resume=True)
    _ended_well(stage, done, "The second answer is 8.")
    (turn,) = stage.relay.main
    ignored = turn.answered_header("x-openedai-ignored") or ""
    assert "thinking" not in ignored and "reasoning" not in ignored, ignored
    print(
        stage.agent.name,
        "resume",
        _shared(before.tokens, stage.prompt_of(turn).tokens),
        len(before.tokens),
    )


def too_long(stage: Stage) -> None:
    """The conversation grows out of the context: 400, and the agent makes it shorter, if it can."""
    for number in range(1, FILLED + 1):
        lines = "".join(f"file {number} has line {line}\n" for line in range(500))
        (stage.place.work / f"file{number}.txt").write_text(lines)
    prompt = "Read all the files, beginning with say:fill-number-1."
    _ended_well(stage, stage.run(prompt), "All files are read.")
    *_, before, last = (stage.prompt_of(each).tokens for each in stage.relay.main)
    limit = (len(before) + len(last)) // 2
    stage.start(limit)
    stage.relay.forget()
    done = stage.run(prompt)
    assert 400 in _statuses(stage), (_statuses(stage), done.tail)
    if stage.agent.shorten_at is None:
        went_on = "It went on." if stage.agent.compaction else "All files are read."
        assert went_on in done.output, done.tail
        return
    assert done.status != 0, done.tail
    stage.start()
    stage.relay.forget()
    stage.agent.shorten_at(stage.place, limit)
    _ended_well(stage, stage.run(prompt), "It went on.")


def cancel(stage: Stage) -> None:
    """Interrupted: the server's work stops at once."""
    process = stage.begin("Go on, say:endless.")
    try:
        wait_for(lambda: any(each.pieces > MIDDLE for each in stage.relay.main), 120)
        _interrupt(stage, process)
        wait_for(lambda: any(line.get("cancelled") for line in stage.log), 20)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


CASES: dict[str, Case] = {
    case.__name__: case
    for case in (
        *(answer, tools, reasoning, long_output, too_many_requests),
        *(full_queue, failure, cut, broken, resume, too_long, cancel),
    )
}


def table(agents: Sequence[str]) -> str:
    """What was seen to work, for docs/coding-agents.md."""
    notes = list(dict.fromkeys((*DIFFERENT.values(), *LEFT_OUT.values())))

    def cell(agent: str, case: str) -> str:
        why = DIFFERENT.get((agent, case), LEFT_OUT.get((agent, case)))
        return f"({notes.index(why) + 1})" if why else "yes"

    rows = [["Agent", *(name.replace("_", " ") for name in CASES)], ["---"] * (len(CASES) + 1)]
    rows += [[agent, *(cell(agent, case) for case in CASES)] for agent in agents]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([*lines, "", *(f"{at}. It {note}." for at, note in enumerate(notes, 1))])


def _ended_well(stage: Stage, done: Finished, said: str) -> None:
    assert done.status == 0, done.tail
    assert said in done.output, done.tail
    assert set(_statuses(stage)) == {200}, [each.text[:500] for each in stage.relay.exchanges]


def _refused_once(stage: Stage, key: str, status: int) -> None:
    with stage.crowd(key):
        process = stage.begin("Say the answer, say:plain-answer.")
        try:
            wait_for(
                lambda: any(each.status == status and each.ended for each in stage.relay.main), 120
            )
        except AssertionError:
            os.killpg(process.pid, signal.SIGKILL)
            raise AssertionError(f"{_statuses(stage)}: {process.communicate()[0]}") from None
    output, _ = process.communicate(timeout=240)
    assert "The answer is 4." in output, output
    refused = next(each for each in stage.relay.main if each.status == status)
    again = next(each for each in stage.relay.main if each.status == 200)
    wait = float(refused.answered_header("retry-after") or 0)
    print(stage.agent.name, status, wait, again.began - refused.began, _statuses(stage))
    assert again.began - refused.began >= wait > 0


def _interrupt(stage: Stage, process: subprocess.Popen[str]) -> None:
    """As a user does until it ends: opencode goes on after the first time."""
    for _ in range(3):
        os.killpg(process.pid, signal.SIGINT)
        with suppress(AssertionError):
            return wait_for(stage.is_idle, 5)
    raise AssertionError("it was not interrupted")


def _statuses(stage: Stage) -> list[int]:
    return [each.status for each in stage.relay.exchanges]


def _size(exchange: Exchange) -> int:
    return len(str(exchange.body))


def _shared(first: Sequence[object], second: Sequence[object]) -> int:
    at = 0
    for a, b in zip(first, second, strict=False):
        if a != b:
            break
        at += 1
    return at


def _around(first: str | None, second: str | None) -> str:
    """Where two prompts part."""
    if first is None or second is None:
        return "tokens"
    at = _shared(first, second)
    return f"at {at}: {first[at - 200 : at]!r} then {first[at : at + 200]!r} and {second[at : at + 200]!r}"
