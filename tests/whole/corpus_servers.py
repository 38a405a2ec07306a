"""The servers of the corpus: how each is started, and what it is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

from tests.support.families import FAMILIES, Call, Family
from tests.support.scripted_model import Script
from tests.whole import corpus_requests as requests
from tests.whole.corpus_requests import (
    CHAT_PATH,
    COMPLETIONS_PATH,
    DEFINED,
    TABLES,
    Body,
    Request,
)

SERVER = ("server.py", "--extensions", "openai")
WEBUI = str(Path(__file__).with_name("corpus_webui.py"))
# What runs beside an answer changes the last digits of its probabilities.
ONE_AT_A_TIME = ("--threads", "1", "--parallel", "1")
ECHO = ("--loader", "echo")
OLDER_FLAGS = {"--endpoints": "--pages", "--disabled-endpoints": "--disabled-pages"}
"""Names of before the change to today's, so that a checkout of then can be recorded as well."""
Asked = Iterable[Request]


@dataclass(frozen=True, slots=True)
class Server:
    """A row. `asked` gets the name of the model."""

    name: str
    arguments: Sequence[str]
    asked: Callable[[str], Asked]
    model: str = "openedai-tiny"
    program: Sequence[str] = SERVER
    health: str = "/health"

    def arguments_for(self, checkout: Path) -> list[str]:
        """With the flags as that checkout calls them."""
        known = (checkout / "extensions/openai/settings.py").read_text(encoding="utf-8")
        older = {} if "disabled_endpoints" in known else OLDER_FLAGS
        return [older.get(argument, argument) for argument in self.arguments]


def everything(model: str) -> Asked:
    yield from requests.generations(model)
    yield from requests.refusals(model)
    yield from requests.wire(model)
    yield from requests.pages(model)
    yield from few(model)  # after the model was unloaded


def few(model: str, **headers: str) -> Iterator[Request]:
    """One request of each kind, as `headers` have it."""
    for path in (
        "/health",
        "/v1/models",
        "/v1/internal/queue",
        "/v1/internal/model/list",
        "/metrics",
    ):
        yield Request(f"GET {path} {headers or ''}", "GET", path, None, headers)
    for path in (COMPLETIONS_PATH, CHAT_PATH):
        for stream in (False, True):
            body = requests.filled(path, {"max_tokens": 6}, model, stream=stream)
            yield Request(f"POST {path} {stream} {headers or ''}", "POST", path, body, headers)


def chats(**bodies: Body) -> Callable[[str], Asked]:
    """These and the few, as both kinds of request."""

    def asked(model: str) -> Asked:
        yield from few(model)
        for name, body in bodies.items():
            own = {"messages"} & body.keys()
            for path in (CHAT_PATH,) if own else (COMPLETIONS_PATH, CHAT_PATH):
                yield Request(f"{path} {name}", "POST", path, requests.filled(path, body, model))

    return asked


def keyed(model: str) -> Iterator[Request]:
    """Each kind of key, in each header that may bring it."""
    yield from few(model)
    for key in ("sk-user", "sk-admin", "sk-wrong", "", "pass word"):
        yield from few(model, Authorization=f"Bearer {key}")
        for header in ("api-key", "x-api-key", "Authorization"):
            yield Request(f"{header}: {key}", "GET", "/v1/models", None, {header: key})
    admin = {"Authorization": "Bearer sk-admin"}
    for path in (
        "/v1/internal/health",
        "/v1/usage",
        "/v1/usage?api_key_ids=zz",
        "/v1/internal/lora/list",
    ):
        for headers in (admin, {"Authorization": "Bearer sk-user"}):
            yield Request(f"GET {path} {headers}", "GET", path, None, headers)


def limited(model: str) -> Iterator[Request]:
    """More than there may be."""
    body = requests.filled(COMPLETIONS_PATH, {}, model)
    for at in range(6):
        yield Request(f"completion {at}", "POST", COMPLETIONS_PATH, body | {"user": "ann"})
    for name in ("bob", "eve"):
        yield Request(f"completion of {name}", "POST", COMPLETIONS_PATH, body | {"user": name})
    yield from few(model)


OSLO: Call = ("get_weather", {"city": "Oslo"})
UTC: Call = ("get_time", {"zone": "UTC"})


def families(model: str) -> Iterator[Request]:
    """Load one family after the other; each says what a script has."""
    for family in FAMILIES.values():
        load = {"model_name": family.name}
        yield Request(f"load {family.name}", "POST", "/v1/internal/model/load", load)
        for each in chain(
            scripted(family.name), [Request("info", "GET", f"/v1/models/{family.name}")]
        ):
            yield replace(each, name=f"{family.name} {each.name}")


OUTPUT: dict[str, Body] = {
    **{f"{name} {also or ''}": {"say": name, **also} for name in ("answer", "thought", "call", "calls", "textcall", "json") for also in (
        {}, {"tools": DEFINED["tools"]}, {"response_format": DEFINED["schema"]})},
    **{f"thought, {name}": {"say": "thought", **body} for name, body in TABLES["thinking"].items()},
    **{f"call, {name}": {"say": "call", **body} for name, body in TABLES["tool_chats"].items()},
    **{f"answer, {name}": {"say": "answer", "messages": messages} for name, messages in TABLES["repaired"].items()},
    "calls, one at a time": {"say": "calls", "tools": DEFINED["tools"], "parallel_tool_calls": False},
    "thought and call, log-probabilities": {"say": "thoughtcall", "tools": DEFINED["tools"], "logprobs": True},
    "thought, stop": {"say": "thought", "stop": ["answer"]},
    "thought, cut": {"say": "thought", "max_tokens": 4, "n": 2},
    "wrong arguments": {"say": "call", "tools": [DEFINED["other_weather"]]},
}  # fmt: skip


def scripted(model: str) -> Iterator[Request]:
    table = {}
    for name, row in OUTPUT.items():
        body = {"max_tokens": 120, **row}
        mark = f" say:{body.pop('say')}"
        first, *rest = body.get("messages", [DEFINED["user"]])
        if isinstance(first["content"], str):
            first = {**first, "content": first["content"] + mark}
        table[name] = {**body, "messages": [first, *rest]}
    yield from requests.both_ways("says", CHAT_PATH, table, model)


def write_families(folder: Path) -> None:
    """The model files that the server of the families loads."""
    for family in FAMILIES.values():
        family.write(folder, [Script(name, text) for name, text in scripts(family).items()])


def scripts(family: Family) -> dict[str, str]:
    return {
        "answer": family.says("The answer is 4."),
        "thought": family.says("The answer is 4.", thought="Let me see what this is."),
        "call": family.says("", OSLO),
        "calls": family.says("", *([OSLO, UTC] if family.several else [UTC])),
        "textcall": family.says("I look." if family.preamble else "", OSLO),
        "thoughtcall": family.says("", OSLO, thought="Shall I look?"),
        "json": family.says('{"b": 1, "a": [true]}'),
    }


def every(step: int, *, seeds: bool = True) -> Callable[[str], Asked]:
    """All pages, and of the rest so many that a slow model can answer them: what needs no seed, or all."""

    def asked(model: str) -> Asked:
        rest = chain(requests.generations(model), requests.refusals(model), requests.wire(model))
        for each in islice(rest, 0, None, step):
            if seeds or not isinstance(each.body, dict) or each.body["temperature"] == 0:
                yield each
        yield from chain(requests.pages(model), few(model))

    return asked


def webui(age: str, loader: str, asked: Callable[[str], Asked]) -> Server:
    return Server(f"webui {age} {loader}", (), asked, "tiny", program=(WEBUI, age, loader))


def echo(name: str, *arguments: str, asked: Callable[[str], Asked] = few) -> Server:
    return Server(name, (*ECHO, *arguments), asked, "echo")


KEYS = ("--api-key", "sk-user", "--admin-key", "sk-admin", "--password", "pass word")
adapted = chats(**TABLES["adapted"])
prefixed = lambda model: chain(few(model), requests.pages(model, "/custom"))  # noqa: E731


def servers(folder: Path) -> tuple[Server, ...]:
    """All of them; `folder` has the families' models."""
    return (
        Server("llama.cpp", ONE_AT_A_TIME, everything),
        Server("llama.cpp, no repair", (*ONE_AT_A_TIME, "--message-repair", "off"), adapted),
        Server("families", ("--model-dir", str(folder), "--model", "qwen3", *ONE_AT_A_TIME), families),
        echo("echo", asked=everything),
        Server("mock", ("--use-mock-api",), few, "echo"),
        webui("2026", "Transformers", every(3)),
        webui("2026", "llama.cpp", everything),
        webui("2026", "TensorRT-LLM", every(4, seeds=False)),
        webui("2023", "Transformers", every(5)),
        echo("keys", *KEYS, asked=keyed),
        echo("keys, open metrics", *KEYS, "--metrics", "open"),
        echo("requests a minute", "--rpm", "4", "--api-key", "", asked=limited),
        echo("tokens a minute", "--tpm", "40", asked=limited),
        echo("tokens a month", "--monthly-tokens", "30", asked=limited),
        echo("limits of users", "--user-limits", "rpm=2,tpm=500", asked=limited),
        echo("no queue", "--queue-limit", "0", asked=adapted),
        echo("strict", "--strict-parameters", "--validation-status", "422", asked=adapted),
        echo("lenient", "--lenient-limits", "--no-require-model", asked=adapted),
        echo("aliases", "--model-aliases", "alias-a,alias-b", asked=adapted),
        echo("any model", "--model-aliases", "*", "--list-host-models", asked=adapted),
        Server("prefix", (*ECHO, "--api-prefix", "/custom"), prefixed, "echo", health="/custom/health"),
        echo("few endpoints", "--endpoints", "chat,models,health", asked=requests.pages),
        echo("endpoints off", "--disabled-endpoints", "docs,usage,chat", asked=lambda m: chain(requests.pages(m), few(m))),
        echo("no metrics", "--metrics", "off", "--usage-days", "0", "--no-streaming", asked=lambda m: chain(requests.pages(m), few(m))),
        echo("sampling", "--sampling-defaults", "top_k=7", "--sampling-limits", "temperature=1.5,n=4", asked=adapted),
        echo("forced", "--sampling-forced", "temperature=0.5", "--max-tokens-limit", "20", asked=adapted),
        echo("limits of sizes", "--max-body-mb", "1", "--default-max-tokens", "5", "--max-logprobs", "100", asked=adapted),
        echo("origins", "--cors-origins", "https://app.example", "--allowed-hosts", "evil.example", asked=requests.wire),
    )  # fmt: skip
