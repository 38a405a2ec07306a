"""Generates with the hooks of other extensions, called as the host's UI would call them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from ...engines.protocol import (
    Capability,
    ChatRequest,
    Engine,
    EngineInfo,
    GenerateRequest,
    Message,
    Pieces,
)
from ..chat.answer import Answer
from .extension_hooks import Hooks
from .history import Conversation
from .replies import check_reply, reply
from .state import (
    State,
    changed_context,
    changed_limit,
    changed_sampling,
    changed_seed,
    changed_system,
    state_of,
    with_system,
)


def hooked_chat(
    hooks: Hooks,
    engine: Engine,
    request: ChatRequest,
    answer: Answer,
    *,
    stops: Sequence[str],
    continues: bool,
    logprobs: bool = False,
) -> Pieces:
    """Answer messages with `answer` and all hooks. `continues`: the answer continues a message of the
    assistant, and there is no new user message; `logprobs`: the client wants them.

    Raises EngineFailed if a hook fails; later hooks are not called then.
    """
    conversation = Conversation(request.messages, open_end=not continues)
    system = [message.content or "" for message in request.messages if message.role == "system"]
    before = _state_of(hooks, request, engine.info)
    before = with_system(before, "\n".join(system))
    run = hooks.run(dict(before), is_chat=True)
    history = conversation.history()
    for modify in run.each("history_modifier"):
        changed = modify(history)
        history = changed if isinstance(changed, dict) else history
    run.state["history"] = before["history"] = history
    run.modify_state()
    text = conversation.last
    if text is not None:
        text = run.modify_input(text)
    if Capability.MODES not in engine.info.capabilities:
        run.state["mode"] = before["mode"]  # this engine supports no other mode
    messages = _with_system(conversation.messages(history, text), changed_system(before, run.state))
    context = changed_context(before, run.state)
    if context is not None:
        run.state["context"] = context
    request = replace(
        request,
        messages=messages,
        sampling={**request.sampling, **changed_sampling(before, run.state, engine.info)},
        max_tokens=changed_limit(before, run.state, request.max_tokens),
        seed=changed_seed(before, run.state, request.seed),
    )
    prompt: str | None = None
    for make in run.each("custom_generate_chat_prompt"):
        prompt = make(text or "", run.state, history=history, _continue=continues)
        break  # webuis call only the first one
    # If the host renders the prompt, it applies the prefix itself.
    host_renders = continues or run.state.get("mode") in ("chat", "chat-instruct")
    prefix = "" if host_renders else run.text("bot_prefix_modifier", "")
    if prompt is not None:  # it has no marks for media
        plain = tuple(replace(message, parts=()) for message in messages)
        request = replace(request, messages=plain)
    if prompt is not None or prefix:
        prompt = (engine.render(request) if prompt is None else str(prompt)) + prefix
    replier = run.replier()
    if replier is None:
        pieces = answer(engine, request, prompt)
    else:
        check_reply(request.grammar, request.logit_bias, request.tools, logprobs)
        text = engine.render(request) if prompt is None else prompt
        pieces = reply(replier, engine, text, run.state, stops, is_chat=True)
    yield from _closing(run.apply_to(pieces, stops, live=not request.unstreamed))


def hooked_completion(
    hooks: Hooks,
    engine: Engine,
    request: GenerateRequest,
    answer: Callable[[GenerateRequest], Pieces],
    *,
    stops: Sequence[str],
) -> Pieces:
    """Continue a prompt with `answer` and all hooks; a prompt of token ids is not modified."""
    before = _state_of(hooks, request, engine.info)
    run = hooks.run(dict(before), is_chat=False)
    run.modify_state()
    prompt = request.prompt
    request = replace(
        request,
        prompt=run.modify_input(prompt) if isinstance(prompt, str) else prompt,
        sampling={**request.sampling, **changed_sampling(before, run.state, engine.info)},
        max_tokens=changed_limit(before, run.state, request.max_tokens),
        seed=changed_seed(before, run.state, request.seed),
    )
    replier = run.replier()
    if replier is None or not isinstance(request.prompt, str):
        pieces = answer(request)
    else:
        check_reply(request.grammar, request.logit_bias, request.logprobs is not None)
        pieces = reply(replier, engine, request.prompt, run.state, stops, is_chat=False)
    yield from _closing(run.apply_to(pieces, stops, live=not request.unstreamed))


def _state_of(hooks: Hooks, request: ChatRequest | GenerateRequest, info: EngineInfo) -> State:
    settings = hooks.state_for(request.chat_mode)
    state = state_of(settings, request.sampling, request.max_tokens, request.seed, info)
    return {**state, "stream": not request.unstreamed}


def _with_system(messages: Sequence[Message], system: str | None) -> tuple[Message, ...]:
    """Replace the system messages by one with this text; None: keep them."""
    if system is None:
        return tuple(messages)
    rest = tuple(message for message in messages if message.role != "system")
    return (Message("system", system), *rest) if system.strip() else rest


def _closing(pieces: Pieces) -> Pieces:
    try:
        yield from pieces
    finally:
        pieces.close()
