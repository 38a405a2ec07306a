"""The operator's say: what requests get, cannot change, and may not exceed."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from extensions.openai.configuration.sources import load
from extensions.openai.engines.echo import EchoEngine
from extensions.openai.errors import APIError
from extensions.openai.generation.request import ChoicesRequest
from extensions.openai.generation.sampling.policy import Policy, read_policy
from extensions.openai.settings import SettingsError
from extensions.openai.web.app import create_app


def policy(**flags: Any) -> Policy:
    return read_policy(load({}, flags))


def applied(policy: Policy, **body: Any) -> Any:
    """Its fields come from the rows of the sampler table, so type checkers do not know them."""
    return policy.apply(ChoicesRequest.model_validate(body))


def client(**flags: Any) -> FlaskClient:
    return create_app(load({}, flags), EchoEngine()).test_client()


def test_a_default_fills_what_the_request_leaves_out() -> None:
    rules = policy(sampling_defaults="temperature=0.7,min_p=0.05")
    assert applied(rules).temperature == 0.7
    assert applied(rules, temperature=None).temperature == 0.7
    assert applied(rules, temperature=0).temperature == 0
    assert applied(rules).min_p == 0.05


def test_what_is_forced_goes_before_the_request() -> None:
    assert applied(policy(sampling_forced="top_k=40"), top_k=1).top_k == 40


def test_a_preset_goes_between_request_and_defaults(tmp_path: Path) -> None:
    (tmp_path / "calm.yaml").write_text("temperature: 0.2\nrepeat_penalty: 1.1\n")
    rules = policy(preset_folder=str(tmp_path), sampling_defaults="temperature=0.7,top_k=9")
    chosen = applied(rules, preset="calm", repetition_penalty=1.2)
    assert (chosen.temperature, chosen.repetition_penalty, chosen.top_k) == (0.2, 1.2, 9)
    assert applied(rules).temperature == 0.7


def test_what_the_files_of_a_model_say_goes_behind_the_operators_defaults() -> None:
    info = replace(EchoEngine().info, sampling={"temperature": 0.6, "top_k": 20})
    rules = policy(sampling_defaults="temperature=0.7").for_model(info)
    assert (applied(rules).temperature, applied(rules).top_k) == (0.7, 20)
    assert applied(rules, top_k=3).top_k == 3


def test_what_the_files_of_a_model_say_can_be_left_out() -> None:
    info = replace(EchoEngine().info, sampling={"top_k": 20})
    off = policy(model_defaults="off")
    assert applied(off.for_model(info)).top_k is None
    assert off.with_fingerprint(info) != policy().with_fingerprint(info)


def test_a_model_of_the_same_name_has_its_own_files() -> None:
    rules, info = policy(), EchoEngine().info
    for value in (20, 30):
        other = replace(info, sampling={"top_k": value})
        assert applied(rules.for_model(other)).top_k == value
    assert applied(rules.for_model(info)).top_k is None


def test_what_of_a_models_files_cannot_be_used_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    written = {"temperature": 1.8, "top_p": "much", "words": 3, "top_k": 20}
    info = replace(EchoEngine().info, sampling=written)
    rules = policy(sampling_limits="temperature=1.5")
    for _ in range(2):
        found = applied(rules.for_model(info))
        assert (found.temperature, found.top_p, found.top_k) == (None, None, 20)
    said = [each.getMessage() for each in caplog.records]
    assert len(said) == 3 and all(each.endswith("not used") for each in said)


def test_what_an_operator_or_a_model_says_may_be_outside_the_reference() -> None:
    info = replace(EchoEngine().info, sampling={"temperature": 2.5})
    strict = policy(strict_parameters="true")
    assert applied(strict.for_model(info)).temperature == 2.5
    assert applied(strict.for_model(info), temperature=2.0).temperature == 2.0
    forced = policy(strict_parameters="true", sampling_forced="temperature=3")
    assert applied(forced).temperature == 3
    for rules in (strict.for_model(info), forced):
        with pytest.raises(APIError) as refused:
            applied(rules, temperature=2.5)
        assert (refused.value.status, refused.value.param) == (400, "temperature")


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(APIError) as refused:
        applied(policy(), preset="wild")
    assert (refused.value.status, refused.value.param) == (400, "preset")


@pytest.mark.parametrize(("name", "value", "allowed"), [("temperature", 1.6, 1.5), ("n", 5, 4)])
def test_a_value_over_its_limit_is_refused(name: str, value: float, allowed: float) -> None:
    rules = policy(sampling_limits="temperature=1.5,n=4")
    with pytest.raises(APIError) as refused:
        applied(rules, **{name: value})
    assert (refused.value.status, refused.value.param) == (400, name)
    assert getattr(applied(rules, **{name: allowed}), name) == allowed


def test_a_stream_is_refused_where_there_are_none() -> None:
    answer = client(streaming="false").post(
        "/v1/completions", json={"model": "echo", "prompt": "x", "stream": True}
    )
    assert answer.status_code == 400
    assert answer.get_json()["error"]["param"] == "stream"


def test_limits_on_tokens() -> None:
    limited = client(max_tokens_limit="5", default_max_tokens="3")
    body: dict[str, Any] = {"model": "echo", "messages": [{"role": "user", "content": "a" * 50}]}

    def tokens(**more: Any) -> int:
        answer = limited.post("/v1/chat/completions", json={**body, **more}).get_json()
        return int(answer["usage"]["completion_tokens"])

    assert tokens() == 3
    assert tokens(max_tokens=5) == 5
    refused = limited.post("/v1/chat/completions", json={**body, "max_completion_tokens": 6})
    assert refused.status_code == 400
    assert refused.get_json()["error"]["param"] == "max_completion_tokens"


def test_a_limit_alone_caps_answers_that_give_none() -> None:
    body = {"model": "echo", "messages": [{"role": "user", "content": "a" * 50}]}
    answer = client(max_tokens_limit="7").post("/v1/chat/completions", json=body).get_json()
    assert answer["usage"]["completion_tokens"] == 7
    assert answer["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("flag", ["max_tokens_limit", "default_max_tokens"])
def test_limits_above_the_context_give_way_to_it(flag: str) -> None:
    wide = client(**{flag: "32000"})
    chat = {"model": "echo", "messages": [{"role": "user", "content": "hi"}]}
    assert wide.post("/v1/chat/completions", json=chat).status_code == 200
    completion = {"model": "echo", "prompt": "hi"}
    assert wide.post("/v1/completions", json=completion).status_code == 200


@pytest.mark.parametrize(
    "flags",
    [
        {"sampling_defaults": "temprature=1"},
        {"sampling_forced": "temperature=900"},
        {"sampling_limits": "foo=1"},
        {"sampling_limits": "n=many"},
        {"sampling_limits": "samplers=3"},
        {"sampling_limits": "temperature=0.5", "sampling_defaults": "temperature=0.7"},
        {"sampling_limits": "top_k=40", "sampling_forced": "top_k=41"},
        {"max_tokens_limit": "10", "default_max_tokens": "11"},
        {"preset_folder": "/no/such/folder"},
        {"max_tokens_limit": "32001"},
        {"max_tokens_limit": "-1"},
        {"default_max_tokens": "32001"},
        {"default_max_tokens": "-1"},
    ],
)
def test_a_wrong_setting_stops_the_start(flags: dict[str, str]) -> None:
    with pytest.raises(SettingsError):
        policy(**flags)


def test_the_fingerprint_changes_with_what_shapes_answers(tmp_path: Path) -> None:
    """ "If the backend configuration changes": seeds and a fingerprint belong together."""
    (tmp_path / "calm.yaml").write_text("temperature: 0.2")
    reported = []
    for flags in (
        {},
        {"sampling_limits": "temperature=1.5"},
        {"sampling_defaults": "temperature=0.7"},
        {"sampling_defaults": "temperature=0.8"},
        {"sampling_forced": "temperature=0.7"},
        {"role_stops": "always"},
        {"preset_folder": str(tmp_path)},
    ):
        answer = client(**flags).post("/v1/completions", json={"model": "echo", "prompt": "x"})
        reported.append(answer.get_json()["system_fingerprint"])
    assert reported[0] == reported[1]
    assert len(set(reported)) == len(reported) - 1
    assert all(re.fullmatch(r"fp_\w+", each) for each in reported)


def test_a_preset_above_a_limit_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "hot.yaml").write_text("temperature: 1.9")
    with pytest.raises(SettingsError, match="preset hot: temperature"):
        policy(preset_folder=str(tmp_path), sampling_limits="temperature=1.5")


def test_a_broken_preset_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("temperature: [")
    with pytest.raises(SettingsError, match=r"bad\.yaml"):
        policy(preset_folder=str(tmp_path))
