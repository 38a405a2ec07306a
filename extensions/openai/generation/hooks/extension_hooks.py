"""The hooks of the host's other extensions, in the order in which its UI calls them.

An extension is a module; a hook is one of its functions, with a name that webuis define. Each is called with
as many arguments as it takes, because newer versions pass more.

- `history_modifier(history)`: the turns so far, `{"internal": [[user, assistant], ...], "visible": ...}`
- `state_modifier(state)`: the parameters
- `chat_input_modifier(text, visible_text, state)`, `input_modifier(text, state, is_chat)`: the last user
  message, or the prompt
- `custom_generate_chat_prompt(text, state, history=..., _continue=...)`: the whole prompt of a chat
- `bot_prefix_modifier(text, state)`: the text before the answer
- `output_modifier(text, state, is_chat)`: the answer; tried while it is written (`stream.py`)
- `stream_modifier(pieces, state)`, which only this server calls: maps an iterator of texts to a generator,
  while they arrive. An extension with this hook is not also called with the whole output

- `custom_generate_reply(prompt, original_prompt, state, stopping_strings, is_chat)`: answers in the model's
  place; yields the whole text so far (`replies.py`). Only where the host has no generator of its own

A webui itself applies `custom_generate_reply`, `tokenizer_modifier` and `logits_processor_modifier`, inside
its generator.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
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
    """The other extensions of a host. The functions are thread-safe."""

    extensions: Callable[[], Iterable[tuple[str, Any]]]
    """Names and modules, in the order of application; read for each request."""
    settings: Callable[..., Mapping[str, Any]] = dict
    """The UI's state without the request's parameters; if it takes an argument, that is the request's
    `ChatMode`, or None."""
    applied: Callable[[], frozenset[str]] = frozenset
    """The names of hooks that the host itself applies to our requests."""
    replies: bool = False
    """Whether to call `custom_generate_reply`, as the host does not."""
    live: bool = True
    """Whether to send answers while they are written, if an output_modifier allows it."""
    rewriting: set[str] = field(default_factory=set, compare=False)
    """Extensions that, at the end, changed text that was already sent."""

    def only(self, names: Collection[str]) -> Hooks:
        """These extensions alone. Raises ExtensionFailed if one of them is not there."""
        there = {name for name, _ in self.extensions()}
        if missing := [name for name in names if name not in there]:
            raise ExtensionFailed(
                f"The agent answers with the extension '{missing[0]}' only, which is not active."
            )
        chosen = partial(_chosen, self.extensions, frozenset(names))
        return replace(self, extensions=chosen)

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
        """Whether there are hooks to apply."""
        return bool(self.having(*HOOK_NAMES)) or bool(self.replies and self.having(REPLY))

    @property
    def change_output(self) -> bool:
        """Whether clients may get a different text than was generated."""
        return bool(self.having("output_modifier", "stream_modifier"))

    def state_for(self, chat_mode: ChatMode | None) -> Mapping[str, Any]:
        """The UI's state for a request."""
        accepted = 0
        if not isinstance(self.settings, type):
            accepted = len(_accepted_args(self.settings, (chat_mode,), {}))
        return self.settings(chat_mode) if accepted else self.settings()

    def run(self, state: State, *, is_chat: bool) -> HookRun:
        """The hooks for one answer."""
        return HookRun(self, state, is_chat)


def _chosen(
    extensions: Callable[[], Iterable[tuple[str, Any]]], names: Collection[str]
) -> list[tuple[str, Any]]:
    return [each for each in extensions() if each[0] in names]


REPLY = "custom_generate_reply"
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
        """The functions called `hook`, with error handling."""
        for name, module in self.hooks.having(hook):
            yield guarded(name, hook, getattr(module, hook))

    def replier(self) -> Callable[..., Any] | None:
        """The first extension's function that answers in the model's place."""
        return next(self.each(REPLY), None) if self.hooks.replies else None

    def text(self, hook: str, text: str) -> str:
        """Apply hooks that map text to text."""
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
        return self._output(text, self.state, logs=True)

    def try_output(self, text: str) -> str:
        """The same for an incomplete text: changes of the state are discarded."""
        return self._output(text, dict(self.state), logs=False)

    def _output(self, text: str, state: State, *, logs: bool) -> str:
        for name, module in self._output_hooks():
            modify = guarded(name, "output_modifier", module.output_modifier, logs=logs)
            text = str(modify(text, state, is_chat=self.is_chat))
        return text

    def _output_hooks(self) -> list[tuple[str, Any]]:
        """Extensions with an output_modifier and no stream_modifier."""
        having = self.hooks.having("output_modifier")
        return [each for each in having if not callable(getattr(each[1], "stream_modifier", None))]

    def apply_to(self, pieces: Pieces, stops: Sequence[str], *, live: bool) -> Pieces:
        """Apply the output hooks to an answer, which ends before the first stop string. `live`: emit text as
        early as the hooks allow."""
        streamed, output_hooks = list(self.each("stream_modifier")), self._output_hooks()
        if streamed or not output_hooks:
            pieces, stops = up_to(pieces, stops), ()
        for modify in streamed:
            pieces = _streamed(pieces, modify, self.state)
        if not output_hooks:
            return pieces
        names = [name for name, _ in output_hooks]
        live = live and self.hooks.live and self.hooks.rewriting.isdisjoint(names)
        return modified(
            pieces,
            self.modify_output,
            stops=stops,
            attempt=self.try_output if live else None,
            on_rewrite=partial(self._on_rewrite, names),
        )

    def _on_rewrite(self, names: Sequence[str]) -> None:
        """Hooks changed text that was already sent: from now on send their answers when complete."""
        self.hooks.rewriting.update(names)
        log.warning(
            "answers are no longer streamed while these extensions are on, because they changed text that "
            "was already sent (output_hooks: whole does the same from the start): %s",
            ", ".join(names),
        )


def _streamed(
    pieces: Pieces, modify: Callable[[Iterator[str], State], Iterable[str]], state: State
) -> Pieces:
    """Pass the text through an extension's generator, in a separate thread; everything else unchanged."""

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
            for _ in source:  # generate the rest, which the extension has not read
                pass
            for end in ends:
                emit(end)
        finally:
            source.close()
            pieces.close()

    return iterate_callback(produce, own_thread=True)


def guarded(
    name: str, hook: str, function: Callable[..., Any], *, logs: bool = True
) -> Callable[..., Any]:
    """Call the function with the arguments that it accepts; its exceptions become errors that name it."""

    def fail(error: Exception) -> ExtensionFailed:
        if logs:
            log.error("the extension %s failed in %s", name, hook, exc_info=error)
        return ExtensionFailed(
            f"The extension '{name}' failed in its {hook} ({type(error).__name__}); "
            '"hooks": false leaves extensions out.'
        )

    def call(*args: Any, **options: Any) -> Any:
        try:
            result = function(
                *_accepted_args(function, args, options), **_accepted_options(function, options)
            )
        except APIError:
            raise
        except Exception as error:
            raise fail(error) from None
        return _guarded_items(iter(result), fail) if inspect.isgenerator(result) else result

    return call


def _guarded_items(
    items: Iterator[Any], fail: Callable[[Exception], EngineFailed]
) -> Generator[Any, None, None]:
    try:
        yield from items
    except APIError:
        raise
    except Exception as error:
        raise fail(error) from None


def _accepted_args(
    function: Callable[..., Any], args: tuple[Any, ...], options: Mapping[str, Any]
) -> tuple[Any, ...]:
    """The positional arguments that it accepts, besides those that are passed by name."""
    count = 0
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            return args
        by_position = parameter.kind in (
            parameter.POSITIONAL_ONLY,
            parameter.POSITIONAL_OR_KEYWORD,
        )
        count += by_position and parameter.name not in options
    return args[:count]


def _accepted_options(function: Callable[..., Any], options: dict[str, Any]) -> dict[str, Any]:
    """The named arguments that it accepts."""
    parameters = inspect.signature(function).parameters
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return options
    return {name: value for name, value in options.items() if name in parameters}
