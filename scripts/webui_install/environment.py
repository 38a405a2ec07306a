"""The web UI's Python: which one it is, and what has to be brought so that the extension finds all it needs.

Nothing is installed into it. What it lacks goes into a folder of the extension's own
(`extensions/openai/system/private_packages.py` finds it there).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from .work import RefusalError, Work, remove, replace_folder

PLACES = (
    "installer_files/env/bin/python",
    "installer_files/env/python.exe",
    "portable_env/bin/python3",
    "portable_env/bin/python",
    "portable_env/python.exe",
    *(
        f"{name}/{python}"
        for name in (".venv", "venv", "env")
        for python in ("bin/python", "Scripts/python.exe")
    ),
)
"""Where the web UI's installers, its releases and its README's commands put Python."""
MIN_PYTHON = (3, 10)
MIN_PIP = (22, 2)  # the first with --dry-run and --report
MIN_OWN_PIP = (22, 3)  # the first that installs for another Python
PROBE = """
import json, sys
facts = {"version": list(sys.version_info[:3]), "tag": None, "pip": None, "installed": {}}
if sys.version_info >= (3, 10):
    import importlib.util
    from importlib import metadata
    spec = importlib.util.spec_from_file_location("private_packages", sys.argv[1])
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    facts["tag"], facts["manifest"] = module.interpreter_tag(), module.MANIFEST
    for each in metadata.distributions():
        name = each.metadata["Name"]
        if name:
            facts["installed"].setdefault(name.lower().replace("_", "-").replace(".", "-"), each.version)
    facts["pip"] = facts["installed"].get("pip")
print(json.dumps(facts))
"""


@dataclass(frozen=True)
class Environment:
    """The web UI's Python, as it was found."""

    python: Path
    version: tuple[int, ...]
    tag: str
    manifest: str
    pip: str | None
    installed: Mapping[str, str]


@dataclass(frozen=True)
class Plan:
    """What has to be brought."""

    isolated: bool
    """Whether only the extension may see it, as the web UI has other versions."""
    packages: Mapping[str, str]
    because: str = ""
    """What the web UI has that does not fit."""

    @property
    def text(self) -> str:
        if self.isolated:
            return f"all packages, seen by the extension alone, as the web UI has {self.because}"
        return ", ".join(f"{name} {version}" for name, version in sorted(self.packages.items()))


def find_python(app: Path, given: str | None) -> Path:
    """Raises RefusalError where there is none."""
    if given is not None:
        path = Path(given).expanduser().absolute()
        if not path.is_file():
            raise RefusalError(f"--python: no file {path}")
        return path
    active = [
        Path(os.environ[name]) / python
        for name in ("VIRTUAL_ENV", "CONDA_PREFIX")
        if os.environ.get(name)
        for python in ("bin/python", "Scripts/python.exe", "python.exe")
    ]
    for path in (*(app / place for place in PLACES), *active):
        if path.is_file():
            return path
    raise RefusalError(
        f"no Python environment found in {app}: name the web UI's Python with --python"
    )


def look_at(python: Path, extension: Path) -> Environment:
    """Raises RefusalError where the extension cannot run there."""
    done = _run([str(python), "-c", PROBE, str(extension / "system" / "private_packages.py")])
    try:
        facts: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        raise RefusalError(f"{python} does not run: {_last_line(done)}") from None
    version = tuple(facts["version"])
    if version < MIN_PYTHON:
        raise RefusalError(
            f"{python} is Python {_dotted(version)}, and the extension needs {_dotted(MIN_PYTHON)} or later: "
            "make the web UI a new environment (delete installer_files and run its start script)"
        )
    return Environment(
        python, version, facts["tag"], facts["manifest"], facts["pip"], facts["installed"]
    )


def plan(environment: Environment, requirements: Path) -> Plan:
    """What to bring, by pip's own resolver. Raises RefusalError where there is no way."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        constraints = folder / "constraints.txt"
        constraints.write_text(_constraints(environment.installed), encoding="utf-8")
        lines = ["--requirement", str(requirements)]
        report, problem = _resolve(environment, folder, [*lines, "--constraint", str(constraints)])
        if report is not None:
            return Plan(False, report)
        because = _contradictions(environment.installed, requirements, problem)
        report, problem = _resolve(environment, folder, [*lines, "--ignore-installed"])
    if report is None:
        raise RefusalError(
            f"pip finds no packages that fit: {_essence(problem)}; nothing was changed"
        )
    return Plan(True, report, because)


def bring(
    work: Work, environment: Environment, wanted: Plan, packages: Path, requirements: Path
) -> None:
    """Put what is planned into `packages/TAG`, as a whole or not at all. Raises RefusalError."""
    place = packages / environment.tag
    note = note_of(environment, wanted, requirements)
    if not wanted.packages:
        if place.exists():
            work.do(f"remove {place}: the web UI has all by now", lambda: remove(place))
        return
    if _read(place / environment.manifest) == note:
        work.say(f"the packages are there already: {wanted.text}")
        return
    work.do(
        f"put into {place}: {wanted.text}",
        lambda: _install(environment, note, place),
    )


def _install(environment: Environment, note: Mapping[str, Any], place: Path) -> None:
    fresh = place.with_name(f"{place.name}.new")
    remove(fresh)
    exact = [f"{name}=={version}" for name, version in sorted(note["packages"].items())]
    fresh.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        listed = Path(name) / "packages.txt"
        listed.write_text("".join(f"{line}\n" for line in exact), encoding="utf-8")
        done = _run(
            [
                *_pip(environment), "install", "--quiet", "--no-deps",
                *("--target", str(fresh), "--requirement", str(listed)),
            ]
        )  # fmt: skip
    if done.returncode:
        remove(fresh)
        raise RefusalError(f"pip failed: {_essence(done.stderr)}; the web UI was not changed")
    (fresh / environment.manifest).write_text(json.dumps(note, indent=1), encoding="utf-8")
    replace_folder(fresh, place)


def note_of(environment: Environment, wanted: Plan, requirements: Path) -> dict[str, Any]:
    """What is written beside the packages, and tells whether they are those that are wanted."""
    return {
        "isolated": wanted.isolated,
        "packages": dict(wanted.packages),
        "requirements": hashlib.sha256(requirements.read_bytes()).hexdigest(),
        "installed": _fingerprint(environment.installed),
    }


def is_settled(environment: Environment, packages: Path, requirements: Path) -> bool:
    """Whether nothing has changed since the packages were brought: then pip need not look again."""
    note = _read(packages / environment.tag / environment.manifest)
    return (
        note is not None
        and note.get("requirements") == hashlib.sha256(requirements.read_bytes()).hexdigest()
        and note.get("installed") == _fingerprint(environment.installed)
    )


def broken_requirements(environment: Environment, names: set[str]) -> list[str]:
    """What the web UI's packages ask of those in `names` and do not have: `pydantic<2,>=1.6`.

    An earlier version of this installer upgraded packages in the web UI's environment, and left some there
    that ask for the new versions: what those ask for does not count.
    """
    done = _run([*_pip(environment), "check"])
    pattern = re.compile(r"^(\S+) \S+ has requirement (\S.*), but you have (\S+) ", re.MULTILINE)
    found = (
        re.sub(r"\s*;.*", "", wish)
        for owner, wish, name in pattern.findall(done.stdout)
        if _plain(name) in names and _plain(owner) not in names
    )
    return sorted(set(found))


def repair(environment: Environment, wishes: list[str]) -> None:
    """Install what `broken_requirements` found, on the user's word. Raises RefusalError."""
    done = _run([*_pip(environment), "install", "--quiet", *wishes])
    if done.returncode:
        raise RefusalError(f"pip failed: {_essence(done.stderr)}")


def required_names(requirements: Path) -> set[str]:
    lines = requirements.read_text(encoding="utf-8").splitlines()
    names = (re.match(r"[A-Za-z0-9._-]+", line) for line in lines)
    return {_plain(name[0]) for name in names if name}


def repair_command(environment: Environment, wishes: list[str]) -> str:
    quoted = " ".join(f'"{wish}"' for wish in wishes)
    return f"{environment.python} -m pip install {quoted}"


def _resolve(
    environment: Environment, folder: Path, arguments: list[str]
) -> tuple[dict[str, str] | None, str]:
    """The packages that pip would install; None where it finds no way, with what it says."""
    report = folder / "report.json"
    done = _run(
        [
            *_pip(environment), "install", "--dry-run", "--quiet", "--report", str(report),
            *arguments,
        ]
    )  # fmt: skip
    if done.returncode:
        return None, done.stderr
    rows = json.loads(report.read_text(encoding="utf-8"))["install"]
    return {_plain(row["metadata"]["name"]): row["metadata"]["version"] for row in rows}, ""


def _pip(environment: Environment) -> list[str]:
    """The pip of the web UI's Python; ours, acting for it, where that one has none or an old one."""
    if environment.pip is not None and _numbers(environment.pip) >= MIN_PIP:
        return [str(environment.python), "-m", "pip"]
    try:
        own = metadata.version("pip")
    except metadata.PackageNotFoundError:
        own = "0"
    if _numbers(own) >= MIN_OWN_PIP:
        return [sys.executable, "-m", "pip", "--python", str(environment.python)]
    has = f"only pip {environment.pip}" if environment.pip else "no pip"
    way = "pip install --upgrade pip" if environment.pip else "ensurepip --upgrade"
    raise RefusalError(
        f"{environment.python} has {has}; pip {_dotted(MIN_PIP)} is needed: {environment.python} -m {way}"
    )


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """As the web UI's start scripts run it: without the user's own site-packages."""
    left_out = (
        "PYTHONPATH",
        "PYTHONHOME",
        "PIP_USER",
        "PIP_TARGET",
        "PIP_PREFIX",
        "PIP_CONSTRAINT",
    )
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    environment |= {
        "PYTHONNOUSERSITE": "1",
        "PYTHONIOENCODING": "utf-8",
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "PIP_NO_INPUT": "1",
        "PIP_REQUIRE_VIRTUALENV": "0",
    }
    try:
        return subprocess.run(
            command,
            env=environment,
            cwd=tempfile.gettempdir(),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except OSError as error:
        raise RefusalError(f"{command[0]} does not run: {error.strerror}") from error


def _constraints(installed: Mapping[str, str]) -> str:
    """Every package as it is, those left out whose version pip could not read."""
    fits = re.compile(r"[0-9][0-9a-zA-Z.!+_-]*")
    return "".join(
        f"{name}=={version}\n"
        for name, version in sorted(installed.items())
        if fits.fullmatch(version)
    )


def _contradictions(installed: Mapping[str, str], requirements: Path, problem: str) -> str:
    """What the web UI has of our requirements in other versions; else what pip names as the reason."""
    found = []
    for line in requirements.read_text(encoding="utf-8").splitlines():
        wish = re.match(r"([A-Za-z0-9._-]+)(.*)", line)
        version = installed.get(_plain(wish[1])) if wish else None
        if wish and version and not _satisfies(version, wish[2]):
            found.append(f"{_plain(wish[1])} {version}")
    found = found or sorted(set(re.findall(r"\(constraint\) ([\w.-]+==\S+)", problem)))
    return ", ".join(found) or "other versions of what it needs"


def _satisfies(version: str, specifier: str) -> bool:
    """Whether a version is in a range of the form `>=1.2,<2`, the only one in our requirements."""
    number = _numbers(version, 3)
    lowest = re.search(r">=([\d.]+)", specifier)
    end = re.search(r"<([\d.]+)", specifier)
    return not (
        (lowest and number < _numbers(lowest[1], 3)) or (end and number >= _numbers(end[1], 3))
    )


def _essence(problem: str) -> str:
    """The most telling line of what pip says."""
    lines = [line.strip() for line in problem.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["no message"])[0].removeprefix("ERROR: ")


def _last_line(done: subprocess.CompletedProcess[str]) -> str:
    lines = (done.stderr or done.stdout).strip().splitlines()
    return lines[-1] if lines else f"exit status {done.returncode}"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        note: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return note


def _fingerprint(installed: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(sorted(installed.items())).encode()).hexdigest()


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _numbers(version: str, most: int = 2) -> tuple[int, ...]:
    """`(1, 2)` for `1.2.3`; what is missing counts as 0."""
    found = [int(part) for part in re.findall(r"\d+", version)][:most]
    return tuple(found + [0] * (most - len(found)))


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))
