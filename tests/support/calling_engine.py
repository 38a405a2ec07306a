"""An engine without a model that calls tools: it says what the user's last message says, and what a tool
has returned once there is a result. Its record is of what it was asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from extensions.openai.engines.echo import END, USER, EchoEngine
from extensions.openai.engines.protocol import Capability, ChatRequest, EngineInfo


class CallingEngine(EchoEngine):
    """Thread-safe as far as tests need it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[ChatRequest] = []

    @property
    def info(self) -> EngineInfo:
        info = super().info
        return replace(info, capabilities=(*info.capabilities, Capability.TOOLS))

    def render(self, request: ChatRequest) -> str:
        self.asked.append(request)
        prompt = super().render(request)
        last = request.messages[-1]
        if last.role != "tool":
            return prompt
        head, answer = prompt.rsplit("<|assistant|>", 1)
        return f"{head}{USER}{last.content}{END}<|assistant|>{answer}"

    @property
    def tools(self) -> list[str]:
        """The names of the tools of the last request."""
        return [tool.name for tool in self.asked[-1].tools]


def call(name: str, arguments: Mapping[str, Any]) -> str:
    """What a model says that calls a tool."""
    said = json.dumps({"name": name, "arguments": arguments})
    return f"<tool_call>\n{said}\n</tool_call>"
