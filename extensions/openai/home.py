"""Home: the console, the page for people who open the server's URL in a browser.

Its files are in `console/`: plain modules and one style sheet, served as they are. The page's policy forbids
scripts and styles in the page itself, requests to other sites, and making HTML of texts.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from flask import render_template_string

from .access.keys import has_keys
from .access.proxy_users import USER
from .errors import ModelLoading, NotFound
from .web.responses.response import Response
from .web.routing.routes import PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .web.context import RequestContext

FOLDER = Path(__file__).parent / "console"
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" '
    'fill="#2f5fd0"/><path d="M8 10l6 6-6 6M16 22h9" fill="none" stroke="#fff" stroke-width="3"/></svg>'
)
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; media-src data:; "
    "connect-src 'self'; frame-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
PLOT_POLICY = (
    "default-src 'none'; script-src {scripts}; style-src 'unsafe-inline'; img-src data: blob:; "
    "frame-ancestors 'self'; base-uri 'none'; form-action 'none'; sandbox allow-scripts"
)
"""Of the frame that draws a figure: without an origin and without a network."""
PLOT_PAGE = "plot.html"
TYPES = {".js": "text/javascript", ".css": "text/css"}
"""By the ends of names; the machine's own table may say something else."""
OLLAMA_GREETING = "Ollama is running"
"""By which its clients see that it is there."""
FIRST = ("main.js", "chat.js", "api.js", "dom.js", "markdown.js", "message.js", "texts.js")
"""Modules to load before it is known what they import."""


def home(context: RequestContext) -> Response:
    """The console. Without JavaScript: the model, the base URL and links to the documentation.

    With `--ollama-api`, programs that ask for no page are told what Ollama tells them.
    """
    if context.services.settings.ollama_api and not _wants_a_page(context):
        return Response(OLLAMA_GREETING, mimetype="text/plain")
    try:
        info = context.services.models.loaded().info
    except ModelLoading:
        info = None
    settings, tunnel = context.services.settings, context.services.tunnel
    page = render_template_string(
        _source(),
        info=info,
        base_url=context.base_url,
        here=_here(context),
        key=has_keys(settings) and USER not in context.environ,
        modules=FIRST,
        public_url=tunnel.url + settings.api_prefix if tunnel and tunnel.url else None,
    )
    response = Response(page, mimetype="text/html")
    response.headers["Content-Security-Policy"] = POLICY
    return _guarded(response)


def console_file(context: RequestContext, file: str) -> Response:
    """A file of the console."""
    path = _files().get(file)
    if file == PLOT_PAGE:
        page, policy = _plot_page()
        response = Response(page, mimetype="text/html")
        response.headers["Content-Security-Policy"] = policy
    elif path is not None:
        response = Response(path.read_bytes(), mimetype=TYPES[path.suffix])
    else:
        raise NotFound(f"The console has no file {file[:200]}.")
    response.headers["Cache-Control"] = "no-cache"  # a browser asks whether it has changed
    response.add_etag()
    response.make_conditional(context.environ)
    return _guarded(response)


def icon(context: RequestContext) -> Response:
    """The favicon."""
    response = Response(ICON, content_type="image/svg+xml")
    response.headers["Cache-Control"] = "max-age=86400"
    return response


@lru_cache(maxsize=1)
def _files() -> Mapping[str, Path]:
    return {path.name: path for path in FOLDER.iterdir() if path.suffix in TYPES}


@lru_cache(maxsize=1)
def _plot_page() -> tuple[bytes, str]:
    """The frame that draws a figure, and its policy. Plotly's script is the one that its package brings.

    A frame without an origin could load no script from a server without a key, so they are in the page.
    """
    scripts = [(FOLDER / "plot_frame.js").read_text(encoding="utf-8")]
    plotly = find_spec("plotly")
    for folder in (plotly and plotly.submodule_search_locations) or ():
        script = Path(folder, "package_data", "plotly.min.js")
        if script.exists():
            # What would end the script, or begin a comment, stands in strings only.
            text = script.read_text(encoding="utf-8").replace("</script", "<\\/script")
            scripts.insert(0, text.replace("<!--", "<\\!--"))
    hashes = (b64encode(sha256(each.encode()).digest()).decode() for each in scripts)
    page = (FOLDER / PLOT_PAGE).read_text(encoding="utf-8")
    inside = "".join(f"<script>{each}</script>\n" for each in scripts)
    policy = PLOT_POLICY.format(scripts=" ".join(f"'sha256-{each}'" for each in hashes))
    return page.replace("<!-- scripts -->", inside).encode(), policy


@lru_cache(maxsize=1)
def _source() -> str:
    return (FOLDER / "page.html").read_text(encoding="utf-8")


def _wants_a_page(context: RequestContext) -> bool:
    """Every browser says so."""
    return "text/html" in context.environ.get("HTTP_ACCEPT", "")


def _here(context: RequestContext) -> str:
    """What leads from the page's address to the prefix, whatever a proxy put before both."""
    path: str = context.environ.get("PATH_INFO", "")
    return "" if path.endswith("/") or not path else f"{path.rpartition('/')[2]}/"


def _guarded(response: Response) -> Response:
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


ROUTES = endpoint(
    "home",
    Route(
        *("GET", "/", home, "Home", PathPrefixes.ROOT),
        scope=None,
        media_types=("text/plain",),
    ),
    Route(
        *("GET", "/console/<path:file>", console_file, "A file of the console", PathPrefixes.ROOT),
        scope=None,
        media="text/javascript",
    ),
    Route(
        *("GET", "/favicon.ico", icon, "Icon", PathPrefixes.ROOT),
        scope=None,
        media="image/svg+xml",
    ),
)
