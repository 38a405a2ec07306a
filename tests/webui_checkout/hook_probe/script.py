"""An extension that uses each hook, as the user's message asks it to.

Words at the beginning of the message, which are taken away, choose what is done: LORE adds to the text that
the UI reads in this mode, PROMPT makes the prompt by the host's own function, SEE and UPPER change
the answer, OWN generates it. All other answers are passed on as the host's function yields them.
"""

from collections.abc import Iterator
from typing import Any

WORDS = ("LORE", "PROMPT", "SEE", "UPPER")
LORE = " Dragons are blue."


def chat_input_modifier(text: str, visible: str, state: dict[str, Any]) -> tuple[str, str]:
    asked = []
    while text.partition(" ")[0] in WORDS:
        word, _, text = text.partition(" ")
        asked.append(word)
    state["probe"] = asked
    if "LORE" in asked:
        state["custom_system_message" if state["mode"] == "instruct" else "context"] += LORE
    return text, visible


def custom_generate_chat_prompt(text: str, state: dict[str, Any], **options: Any) -> Any:
    from modules.chat import generate_chat_prompt

    return generate_chat_prompt(text, state, **options) if "PROMPT" in state["probe"] else None


def output_modifier(string: str, state: dict[str, Any], is_chat: bool = False) -> str:
    asked = state.get("probe", ())
    if "SEE" in asked:
        names = ("mode", "character", "name1", "name2")
        string += " " + "|".join(str(state.get(name)) for name in names)
    return string.upper() if "UPPER" in asked else string


def custom_generate_reply(*args: Any, **options: Any) -> Iterator[str]:
    """Called with what the host's functions take, which differs between versions."""
    from modules import shared, text_generation

    if "OWN" in args[0]:
        yield "I say so"
        return
    by_itself = ("LlamaServer", "LlamaCppModel", "Exllamav2Model", "Exllamav3Model")
    custom = type(shared.model).__name__ in by_itself
    make = text_generation.generate_reply_custom if custom else text_generation.generate_reply_HF
    yield from make(*args, **options)
