"""The panel in a webui's UI: the API's URL, whether it needs a key, the console, the tunnel, copy buttons.

Works with gradio 3 and 4. Never shows the key.
"""

from __future__ import annotations

from typing import Any

from .launch import Launcher, Status

COPY = """(text) => {
    if (!text) return;
    if (navigator.clipboard && window.isSecureContext) {
        navigator.clipboard.writeText(text);
        return;
    }
    // Over plain HTTP from another machine there is no clipboard, only this.
    const area = document.createElement("textarea");
    area.value = text;
    document.body.appendChild(area);
    area.select();
    document.execCommand("copy");
    area.remove();
}"""


def draw(launcher: Launcher) -> None:
    """Add the panel to the UI that is being built, if gradio is installed.

    Its texts are updated each time a browser loads the UI.
    """
    try:
        import gradio
    except ModuleNotFoundError:
        return

    def state() -> str:
        return _state(launcher.status())

    def url() -> str:
        return launcher.status().url or ""

    def public_url() -> str:
        return launcher.status().public_url or ""

    with gradio.Accordion("OpenAI-compatible API", open=True, elem_id="openedai"):
        gradio.Markdown(state)
        _address(gradio, "Base URL", url, "not running", "openedai-url")
        _address(gradio, "Public URL", public_url, "no tunnel", "openedai-tunnel")


def _address(gradio: Any, label: str, text: Any, missing: str, name: str) -> None:
    """A line of text with a copy button; `missing` is shown while it is empty."""
    with gradio.Row():
        with gradio.Column(scale=8):
            line = gradio.Textbox(
                text, label=label, placeholder=missing, interactive=False, elem_id=name
            )
        with gradio.Column(scale=1, min_width=100):
            button = gradio.Button("Copy", elem_id=f"{name}-copy")
    try:
        button.click(None, line, None, js=COPY)
    except TypeError:  # gradio 3
        button.click(None, line, None, _js=COPY)


def _state(status: Status) -> str:
    if status.url is None:
        return f"**The API does not run.** {status.problem or ''}"
    key = "No key is set: this machine only."
    if status.has_key:
        key = "A key is set: clients must send it."
    return f"{key} [Open the console]({status.url.removesuffix('v1')})"
