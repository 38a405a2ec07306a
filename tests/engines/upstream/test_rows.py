"""The file of upstreams: what it may say, and one clear line for all else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from extensions.openai.engines.protocol import Capability
from extensions.openai.engines.remote.http_client import Timeouts
from extensions.openai.engines.upstream.rows import UpstreamModel
from extensions.openai.engines.upstreams_file import engines_of, read_upstreams
from extensions.openai.settings import Settings, SettingsError
from tests.support.fake_upstream import FakeUpstream, streamed
from tests.support.process import ROOT

FULL = """
upstreams:
  gpu:
    address: https://gpu.example:8443/openai/v1/
    key_env: GPU_KEY
    kind: vllm
    models:
      big: Qwen/Qwen3-32B
      small:
        model: Qwen/Qwen3-1.7B
        aliases: [tiny]
        context_length: 4096
        capabilities: [chat, tools]
    headers: {X-Team: red}
    concurrent: 4
    timeouts: {connect: 1, first: 30.5}
    fields: {priority: 1}
  here:
    address: unix:///run/model.sock
    models: [m]
"""


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def write(text: str) -> str:
        (tmp_path / "upstreams.yaml").write_text(text, encoding="utf-8")
        return str(tmp_path / "upstreams.yaml")

    return write


def test_all_that_a_file_may_say(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPU_KEY", "of-the-gpu")
    gpu, here = read_upstreams(write(FULL)).upstreams
    assert (gpu.name, str(gpu.address), gpu.address.path) == (
        "gpu",
        "https://gpu.example:8443",
        "/openai/v1",
    )
    assert gpu.headers == {"Authorization": "Bearer of-the-gpu", "X-Team": "red"}
    assert "of-the-gpu" not in repr(gpu)
    assert gpu.models == (
        UpstreamModel("big", "Qwen/Qwen3-32B"),
        UpstreamModel(
            "small",
            "Qwen/Qwen3-1.7B",
            ("tiny",),
            4096,
            (Capability.CHAT, Capability.TOOLS),
        ),
    )
    assert (gpu.kind, gpu.concurrent, gpu.fields) == ("vllm", 4, {"priority": 1})
    assert gpu.timeouts == Timeouts(1, 30.5, Timeouts().silence)
    assert (here.address.socket, here.address.path) == ("/run/model.sock", "/v1")
    assert (here.models, here.kind) == ((UpstreamModel("m", "m"),), None)


def test_the_documentations_file_is_one(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs" / "upstreams.md").read_text(encoding="utf-8")
    for name in ("GPU_KEY", "HOSTED_KEY"):
        monkeypatch.setenv(name, "a-key")
    read = read_upstreams(write(page.partition("```yaml\n")[2].partition("```")[0]))
    assert {each.name: [model.name for model in each.models] for each in read.upstreams} == {
        "gpu": ["big", "small"],
        "hosted": ["large"],
        "next-door": [],
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "not YAML"),
        ("[]", "the file"),
        ("upstreams: {a: {address: 'ftp://x'}}", "a: address: http://HOST:PORT"),
        ("upstreams: {a: {address: 'http://u:p@x'}}", "no user name"),
        ("upstreams: {a: {address: 'unix://x/y'}}", "unix:///PATH"),
        ("upstreams: {a: {address: 'http://x', adress: 1}}", "a.adress"),
        ("upstreams: {a: {address: 'http://x', kind: foo}}", "a.kind"),
        ("upstreams: {a: {address: 'http://x', key_env: NOT_SET}}", "has no NOT_SET"),
        ("upstreams: {a: {address: 'http://x', concurrent: 0}}", "a.concurrent"),
        (
            "upstreams: {a: {address: 'http://x', models: {m: {capabilities: [fly]}}}}",
            "'fly' is none of",
        ),
        ("upstreams: {a: {address: 'http://x', headers: {'X-A': \"b\\nc\"}}}", "a.headers"),
        (
            "upstreams: {a: {address: 'http://127.0.0.1:9', models: [m, n]}, "
            "b: {address: 'http://127.0.0.1:9', models: {x: {aliases: [n]}}}}",
            "the name n is there twice",
        ),
        (
            "upstreams: {a: {address: 'http://127.0.0.1:9', models: [m], kind: vllm}, "
            "b: {address: 'http://127.0.0.1:9', models: [m], kind: openai}}",
            "m: servers that share a model must be of one kind",
        ),
        ("upstreams: {a: {address: 'http://127.0.0.1:9'}}", "does not answer now"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(write: Any, text: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        engines_of(Settings(upstreams=write(text)))
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert str(caught.value).startswith("setting upstreams: ")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        engines_of(Settings(upstreams=str(tmp_path / "none.yaml")))


@pytest.fixture
def fake() -> Iterator[FakeUpstream]:
    with FakeUpstream(streamed("x")) as server:
        yield server


def test_what_the_server_lists_is_served(fake: FakeUpstream, write: Any) -> None:
    fake.models = [
        {"id": "a", "owned_by": "vllm", "max_model_len": 4096, "created": 7},
        {"id": "b", "owned_by": "vllm", "meta": {"n_ctx_train": 2048}},
        {"id": "other-name-of-a", "owned_by": "vllm", "root": "a"},
    ]
    served = engines_of(
        Settings(upstreams=write(f"upstreams: {{x: {{address: '{fake.address}'}}}}"))
    )
    infos = [each.engine.info for each in served]
    assert [(info.model, info.context_length, info.sampler) for info in infos] == [
        ("a", 4096, "vllm"),
        ("b", 2048, "vllm"),
    ]
    assert infos[0].created == 7
    for each in served:
        each.engine.close()


def test_what_the_operator_says_goes_before_the_list(fake: FakeUpstream, write: Any) -> None:
    fake.models = [{"id": "a", "owned_by": "llamacpp", "meta": {"n_ctx_train": 2048}}]
    rows = "{mine: {model: a, context_length: 512, capabilities: [chat]}}"
    text = f"upstreams: {{x: {{address: '{fake.address}', models: {rows}}}}}"
    (served,) = engines_of(Settings(upstreams=write(text)))
    info = served.engine.info
    assert (info.model, info.context_length, info.sampler) == ("mine", 512, "llama-server")
    assert info.capabilities == (Capability.CHAT,)
    served.engine.close()


def test_a_list_that_cannot_be_read_is_none(fake: FakeUpstream, write: Any) -> None:
    fake.models = [{"name": "a"}]
    text = f"upstreams: {{x: {{address: '{fake.address}', models: [m]}}}}"
    (served,) = engines_of(Settings(upstreams=write(text)))
    assert served.engine.info.sampler == "openai"
    served.engine.close()
