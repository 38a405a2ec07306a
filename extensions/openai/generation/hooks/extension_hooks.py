"""The hooks of the host's other extensions, in the order in which its UI calls them.

An extension is a module; a hook is a function of it with a name that webuis know. Each is called with as
much as it takes, since over the years they were given more.

- `history_modifier(history)`: the turns so far, `{"internal": [[user, assistant], ...], "visible": ...}`
- `state_modifier(state)`: the parameters
- `chat_input_modifier(text, visible_text, state)`, `input_modifier(text, state, is_chat)`: the last
  message of the user, or the prompt
- `custom_generate_chat_prompt(text, state, history=..., _continue=...)`: the whole prompt of a chat
- `bot_prefix_modifier(text, state)`: the text in front of the answer
- `output_modifier(text, state, is_chat)`: the answer; tried while it is written (`stream.py`)
- `stream_modifier(pieces, state)`, which only this server calls: a generator from an iterator of texts, while
  they come. An extension that has it is not asked to modify the whole output besides

What a host applies inside of its generator (`custom_generate_reply`, `tokenizer_modifier`,
`logits_processor_modifier`) is left to the host.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from ...engines.callback_bridge import Emit, iterate_callback
from ...engines.protocol import ChatMode, Piece, Pieces
from ...errors import APIError, EngineFailed, ExtensionFailed
from ..chat.parts import up_to
from .state import State
from .stream import modified

log = logging.getLogger("openedai")


@dataclass(frozen=True, slots=True)
class Hooks:
    """The extensions of a host, besides this one. Both functions may be called from any thread."""

    extensions: Callable[[], Iterable[tuple[str, Any]]]
    """Names and modules, in the order in which they are applied; read again for each request."""
    settings: Callable[..., Mapping[str, Any]] = dict
    """What the UI's state holds besides the request's parameters; where it takes an argument, that is
    the request's `ChatMode`, or None."""
    applied: Callable[[], frozenset[str]] = frozenset
    """The names of hooks that the host itself applies to what we ask of it."""

    live: bool = True
    """Whether answers are sent while they are written, where an output_modifier allows for it."""
    contradicting: set[str] = field(default_factory=set, compare=False)
    """Extensions that have changed, at the end, what was sent already."""

    def having(self, *names: str) -> list[tuple[str, Any]]:
        """The extensions that have one of these hooks."""
        skipped = self.applied()
        return [
            (name, module)
            for name, module in self.extensions()
            if any(callable(getattr(module, each, None)) for each in names if each not in skipped)
        ]

    @property
    def any(self) -> bool:
        """Whether there is anything to apply."""
        return bool(self.having(*HOOK_NAMES))

    @property
    def change_output(self) -> bool:
        """Whether clients may get another text than was generated."""
        return bool(self.having("output_modifier", "stream_modifier"))

    def state_for(self, chat_mode: ChatMode | None) -> Mapping[str, Any]:
        """What the UI's state holds for a request."""
        takes = (
            0 if isinstance(self.settings, type) else len(_taken(self.settings, (chat_mode,), {}))
        )
        return self.settings(chat_mode) if takes else self.settings()

    def run(self, state: State, *, is_chat: bool) -> HookRun:
        """For one answer."""
        return HookRun(self, state, is_chat)


HOOK_NAMES = (
    "history_modifier",
    "state_modifier",
    "chat_input_modifier",
    "input_modifier",
    "custom_generate_chat_prompt",
    "bot_prefix_modifier",
    "output_modifier",
    "stream_modifier",
)


@dataclass(slots=True)
class HookRun:
    """The hooks of one answer, which share its state."""

    hooks: Hooks
    state: State
    is_chat: bool

    def each(self, hook: str) -> Iterator[Callable[..., Any]]:
        """The functions called `hook`, each guarded."""
        for name, module in self.hooks.having(hook):
            yield _guarded(name, hook, getattr(module, hook))

    def text(self, hook: str, text: str) -> str:
        """Hooks from text to text."""
        for modify in self.each(hook):
            text = str(modify(text, self.state, is_chat=self.is_chat))
        return text

    def modify_state(self) -> None:
        for modify in self.each("state_modifier"):
            changed = modify(self.state)
            if isinstance(changed, dict):
                self.state = changed

    def modify_input(self, text: str) -> str:
        if self.is_chat:
            visible = text
            for modify in self.each("chat_input_modifier"):
                text, visible = modify(text, visible, self.state)
        return self.text("input_modifier", text)

    def modify_output(self, text: str) -> str:
        return self._output(text, self.state, whole=True)

    def try_output(self, text: str) -> str:
        """The same for a text that is not whole yet: what a hook notes in the state is not kept."""
        return self._output(text, dict(self.state), whole=False)

    def _output(self, text: str, state: State, *, whole: bool) -> str:
        for name, module in self._output_hooks():
            modify = _guarded(name, "output_modifier", module.output_modifier, logs=whole)
            text = str(modify(text, state, is_chat=self.is_chat))
        return text

    def _output_hooks(self) -> list[tuple[str, Any]]:
        """Of extensions that do not modify the text as it comes."""
        having = self.hooks.having("output_modifier")
        return [each for each in having if not callable(getattr(each[1], "stream_modifier", None))]

    def apply_to(self, pieces: Pieces, stops: Sequence[str], *, live: bool) -> Pieces:
        """What clients get of an answer, which ends before the first stop string. `live`: as early as
        hooks allow for it."""
        streamed, whole = list(self.each("stream_modifier")), self._output_hooks()
        if streamed or not whole:
            pieces, stops = up_to(pieces, stops), ()
        for modify in streamed:
            pieces = _streamed(pieces, modify, self.state)
        if not whole:
            return pieces
        names = [name for name, _ in whole]
        live = live and self.hooks.live and self.hooks.contradicting.isdisjoint(names)
        return modified(
            pieces,
            self.modify_output,
            stops=stops,
            attempt=self.try_output if live else None,
            contradicted=partial(self._contradicted, names),
        )

    def _contradicted(self, names: Sequence[str]) -> None:
        """They changed what was sent already: from now on their answers are sent when they are whole."""
        self.hooks.contradicting.update(names)
        log.warning(
            "answers are streamed no more while these extensions are on, since they changed text that was "
            "sent already (output_hooks: whole does the same from the start): %s",
            ", ".join(names),
        )


def _streamed(
    pieces: Pieces, modify: Callable[[Iterator[str], State], Iterable[str]], state: State
) -> Pieces:
    """The text through a generator of an extension's, in a thread of its own; all else as it comes."""

    def produce(emit: Emit[Piece | None]) -> None:
        ends: list[Piece] = []

        def texts() -> Generator[str, None, None]:
            for piece in pieces:
                if piece is None:
                    if emit(None):
                        return
                    continue
                if piece.finish:
                    ends.append(replace(piece, text=""))
                elif emit(piece if piece.echo else replace(piece, text="")):
                    return
                if piece.text and not piece.echo:
                    yield piece.text

        source = texts()
        try:
            for text in modify(source, state):
                if emit(Piece(str(text))):
                    return
            for _ in source:  # what an extension did not want to read is still generated
                pass
            for end in ends:
                emit(end)
        finally:
            source.close()
            pieces.close()

    return iterate_callback(produce, own_thread=True)


def _guarded(
    name: str, hook: str, function: Callable[..., Any], *, logs: bool = True
) -> Callable[..., Any]:
    """The function, given what it takes of the arguments; what it raises becomes an error that names it."""

    def fail(error: Exception) -> ExtensionFailed:
        if logs:
            log.error("the extension %s failed in %s", name, hook, exc_info=error)
        return ExtensionFailed(
            f"The extension '{name}' failed in its {hook} ({type(error).__name__}); "
            '"hooks": false leaves extensions out.'
        )

    def guarded(*args: Any, **options: Any) -> Any:
        try:
            made = function(*_taken(function, args, options), **_known(function, options))
        except APIError:
            raise
        except Exception as error:
            raise fail(error) from None
        return _guarded_items(iter(made), fail) if inspect.isgenerator(made) else made

    return guarded


def _guarded_items(
    items: Iterator[Any], fail: Callable[[Exception], EngineFailed]
) -> Generator[Any, None, None]:
    try:
        yield from items
    except APIError:
        raise
    except Exception as error:
        raise fail(error) from None


def _taken(
    function: Callable[..., Any], args: tuple[Any, ...], options: Mapping[str, Any]
) -> tuple[Any, ...]:
    """As many of the arguments as it takes by position, those that have names of their own apart."""
    taken = 0
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            return args
        by_position = parameter.kind in (
            parameter.POSITIONAL_ONLY,
            parameter.POSITIONAL_OR_KEYWORD,
        )
        taken += by_position and parameter.name not in options
    return args[:taken]


def _known(function: Callable[..., Any], options: dict[str, Any]) -> dict[str, Any]:
    """Those of the named arguments that it knows."""
    parameters = inspect.signature(function).parameters
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return options
    return {name: value for name, value in options.items() if name in parameters}
