"""Write what is made of the code: tables in docs/ (settings, routes, errors ...), deploy/settings.yaml.

    python scripts/generate_docs.py           rewrite them
    python scripts/generate_docs.py --check   exit status 1 when one is out of date

A table stands between `<!-- begin NAME -->` and `<!-- end NAME -->`.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import AliasChoices
from pydantic.fields import FieldInfo

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from extensions.openai.completions import CompletionRequest
from extensions.openai.configuration.flags import sections, shown_default
from extensions.openai.configuration.key_limits import MAX_LIMIT
from extensions.openai.configuration.sources import OTHER_NAMES, is_reloadable
from extensions.openai.dialects.messages.request import MessagesRequest
from extensions.openai.dialects.responses.request import ResponsesRequest
from extensions.openai.engines.llamacpp.loading.memory import MemoryNeed, gigabytes
from extensions.openai.engines.llamacpp.loading.params import Cache
from extensions.openai.engines.tokens.gguf import GGUFHeader
from extensions.openai.errors import APIError, all_errors
from extensions.openai.generation.chat.reasoning import ANSWER_SHARE_BY_EFFORT
from extensions.openai.generation.chat.request import ChatCompletionRequest
from extensions.openai.generation.request import GenerationRequest
from extensions.openai.generation.sampling.profiles import PROFILES
from extensions.openai.generation.sampling.table import PARAMETERS, ROWS, Parameter
from extensions.openai.generation.sampling.unsupported_fields import IN_CHAT, IN_COMPLETIONS
from extensions.openai.observability.logs import FIELDS
from extensions.openai.observability.metrics import METRICS
from extensions.openai.observability.metrics import PREFIX as METRIC_PREFIX
from extensions.openai.schemas.bad_request import CODES
from extensions.openai.settings import FLAG_ALIASES, KEY_LIMITS, PREFIX, Settings
from extensions.openai.web.app import ROUTES
from host.options import OPTIONS, HostOptions


def table(head: str, rows: Iterable[Iterable[object]]) -> str:
    columns = head.split(" | ")
    lines = [f"| {head} |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", "\\n")


def code(value: object) -> str:
    return f"`{value}`"


def settings() -> str:
    """A table for each section."""
    return "\n\n".join(
        f"### {title}\n\n{_settings_of(members)}" for title, members in sections().items()
    )


def _settings_of(members: Mapping[str, FieldInfo]) -> str:
    return table(
        "Flag | Environment | Default | Meaning | Reload",
        (
            (
                " or ".join(
                    map(code, ("--" + name.replace("_", "-"), *FLAG_ALIASES.get(name, ())))
                ),
                _environment(name),
                _default(field.default),
                field.description,
                "yes" if is_reloadable(name) else "",
            )
            for name, field in members.items()
        ),
    )


def _environment(name: str) -> str:
    names = [PREFIX + name.upper(), *([OTHER_NAMES[name]] if name in OTHER_NAMES else [])]
    return " or ".join(code(each) for each in names)


def _default(value: object) -> str:
    shown = shown_default(value)
    return "none" if shown is None else code(shown)


def key_limits() -> str:
    return table(
        "Setting, and option of `create` | How many | Largest | Default | In `GET /v1/usage`",
        (
            (
                code(f"--{name.replace('_', '-')} N"),
                limit.words,
                limit.at_most if limit.at_most < MAX_LIMIT else "-",
                f"{limit.of_named_keys} for named keys" if limit.of_named_keys else "no limit",
                code(limit.field),
            )
            for name, limit in KEY_LIMITS.items()
        ),
    )


def host() -> str:
    defaults = HostOptions()
    rows = []
    for option in OPTIONS:
        default = getattr(defaults, option.field)
        shown = _default(default.name if isinstance(default, Path) else default)
        names = [f"--{option.name}", *([option.short] if option.short else [])]
        rows.append((" or ".join(map(code, names)), code(option.environment), shown, option.help))
    return table("Flag | Environment | Default | Meaning", rows)


def sampling() -> str:
    return table(
        "Parameter | Range | Default | Meaning | " + " | ".join(PROFILES),
        (
            (
                " or ".join(code(name) for name in (row.name, *row.aliases)),
                _range(row.low, row.high) + _reference(row.reference_high),
                "none" if row.default is None else code(_json(row.default)),
                row.meaning,
                *(_native(row, sampler) for sampler in PROFILES),
            )
            for row in PARAMETERS
        ),
    )


def _native(row: Parameter, sampler: str) -> str:
    """What a sampler calls a parameter, and how a value is converted."""
    through = PROFILES[sampler].through.get(row.name)
    if through is not None:
        return "through " + ", ".join(code(name) for name in through)
    column = row.native.get(sampler)
    if column is None:
        return "-"
    return code(column.name) + (f": {column.convert.__doc__}" if column.convert else "")


def profiles() -> str:
    return table(
        "Sampler | Always | Stands for another | Stop strings",
        (
            (
                code(name),
                ", ".join(
                    code(f"{key}: {_json(value)}") for key, value in profile.constants.items()
                )
                or "-",
                ", ".join(f"{code(key)}: {code(value)}" for key, value in profile.borrowed.items())
                or "-",
                ", ".join(
                    ([f"{code(profile.stops_name)}: `stop` and"] if profile.stops_name else [])
                    + [code(_json(stop)) for stop in profile.role_stops]
                )
                or "-",
            )
            for name, profile in PROFILES.items()
        ),
    )


def _range(low: float | None, high: float | None) -> str:
    if low is None and high is None:
        return "-"
    return f"{low} to {high}" if high is not None and high < 2**20 else f"from {low}"


def _reference(high: float | None) -> str:
    return "" if high is None else f" ({high} with `--strict-parameters`)"


def _json(value: object) -> str:
    import json

    return json.dumps(value)


def fields(model: Any, shared: Any = None) -> Callable[[], str]:
    """A table of a request's fields; not of those that it has from `shared`, as they are there."""
    others = {} if shared is None else shared.model_fields

    def made() -> str:
        schema = model.model_json_schema(by_alias=False)
        required = set(schema.get("required", ()))
        rows = [
            (_names(name, field), "yes" if name in required else "", field.description or "")
            for name, field in model.model_fields.items()
            if name not in ROWS
            and not (name in others and field.description == others[name].description)
        ]
        return table("Field | Required | Meaning", rows)

    return made


def _names(name: str, field: FieldInfo) -> str:
    others = field.validation_alias
    names = others.choices if isinstance(others, AliasChoices) else [name]
    return " or ".join(code(each) for each in names)


def elsewhere() -> str:
    """Fields of other servers, and the values of them that change nothing."""
    rows = []
    for name in {**IN_COMPLETIONS, **IN_CHAT}:
        both = IN_COMPLETIONS.get(name) == IN_CHAT.get(name)
        for page, refused in (("completions", IN_COMPLETIONS), ("chat", IN_CHAT)):
            if name in refused and not (both and page == "chat"):
                taken = " or ".join(code(_json(value)) for value in refused[name])
                rows.append((code(name), "both" if both else page, taken or "-"))
    return table("Field | Endpoint | Taken if it is", rows)


def routes() -> str:
    return table(
        "Method | Path | What | Endpoint | Also at | Key",
        (
            (
                route.method,
                code(_path(route.addresses.value[0] + route.path)),
                route.summary,
                code(route.endpoint),
                ", ".join(code(_path(a + route.path)) for a in route.addresses.value[1:]),
                route.scope or "none",
            )
            for route in ROUTES
        ),
    )


def _path(rule: str) -> str:
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule)


def metrics() -> str:
    return table(
        "Name | Kind | Labels | Meaning",
        (
            (code(METRIC_PREFIX + row.name), row.kind, ", ".join(row.labels), row.meaning)
            for row in METRICS
        ),
    )


def alerts() -> str:
    import yaml

    groups = yaml.safe_load((ROOT / "deploy/alerts.yaml").read_text(encoding="utf-8"))["groups"]
    return table(
        "Alert | When | For | How bad | What to do",
        (
            (
                code(rule["alert"]),
                rule["annotations"]["summary"],
                rule.get("for", "at once"),
                rule["labels"]["severity"],
                rule["annotations"]["action"],
            )
            for group in groups
            for rule in group["rules"]
        ),
    )


def log_fields() -> str:
    return table("Field | Meaning", ((code(name), text) for name, text in FIELDS.items()))


SHAPES: tuple[tuple[str, float, int, int, int], ...] = (
    ("0.5B, as Qwen2.5", 0.49, 24, 2, 64),
    ("3B, as Llama 3.2", 3.21, 28, 8, 128),
    ("7B, as Qwen2.5", 7.62, 28, 4, 128),
    ("8B, as Llama 3.1", 8.03, 32, 8, 128),
    ("14B, as Qwen2.5", 14.77, 48, 8, 128),
    ("32B, as Qwen2.5", 32.76, 64, 8, 128),
    ("70B, as Llama 3.3", 70.55, 80, 8, 128),
)
"""Parameters in 10^9, layers, heads of keys and values, and their size: from the models' own config.json."""
Q4_K_M_BITS = 4.9
CONTEXTS = ((8192, 1), (8192, 4), (32768, 1), (32768, 4))
"""Tokens, and how many contexts."""


def memory() -> str:
    """Weights and contexts in GB, by the code that says it at the start."""
    rows = []
    for name, billions, layers, heads, size in SHAPES:
        header = GGUFHeader(
            {
                "general.architecture": "x",
                "x.block_count": layers,
                "x.attention.head_count_kv": heads,
                "x.attention.key_length": size,
                "x.attention.value_length": size,
            }
        )
        weights = int(billions * 1e9 * Q4_K_M_BITS / 8)
        needs = [
            MemoryNeed.of(weights, header.kv_bytes_per_token, Cache(c, n, n), 0)
            for c, n in CONTEXTS
        ]
        rows.append(
            [name, gigabytes(weights), f"{header.kv_bytes_per_token / 1024:.0f} KiB"]
            + [gigabytes(need.weights + need.contexts) for need in needs]
        )
    head = [f"{count} x {tokens} tokens" for tokens, count in CONTEXTS]
    return table(" | ".join(["Model", "Weights, GB", "A token", *head]), rows)


def errors() -> str:
    rows: list[tuple[int, str, str, str]] = [
        (error.status, code(error.type), _code(error), (error.__doc__ or "").split("\n")[0])
        for error in all_errors()
    ]
    rows += [(400, code("invalid_request_error"), code(name), text) for name, text in CODES.items()]
    rows.sort(key=lambda row: row[0])
    return table("Status | Type | Code | When", rows)


def _code(error: type[APIError]) -> str:
    return code(error.code) if error.code else "null, or one of its own"


def efforts() -> str:
    rows = (
        (
            code(name),
            code(tokens) if tokens >= 0 else "no limit",
            f"{ANSWER_SHARE_BY_EFFORT[name]:.0%} of `max_tokens`, or of the context"
            if name in ANSWER_SHARE_BY_EFFORT
            else "-",
        )
        for name, tokens in Settings.model_fields["thinking_budgets"].default.items()
    )
    return table("`reasoning_effort` | Tokens of the thought | At most", rows)


SAMPLE_HEAD = """\
# Every setting of the API with its default. Take away the # before those that you change, and start with
#
#     openedai run --settings settings.yaml
#
# A flag, and OPENEDAI_<NAME> in the environment, go before this file. Settings marked "reload" may change
# while the server runs: edit the file and send SIGHUP (systemctl reload). Written by
# scripts/generate_docs.py.
"""


def settings_file() -> str:
    """A settings file in which every option is a comment."""
    import yaml

    lines = [SAMPLE_HEAD.rstrip()]
    for title, members in sections().items():
        lines += ["", f"## {title}"]
        for name, field in members.items():
            text = (field.description or "") + (" (reload)" if is_reloadable(name) else "")
            value = field.default
            if not (value is None or isinstance(value, (bool, int, float))):
                value = shown_default(value) or ""
            lines += ["", *textwrap.wrap(text, 100, initial_indent="# ", subsequent_indent="# ")]
            lines.append("# " + yaml.safe_dump({f"openai-{name}": value}, width=10**6).rstrip())
    return "\n".join(lines) + "\n"


TABLES: Mapping[str, Callable[[], str]] = {
    "settings": settings,
    "key_limits": key_limits,
    "host": host,
    "sampling": sampling,
    "profiles": profiles,
    "completions": fields(CompletionRequest),
    "chat": fields(ChatCompletionRequest),
    "messages": fields(MessagesRequest, GenerationRequest),
    "responses": fields(ResponsesRequest, GenerationRequest),
    "efforts": efforts,
    "elsewhere": elsewhere,
    "routes": routes,
    "errors": errors,
    "metrics": metrics,
    "log_fields": log_fields,
    "alerts": alerts,
    "memory": memory,
}


def regenerate(text: str) -> str:
    """A page with its tables made again."""

    def replacement(match: re.Match[str]) -> str:
        name = match[1]
        return f"<!-- begin {name} -->\n{TABLES[name]()}\n<!-- end {name} -->"

    return re.sub(r"<!-- begin (\w+) -->.*?<!-- end \1 -->", replacement, text, flags=re.DOTALL)


def main(check: bool) -> int:
    status = 0
    sample = ROOT / "deploy/settings.yaml"
    for page in (*sorted((ROOT / "docs").glob("*.md")), sample):
        before = page.read_text(encoding="utf-8") if page.exists() else None
        after = settings_file() if page == sample else regenerate(before or "")
        if after == before:
            continue
        if check:
            print(f"out of date: {page.relative_to(ROOT)} (run scripts/generate_docs.py)")
            status = 1
        else:
            page.write_text(after, encoding="utf-8")
            print(f"written: {page.relative_to(ROOT)}")
    return status


if __name__ == "__main__":
    sys.exit(main("--check" in sys.argv[1:]))
