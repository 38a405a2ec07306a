"""What was found out about the web UI by looking at its source, as a line for the operator.

Its versions tell none of this otherwise. With a source that cannot be read, or that has other words for the
same, there are fewer answers at once or no biases, and nothing fails: so it is said.
"""

from __future__ import annotations

from typing import Any

from .host import Loaded, host_module, knows_stop_event, parallel_of, source_of, takes_bias
from .loaders.registry import way_of
from .ui_state import applied_hooks


def findings(loaded: Loaded) -> str:
    """How many answers are made at once with this model, and what else depends on the version, and why."""
    found = [_answers(loaded)]
    if way_of(loaded.model) is None:
        found.append(_biases(loaded))
    if hooks := applied_hooks():
        found.append(
            f"this version calls extensions' {', '.join(sorted(hooks))} for chats by itself"
        )
    return "; ".join(found)


def _answers(loaded: Loaded) -> str:
    several = parallel_of(loaded)
    if several > 1:
        return f"up to {several} answers at once"
    if knows_stop_event():
        why = "as this loader and its settings want it"
    elif source_of(host_module("text_generation").generate_reply):
        why = (
            "as this version of the web UI cannot do more (its generate_reply knows no stop_event)"
        )
    else:
        why = "as the source of the web UI's generate_reply, which tells more, cannot be read"
    return f"one answer at a time, {why}"


def _biases(loaded: Loaded) -> str:
    kind: Any = type(loaded.model)
    if takes_bias(loaded):
        return "logit_bias is taken"
    if not source_of(kind):
        return f"logit_bias is refused, as the source of {kind.__name__} cannot be read"
    if "logit_bias" in source_of(kind):
        return "logit_bias is refused while an extension makes the answers"
    return f"logit_bias is refused, as {kind.__name__} does not know it"
