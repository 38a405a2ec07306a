"""Fields of other servers that this one does not support, one row each.

Such a field would change the answer, so it is refused by name. The listed values have no effect and are
accepted, because clients send them with every request. Sources: the documentation of vLLM, SGLang, TabbyAPI,
llama.cpp's server, and text-generation-webui.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NeutralValues = Mapping[str, tuple[Any, ...]]
"""Values without effect, by field."""

BUDGETS = (
    "thinking_token_budget",
    "thinking_budget_tokens",
    "thinking_budget",
    "reasoning_budget",
    "max_thinking_tokens",
    "max_reasoning_tokens",
)
"""Names of the thinking budget, as request fields and as template variables."""
SHARED: NeutralValues = {
    # How long an answer is, and how it ends.
    "min_length": (0,),
    "stop_regex": ([], ""),
    "include_stop_str_in_output": (False,),
    "no_stop_trim": (False,),
    "t_max_predict_ms": (0, -1),
    # Which tokens may come.
    "logits_processors": ([],),
    "custom_logit_processor": (),
    "guided_whitespace_pattern": (),
    "structural_tag": (),
    "ebnf": (),
    "grammar_lazy": (False,),
    "n_indent": (0,),
    # How they are chosen.
    "num_beams": (1,),
    "use_beam_search": (False,),
    "early_stopping": (False,),
    "length_penalty": (1,),
    "repetition_decay": (0,),
    "skew": (0,),
    "min_temp": (1,),
    "max_temp": (1,),
    "temp_exponent": (1,),
    "token_healing": (False,),
    "lora": ([],),
    # What is reported of them.
    "prompt_logprobs": (),
    "post_sampling_probs": (False,),
    "return_tokens": (False,),
    "return_token_ids": (False,),
    "return_tokens_as_token_ids": (False,),
    "return_hidden_states": (False,),
    # What becomes of the prompt.
    "n_keep": (0, -1),
    "add_bos_token": (True,),
}
IN_OTHER_DIALECTS: NeutralValues = {**SHARED, "truncate_prompt_tokens": ()}
IN_COMPLETIONS: NeutralValues = {
    **SHARED,
    "add_special_tokens": (True,),
    "reasoning": (),
    "thinking": (),
    **dict.fromkeys(BUDGETS, (-1,)),
}
IN_CHAT: NeutralValues = {
    **SHARED,
    "add_special_tokens": (False,),
    "best_of": (0, 1),
    "chat_template": (),
    "documents": ([],),
    "echo": (False,),
    "parse_tool_calls": (True,),
    "prompt_template": (),
    "reasoning_format": ("auto", "deepseek"),
    "reasoning_in_content": (False,),
    "response_prefix": ("",),
    "separate_reasoning": (True,),
}
