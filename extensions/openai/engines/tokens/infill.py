"""Prompts that ask for the text between two others, in the tokens that models were trained with.

Source: llama.cpp, tools/server, `/infill`; Qwen2.5-Coder's and StarCoder's cards on contexts of a repository.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ..protocol import RepositoryFile

Plain = Callable[[str], tuple[int, ...]]
"""The tokens of a text, without a start token and without special ones."""
PROJECT = "myproject\n"
THIS_FILE = "filename\n"
SNIPPET = "\n\n--- snippet ---\n\n"
"""Before a file, where the model has no token for it."""


def infill_tokens(
    special: Mapping[str, int], plain: Plain, before: str | tuple[int, ...], after: str
) -> tuple[int, ...]:
    """The prompt that asks for the text between two others."""
    head = plain(before) if isinstance(before, str) else before
    return (special["fim_pre"], *head, special["fim_suf"], *plain(after), special["fim_mid"])


def repository_tokens(
    special: Mapping[str, int], plain: Plain, files: Sequence[RepositoryFile]
) -> tuple[int, ...]:
    """What goes before it: other files of the repository."""
    repository, file = special.get("fim_rep"), special.get("fim_sep")
    found = [] if repository is None else [repository, *plain(PROJECT)]
    for each in files:
        found += plain(SNIPPET) if file is None else (file, *plain(f"{each.name}\n"))
        found += plain(each.text)
    return (*found, file, *plain(THIS_FILE)) if file is not None else tuple(found)
