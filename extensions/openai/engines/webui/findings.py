"""What is found out about the web UI by looking at its source, and the line about it for the operator.

Its versions show none of this otherwise. With a source that cannot be read, or that has other words for the
same, there are fewer answers at once or no biases, and nothing fails: so each finding is logged, once for
each model. Only `source_of` reads a source; a loader that asks it reports what it found
(`LoaderAdapter.findings`).
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
def source_of(of: Any) -> str:
    """The source of a function or class; empty where it cannot be read."""
    try:
        return inspect.getsource(of)
    except (OSError, TypeError):
        return ""


def knows_stop_event() -> bool:
    """Whether this version lets several requests generate at once, each with an event of its own to stop it.

    Older versions copy their state in depth, and an event cannot be copied.
    """
    return "stop_event" in source_of(host_module("text_generation").generate_reply)


def takes_bias(loaded: Loaded) -> bool:
    """Whether a loader that hands over text adds a request's `logit_bias` to the logits."""
    return "logit_bias" in source_of(loaded.model.__class__) and custom_reply() is None


def applied_hooks() -> frozenset[str]:
    """Hooks that the host's generator applies to chats, too: the first versions did so."""
    module = host_module("text_generation")
    inner = getattr(module, "_generate_reply", module.generate_reply)
    found = _STATE_HOOK.search(source_of(inner))
    return frozenset({"state_modifier"} if found and not found[1] else ())


def findings(parallel: int, of_loader: Sequence[str]) -> str:
    """How many answers are made at once with this model, and what else depends on the version, and why.

    `of_loader`: what its adapter reports.
    """
    found = [_answers(parallel), *of_loader]
    if hooks := applied_hooks():
        found.append(
            f"this version calls extensions' {', '.join(sorted(hooks))} for chats by itself"
        )
    return "; ".join(found)


def _answers(parallel: int) -> str:
    if parallel > 1:
        return f"up to {parallel} answers at once"
    if knows_stop_event():
        why = "as this loader and its settings want it"
    elif source_of(host_module("text_generation").generate_reply):
        why = (
            "as this version of the web UI cannot do more (its generate_reply knows no stop_event)"
        )
    else:
        why = "as the source of the web UI's generate_reply, which shows more, cannot be read"
    return f"one answer at a time, {why}"


def bias_finding(loaded: Loaded) -> str:
    """What `takes_bias` is, and why."""
    kind: Any = type(loaded.model)
    if takes_bias(loaded):
        return "logit_bias is taken"
    if not source_of(kind):
        return f"logit_bias is refused, as the source of {kind.__name__} cannot be read"
    if "logit_bias" in source_of(kind):
        return "logit_bias is refused while an extension makes the answers"
    return f"logit_bias is refused, as {kind.__name__} does not know it"
