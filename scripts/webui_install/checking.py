"""`--check`: what is installed where, and what is wrong with it."""

from __future__ import annotations

from . import earlier, environment
from .command import SOURCE, Job, is_current
from .layout import TAKEN_NAME, is_ours
from .work import RefusalError, is_there


def check(job: Job) -> int:
    """The exit status: 0 where all is well."""
    work, webui = job.work, job.webui
    work.say(f"web UI: {webui.app}{_age(job)}")
    work.say(f"user data: {webui.user_data}")
    problems = [*_copies(job), *_tracked(job), *_packages(job)]
    for problem in problems:
        work.say(f"problem: {problem}")
    if not problems:
        work.say("all is well")
    return 1 if problems else 0


def _age(job: Job) -> str:
    date = job.repository.date() if job.repository is not None else ""
    return f", of {date}" if date else ""


def _copies(job: Job) -> list[str]:
    webui = job.webui
    places = {*webui.places, webui.user_data / "extensions" / TAKEN_NAME, webui.app / earlier.PLACE}
    there = sorted(place for place in places if is_there(place) and is_ours(place))
    for place in there:
        job.work.say(f"extension: {place}, --extensions {place.name}")
    problems = [
        f"{place} is another version than this folder has: run the installer again"
        for place in there
        if not is_current(place)
    ]
    if not there:
        problems.append("the extension is not installed: run the installer")
    if len(there) > 1:
        problems.append("it is installed twice: run the installer again")
    return problems


def _tracked(job: Job) -> list[str]:
    if not earlier.traces(job.webui, job.repository):
        return []
    return [
        "the web UI's own extensions/openai was replaced, and the web UI's updater will fail or has failed: "
        "run the installer again, which puts it back"
    ]


def _packages(job: Job) -> list[str]:
    if job.options.no_requirements:
        return []
    requirements = SOURCE / "requirements.txt"
    try:
        python = environment.find_python(job.webui.app, job.options.python)
        found = environment.look_at(python, SOURCE)
        job.work.say(f"Python: {python}, {'.'.join(map(str, found.version))}")
        problems = []
        if environment.is_settled(found, job.packages, requirements):
            job.work.say(f"packages: {job.packages / found.tag}")
        else:
            wanted = environment.plan(found, requirements)
            if wanted.packages:
                problems = [
                    f"packages are missing: run the installer again, which brings {wanted.text}"
                ]
        wishes = environment.broken_requirements(found, environment.required_names(requirements))
    except RefusalError as error:
        return [str(error)]
    if wishes:
        problems.append(
            "the web UI's Python has packages in versions that the web UI cannot use: run the installer with "
            "--repair-environment, or " + environment.repair_command(found, wishes)
        )
    return problems
