"""What deploy/ has besides proxies: unit, image, compose file, alerts; each checked by its own program."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml

from extensions.openai.configuration.sources import load
from extensions.openai.errors import all_errors
from extensions.openai.observability.metrics import METRICS, PREFIX
from extensions.openai.settings import Settings
from host import settings_file
from host.options import OPTIONS
from tests.support.process import ROOT, free_port
from tests.support.wire import ask

DEPLOY = ROOT / "deploy"


def read(name: str) -> str:
    return (DEPLOY / name).read_text(encoding="utf-8")


def program(name: str) -> str:
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=dict(os.environ) | environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.mark.parametrize("name", ["openedai.service", "Dockerfile", "compose.yaml"])
def test_every_variable_is_one_of_ours(name: str) -> None:
    known = {f"OPENEDAI_{each.upper()}" for each in Settings.model_fields}
    known |= {option.environment for option in OPTIONS}
    used = set(re.findall(r"\bOPENEDAI_[A-Z_]+", read(name)))
    assert used and used <= known, used - known


def test_the_unit(tmp_path: Path) -> None:
    analyze = program("systemd-analyze")
    unit = tmp_path / "openedai.service"
    text = read("openedai.service")
    assert "ExecStart=/opt/openedai/.venv/bin/openedai run --settings" in text
    # What it starts has to be there for the check.
    text = text.replace("/opt/openedai/.venv/bin/openedai", sys.executable)
    unit.write_text(text.replace("WorkingDirectory=/opt/openedai", "WorkingDirectory=/"))
    done = run(analyze, "verify", str(unit))
    assert not done.stderr, done.stderr
    run(analyze, "security", "--offline=yes", "--threshold=30", "--no-pager", str(unit))
    # The program ends within 10 seconds of SIGTERM, and is told by SIGHUP to read its settings again.
    assert "ExecReload=/bin/kill -HUP $MAINPID" in text and "TimeoutStopSec=15" in text


def test_the_sample_of_a_settings_file_has_every_setting_with_its_default() -> None:
    text = read("settings.yaml")
    lines = re.findall(r"^# (openai-\w+:.*)$", text, re.MULTILINE)
    content = yaml.safe_load("\n".join(lines))
    params = settings_file.params_for("openai", content, ["openai"])
    assert list(params) == list(Settings.model_fields)
    defaults = load({}, {})
    assert load(params, {}) == defaults
    assert yaml.safe_load(text) is None, "all of it is a comment"
    # What an operator does: take one # away.
    changed = text.replace("# openai-api_port: 5001", "openai-api_port: 6001")
    assert load(settings_file.params_for("openai", yaml.safe_load(changed), ["openai"]), {}) == (
        defaults.model_copy(update={"api_port": 6001})
    )


def test_the_image_is_well_formed() -> None:
    run(program("hadolint"), str(DEPLOY / "Dockerfile"))


def copied() -> list[str]:
    """What the image takes from the repository."""
    lines = re.findall(r"^COPY (?!--from)(.*)$", read("Dockerfile"), re.MULTILINE)
    return [word for line in lines for word in line.split()[:-1]]


def test_what_the_image_copies_is_not_ignored() -> None:
    kept = [line[1:] for line in read("Dockerfile.dockerignore").splitlines() if line[:1] == "!"]
    for name in copied():
        assert (ROOT / name).exists(), name
        assert any(name == each or name.startswith(f"{each}/") for each in kept), name


def test_what_the_image_copies_is_enough(tmp_path: Path) -> None:
    """The package is built of it, and what the image starts answers as its health check asks."""
    source, site = tmp_path / "source", tmp_path / "site"
    for name in copied():
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "training")
            shutil.copytree(ROOT / name, source / name, ignore=ignored, dirs_exist_ok=True)
        else:
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    without_index = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index")
    install = (sys.executable, "-m", "pip", "install", *without_index)
    run(*install, "--target", str(site), str(source))
    words = re.findall(r'^ENTRYPOINT \["openedai", (.*)\]$', read("Dockerfile"), re.MULTILINE)[0]
    command = [str(site / "bin" / "openedai"), *re.findall(r'"([^"]+)"', words)]
    port = free_port()
    process = subprocess.Popen(
        [*command, "--model", "openedai-tiny", "--threads", "1", "--api-port", str(port)],
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(site),
            "HOME": str(tmp_path),
            "OPENEDAI_MODEL_DIR": str(tmp_path / "models"),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(600):
            assert process.poll() is None, "it ended"
            threading.Event().wait(0.05)
            try:
                if ask(port, "GET", "/health").status == 200:
                    break
            except OSError:
                continue
        health = re.findall(r'CMD \[[^,]+, "-c", "(.*)"\]', read("Dockerfile"))[0]
        run(sys.executable, "-c", health.replace(":5001", f":{port}"))
        process.terminate()
        assert process.wait(20) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def test_the_compose_file() -> None:
    compose = program("docker-compose")
    file = str(DEPLOY / "compose.yaml")
    run(compose, "--file", file, "config", "--quiet", OPENEDAI_API_KEY="k")
    without = {name: value for name, value in os.environ.items() if name != "OPENEDAI_API_KEY"}
    refused = subprocess.run(
        [compose, "--file", file, "config", "--quiet"],
        capture_output=True,
        text=True,
        check=False,
        env=without,
        timeout=60,
    )
    assert refused.returncode != 0 and "give the server a key" in refused.stderr
    service = yaml.safe_load(read("compose.yaml"))["services"]["openedai"]
    assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).exists()
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_compose_passes_on_what_it_advises() -> None:
    service = yaml.safe_load(read("compose.yaml"))["services"]["openedai"]
    advised = set(re.findall(r"\bOPENEDAI_[A-Z_]+", read("compose.yaml")))
    assert advised == set(service["environment"]) and "OPENEDAI_TRUSTED_PROXIES" in advised


def test_alerts_are_rules(tmp_path: Path) -> None:
    promtool = program("promtool")
    rules = DEPLOY / "alerts.yaml"
    run(promtool, "check", "rules", str(rules))
    cases = (Path(__file__).parent / "alerts_test.yaml").read_text(encoding="utf-8")
    (tmp_path / "test.yaml").write_text(cases.replace("[RULES]", f"['{rules}']"))
    run(promtool, "test", "rules", str(tmp_path / "test.yaml"))


def names_of_series() -> set[str]:
    histograms = {f"{PREFIX}{row.name}_bucket" for row in METRICS if row.kind == "histogram"}
    return {PREFIX + row.name for row in METRICS if row.kind != "histogram"} | histograms


def labels_of(series: str) -> set[str]:
    (row,) = [row for row in METRICS if PREFIX + row.name == series.removesuffix("_bucket")]
    return set(row.labels)


def test_the_dashboard_shows_what_is_there() -> None:
    """Every series and label that a panel asks for is one of the metrics; all metrics are shown."""
    board = json.loads(read("grafana.json"))
    asked = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    used = {name for expr in asked for name in re.findall(r"\bopenedai_\w+", expr)}
    not_shown = {PREFIX + "tunnel_up"}
    assert used == names_of_series() - not_shown
    for panel in board["panels"]:
        assert panel["title"] and panel["description"]
        for target in panel["targets"]:
            expr, legend = target["expr"], target["legendFormat"]
            by = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", expr)))) - {"le"}
            for name in re.findall(r"\bopenedai_\w+", expr):
                assert by <= labels_of(name), expr
            assert set(re.findall(r"{{(\w+)}}", legend)) <= by | {"instance"}, legend
    places = [panel["gridPos"] for panel in board["panels"]]
    cells = [
        (x, y)
        for p in places
        for x in range(p["x"], p["x"] + p["w"])
        for y in range(p["y"], p["y"] + p["h"])
    ]
    assert len(cells) == len(set(cells)) and max(x for x, _ in cells) < 24


def test_the_dashboards_queries_are_promql(tmp_path: Path) -> None:
    promtool = program("promtool")
    board = json.loads(read("grafana.json"))
    rules = [
        {"record": f"panel:{panel['id']}{target['refId']}", "expr": filled}
        for panel in board["panels"]
        for target in panel["targets"]
        for filled in [target["expr"].replace("$__rate_interval", "5m").replace("$", "")]
    ]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "board", "rules": rules}]}))
    run(promtool, "check", "rules", str(file))


def test_alerts_use_what_is_there() -> None:
    names = names_of_series()
    codes = {error.code for error in all_errors()}
    rules = yaml.safe_load(read("alerts.yaml"))["groups"][0]["rules"]
    for rule in rules:
        for used in re.findall(r"\bopenedai_\w+", rule["expr"]):
            assert used in names, used
        for found in re.findall(r'code=~?"([^"]+)"', rule["expr"]):
            assert set(found.split("|")) <= codes, found
        assert {"summary", "action"} == set(rule["annotations"])
