"""Answers that are kept to be given again: `--answer-cache`.

Of requests whose answer is the same each time: greedy ones, and those with a seed. Each key has its own, in
memory; the least recently used is dropped first. Streams are always generated, and so is what depends on more
than the request: sessions, agents, hooks, stored chats, tools that this server runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import chain
from typing import TYPE_CHECKING

import orjson

from ..errors import ModelLoading
from ..generation.plan import RANDOM_SEED
from ..generation.request import GenerationRequest
from ..generation.tools.hosted_tools import tools_of_servers
from .kept_answers import Kept, KeptAnswers
from .responses.response import Response

if TYPE_CHECKING:
    from ..generation.sampling.policy import Policy
    from ..limits.served_models import ServedModel
    from ..schemas.validation import RequestModel
    from .context import RequestContext
    from .routing.routes import Route

HEADER = "x-openedai-answer-cache"
"""Of the answers of such requests: `hit` or `miss`."""
LEFT_TO_CHANCE = ("adaptive_target", "dynamic_temperature", "xtc_probability")
"""Parameters that draw a number at temperature 0 as well."""
OF_A_WEBUI = ("character", "instruction_template", "mode")
"""Fields that bring in what a webui's user may change at any time."""
MAY_CHANGE = (b'"http://', b'"https://', b'"file_id":')
"""Before an address whose content may change, and before a file that may be deleted."""


def cached(
    cache: KeptAnswers,
    context: RequestContext,
    route: Route,
    body: object,
    make: Callable[[], Response],
) -> Response:
    """The answer that is kept, or the one that `make` makes."""
    if not isinstance(body, GenerationRequest):
        return make()
    key = _key(context, route, body)
    if key is None:
        return make()
    record, kept = context.record, cache.get(key)
    if kept is None:
        cleared = cache.cleared
        response = make()
        # One that was ended early is another answer, and so is that of a model that has come meanwhile.
        if not context.stopped and _key(context, route, body) == key:
            ignored = tuple(record.ignored)
            answer = Kept(response.get_data(), record.answer, record.model, ignored)
            cache.put(key, answer, cleared)
        response.headers[HEADER] = "miss"
        return response
    record.answer, record.model, record.ignored = kept.id, kept.model, list(kept.ignored)
    response = Response(kept.body, content_type="application/json")
    response.headers[HEADER] = "hit"
    return response


def _key(context: RequestContext, route: Route, body: GenerationRequest) -> bytes | None:
    """What tells a request's answer from all others; None: it is not to be kept."""
    if body.stream or _depends_on_more(context, body):
        return None
    services, name = context.services, context.model or body.model
    try:
        served = services.models.choose(name)
    except ModelLoading:
        return None
    if not _repeats_itself(services.policy, served, body):
        return None
    info = services.policy.with_fingerprint(served.info)
    owner = context.record.caller.owner
    asked = body.model_dump(mode="json", exclude_unset=True)
    # The name as well: it may be one that is refused.
    told = orjson.dumps(
        [owner, route.name, name, served.name, info.fingerprint, asked], option=orjson.OPT_SORT_KEYS
    )
    lower = told.lower()
    if any(mark in lower for mark in MAY_CHANGE):
        return None
    return hashlib.sha256(told).digest()


def _repeats_itself(policy: Policy, model: ServedModel, body: GenerationRequest) -> bool:
    """Whether the request says so; the operator's own values may only say the contrary."""
    if body.seed is not None and body.seed != RANDOM_SEED:
        return True
    if getattr(body, "temperature", None) != 0 or "temperature" in policy.forced:
        return False
    preset = policy.presets.get(body.preset or "", {})
    others = (policy.forced, policy.defaults, preset, model.sampling, model.info.sampling)
    values = (getattr(body, name, None) for name in LEFT_TO_CHANCE)
    given = chain(values, (each.get(name) for each in others for name in LEFT_TO_CHANCE))
    return not any((value or 0) > 0 for value in given)


def _depends_on_more(context: RequestContext, body: RequestModel) -> bool:
    services = context.services
    hooks, name = services.hooks, context.model or getattr(body, "model", None) or ""
    prefix, colon, _ = name.partition(":")
    return bool(
        context.asks_for_session
        or context.agent_header is not None
        or (colon and prefix in services.agents.file.prefixes)
        or (hooks is not None and hooks.any)
        or getattr(body, "store", None)
        or any(getattr(body, field, None) is not None for field in OF_A_WEBUI)
        or tools_of_servers(getattr(body, "tools", None))
        or "HTTP_IDEMPOTENCY_KEY" in context.environ
    )
