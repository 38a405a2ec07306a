"""What may come next by a webui's own function, `modules.logits.get_next_logits`, after its samplers.

It is called as the webui's own API calls it, and answers with tokens and probabilities, the likeliest first:

    {" a": 0.74, " the": 0.26}

Its Transformers loaders write tokens as their vocabulary does (`\u0120the`). None, or a text
in place of them, says that it failed.
"""

from __future__ import annotations

import inspect
import math
import sys
from typing import Any

from ...errors import EngineFailed
from ...schemas import bad_request
from ..protocol import LikelyToken
from .host import custom_reply, custom_reply_extension, optional_module
from .loaders.base import Adapter

NAMES = {"use_samplers", "top_logits", "return_dict"}
"""What its API passes; its first versions had less."""


def host_function(adapter: Adapter) -> Any:
    """The function. Raises InvalidRequest where the webui has none for this loader, or an older one."""
    if custom_reply() is not None:
        raise _not_supported(f"the extension '{custom_reply_extension()}' generates the answers.")
    if not adapter.host_reports_samplers:
        raise _not_supported("the web UI has no function for it with this loader.")
    module = optional_module("logits")
    inner = getattr(module, "_get_next_logits", getattr(module, "get_next_logits", None))
    if inner is None or not NAMES.issubset(inspect.signature(inner).parameters):
        raise _not_supported("this version of the web UI has no function for it.")
    return vars(module)["get_next_logits"]


def sampled_by_host(
    function: Any, text: str, state: dict[str, Any], count: int
) -> tuple[LikelyToken, ...]:
    """The likeliest tokens, at most `count`. Raises EngineFailed."""
    hijack = sys.modules.get("modules.sampler_hijack")
    if hijack is not None:
        # Where its generation fails it would take the scores of an earlier one.
        vars(hijack)["global_scores"] = None
    found = function(text, state, True, "", top_logits=count, return_dict=True)
    if not isinstance(found, dict):
        raise EngineFailed(
            "The web UI's own function (modules.logits) failed; the web UI's log says why. Ask without "
            "samplers ('use_samplers': false)."
        )
    kept = ((str(name), float(share)) for name, share in found.items() if share > 0)
    return tuple(LikelyToken(b"", math.log(share), name=name) for name, share in kept)


def _not_supported(why: str) -> Exception:
    return bad_request.unsupported("use_samplers", f"cannot be true: {why}")
