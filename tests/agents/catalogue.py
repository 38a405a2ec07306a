"""Coding agents: how each is started against a server, and how it wants its three tasks done.

A row each in AGENTS. The tasks: write a file, read and change it, run a command.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.families import Call, Family
from tests.support.scripted_model import Script

MODEL = "scripted"
TASKS = "Do the three tasks, beginning with say:step-number-1."
DONE = "All three tasks are done."
STEP = "step-number-"
"""Marks are longer than pieces of texts, so that no piece takes a part of one in a prompt."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an agent runs."""

    installed: Path
    """What `make test-agents` installed."""
    work: Path
    home: Path
    url: str
    """Of the API, with /v1."""
    model: str = MODEL

    @property
    def notes(self) -> str:
        return str(self.work / "notes.txt")


Turns = Callable[[Place], Sequence[Call | str]]


@dataclass(frozen=True, slots=True)
class Agent:
    """One agent."""

    name: str
    families: tuple[str, ...]
    """Whose models it is tried with."""
    turns: Turns
    """What does the tasks: a call each turn, or a text."""
    command: Callable[[Place, str], list[str]]
    """What starts it with a prompt."""
    prepare: Callable[[Place], None] = field(default=lambda place: None)
    enforced: bool = False
    """It demands that arguments match their schemas, so its models speak in bytes, and the results of its
    tools say what comes next."""


COPY = "cp notes.txt copy.txt"


def _qwen_code_turns(place: Place) -> list[Call]:
    return [
        ("write_file", {"file_path": place.notes, "content": "one\n"}),
        ("read_file", {"file_path": place.notes}),
        ("edit", {"file_path": place.notes, "old_string": "one", "new_string": "two"}),
        ("run_shell_command", {"command": COPY, "is_background": False}),
    ]


def _qwen_code(place: Place, prompt: str) -> list[str]:
    binary = place.installed / "npm" / "node_modules" / ".bin" / "qwen"
    return [str(binary), "--auth-type", "openai", "--yolo", "--prompt", prompt]


def _opencode_turns(place: Place) -> list[Call]:
    return [
        ("write", {"filePath": place.notes, "content": "one\n"}),
        ("read", {"filePath": place.notes}),
        ("edit", {"filePath": place.notes, "oldString": "one", "newString": "two"}),
        ("bash", {"command": COPY, "description": "Copies the file"}),
    ]


def _opencode(place: Place, prompt: str) -> list[str]:
    binary = place.installed / "npm" / "node_modules" / ".bin" / "opencode"
    return [str(binary), "run", prompt]


def _prepare_opencode(place: Place) -> None:
    limit = {"context": 32_768, "output": 2_000}
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "OpenedAI",
        "options": {"baseURL": place.url, "apiKey": "none"},
        "models": {place.model: {"name": place.model, "tool_call": True, "limit": limit}},
    }
    config = {
        "$schema": "https://opencode.ai/config.json",
        "autoupdate": False,
        "share": "disabled",
        "model": f"openedai/{place.model}",
        "small_model": f"openedai/{place.model}",
        "provider": {"openedai": provider},
    }
    (place.work / "opencode.json").write_text(json.dumps(config, indent=2))


def _cline_turns(place: Place) -> list[Call]:
    return [
        ("editor", {"path": place.notes, "new_text": "one\n"}),
        ("read_files", {"files": [{"path": place.notes}]}),
        ("editor", {"path": place.notes, "old_text": "one", "new_text": "two"}),
        ("run_commands", {"commands": [COPY]}),
    ]


def _cline(place: Place, prompt: str) -> list[str]:
    binary = place.installed / "npm" / "node_modules" / ".bin" / "cline"
    return [
        *(str(binary), "--data-dir", str(place.home / "cline"), "--cwd", str(place.work)),
        *("--provider", "openai-compatible", "--model", place.model, "--key", "none"),
        *("--auto-approve", "true", prompt),
    ]


def _prepare_cline(place: Place) -> None:
    subprocess.run(
        [
            *(str(place.installed / "npm" / "node_modules" / ".bin" / "cline"), "auth"),
            *("--data-dir", str(place.home / "cline"), "--provider", "openai-compatible"),
            *("--apikey", "none", "--modelid", place.model, "--baseurl", place.url),
        ],
        env=surroundings(place),
        check=True,
        capture_output=True,
        timeout=60,
    )


def _aider_turns(place: Place) -> list[str]:
    fence = "```"
    return [
        f"notes.txt\n{fence}\none\n{fence}\n",
        f"notes.txt\n{fence}\ntwo\n{fence}\n",
    ]


def _aider(place: Place, prompt: str) -> list[str]:
    # What the test command says goes to the model, until it is content.
    check = "grep two notes.txt && cp notes.txt copy.txt || (echo say:step-number-2; exit 1)"
    return [
        *(str(place.installed / "aider" / "bin" / "aider"), "--model", f"openai/{place.model}"),
        *("--edit-format", "whole", "--yes-always", "--no-git", "--no-show-model-warnings"),
        *("--no-check-update", "--analytics-disable", "--no-fancy-input", "--no-pretty"),
        *(("--auto-test", "--test-cmd", check, "notes.txt") if prompt == TASKS else ()),
        *("--message", prompt),
    ]


def _sdk_turns(place: Place) -> list[Call]:
    return [
        ("write_file", {"path": place.notes, "content": "one\n"}),
        ("read_file", {"path": place.notes}),
        ("write_file", {"path": place.notes, "content": "two\n"}),
        ("run_command", {"command": COPY}),
    ]


def _sdk(place: Place, prompt: str, api: str = "chat") -> list[str]:
    python, script = (
        place.installed / "sdk" / "bin" / "python",
        Path(__file__).parent / "sdk_agent.py",
    )
    return [str(python), str(script), place.url, place.model, api, prompt]


def _sdk_on_responses(place: Place, prompt: str) -> list[str]:
    return _sdk(place, prompt, "responses")


def _claude_code_turns(place: Place) -> list[Call]:
    return [
        ("Write", {"file_path": place.notes, "content": "one\n"}),
        ("Read", {"file_path": place.notes}),
        ("Edit", {"file_path": place.notes, "old_string": "one", "new_string": "two"}),
        ("Bash", {"command": COPY, "description": "Copy the file"}),
    ]


def _claude_code(place: Place, prompt: str) -> list[str]:
    binary = place.installed / "npm" / "node_modules" / ".bin" / "claude"
    return [str(binary), "--print", "--allowedTools", "Write,Read,Edit,Bash", "--", prompt]


def _codex_turns(place: Place) -> list[Call]:
    patch = f"*** Begin Patch\n*** Update File: {place.notes}\n@@\n-one\n+two\n*** End Patch\n"
    commands = (
        "printf 'one\\n' > notes.txt",
        "cat notes.txt",
        f"apply_patch <<'E'\n{patch}E",
        COPY,
    )
    return [("exec_command", {"cmd": command}) for command in commands]


def _codex(place: Place, prompt: str) -> list[str]:
    binary = place.installed / "npm" / "node_modules" / ".bin" / "codex"
    return [
        *(str(binary), "exec", "--json", "--ephemeral", "--skip-git-repo-check"),
        # What runs the tests is the sandbox.
        *("--dangerously-bypass-approvals-and-sandbox", "--cd", str(place.work), "--", prompt),
    ]


def _prepare_codex(place: Place) -> None:
    folder = place.home / ".codex"
    folder.mkdir(exist_ok=True)
    (folder / "config.toml").write_text(
        f"""
model = "{place.model}"
model_provider = "openedai"
[model_providers.openedai]
name = "OpenedAI"
base_url = "{place.url}"
wire_api = "responses"
supports_websockets = false
[features]
plugins = false
apps = false
remote_plugin = false
"""
    )


def surroundings(place: Place) -> dict[str, str]:
    """The environment of an agent: of the developer's own only PATH."""
    return {
        "HOME": str(place.home),
        "PATH": f"{place.installed / 'bin'}:{os.environ['PATH']}",
        "OPENAI_BASE_URL": place.url,
        "OPENAI_API_BASE": place.url,
        "OPENAI_API_KEY": "none",
        "OPENAI_MODEL": place.model,
        "OPENAI_AGENTS_DISABLE_TRACING": "1",
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
        "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
        "QWEN_CODE_SUPPRESS_YOLO_WARNING": "1",
        "CLINE_TELEMETRY_DISABLED": "1",
        "ANTHROPIC_BASE_URL": place.url.removesuffix("/v1"),
        "ANTHROPIC_AUTH_TOKEN": "none",
        "ANTHROPIC_MODEL": place.model,
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": place.model,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
    }


AGENTS: dict[str, Agent] = {
    agent.name: agent
    for agent in (
        Agent("qwen-code", ("qwen3", "gptoss"), _qwen_code_turns, _qwen_code),
        Agent("opencode", ("qwen35", "mistral7"), _opencode_turns, _opencode, _prepare_opencode),
        Agent("cline", ("mistral7", "deepseek_r1"), _cline_turns, _cline, _prepare_cline),
        Agent("aider", ("gemma3", "commandr"), _aider_turns, _aider),
        Agent("claude-code", ("qwen3", "qwen35", "mistral7"), _claude_code_turns, _claude_code),
        Agent("codex", ("qwen3", "gptoss", "mistral7"), _codex_turns, _codex, _prepare_codex),
        Agent("openai-agents", ("qwen3", "qwen35", "phi4"), _sdk_turns, _sdk, enforced=True),
        Agent(
            "openai-agents-responses",
            ("qwen3", "mistral7"),
            _sdk_turns,
            _sdk_on_responses,
            enforced=True,
        ),
    )
}


def scripts_of(agent: Agent, family: Family, place: Place) -> list[Script]:
    """What the model says: turn by turn, each with the mark of the next one, then that all is done."""
    turns = agent.turns(place)
    scripts = [Script(f"{STEP}0", family.says(DONE))]
    for number, turn in enumerate(turns, start=1):
        following = f"This is step {number}."
        if not agent.enforced:  # what it has said would be in the prompt of the enforced part
            following += f" Then say:{STEP}{number + 1}."
        if isinstance(turn, str):
            text = family.says(f"{turn}\nThis is step {number}.")
        else:
            text = family.says(following, turn, thought=f"Now step {number}.")
        scripts.append(Script(f"{STEP}{number}", text, in_bytes=agent.enforced))
    return [*scripts, Script(f"{STEP}{len(turns) + 1}", family.says(DONE))]
