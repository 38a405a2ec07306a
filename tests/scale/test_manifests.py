"""The manifests against the schemas of Kubernetes and of KEDA."""

from __future__ import annotations

import json
import subprocess

import pytest
import yaml

from tests.scale.conftest import INSTALLED
from tests.support.process import ROOT


@pytest.mark.parametrize("name", ["openedai.yaml", "scaling.yaml"])
def test_kubernetes_takes_it(name: str) -> None:
    command = INSTALLED / "kubernetes-validate"
    if not command.exists():
        pytest.skip(f"{command} is not installed")
    file = ROOT / "deploy" / "kubernetes" / name
    done = subprocess.run(
        [str(command), "--strict", str(file)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


KEEPS_ALL = """
import json, sys
from cloudcoil.models.keda.v1alpha1 import ScaledObject
given = json.load(sys.stdin)
read = ScaledObject.model_validate(given)
assert read.model_dump(mode="json", by_alias=True, exclude_unset=True) == given, read
"""
"""A field that KEDA does not have would be left out."""


def test_keda_takes_it() -> None:
    command = INSTALLED / "python"
    if not list(INSTALLED.parent.glob("lib/*/site-packages/cloudcoil/models/keda")):
        pytest.skip("cloudcoil-models-keda is not installed")
    text = (ROOT / "deploy" / "kubernetes" / "keda.yaml").read_text(encoding="utf-8")

    def read(text: str) -> subprocess.CompletedProcess[str]:
        given = json.dumps(yaml.safe_load(text))
        return subprocess.run(
            [str(command), "-c", KEEPS_ALL],
            input=given,
            capture_output=True,
            text=True,
            check=False,
        )

    done = read(text)
    assert done.returncode == 0, done.stderr
    assert read(text.replace("minReplicaCount", "minReplicas")).returncode != 0
    assert read(text.replace("2\n", "two\n")).returncode != 0
