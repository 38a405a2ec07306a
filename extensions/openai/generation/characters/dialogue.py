"""Chats as a dialogue of two characters, for engines whose host does not render such chats.

`chat`: the dialogue itself is the prompt, as a web UI makes it; `chat-instruct`: the model is asked through
its own template to go on with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Literal

from ...engines.protocol import ChatRequest, Engine, Media, Message, Pieces
from ...schemas import bad_request
from ..chat.answer import Answer, answer_chat
from ..chat.answer_shape import Wanted
from ..plan import ChatPlan
from .files import BadCharacter, Character, log, names_in, read_character

DialogueMode = Literal["chat", "chat-instruct"]
DEFAULT_COMMAND = (
    'Continue the dialogue below. Write one reply of "<|character|>", and nothing else.\n\n'
    "<|prompt|>"
)
MAX_NAMES_TOLD = 50
MAX_FILLED_CHARACTERS = 16 << 20
"""Of a text in which names, or the dialogue, stand for marks: a short one may have very many marks."""


@dataclass(frozen=True, slots=True)
class Cast:
    """Who speaks, and what is said of them first."""

    user: str
    character: str
    context: str
    greeting: str

    def dialogue(self, system: str, messages: tuple[Message, ...]) -> str:
        """The whole dialogue, up to where the character's next words begin."""
        parts = list(filter(None, (self.context, system)))
        lines = [] if not self.greeting else [f"{self.character}: {self.greeting}"]
        for message in messages:
            who = self.character if message.role == "assistant" else self.user
            lines.append(f"{who}: {(message.content or '').strip()}")
        lines.append(f"{self.character}:")
        return "\n\n".join([*parts, "\n".join(lines)])

    @property
    def stops(self) -> tuple[str, ...]:
        """Where the character's words end."""
        return f"\n{self.user}:", f"\n{self.character}:"


def cast_of(folder: Path, name: str | None, values: Mapping[str, str]) -> Cast:
    """The character of that name in a folder, or the one that a request describes. `values`: what the
    request says in place of the file, by a web UI's names. Raises InvalidRequest."""
    found = Character("AI")
    if name is not None:
        try:
            read = read_character(folder, name)
        except BadCharacter as error:
            log.error("the character %r cannot be used: %s", name, error)
            raise bad_request.unsupported(
                "character", f"names a file that is none: {error}."
            ) from None
        if read is None:
            raise bad_request.not_one_of("character", name, names_in(folder)[:MAX_NAMES_TOLD])
        found = read
    user = values.get("name1") or found.user or "You"
    character = values.get("name2") or found.name

    marks = {"{{char}}": character, "<BOT>": character, "{{user}}": user, "<USER>": user}
    bio = values.get("user_bio")
    context = [values.get("context") or found.context, f"About {user}: {bio}" if bio else ""]
    greeting = values.get("greeting") or found.greeting
    described = _filled("\n\n".join(filter(None, context)), marks, "context")
    return Cast(user, character, described, _filled(greeting, marks, "greeting"))


def _filled(text: str, values: Mapping[str, str], param: str) -> str:
    """The text with values in place of marks. Raises InvalidRequest where it would be too long."""
    for mark, value in values.items():
        length = len(text) + text.count(mark) * (len(value) - len(mark))
        if length > MAX_FILLED_CHARACTERS:
            raise bad_request.wrong_length(param, "string", length, high=MAX_FILLED_CHARACTERS)
        text = text.replace(mark, value)
    return text


@dataclass(frozen=True, slots=True)
class DialoguePlan(ChatPlan):
    """A chat that is answered as one of two characters."""

    cast: Cast = field(kw_only=True)
    mode: DialogueMode = field(kw_only=True)
    command: str = field(kw_only=True)

    def answer_as(self, wanted: Wanted) -> Answer:
        if self.tools.shown:
            raise bad_request.conflicting(self.tools.param, "mode")
        return partial(self._answer_as_character, wanted=wanted)

    def _answer_as_character(
        self, engine: Engine, request: ChatRequest, prompt: str | None = None, *, wanted: Wanted
    ) -> Pieces:
        if prompt is None:
            request, prompt = self._prompt(engine, request)
        pieces = answer_chat(engine, request, prompt, wanted=wanted)
        return pieces if wanted.logprobs is not None else _without_blank(pieces)

    def _prompt(self, engine: Engine, request: ChatRequest) -> tuple[ChatRequest, str]:
        if any(isinstance(part, Media) for message in request.messages for part in message.parts):
            raise bad_request.unsupported(
                "messages", f"cannot have media in the mode '{self.mode}'."
            )
        system = "\n\n".join(m.content or "" for m in request.messages if m.role == "system")
        said = tuple(m for m in request.messages if m.role != "system")
        text = self.cast.dialogue(system, said)
        if self.continues:  # what is to be continued follows behind a blank
            text += " "
        if self.mode == "chat":
            return request, text
        begun = f"{self.cast.character}:" + (" " if self.continues else "")
        before = text.removesuffix(begun).rstrip("\n")
        marks = {"<|character|>": self.cast.character, "<|prompt|>": before}
        asked = _filled(self.command, marks, "chat_instruct_command")
        variables = {**request.template_variables, "enable_thinking": False}
        request = replace(request, messages=(Message("user", asked),), template_variables=variables)
        return request, engine.render(request) + begun


def as_dialogue(
    plan: ChatPlan, cast: Cast, mode: DialogueMode, command: str | None
) -> DialoguePlan:
    """The same chat, answered as a character."""
    asked = replace(plan.asked, stops=(*plan.asked.stops, *cast.stops))
    return DialoguePlan(
        asked,
        plan.messages,
        plan.continues,
        plan.tools,
        plan.thinking,
        about_text=plan.about_text,
        cast=cast,
        mode=mode,
        command=command or DEFAULT_COMMAND,
    )


def _without_blank(pieces: Pieces) -> Pieces:
    """The answer without the blank between the name and its first word."""
    begun = False
    try:
        for piece in pieces:
            if piece is not None and not begun and piece.text:
                text = piece.text.lstrip(" ")
                begun = bool(text)
                piece = replace(piece, text=text)
            yield piece
    finally:
        pieces.close()
