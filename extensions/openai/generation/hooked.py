"""What other extensions of the host do to an answer: their hooks, in the order in which its page calls them.

An extension is a module; a hook is a function of it with a name that webuis know. Each is called with as
much as it takes, since over the years they were given more.

- `history_modifier(history)`: the turns so far, `{"internal": [[user, assistant], ...], "visible": ...}`
- `state_modifier(state)`: the parameters
- `chat_input_modifier(text, visible_text, state)`, `input_modifier(text, state, is_chat)`: the last
  message of the user, or the prompt
- `custom_generate_chat_prompt(text, state, history=..., _continue=...)`: the whole prompt of a chat
- `bot_prefix_modifier(text, state)`: what the answer begins behind
- `output_modifier(text, state, is_chat)`: the answer, once it is whole
- `stream_modifier(pieces, state)`: our own: a generator from an iterator of texts, while they come. An
  extension that has it is not asked to modify the whole output besides

What a host applies inside of its generator (`custom_generate_reply`, `tokenizer_modifier`,
`logits_processor_modifier`) is none of ours.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..engines.base import (
    ChatRequest,
    Engine,
    EngineInfo,
    GenerateRequest,
    Media,
    Message,
    Native,
    Piece,
    Pieces,
    Scores,
)
from ..engines.pump import Emit, pump
from ..errors import APIError, EngineFailed
from .prompted import Answer, PromptedChat, up_to
from .sampling import PARAMETERS

log = logging.getLogger("openedai")

State = dict[str, Any]
"""What hooks are given and may change: sampler parameters by the page's names, and the page's settings."""


@dataclass(frozen=True, slots=True)
class Hooks:
    """The extensions of a host, besides ourselves. Both functions may be called from any thread."""

    extensions: Callable[[], Iterable[tuple[str, Any]]]
    """Names and modules, in the order in which they are applied; read anew for each request."""
    settings: Callable[[], Mapping[str, Any]] = dict
    """What the page's state holds besides the request's parameters."""
    applied: Callable[[], frozenset[str]] = frozenset
    """The names of hooks that the host itself applies to what we ask of it."""

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
        return bool(self.having(*KNOWN))

    @property
    def change_output(self) -> bool:
        """Whether clients may get another text than was generated."""
        return bool(self.having("output_modifier", "stream_modifier"))

    def run(self, state: State, *, is_chat: bool) -> Run:
        """For one answer."""
        return Run(self, state, is_chat)


KNOWN = (
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
class Run:
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
        for name, module in self.hooks.having("output_modifier"):
            if not callable(getattr(module, "stream_modifier", None)):
                modify = _guarded(name, "output_modifier", module.output_modifier)
                text = str(modify(text, self.state, is_chat=self.is_chat))
        return text

    @property
    def waits(self) -> bool:
        """Whether the answer must be whole before it can be sent."""
        having = self.hooks.having("output_modifier")
        return any(not callable(getattr(module, "stream_modifier", None)) for _, module in having)

    def apply_to(self, pieces: Pieces, stops: Sequence[str]) -> Pieces:
        """What clients get of an answer, which ends before the first stop string."""
        pieces = up_to(pieces, stops)
        for modify in self.each("stream_modifier"):
            pieces = _streamed(pieces, modify, self.state)
        return _whole(pieces, self.modify_output) if self.waits else pieces


def hooked_chat(
    hooks: Hooks,
    engine: Engine,
    request: ChatRequest,
    answer: Answer,
    *,
    stops: Sequence[str],
    continues: bool,
) -> Pieces:
    """Answer messages as `answer` does, with all hooks. `continues`: the answer goes on with a message of
    the assistant, and the user says nothing new.

    Raises EngineFailed when a hook fails; the others are not asked then.
    """
    turns = _Turns(request.messages, open_end=not continues)
    before = _state(hooks, request.sampling, request.max_tokens, request.seed, engine.info)
    # A page has one text for what the system says; prompts that extensions make begin with it.
    system = [message.content or "" for message in request.messages if message.role == "system"]
    before["custom_system_message"] = "\n".join(system)
    run = hooks.run(dict(before), is_chat=True)
    history = turns.history()
    for modify in run.each("history_modifier"):
        changed = modify(history)
        history = changed if isinstance(changed, dict) else history
    run.state["history"] = before["history"] = history
    run.modify_state()
    text = turns.last
    if text is not None:
        text = run.modify_input(text)
    messages = turns.messages(history, text)
    request = replace(
        request,
        messages=messages,
        sampling={**request.sampling, **_changed(before, run.state, engine.info)},
        max_tokens=_limit(before, run.state, request.max_tokens),
        seed=_seed(before, run.state, request.seed),
    )
    prompt: str | None = None
    for make in run.each("custom_generate_chat_prompt"):
        prompt = make(text or "", run.state, history=history, _continue=continues)
        break  # webuis ask only the first one
    # Where the host makes the prompt it asks for the prefix, too.
    theirs = continues or (request.page is not None and request.page.mode != "instruct")
    prefix = "" if theirs else run.text("bot_prefix_modifier", "")
    if prompt is not None:  # it has no marks for media
        plain = tuple(replace(message, parts=()) for message in messages)
        request = replace(request, messages=plain)
    if prompt is not None or prefix:
        own = engine.render(request) if prompt is None else str(prompt)
        engine = PromptedChat(_Rendered(engine, own + prefix))
    yield from _closing(run.apply_to(answer(engine, request), stops))


def hooked_completion(
    hooks: Hooks,
    engine: Engine,
    request: GenerateRequest,
    answer: Callable[[GenerateRequest], Pieces],
    *,
    stops: Sequence[str],
) -> Pieces:
    """Continue a prompt as `answer` does, with all hooks; one of token ids is left as it is."""
    before = _state(hooks, request.sampling, request.max_tokens, request.seed, engine.info)
    run = hooks.run(dict(before), is_chat=False)
    run.modify_state()
    prompt = request.prompt
    request = replace(
        request,
        prompt=run.modify_input(prompt) if isinstance(prompt, str) else prompt,
        sampling={**request.sampling, **_changed(before, run.state, engine.info)},
        max_tokens=_limit(before, run.state, request.max_tokens),
        seed=_seed(before, run.state, request.seed),
    )
    yield from _closing(run.apply_to(answer(request), stops))


def _closing(pieces: Pieces) -> Pieces:
    try:
        yield from pieces
    finally:
        pieces.close()


class _Rendered:
    """An engine whose prompt is settled. See `prompted.Continuing`."""

    def __init__(self, engine: Engine, prompt: str) -> None:
        self._engine = engine
        self._prompt = prompt

    @property
    def info(self) -> EngineInfo:
        return self._engine.info

    def generate(self, request: GenerateRequest) -> Pieces:
        return self._engine.generate(request)

    def render(self, request: ChatRequest) -> str:
        return self._prompt

    def turn_ends(self, request: ChatRequest) -> tuple[str, ...]:
        own = getattr(self._engine, "turn_ends", None)
        return own(request) if own is not None else ()

    def score(self, tokens: Sequence[int], alternatives: int) -> Scores:
        return self._engine.score(tokens, alternatives)

    def infill(self, before: str | tuple[int, ...], after: str) -> tuple[int, ...]:
        return self._engine.infill(before, after)

    def tokenize(self, text: str) -> tuple[int, ...]:
        return self._engine.tokenize(text)

    def detokenize(self, tokens: Sequence[int]) -> str:
        return self._engine.detokenize(tokens)

    def close(self) -> None:
        """It belongs to others."""


# The turns of a conversation


@dataclass(slots=True)
class _Turn:
    """What the user said and what was answered, with the messages that it is made of."""

    user: str = ""
    assistant: str = ""
    messages: list[Message] = field(default_factory=list)

    def with_texts(self, user: str, assistant: str) -> list[Message]:
        """The messages with other texts; what is no text of either (tools, system) stays."""
        if (user, assistant) == (self.user, self.assistant):
            return self.messages
        made = [
            message
            for message in self.messages
            if message.role not in ("user", "assistant") or message.tool_calls
        ]
        asked = next((each for each in self.messages if each.role == "user"), None)
        first = [_reworded(asked or Message("user", ""), user)] if user else []
        return [*first, *made, *([Message("assistant", assistant)] if assistant else [])]


def _reworded(message: Message, text: str | None) -> Message:
    """The message with another text, its media behind it."""
    if text == message.content:
        return message
    media = [part for part in message.parts if isinstance(part, Media)]
    parts: tuple[str | Media, ...] = (text or "", *media) if media else ()
    return replace(message, content=text, parts=parts)


class _Turns:
    """A conversation as rows of what was said and answered, and back."""

    def __init__(self, messages: Sequence[Message], *, open_end: bool) -> None:
        rest = list(messages)
        self.last: str | None = None
        """What the user says now; None where the last message is not the user's."""
        self._final: Message | None = None
        if open_end and rest and rest[-1].role == "user":
            self._final = rest.pop()
            self.last = self._final.content or ""
        self._head: list[Message] = []
        self._rows: list[_Turn] = []
        for message in rest:
            if message.role == "user":
                self._rows.append(_Turn(user=message.content or "", messages=[message]))
            elif not self._rows and message.role != "assistant":
                self._head.append(message)
            else:
                if not self._rows:
                    self._rows.append(_Turn())
                self._rows[-1].messages.append(message)
                if message.role == "assistant" and not message.tool_calls:
                    said = [self._rows[-1].assistant, message.content or ""]
                    self._rows[-1].assistant = "\n".join(text for text in said if text)

    def history(self) -> dict[str, list[list[str]]]:
        """As hooks know it."""
        internal = [[row.user, row.assistant] for row in self._rows]
        return {"internal": internal, "visible": [list(row) for row in internal]}

    def messages(self, history: Mapping[str, Any], last: str | None) -> tuple[Message, ...]:
        """The conversation with what hooks made of it."""
        made = list(self._head)
        rows = [(str(row[0]), str(row[1])) for row in history.get("internal", ())]
        old = [(row.user, row.assistant) for row in self._rows]
        for turn, (user, assistant) in zip(_aligned(self._rows, old, rows), rows, strict=True):
            made += turn.with_texts(user, assistant)
        if self._final is not None:
            made.append(_reworded(self._final, last))
        return tuple(made)


def _aligned(
    turns: Sequence[_Turn], old: Sequence[tuple[str, str]], new: Sequence[tuple[str, str]]
) -> list[_Turn]:
    """The turn that each new row was; a new one where it was none. Rows may be added and left out, and
    if as many are there as before, each is what it was."""
    if len(old) == len(new):
        return list(turns)
    found: list[_Turn] = []
    at = 0
    for row in new:
        place = next((i for i in range(at, len(old)) if old[i] == row), None)
        if place is None:
            found.append(_Turn())
        else:
            found.append(turns[place])
            at = place + 1
    return found


# The state


def _state(
    hooks: Hooks, sampling: Native, limit: int | None, seed: int | None, info: EngineInfo
) -> State:
    """What hooks see of a request, by the page's names."""
    named: State = {}
    for row in PARAMETERS:
        column = row.native.get(info.sampler)
        if column is not None and column.name in sampling:
            named[_page_name(row.name)] = sampling[column.name]
    return {
        **hooks.settings(),
        **named,
        "max_new_tokens": limit if limit is not None else info.context_length,
        "seed": -1 if seed is None else seed,
        "stream": True,
        "truncation_length": info.context_length,
        "history": {"internal": [], "visible": []},
    }


def _page_name(row: str) -> str:
    return _PAGE_NAMES.get(row, row)


_PAGE_NAMES = {row.name: row.native["webui"].name for row in PARAMETERS if "webui" in row.native}
_OURS = ("max_new_tokens", "seed", "stream", "truncation_length", "history")


def _changed(before: State, after: State, info: EngineInfo) -> dict[str, Any]:
    """Parameters that hooks have set, under the engine's names; what it does not know only where it
    takes all that a page does."""
    columns = {
        _page_name(row.name): row.native[info.sampler].name
        for row in PARAMETERS
        if info.sampler in row.native
    }
    takes_all = info.sampler.startswith("webui")
    return {
        columns.get(name, name): value
        for name, value in after.items()
        if name not in _OURS
        and (name not in before or before[name] != value)
        and (name in columns or takes_all)
    }


def _limit(before: State, after: State, asked: int | None) -> int | None:
    changed = after.get("max_new_tokens")
    if changed == before["max_new_tokens"] or not isinstance(changed, int) or changed < 1:
        return asked
    return changed


def _seed(before: State, after: State, asked: int | None) -> int | None:
    changed = after.get("seed")
    if changed == before["seed"] or not isinstance(changed, int):
        return asked
    return None if changed == -1 else changed


# The output


def _whole(pieces: Pieces, modify: Callable[[str], str]) -> Pieces:
    """All but the text as it comes, and the text when it is whole."""
    said = ""
    for piece in pieces:
        if piece is None:
            yield None
            continue
        if piece.echo:
            yield piece
            continue
        said += piece.text
        yield replace(piece, text=modify(said) if piece.finish else "")
        yield None  # nothing to show: it is a silence for whoever reads


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

    return pump(produce, apart=True)


def _guarded(name: str, hook: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, given what it takes of the arguments; what it raises becomes an error that names it."""

    def fail(error: Exception) -> EngineFailed:
        log.error("the extension %s failed in %s", name, hook, exc_info=error)
        return EngineFailed(
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
