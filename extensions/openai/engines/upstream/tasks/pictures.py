"""Pictures by another server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ...callback_bridge import Emit
from ...pictures import Picture, PictureFile, Pictures, PictureSteps, PictureTask
from ...remote.multipart import FormBody, FormFile
from .exchange import Exchanges, count, read_leniently

SAID = ("background", "output_format", "quality", "size", "usage")
"""What an answer says of its pictures."""
BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
WEB = re.compile(r"https?://[\x21-\x7e]{1,4096}|data:image/[a-z]{1,16};base64,[A-Za-z0-9+/]+={0,2}")


def make_pictures(task: PictureTask, exchanges: Exchanges) -> PictureSteps:
    """By `POST /images/generations`, or `/images/edits` and `/images/variations` where there are pictures."""
    path = "/images/edits" if task.pictures else "/images/generations"
    if task.prompt is None:
        path = "/images/variations"
    body: Mapping[str, Any] | FormBody = {
        "prompt": task.prompt,
        "n": task.count,
        **task.options,
    }
    if task.pictures:
        body = _form(task, exchanges)

    def work(emit: Emit[Pictures | None]) -> None:
        emit(_pictures(exchanges.json(path, body, emit), task.count))

    return exchanges.begin(work)


def _form(task: PictureTask, exchanges: Exchanges) -> FormBody:
    parts: list[tuple[str, Any]] = [("n", str(task.count))]
    if task.prompt is not None:
        parts.insert(0, ("prompt", task.prompt))
    parts += [(name, str(value)) for name, value in task.options.items()]
    # A server that takes one picture knows only the name without brackets.
    name = "image" if len(task.pictures) == 1 else "image[]"
    parts += [(name, _file("image", each)) for each in task.pictures]
    if task.mask is not None:
        parts.append(("mask", _file("mask", task.mask)))
    return exchanges.form(parts)


def _file(name: str, picture: PictureFile) -> FormFile:
    suffix = picture.type.removeprefix("image/")
    return FormFile(picture.file, picture.size, f"{name}.{suffix}", picture.type)


def _pictures(answer: Any, most: int) -> Pictures:
    with read_leniently():
        made = tuple(map(_picture, answer["data"]))
        if not 0 < len(made) <= most:
            raise ValueError
        said = {name: answer[name] for name in SAID if answer.get(name) is not None}
    return Pictures(made, count(answer.get("created")), said)


def _picture(said: Mapping[str, Any]) -> Picture:
    data, url, revised = said.get("b64_json"), said.get("url"), said.get("revised_prompt")
    is_data = isinstance(data, str) and BASE64.fullmatch(data)
    is_url = isinstance(url, str) and WEB.fullmatch(url)
    if not (is_data or is_url):
        raise ValueError
    return Picture(
        data if is_data else None,
        url if is_url else None,
        revised if isinstance(revised, str) else None,
    )
