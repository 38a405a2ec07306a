"""The chat template of a GGUF file.

Source: the GGUF specification, `tokenizer.chat_template`; Hugging Face's `tool_use` and its kin are stored as
`tokenizer.chat_template.tool_use`.
"""

from __future__ import annotations

import logging

from ...chat_template import CHATML, BadTemplate, ChatTemplate, TooCostlyTemplate
from ...tokens.gguf import GGUFHeader

log = logging.getLogger("openedai")

KEY = "tokenizer.chat_template"


def load_template(
    header: GGUFHeader,
    *,
    bos: str = "",
    eos: str = "",
    repair: bool = True,
    chosen: str | None = None,
) -> ChatTemplate:
    """The template that the operator has chosen, or else the file's own; ChatML if it has none, or an invalid
    one.

    Raises TooCostlyTemplate for one that exceeds the bounds, BadTemplate for a chosen one that is invalid.
    """
    if chosen is not None:
        return ChatTemplate(chosen, bos=bos, eos=eos, repair=repair)
    sources = {
        key: text
        for key, text in header.metadata.items()
        if key.startswith(KEY) and isinstance(text, str)
    }
    named = {key.removeprefix(f"{KEY}."): text for key, text in sources.items()}
    try:
        return ChatTemplate(
            sources.get(KEY) or CHATML, bos=bos, eos=eos, named=named, repair=repair
        )
    except TooCostlyTemplate:
        raise
    except BadTemplate as error:
        log.warning("the model's chat template is invalid (%s): ChatML is used", error)
        return ChatTemplate(CHATML, bos=bos, eos=eos, repair=repair)
