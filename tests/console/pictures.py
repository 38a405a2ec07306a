"""Take the pictures of docs/console.md: `python -m tests.console.pictures`. Needs Chromium.

A real server with the model that comes along; what is said in the chat was written for the picture.
"""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from tests.console.conftest import CHROMIUM
from tests.support.process import ROOT, ServerProcess

FOLDER = ROOT / "docs" / "console"
COLOURS = 128
SIZES = {"390": (390, 780), "1280": (1280, 760), "2560": (2560, 1300), "3840": (3840, 2160)}
ANSWER = """A **grammar** says which tokens may come next, so the answer is valid *while* it is written:

| Way | Valid | Costs |
| --- | --- | ---: |
| ask for it | mostly | nothing |
| check and repeat | in the end | whole answers |
| grammar | always | 2 % |

```python
answer = client.chat.completions.create(
    model="openedai-tiny", messages=messages,
    response_format={"type": "json_schema", "json_schema": schema},
)
```

Each token is sampled from $p(x_t \\mid x_{<t})$, where those that the grammar forbids have no weight."""
CHAT = {
    "id": "picture",
    "title": "How is JSON kept valid?",
    "chosen": {"": "m1", "m1": "m2"},
    "nodes": [
        {"id": "m1", "parent": None, "role": "user", "content": "How is JSON kept valid?"},
        {
            "id": "m2",
            "parent": "m1",
            "role": "assistant",
            "content": ANSWER,
            "model": "openedai-tiny",
            "finish": "stop",
            "reasoning": "They ask about grammars.",
            "stats": {"first": 41, "writing": 1100, "tokens": 164, "prompt": 38, "cached": 24},
        },
    ],
}
FIGURE = {
    "data": [
        {"type": "bar", "name": "2025", "x": ["Rome", "Paris", "Oslo"], "y": [2.8, 2.1, 0.7]},
        {"type": "bar", "name": "2015", "x": ["Rome", "Paris", "Oslo"], "y": [2.6, 2.2, 0.6]},
    ],
    "layout": {"title": {"text": "Millions of people"}},
}


BATCH = [
    json.dumps(
        {
            "custom_id": name,
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "openedai-tiny", "messages": [{"role": "user", "content": name}]},
        }
    )
    for name in ("Rome", "Paris", "Oslo")
]


def fill(url: str) -> None:
    """What the other views show."""

    def ask(path: str, body: Any, **headers: str) -> Any:
        return httpx.post(f"{url}/v1{path}", json=body, headers=headers, timeout=60).json()

    for number, text in enumerate(("What are you?", "Hello!", "What can you do?", "Name cities.")):
        body = {"model": "openedai-tiny", "messages": [{"role": "user", "content": text}]}
        more = {"store": True, "user": ("ann", "bob")[number % 2], "metadata": {"title": text}}
        chat = ask("/chat/completions", {**body, **more})
    ask("/chat/completions", {**body, "temperature": -1})
    ask("/embeddings", {"model": "none", "input": "text"})
    messages = f"/chat/completions/{chat['id']}/messages"
    last = httpx.get(f"{url}/v1{messages}", timeout=60).json()["data"][-1]["id"]
    ask(f"{messages}/{last}/plots", {"figure": FIGURE})
    for name, lines in (("names.jsonl", BATCH), ("damaged.jsonl", [*BATCH[:1], "{"])):
        form = {"data": {"purpose": "batch"}, "files": {"file": (name, "\n".join(lines).encode())}}
        file = httpx.post(f"{url}/v1/files", **form).json()["id"]  # type: ignore[arg-type]
        new = {"input_file_id": file, "endpoint": "/v1/chat/completions"}
        batch = ask("/batches", {**new, "completion_window": "24h", "metadata": {"file": name}})
        while batch["status"] not in ("completed", "failed"):
            batch = httpx.get(f"{url}/v1/batches/{batch['id']}").json()


def save(page: Page, name: str) -> None:
    picture = Image.open(BytesIO(page.screenshot())).convert("RGB")
    FOLDER.mkdir(exist_ok=True)
    picture.quantize(COLOURS).save(FOLDER / f"{name}.png", optimize=True)


def take(url: str) -> None:
    kept = f"sessionStorage.setItem('openedai.chats', {json.dumps(json.dumps([CHAT]))})"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for mode in ("light", "dark"):
            for name, (width, height) in SIZES.items():
                page = browser.new_page(
                    viewport={"width": width, "height": height},
                    color_scheme=mode,
                )
                page.add_init_script(f"if (self === top) {kept}")
                page.goto(url)
                page.wait_for_selector(".panel-body select", state="attached")
                page.wait_for_selector(".message .stats")
                save(page, f"chat-{name}-{mode}")
                if name == "1280":
                    views(page, mode)
                page.close()
        browser.close()


def views(page: Page, mode: str) -> None:
    for view in ("stored", "batches", "requests", "usage", "models"):
        page.click(f"#view-{view}")
        page.wait_for_selector("main .row, main td:visible")
        if view == "stored":
            page.click(".row")
            page.wait_for_selector(".plot.drawn", timeout=60_000)
        page.wait_for_timeout(500)
        if (view in ("stored", "usage")) or mode == "light":
            save(page, f"{view}-{mode}")


def main() -> None:
    server = ServerProcess("--threads", "1")
    try:
        server.wait_until_ready()
        fill(server.url)
        take(server.url)
    finally:
        server.stop()
    size = sum(file.stat().st_size for file in Path(FOLDER).glob("*.png"))
    print(f"{len(list(FOLDER.glob('*.png')))} pictures, {size // 1024} KiB")


if __name__ == "__main__":
    main()
