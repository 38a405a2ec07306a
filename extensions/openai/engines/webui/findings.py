"""What we detect by reading the web UI's source code, and the log line about it for the operator.

Its versions offer no other way to detect this. If the source cannot be read, or is worded differently, there
are fewer answers at once or no biases, and nothing fails: so each finding is logged, once for each model.
Only `source_of` reads source code; a loader that calls it reports what it found (`LoaderAdapter.findings`).
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from .host import Loaded, custom_reply, host_module

_STATE_HOOK = re.compile(r"""(if not is_chat:\s+)?state = \S*apply\w*\(["']state["']""")


@lru_cache(maxsize=8)  # of functions and classes
def source_of(function_or_class: Any) -> str:
    """The source code; empty if it cannot be read."""
    try:
        return inspect.getsource(function_or_class)
    except (OSError, TypeError):
        return ""


def supports_stop_event() -> bool:
    """Whether this version lets several requests generate at once, each with its own event to stop it.

    Older versions deep-copy their state, and an event cannot be copied.
    """
    return "stop_event" in source_of(host_module("text_generation").generate_reply)


def takes_bias(loaded: Loaded) -> bool:
    """Whether a loader that yields text adds a request's `logit_bias` to the logits."""
    return "logit_bias" in source_of(loaded.model.__class__) and custom_reply() is None


def applied_hooks() -> frozenset[str]:
    """Hooks that the host's generator also applies to chats, as the first versions did."""
    module = host_module("text_generation")
    inner = getattr(module, "_generate_reply", module.generate_reply)
    found = _STATE_HOOK.search(source_of(inner))
    return frozenset({"state_modifier"} if found and not found[1] else ())


def findings(parallel: int, loader_findings: Sequence[str]) -> str:
    """How many answers this model generates at once, what else depends on the version, and why.

    `loader_findings`: what its adapter reports.
    """
    found = [_answers(parallel), *loader_findings]
    if hooks := applied_hooks():
        found.append(f"this version itself calls extensions' {', '.join(sorted(hooks))} for chats")
    return "; ".join(found)


def _answers(parallel: int) -> str:
    if parallel > 1:
        return f"up to {parallel} answers at once"
    if supports_stop_event():
        why = "because of this loader and its settings"
    elif source_of(host_module("text_generation").generate_reply):
        why = "because this version of the web UI's generate_reply has no stop_event"
    else:
        why = "because the source code of the web UI's generate_reply cannot be read"
    return f"one answer at a time, {why}"


def bias_finding(loaded: Loaded) -> str:
    """The result of `takes_bias`, and why."""
    kind: Any = type(loaded.model)
    if takes_bias(loaded):
        return "logit_bias is supported"
    if not source_of(kind):
        return f"logit_bias is refused, because the source of {kind.__name__} cannot be read"
    if "logit_bias" in source_of(kind):
        return "logit_bias is refused while an extension generates the answers"
    return f"logit_bias is refused, because {kind.__name__} does not support it"
