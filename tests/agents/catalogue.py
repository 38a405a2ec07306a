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
from typing import Literal

from tests.support.families import Call, Family
from tests.support.scripted_model import Script

MODEL = "scripted"
TASKS = "Do the three tasks, beginning with say:step-number-1."
DONE = "All three tasks are done."
CONTEXT = 65_536
"""Of the servers, in tokens; some agents have a setting for it."""
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
    key: str = "none"

    @property
    def notes(self) -> str:
        return str(self.work / "notes.txt")


Dialect = Literal["chat", "responses", "messages"]
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
    environment: Callable[[Place], dict[str, str]] = field(default=lambda place: {})
    """What it needs besides that of all."""
    enforced: bool = False
    """It demands that arguments match their schemas, so its models speak in bytes, and the results of its
    tools say what comes next."""
    dialect: Dialect = "chat"
    resume: Callable[[Place, str], list[str]] | None = None
    """What goes on with its last conversation; None: it cannot."""
    shows: Callable[[str], Call] | None = None
    """The call that shows a file of its folder; None: it has no place in the matrix."""
    compaction: str = ""
    """Words of its requests for a summary of a conversation that is too long, and of no others. Without: it
    makes conversations shorter by itself."""
    shorten_at: Callable[[Place, int], None] | None = None
    """Lets it ask for a summary at so many tokens; None: it does when a prompt was refused."""


COPY = "cp notes.txt copy.txt"


def _qwen_code_turns(place: Place) -> list[Call]:
    return [
        ("write_file", {"file_path": place.notes, "content": "one\n"}),
        ("read_file", {"file_path": place.notes}),
        ("edit", {"file_path": place.notes, "old_string": "one", "new_string": "two"}),
        ("run_shell_command", {"command": COPY, "is_background": False}),
    ]


def _qwen_code(place: Place, prompt: str, auth: str, *more: str) -> list[str]:
    return [_npm(place, "qwen"), "--auth-type", auth, "--yolo", *more, "--prompt", prompt]


def _qwen_code_agent(dialect: Dialect, auth: str, *families: str) -> Agent:
    return Agent(
        "qwen-code" if dialect == "chat" else f"qwen-code-{dialect}",
        families,
        _qwen_code_turns,
        lambda place, prompt: _qwen_code(place, prompt, auth),
        environment=lambda place: {"ANTHROPIC_API_KEY": place.key},
        dialect=dialect,
        resume=lambda place, prompt: _qwen_code(place, prompt, auth, "--continue"),
        compaction="First, reason in your <analysis> block.",
        shows=lambda path: ("read_file", {"file_path": path}),
    )


def _opencode_turns(place: Place) -> list[Call]:
    return [
        ("write", {"filePath": place.notes, "content": "one\n"}),
        ("read", {"filePath": place.notes}),
        ("edit", {"filePath": place.notes, "oldString": "one", "newString": "two"}),
        ("bash", {"command": COPY, "description": "Copies the file"}),
    ]


def _opencode(place: Place, prompt: str, *more: str) -> list[str]:
    return [_npm(place, "opencode"), "run", *more, prompt]


def _prepare_opencode(place: Place, package: str) -> None:
    limit = {"context": CONTEXT, "output": 2_000}
    # On Responses it gives thoughts back only where it takes the model for one that thinks.
    thinks = package == "@ai-sdk/openai"
    provider = {
        "npm": package,
        "name": "OpenedAI",
        "options": {"baseURL": place.url, "apiKey": place.key},
        "models": {
            place.model: {
                "name": place.model,
                "tool_call": True,
                "reasoning": thinks,
                "limit": limit,
            }
        },
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


def _opencode_agent(dialect: Dialect, package: str, *families: str) -> Agent:
    return Agent(
        "opencode" if dialect == "chat" else f"opencode-{dialect}",
        families,
        _opencode_turns,
        _opencode,
        lambda place: _prepare_opencode(place, package),
        dialect=dialect,
        resume=lambda place, prompt: _opencode(place, prompt, "--continue"),
        compaction="You are a context summarization agent.",
        shows=lambda path: ("read", {"filePath": path}),
    )


def _cline_turns(place: Place) -> list[Call]:
    return [
        ("editor", {"path": place.notes, "new_text": "one\n"}),
        ("read_files", {"files": [{"path": place.notes}]}),
        ("editor", {"path": place.notes, "old_text": "one", "new_text": "two"}),
        ("run_commands", {"commands": [COPY]}),
    ]


def _cline(place: Place, prompt: str, provider: str) -> list[str]:
    return [
        *(_npm(place, "cline"), "--data-dir", str(place.home / "cline"), "--cwd", str(place.work)),
        *("--provider", provider, "--model", place.model, "--key", place.key),
        *("--auto-approve", "true", prompt),
    ]


def _prepare_cline(place: Place) -> None:
    subprocess.run(
        [
            *(_npm(place, "cline"), "auth", "--data-dir", str(place.home / "cline")),
            *("--provider", "openai-compatible", "--apikey", place.key),
            *("--modelid", place.model, "--baseurl", place.url),
        ],
        env=surroundings(place),
        check=True,
        capture_output=True,
        timeout=60,
    )


def _prepare_cline_on_messages(place: Place) -> None:
    """`cline auth` takes no address for this provider; its settings do."""
    settings = {
        "provider": "anthropic",
        "apiKey": place.key,
        "model": place.model,
        "baseUrl": place.url,
    }
    folder = place.home / "cline" / "settings"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "providers.json").write_text(
        json.dumps(
            {
                "version": 1,
                "lastUsedProvider": "anthropic",
                "modes": {},
                "providers": {
                    "anthropic": {
                        "settings": settings,
                        "updatedAt": "2026-11-28T00:00:00.000Z",
                        "tokenSource": "manual",
                    }
                },
            }
        )
    )


def _cline_agent(
    dialect: Dialect, provider: str, prepare: Callable[[Place], None], *families: str
) -> Agent:
    return Agent(
        "cline" if dialect == "chat" else f"cline-{dialect}",
        families,
        _cline_turns,
        lambda place, prompt: _cline(place, prompt, provider),
        prepare,
        dialect=dialect,
        shows=lambda path: ("run_commands", {"commands": [f"cat {path}"]}),
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


def _claude_code(place: Place, prompt: str, *more: str) -> list[str]:
    return [
        *(_npm(place, "claude"), "--print", *more, "--allowedTools", "Write,Read,Edit,Bash"),
        *("--", prompt),
    ]


def _codex_turns(place: Place) -> list[Call]:
    patch = f"*** Begin Patch\n*** Update File: {place.notes}\n@@\n-one\n+two\n*** End Patch\n"
    commands = (
        "printf 'one\\n' > notes.txt",
        "cat notes.txt",
        f"apply_patch <<'E'\n{patch}E",
        COPY,
    )
    return [("exec_command", {"cmd": command}) for command in commands]


def _codex(place: Place, prompt: str, *more: str) -> list[str]:
    return [
        *(_npm(place, "codex"), "exec", "--json", "--skip-git-repo-check"),
        # What runs the tests is the sandbox.
        *("--dangerously-bypass-approvals-and-sandbox", "--cd", str(place.work), *more),
        *("--", prompt),
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
env_key = "OPENAI_API_KEY"
wire_api = "responses"
supports_websockets = false
[features]
plugins = false
apps = false
remote_plugin = false
"""
    )


def _shorten_codex_at(place: Place, tokens: int) -> None:
    path = place.home / ".codex" / "config.toml"
    path.write_text(f"model_auto_compact_token_limit = {tokens}\n{path.read_text()}")


def _npm(place: Place, program: str) -> str:
    return str(place.installed / "npm" / "node_modules" / ".bin" / program)


def surroundings(place: Place) -> dict[str, str]:
    """The environment of an agent: of the developer's own only PATH."""
    return {
        "HOME": str(place.home),
        "PATH": f"{place.installed / 'bin'}:{os.environ['PATH']}",
        "OPENAI_BASE_URL": place.url,
        "OPENAI_API_BASE": place.url,
        "OPENAI_API_KEY": place.key,
        "OPENAI_MODEL": place.model,
        "OPENAI_AGENTS_DISABLE_TRACING": "1",
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
        "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
        "QWEN_CODE_SUPPRESS_YOLO_WARNING": "1",
        "CLINE_TELEMETRY_DISABLED": "1",
        "ANTHROPIC_BASE_URL": place.url.removesuffix("/v1"),
        "ANTHROPIC_AUTH_TOKEN": place.key,
        "ANTHROPIC_MODEL": place.model,
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": place.model,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
    }


AGENTS: dict[str, Agent] = {
    agent.name: agent
    for agent in (
        _qwen_code_agent("chat", "openai", "qwen3", "gptoss"),
        _qwen_code_agent("responses", "openai-responses", "qwen3"),
        _qwen_code_agent("messages", "anthropic", "qwen3"),
        _opencode_agent("chat", "@ai-sdk/openai-compatible", "qwen35", "mistral7"),
        _opencode_agent("responses", "@ai-sdk/openai", "qwen35"),
        _opencode_agent("messages", "@ai-sdk/anthropic", "qwen35"),
        _cline_agent("chat", "openai-compatible", _prepare_cline, "mistral7", "deepseek_r1"),
        _cline_agent("messages", "anthropic", _prepare_cline_on_messages, "mistral7"),
        Agent("aider", ("gemma3", "commandr"), _aider_turns, _aider),
        Agent(
            *("claude-code", ("qwen3", "qwen35", "mistral7"), _claude_code_turns, _claude_code),
            dialect="messages",
            resume=lambda place, prompt: _claude_code(place, prompt, "--continue"),
            # Files that it has seen through `Read`, `cat` and the like it adds to a summary, whole.
            shows=lambda path: ("Bash", {"command": f"awk 1 {path}", "description": "Show it"}),
            compaction="REMINDER: Do NOT call any tools.",
        ),
        Agent(
            *("codex", ("qwen3", "gptoss", "mistral7"), _codex_turns, _codex, _prepare_codex),
            dialect="responses",
            resume=lambda place, prompt: _codex(place, prompt, "resume", "--last"),
            shows=lambda path: ("exec_command", {"cmd": f"cat {path}"}),
            compaction="CONTEXT CHECKPOINT COMPACTION",
            shorten_at=_shorten_codex_at,
        ),
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


IN_THE_MATRIX = tuple(name for name, agent in AGENTS.items() if agent.shows is not None)


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
