"""The manifests in deploy/kubernetes say of this server what is so.

`make test-scale` checks them against the schemas of Kubernetes.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from extensions.openai.observability.metrics import METRICS, PREFIX
from extensions.openai.settings import Settings
from extensions.openai.web.app import ROUTES
from host.options import OPTIONS
from tests.support.process import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8")))


def pod() -> dict[str, Any]:
    (found,) = [each for each in documents("openedai.yaml") if each["kind"] == "Deployment"]
    spec: dict[str, Any] = found["spec"]["template"]["spec"]
    return spec


def test_every_variable_and_flag_is_one_of_ours() -> None:
    (container,) = pod()["containers"]
    known = {f"OPENEDAI_{each.upper()}" for each in Settings.model_fields}
    assert {each["name"] for each in container["env"]} <= known
    flags = {f"--{each.name.replace('_', '-')}" for each in OPTIONS}
    flags |= {f"--{each.replace('_', '-')}" for each in Settings.model_fields}
    assert {each for each in container["args"] if each.startswith("--")} <= flags


def test_keys_are_in_secrets_only() -> None:
    (container,) = pod()["containers"]
    secret = {"OPENEDAI_API_KEY", "OPENEDAI_ADMIN_KEY", "OPENEDAI_KEYS_SECRET"}
    secret |= {"OPENEDAI_STORE", "OPENEDAI_LIMITS_STORAGE"}
    for each in container["env"]:
        assert ("secretKeyRef" in each.get("valueFrom", {})) == (each["name"] in secret)


def test_probes_ask_what_is_there() -> None:
    (container,) = pod()["containers"]
    paths = {route.path for route in ROUTES if route.scope is None}
    (port,) = container["ports"]
    assert port["containerPort"] == Settings.model_fields["api_port"].default
    for probe in ("startupProbe", "readinessProbe"):
        asked = container[probe]["httpGet"]
        assert asked["path"] in paths and asked["port"] == port["name"]
    assert container["livenessProbe"] == {
        **container["livenessProbe"],
        "tcpSocket": {"port": port["name"]},
    }


def test_a_replica_may_drain_before_it_is_killed() -> None:
    spec = pod()
    (container,) = spec["containers"]
    (drain,) = [e["value"] for e in container["env"] if e["name"] == "OPENEDAI_DRAIN_TIMEOUT"]
    command = container["lifecycle"]["preStop"]["exec"]["command"]
    assert command[0] == "sleep"
    assert spec["terminationGracePeriodSeconds"] >= int(command[1]) + int(drain) + 10


def test_services_and_the_deployment_belong_together() -> None:
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for each in documents("openedai.yaml"):
        by_kind.setdefault(each["kind"], []).append(each)
    (deployment,) = by_kind["Deployment"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    for service in by_kind["Service"]:
        assert service["spec"]["selector"] == labels
        assert service["spec"]["ports"][0]["targetPort"] == "http"
    for name in ("scaling.yaml", "keda.yaml"):
        (scaler,) = documents(name)
        assert scaler["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]


@pytest.mark.parametrize("name", ["scaling.yaml", "keda.yaml"])
def test_what_is_scaled_on_is_a_metric(name: str) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    known = {PREFIX + metric.name for metric in METRICS}
    used = set(re.findall(r"\bopenedai_\w+", text))
    assert used == {"openedai_load"} and used <= known
