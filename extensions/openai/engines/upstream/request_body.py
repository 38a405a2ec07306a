"""Requests as OpenAI's API takes them, from those that engines get."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from typing import Any

from ...schemas import bad_request
from ..protocol import (
    ChatRequest,
    GenerateRequest,
    Media,
    Message,
    RemoteChat,
    SchemaGrammar,
    Tool,
)
from .kinds import KindRow


def chat_body(chat: RemoteChat, model: str, kind: KindRow) -> dict[str, Any]:
    """A body for /chat/completions. Raises InvalidRequest for what this kind of server cannot do."""
    request = chat.request
    messages = [_message(each) for each in request.messages]
    body: dict[str, Any] = {"model": model, "messages": messages, **request.sampling}
    if chat.continued is not None:
        if kind.continues is None:
            raise bad_request.unsupported(
                "messages", "ends with the assistant's, which this model's server cannot continue."
            )
        messages.append(_message(chat.continued))
        body.update(kind.continues)
    _add_common(body, request, chat.logprobs, kind)
    if chat.logprobs is not None:
        body["logprobs"], body["top_logprobs"] = True, chat.logprobs
    if request.tools:
        body["tools"] = [_tool(tool, strict=tool.name in chat.strict) for tool in request.tools]
        if chat.demanded:
            body["tool_choice"] = _choice(chat)
        if not request.parallel_tool_calls:
            body["parallel_tool_calls"] = False
    if request.grammar is not None:
        body.update(_constraint(request.grammar, chat.grammar_param, kind))
    _add_thought(body, chat, kind)
    return body


def completion_body(
    request: GenerateRequest, model: str, kind: KindRow, grammar_param: str = "response_format"
) -> dict[str, Any]:
    """A body for /completions. Raises InvalidRequest for what this kind of server cannot do."""
    prompt: Any = request.prompt if isinstance(request.prompt, str) else list(request.prompt)
    body: dict[str, Any] = {"model": model, "prompt": prompt, **request.sampling}
    _add_common(body, request, request.logprobs, kind)
    # The reference's own default are 16 tokens.
    body.setdefault("max_tokens", request.max_tokens)
    if request.logprobs is not None:
        body["logprobs"] = request.logprobs
    grammar, field = request.grammar, kind.schema_of_completions
    if isinstance(grammar, SchemaGrammar) and field:
        body[field] = grammar.schema
    elif grammar is not None:
        body.update(_constraint(grammar, grammar_param, kind))
    return body


def _add_common(
    body: dict[str, Any],
    request: ChatRequest | GenerateRequest,
    logprobs: int | None,
    kind: KindRow,
) -> None:
    if request.max_tokens is not None:
        body["max_tokens"] = request.max_tokens
    if request.seed is not None:
        body["seed"] = request.seed
    if request.logit_bias:
        body["logit_bias"] = {str(token): bias for token, bias in request.logit_bias}
    space = request.cache.space
    if kind.cache_salt and space.strip("\0"):
        # Without what it is made of: a key's name is not for other servers.
        body["cache_salt"] = hashlib.sha256(space.encode()).hexdigest()[:32]
    # What no client reads early needs no events, but a server that streams notices who hangs up.
    body["stream"] = True
    body["stream_options"] = {"include_usage": True}


def _add_thought(body: dict[str, Any], chat: RemoteChat, kind: KindRow) -> None:
    variables = chat.request.template_variables
    effort = variables.get("reasoning_effort")
    if isinstance(effort, str):
        body["reasoning_effort"] = effort
    if kind.template_variables:
        rest = {
            name: value
            for name, value in variables.items()
            if name not in ("reasoning_effort", "thinking_budget")
        }
        if rest:
            body["chat_template_kwargs"] = rest
    if kind.budget and chat.thought_tokens:
        body[kind.budget] = chat.thought_tokens


def _message(message: Message) -> dict[str, Any]:
    shown: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.parts:
        shown["content"] = [_part(part) for part in message.parts]
    elif message.content is None and not message.tool_calls:
        shown["content"] = ""
    if message.name and message.role != "tool":
        shown["name"] = message.name
    if message.tool_call_id is not None:
        shown["tool_call_id"] = message.tool_call_id
    if message.reasoning:
        shown["reasoning_content"] = message.reasoning
    if message.tool_calls:
        shown["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    return shown


def _part(part: str | Media) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    data = b64encode(part.data).decode()
    if part.kind == "image":
        url = f"data:image/{part.format};base64,{data}"
        return {"type": "image_url", "image_url": {"url": url}}
    return {"type": "input_audio", "input_audio": {"data": data, "format": part.format}}


def _tool(tool: Tool, *, strict: bool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "parameters": tool.parameters}
    if tool.description is not None:
        function["description"] = tool.description
    if strict:
        function["strict"] = True
    return {"type": "function", "function": function}


def _choice(chat: RemoteChat) -> Any:
    if len(chat.demanded) == len(chat.request.tools) > 1:
        return "required"
    return {"type": "function", "function": {"name": chat.demanded[0]}}


def _constraint(grammar: str, param: str, kind: KindRow) -> dict[str, Any]:
    """The field for a grammar. Raises InvalidRequest where the server takes JSON schemas only."""
    if isinstance(grammar, SchemaGrammar):
        if grammar.schema == {"type": "object"}:
            return {"response_format": {"type": "json_object"}}
        wanted: dict[str, Any] = {"name": "answer", "schema": grammar.schema}
        if grammar.strict:
            wanted["strict"] = True
        return {"response_format": {"type": "json_schema", "json_schema": wanted}}
    if kind.grammars == "grammar":
        return {"grammar": grammar}
    if kind.grammars == "structured_outputs":
        return {"structured_outputs": {"grammar": grammar}}
    raise bad_request.unsupported(
        param, "is not something that this model's server can enforce; it takes JSON schemas."
    )
