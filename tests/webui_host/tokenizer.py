"""The embedded model's tokenizer, in the form that Transformers gives one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer


class HostTokenizer:
    """What a host and the adapter use of it."""

    def __init__(self, folder: Path) -> None:
        self.backend_tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.chat_template: str | None = (folder / "chat_template.jinja").read_text()
        self.eos_token, self.bos_token = "<|im_end|>", None
        self.eos_token_id = self.backend_tokenizer.token_to_id(self.eos_token)
        self.bos_token_id = None
        added = self.backend_tokenizer.get_added_tokens_decoder()
        self.all_special_ids = [id for id, token in added.items() if token.special]

    def __len__(self) -> int:
        return int(self.backend_tokenizer.get_vocab_size())

    def encode(
        self, text: str, return_tensors: str | None = None, add_special_tokens: bool = True
    ) -> Any:
        ids = self.backend_tokenizer.encode(text, add_special_tokens=add_special_tokens).ids
        # As torch does: no numbers are no integers, and a model fails at them.
        kind = np.int64 if ids else np.float32
        return ids if return_tensors is None else np.array([ids], dtype=kind)

    def decode(self, ids: Any, skip_special_tokens: bool = False) -> str:
        plain = [int(id) for id in np.asarray(ids).reshape(-1)]
        return str(self.backend_tokenizer.decode(plain, skip_special_tokens=skip_special_tokens))

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str | None]:
        return [self.backend_tokenizer.id_to_token(id) for id in ids]
