"""A model that several servers have, as one engine: a request goes to one of them, and to the next one where
that fails before anything of its answer has come."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import TypeVar

from ...errors import (
    APIError,
    UpstreamBusy,
    UpstreamFailed,
    UpstreamLimited,
    UpstreamTimeout,
)
from ..protocol import (
    ChatAnswerer,
    ChatRequest,
    Engine,
    EngineInfo,
    GenerateRequest,
    Pieces,
    RemoteChat,
    run_on,
)
from .health import HealthWatch
from .targets import Target, TargetReport, Targets

T = TypeVar("T")

PREFIX_CHARACTERS = 1024
"""Requests that are alike so far go to the same server."""
UNSAID_PAUSE_S = 1.0
"""How long a full server is left alone that does not say how long."""


class RouterEngine:
    """Several servers with one model. Thread-safe."""

    def __init__(
        self, name: str, targets: Sequence[Target], watch: HealthWatch | None = None
    ) -> None:
        """`watch`: asks for the targets' health, while there are requests."""
        self._name, self._targets, self._watch = name, Targets(targets), watch
        self._info = self._info_of(targets)

    def _info_of(self, targets: Sequence[Target]) -> EngineInfo:
        infos = [target.engine.info for target in targets]
        common = [
            each
            for each in infos[0].capabilities
            if all(each in info.capabilities for info in infos)
        ]
        return replace(
            infos[0],
            model=self._name,
            owned_by="router",
            context_length=min(info.context_length for info in infos),
            parallel=sum(info.parallel for info in infos),
            capabilities=tuple(common),
            description=f"On {len(targets)} servers.",
        )

    def change(self, targets: Sequence[Target]) -> None:
        """Use these servers from now on, as `Targets.change` says."""
        self._info = self._info_of(targets)
        self._targets.change(targets)

    def watch_with(self, watch: HealthWatch | None) -> None:
        """Ask for the servers' health in this way from now on."""
        before, self._watch = self._watch, watch
        if before is not None:
            before.close()

    @property
    def info(self) -> EngineInfo:
        return self._info

    def report(self) -> list[TargetReport]:
        """Each server, for operators."""
        return self._targets.report()

    def answer(self, chat: RemoteChat) -> Pieces:
        """As in ChatAnswerer."""
        return self._route(
            _prefix_of(chat.request),
            lambda engine: run_on(engine, ChatAnswerer, lambda answerer: answerer.answer(chat)),
        )

    def generate(self, request: GenerateRequest) -> Pieces:
        prompt = request.prompt
        text = prompt if isinstance(prompt, str) else " ".join(map(str, prompt[:256]))
        return self._route(_prefix(text), lambda engine: engine.generate(request))

    def _route(
        self, prefix: bytes, begin: Callable[[Engine], Generator[T, None, None]]
    ) -> Generator[T, None, None]:
        if (watch := self._watch) is not None:
            watch.wake(self._targets)
        tried: list[Target] = []
        failure: APIError | None = None
        while (target := self._targets.take(prefix, tried)) is not None:
            tried.append(target)
            attempt = _Attempt(self._targets, target)
            pieces = begin(target.engine)
            try:
                for piece in pieces:
                    attempt.has_begun = piece is not None
                    yield piece
                    if attempt.has_begun:
                        yield from pieces
                return
            except (UpstreamFailed, UpstreamTimeout, UpstreamBusy, UpstreamLimited) as error:
                attempt.note(error)
                if attempt.has_begun:
                    raise
                failure = failure or error
            finally:
                pieces.close()
                attempt.end()
        raise failure or UpstreamBusy("All servers that have this model are being taken away.")

    def render(self, request: ChatRequest) -> str:
        """Raises NotSupported, as all of the servers do."""
        return self._targets.all[0].engine.render(request)

    def turn_ends(self, request: ChatRequest) -> tuple[str, ...]:
        return ()

    def tokenize(self, text: str) -> tuple[int, ...]:
        """Raises NotSupported."""
        return self._targets.all[0].engine.tokenize(text)

    def detokenize(self, tokens: Sequence[int]) -> str:
        """Raises NotSupported."""
        return self._targets.all[0].engine.detokenize(tokens)

    def close(self) -> None:
        if self._watch is not None:
            self._watch.close()
        for target in self._targets.all:
            target.engine.close()


class TaskRouterEngine(RouterEngine):
    """The same where the model does something else than writing text: as in Forwarding."""

    def run(self, begin: Callable[[Engine], Generator[T, None, None]]) -> Generator[T, None, None]:
        """On the server with the fewest requests, and on the next one where that fails at once."""
        return self._route(b"", begin)

    def ask(self, question: Callable[[Engine], T]) -> T:
        """Of any of the servers."""
        return question(self._targets.all[0].engine)


class _Attempt:
    """One request at one server, from `take` to how it ended."""

    def __init__(self, targets: Targets, target: Target) -> None:
        self._targets, self._target = targets, target
        self.has_begun = False
        self._is_over = False

    def note(self, error: APIError) -> None:
        self._is_over = True
        if isinstance(error, (UpstreamBusy, UpstreamLimited)):
            self._targets.full(self._target, error.retry_after or UNSAID_PAUSE_S)
        else:
            self._targets.failed(self._target)

    def end(self) -> None:
        if not self._is_over:
            self._targets.done(self._target, has_answered=self.has_begun)


def _prefix_of(request: ChatRequest) -> bytes:
    text = ""
    for message in request.messages:
        text += f"{message.role}:{message.content or ''}\n"
        if len(text) >= PREFIX_CHARACTERS:
            break
    return _prefix(text)


def _prefix(text: str) -> bytes:
    return text[:PREFIX_CHARACTERS].encode(errors="replace")
