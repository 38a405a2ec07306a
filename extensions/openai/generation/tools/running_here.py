"""Tools that the server runs itself: their calls are taken out of the answer, which goes on with the results.

Clients see one answer. What the model says before and after such a call is its text, and the tokens of all
rounds are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field, replace

from ...engines.protocol import (
    ChatRequest,
    Engine,
    Finish,
    Message,
    Piece,
    Pieces,
    ServerCall,
    ToolCall,
    ToolCallDelta,
)
from ...errors import ContextLengthExceeded
from .plan import Outcome, Runner, new_call_id

ROUNDS = 4
"""An answer's calls of the model where the operator says nothing else."""
SEPARATOR = "__"
"""Between a server's label and its tool's name, in the name that the model sees."""
NOT_OFFERED = "There is no such tool."
Answer = Callable[[Engine, ChatRequest, "str | None"], Pieces]


def at_once(run: Callable[[str], str]) -> Runner:
    """Of a tool of this server's own, whose result is there at once."""

    def ran(arguments: str) -> Generator[None, None, Outcome]:
        yield
        return Outcome(run(arguments))

    return Runner(ran)


def running_here(answer: Answer, runners: Mapping[str, Runner], rounds: int = ROUNDS) -> Answer:
    """The answers of `answer`, with the calls of these tools made here. It calls the model `rounds` times at
    most: the last one may say what it likes, its calls are made and it is over."""

    servers = frozenset(each.server for each in runners.values() if each.server is not None)

    def answered(engine: Engine, request: ChatRequest, prompt: str | None = None) -> Pieces:
        sampled = 0
        offered = frozenset(tool.name for tool in request.tools)
        for at in range(rounds):
            turn = _Turn(runners, servers, offered)
            pieces = answer(engine, _later(request, sampled), prompt)
            try:
                for piece in pieces:
                    yield None if piece is None else turn.shown(piece, is_first=at == 0)
            except ContextLengthExceeded:
                if at == 0:
                    raise
                turn.finish = "length"
            finally:
                pieces.close()
            results = [] if turn.finish == "length" else (yield from turn.results())
            if not results or turn.others:
                yield Piece(finish=turn.finish)
                return
            sampled += turn.sampled
            full = request.max_tokens is not None and sampled >= request.max_tokens
            if full or at == rounds - 1:
                yield Piece(finish="length" if full else "stop")
                return
            prompt = None
            request = replace(request, messages=(*request.messages, turn.message, *results))

    return answered


def _later(request: ChatRequest, sampled: int) -> ChatRequest:
    """The request for what is left of the answer, when so many tokens were sampled."""
    if not sampled:
        return request
    limit, seed = request.max_tokens, request.seed
    return replace(
        request,
        max_tokens=None if limit is None else limit - sampled,
        # Drawing the same numbers again would make answers repeat themselves.
        seed=None if seed is None else seed + sampled,
    )


@dataclass(slots=True)
class _Turn:
    """What the model says until it waits for results."""

    runners: Mapping[str, Runner]
    servers: frozenset[str]
    offered: frozenset[str]
    """All tools that the model was offered, the client's too."""
    finish: Finish | None = None
    sampled: int = 0
    others: dict[int, int] = field(default_factory=dict)
    """The calls for the client: their number in the turn, and the one that the client sees."""
    _mine: dict[int, ToolCall] = field(default_factory=dict)
    _text: str = ""
    _thought: str = ""

    def shown(self, piece: Piece, *, is_first: bool) -> Piece:
        """What the client sees of a piece; the end of the answer is said later. The usage of the prompt is
        that of the first turn."""
        self._text += piece.text
        self._thought += piece.reasoning
        self.sampled += piece.tokens
        self.finish = piece.finish or self.finish
        calls = tuple(shown for part in piece.tool_calls if (shown := self._of_client(part)))
        prompt = piece.prompt if is_first else None
        return replace(piece, tool_calls=calls, prompt=prompt, finish=None)

    def _of_client(self, part: ToolCallDelta) -> ToolCallDelta | None:
        at = part.index
        if part.name is not None:
            if self._runner(part.name) is not None:
                self._mine[at] = ToolCall(part.id or new_call_id(), part.name, "")
            else:
                self.others[at] = len(self.others)
        if at in self.others:
            return replace(part, index=self.others[at])
        call = self._mine[at]
        self._mine[at] = replace(call, arguments=call.arguments + part.arguments)
        return None

    def _runner(self, name: str) -> Runner | None:
        """What makes a call; None where that is the client."""
        found = self.runners.get(name)
        if found is not None or name in self.offered:
            return found
        server, mark, tool = name.partition(SEPARATOR)
        return _not_offered(server, tool) if mark and server in self.servers else None

    @property
    def message(self) -> Message:
        """What the model said, with the calls that were made here."""
        return Message(
            "assistant",
            self._text or None,
            tool_calls=tuple(self._mine.values()),
            reasoning=self._thought or None,
        )

    def results(self) -> Generator[Piece | None, None, list[Message]]:
        """Make the calls, one after the other; those of tool servers are reported."""
        results = []
        for call in self._mine.values():
            runner = self._runner(call.name)
            assert runner is not None
            made = None
            if runner.server is not None:
                made = ServerCall(runner.server, runner.name, call.arguments)
                yield Piece(server_calls=(made,))
            outcome = yield from _run(runner, call.arguments)
            if made is not None:
                yield Piece(
                    server_calls=(replace(made, result=outcome.text, failed=outcome.failed),)
                )
            results.append(Message("tool", outcome.text, call.name, tool_call_id=call.id))
        return results


def _not_offered(server: str, tool: str) -> Runner:
    """Of a tool that the model has made up, or that the request or its key may not use."""

    def ran(arguments: str) -> Generator[None, None, Outcome]:
        yield
        return Outcome(NOT_OFFERED, failed=True)

    return Runner(ran, server, tool)


def _run(runner: Runner, arguments: str) -> Generator[None, None, Outcome]:
    running = runner.run(arguments)
    try:
        return (yield from running)
    finally:
        running.close()
