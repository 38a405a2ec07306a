"""An agent of the openai-agents SDK with three tools: python sdk_agent.py BASE_URL MODEL API PROMPT."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
)
from openai import AsyncOpenAI

called: list[str] = []
"""The tools that were called in this run."""


def following(tool: str) -> str:
    """What the model is to do next: a scripted model finds that in the results."""
    called.append(tool)
    return f"now say:step-number-{len(called) + 1}"


@function_tool
def write_file(path: str, content: str) -> str:
    """Write a text file."""
    Path(path).write_text(content)
    return f"wrote {len(content)} characters, {following('write_file')}"


@function_tool
def read_file(path: str) -> str:
    """Read a text file."""
    return f"{Path(path).read_text()}\n{following('read_file')}"


@function_tool
def run_command(command: str) -> str:
    """Run a shell command and return what it prints."""
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=30)
    printed = done.stdout + done.stderr
    return f"exit status {done.returncode}\n{printed}\n{following('run_command')}"


MODELS = {"chat": OpenAIChatCompletionsModel, "responses": OpenAIResponsesModel}


async def main(base_url: str, name: str, api: str, prompt: str) -> None:
    model = MODELS[api](name, AsyncOpenAI(base_url=base_url, api_key="none"))
    tools = [write_file, read_file, run_command]
    agent = Agent("worker", instructions="Do what you are asked.", model=model, tools=tools)
    result = await Runner.run(agent, prompt)
    print(result.final_output)
    called.clear()
    streamed = Runner.run_streamed(agent, f"Once more. {prompt}")
    async for _ in streamed.stream_events():
        pass
    print(streamed.final_output)


asyncio.run(main(*sys.argv[1:]))
