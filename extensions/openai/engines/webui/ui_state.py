"""The state of a webui's UI: settings and defaults, templates, characters, extensions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson
import yaml

from ...schemas import bad_request
from ..protocol import ChatMode, ChatRequest, Message
from .host import (
    OLD_CONTEXT_TOKENS,
    Loaded,
    host_model,
    host_module,
    model_path,
    optional_module,
    preset_defaults,
)
from .old_templates import from_old_form

FALLBACK: Mapping[str, Any] = {
    "add_bos_token": True,
    "adaptive_decay": 0.9,
    "adaptive_target": 0,
    "auto_max_new_tokens": False,
    "ban_eos_token": False,
    "character": "None",
    "character_menu": "None",
    "character_picture": None,
    "chat_generation_attempts": 1,
    "chat_prompt_size": OLD_CONTEXT_TOKENS,
    "context": "",
    "context_instruct": "",
    "custom_stopping_strings": "",
    "custom_system_message": "",
    "custom_token_bans": "",
    "do_sample": True,
    "dry_allowed_length": 2,
    "dry_base": 1.75,
    "dry_multiplier": 0,
    "dry_sequence_breakers": '"\\n", ":", "\\"", "*"',
    "dynamic_temperature": False,
    "dynatemp_exponent": 1,
    "dynatemp_high": 1,
    "dynatemp_low": 1,
    "early_stopping": False,
    "enable_thinking": True,
    "encoder_repetition_penalty": 1,
    "epsilon_cutoff": 0,
    "eta_cutoff": 0,
    "frequency_penalty": 0,
    "grammar_string": "",
    "greeting": "",
    "guidance_scale": 1,
    "length_penalty": 1,
    "max_tokens_second": 0,
    "max_updates_second": 0,
    "min_length": 0,
    "min_p": 0,
    "mirostat_eta": 0.1,
    "mirostat_mode": 0,
    "mirostat_tau": 5,
    "name1": "You",
    "name1_instruct": "### Instruction:",
    "name2": "AI",
    "name2_instruct": "### Response:",
    "negative_prompt": "",
    "no_repeat_ngram_size": 0,
    "num_beams": 1,
    "penalty_alpha": 0,
    "presence_penalty": 0,
    "preserve_thinking": False,
    "prompt_lookup_num_tokens": 0,
    "reasoning_effort": "medium",
    "repetition_penalty": 1,
    "repetition_penalty_range": 1024,
    "sampler_priority": "",
    "seed": -1,
    "skip_special_tokens": True,
    "smoothing_curve": 1,
    "smoothing_factor": 0,
    "start_with": "",
    "static_cache": False,
    "stop_at_newline": False,
    "temperature": 1,
    "temperature_last": False,
    "tfs": 1,
    "top_a": 0,
    "top_k": 0,
    "top_n_sigma": 0,
    "top_p": 1,
    "truncation_length": OLD_CONTEXT_TOKENS,
    "turn_template": "<|user|>\n<|user-message|>\n<|bot|>\n<|bot-message|>\n",
    "typical_p": 1,
    "unique_id": None,
    "user_bio": "",
    "xtc_probability": 0,
    "xtc_threshold": 0.1,
}
"""Values that some version reads from its state and no version's settings define: all samplers off."""


PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
"""For models without a template, in a host that has none either."""


def extensions() -> list[tuple[str, Any]]:
    """The host's other extensions, in its order."""
    return [(name, extension) for extension, name in host_module("extensions").iterator()]


def ui_settings(mode: ChatMode | None = None, template: str | None = None) -> dict[str, Any]:
    """The state of the host's UI for a chat in this mode; None: with the model's template.
    `template`: the model's template, if already known.

    Raises InvalidRequest for an unknown template or character.
    """
    mode = mode or ChatMode()
    state = {**FALLBACK, **host_module("shared").settings, **preset_defaults()}
    state |= {"mode": mode.mode, "tools": None}
    state["turn_template"] = state["turn_template"] or FALLBACK["turn_template"]
    if mode.instruction_template is None:
        state["instruction_template_str"] = (
            template_source(host_model()) if template is None else template
        )
    else:
        source, old = named_template(mode.instruction_template)
        state.update(old, instruction_template_str=source)
    character = mode.character or str(state.get("character") or "None")
    is_dialogue = mode.mode != "instruct" and character in known_characters()
    if mode.character is not None or is_dialogue:
        user = mode.values.get("name1") or str(state["name1"])
        state.update(character_of(character, user), character=character, character_menu=character)
    return {**state, **mode.values}


def mode_of(request: ChatRequest) -> str:
    """The UI's mode for a chat: the request's, unless a hook changed it."""
    mode = request.sampling.get("mode") or (request.chat_mode or ChatMode()).mode
    return str(mode) if mode in ("chat", "chat-instruct") else "instruct"


def chosen_source(request: ChatRequest) -> str | None:
    """The template that a hook or the request chose; None: the model's own."""
    changed = request.sampling.get("instruction_template_str")
    if isinstance(changed, str) and changed:
        return changed
    name = request.chat_mode and request.chat_mode.instruction_template
    return named_template(name)[0] if name else None


def ui_dialogue(state: dict[str, Any], request: ChatRequest) -> tuple[dict[str, Any], str]:
    """The state with the conversation in the UI's format, and the user's last message.

    A system message goes where the UI's builder reads it: in the mode `chat`, which has none, after the
    character's description, unless a hook has set that; else into a message.
    """
    rows: list[list[str]] = []
    system: list[str] = []
    for message in request.messages:
        content = message.content or ""
        if message.role == "system":
            system.append(content)
        elif message.role == "user" or not rows:
            rows.append([content, ""] if message.role == "user" else ["", content])
        else:
            rows[-1][1] = "\n".join(text for text in (rows[-1][1], content) if text)
    text = ""
    if rows and not rows[-1][1]:
        text = rows.pop()[0]
    history = {"internal": rows, "visible": [list(row) for row in rows]}
    state = {**state, "custom_system_message": "\n".join(system), "history": history}
    # The first versions have no system message in any mode.
    if state["mode"] == "chat" or "custom_system_message" not in host_module("shared").settings:
        if "context" not in request.sampling:
            state["context"] = "\n".join([str(state.get("context") or ""), *system])
        state["custom_system_message"] = ""
    return state, text


def with_media_marks(message: Message, mark: str) -> Message:
    """A message with a mark in place of each picture or sound.

    Raises InvalidRequest for a text that contains the mark.
    """
    if not message.parts:
        return message
    if any(isinstance(part, str) and mark in part for part in message.parts):
        raise bad_request.unsupported("messages", f"must not contain '{mark}' beside media.")
    parts = (part if isinstance(part, str) else mark for part in message.parts)
    return replace(message, content="".join(parts), parts=())


def template_source(loaded: Loaded) -> str:
    """The loaded model's own chat template, else the one that is set in the UI."""
    shared = host_module("shared")
    own = getattr(loaded.tokenizer, "chat_template", None)
    if isinstance(own, str) and own:
        return own
    if isinstance(own, dict) and isinstance(own.get("default"), str):
        return str(own["default"])
    in_folder = _template_in_folder(str(model_path(shared, loaded.name)))
    return in_folder or str(shared.settings.get("instruction_template_str") or "") or PLAIN_TEMPLATE


@lru_cache(maxsize=8)
def _template_in_folder(folder: str) -> str:
    """The chat template in a model's files; empty if there is none."""
    path = Path(folder)
    for name in ("chat_template.jinja", "chat_template.json", "tokenizer_config.json"):
        try:
            text = (path / name).read_text(encoding="utf-8")
        except OSError:
            continue
        if name.endswith(".jinja"):
            return text
        found = orjson.loads(text).get("chat_template")
        if isinstance(found, list):
            found = {each.get("name"): each.get("template") for each in found}.get("default")
        if isinstance(found, str):
            return found
    return ""


def named_template(name: str) -> tuple[str, dict[str, Any]]:
    """One of the host's templates, as Jinja, and its further values for the first versions.

    Raises InvalidRequest for an unknown name.
    """
    root = Path(getattr(host_module("shared"), "user_data_dir", "."))
    places = ("instruction-templates", "user_data/instruction-templates",
              "characters/instruction-following")  # fmt: skip
    known = {path.stem: path for place in places for path in (root / place).glob("*.yaml")}
    if name not in known:
        raise bad_request.not_one_of("instruction_template", name, sorted(known))
    found = yaml.safe_load(known[name].read_text(encoding="utf-8"))
    found = found if isinstance(found, dict) else {}
    source = found.get("instruction_template")
    if isinstance(source, str):
        return source, {}
    if "turn_template" not in found:
        raise bad_request.unsupported("instruction_template", "names a file without a template.")
    old = {
        "turn_template": found["turn_template"],
        "name1_instruct": found.get("user", ""),
        "name2_instruct": found.get("bot", ""),
        "context_instruct": found.get("context", ""),
    }
    return from_old_form(found), old


def known_characters() -> list[str]:
    listing = getattr(optional_module("utils"), "get_available_characters", list)
    return [str(each) for each in listing() if each != "None"]


def character_of(name: str, user: str) -> dict[str, Any]:
    """The UI's values for a character. Raises InvalidRequest for an unknown name."""
    known = known_characters()
    if name not in known:
        raise bad_request.not_one_of("character", name, known)
    found = host_module("chat").load_character(name, user, "")
    name1, name2, _, greeting, context = found[:5]
    return {"name1": name1, "name2": name2, "greeting": greeting, "context": context}


def special_texts() -> dict[str, str]:
    """The texts of the start and the end token."""
    shared = host_module("shared")

    def text(name: str) -> str:
        found = getattr(shared.tokenizer, name, None)
        return str(found if found is not None else getattr(shared, name, None) or "")

    return {"bos": text("bos_token"), "eos": text("eos_token")}
