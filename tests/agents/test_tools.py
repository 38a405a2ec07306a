"""The tools that agents really send: each passes as it is, alone and with all others, strict and not.

The definitions are those of a request that the agent makes during the test.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import httpx
import pytest

from tests.agents.installed import INSTALLED
from tests.agents.stage import USER_KEY, Stage

pytestmark = [
    pytest.mark.skipif(not INSTALLED, reason="needs the agents: make test-agents"),
    pytest.mark.timeout(900),
]
Tool = dict[str, Any]


def test_each_tool_of_an_agent_passes(stage: Stage) -> None:
    """One agent run, then a short answer for each tool, and one for all."""
    stage.run("Say the answer, say:plain-answer.")
    turn = stage.relay.main[0]
    tools: list[Tool] = turn.body["tools"]
    offers = [(offered, strict) for strict in (None, False, True) for offered in _offers(tools)]
    refused = [
        f"{_name(offered[0])} of {len(offered)}, strict={strict}: {answer.text[:300]}"
        for offered, strict in offers
        if (answer := _ask(stage, turn.path, _strictly(offered, strict))).status_code != 200
    ]
    assert not refused, "\n".join(refused)


def _offers(tools: list[Tool]) -> list[list[Tool]]:
    """Each alone, and all together."""
    return [*([tool] for tool in tools), tools]


def _ask(stage: Stage, path: str, tools: list[Tool]) -> httpx.Response:
    said = "Say the answer, say:plain-answer."
    body: dict[str, Any] = {"model": "any", "tools": tools}
    if stage.agent.dialect == "responses":
        body |= {"input": said, "max_output_tokens": 16}
    else:
        body |= {"messages": [{"role": "user", "content": said}], "max_tokens": 16}
    key = {"x-api-key": USER_KEY}
    return httpx.post(f"{stage.relay.target}{path}", json=body, headers=key, timeout=60)


def _strictly(tools: list[Tool], strict: bool | None) -> list[Tool]:
    """The tools with this mark; None: as they are. Tools that are no functions have none."""
    found = deepcopy(tools)
    for tool in found:
        inner = [tool.get("function", tool), *tool.get("tools", ())]
        for each in inner if strict is not None else ():
            if "parameters" in each or "input_schema" in each:
                each["strict"] = strict
    return found


def _name(tool: Tool) -> str:
    return str(tool.get("name") or tool.get("function", {}).get("name") or tool["type"])
