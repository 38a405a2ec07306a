"""A browser, and a real server that it opens. Skips where there is no Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from extensions.openai.engines.protocol import Engine
from extensions.openai.server.server import APIServer
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app
from tests.console.talking_engine import TalkingEngine
from tests.support.resident_models import Library, serve_library

sync_api = pytest.importorskip("playwright.sync_api", reason="the console's tests need playwright")
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
TIMEOUT_MS = 40_000
LOST = "Failed to load resource"
"""What the browser itself writes about a request that failed; tests of failures expect it."""


@dataclass
class Site:
    """A server in this process, which can end and come back at its address."""

    engine: Engine
    options: dict[str, Any]
    port: int = 0
    server: APIServer | None = None
    library: Library | None = None
    """The models that requests load."""

    def start(self) -> Site:
        settings = Settings(**{"drain_timeout": 0.0, "api_port": self.port, **self.options})
        app = create_app(settings, self.engine)
        if self.library is not None:
            serve_library(app, self.library)
        self.server = APIServer(app, settings)
        self.server.start()
        self.port = self.server.port
        return self

    def stop(self) -> None:
        if self.server is not None:
            self.server.stop(5.0)
            self.server = None

    @property
    def url(self) -> str:
        prefix = self.options.get("api_prefix", "")
        return f"http://127.0.0.1:{self.port}{prefix}/"


Start = Callable[..., Site]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A server without a key, as on the machine of who uses it."""
    folder = tmp_path_factory.mktemp("data")
    made = Site(TalkingEngine(), {"data_folder": str(folder)}).start()
    yield made
    made.stop()


@pytest.fixture
def start(tmp_path: Any) -> Iterator[Start]:
    """Start another one: `start(engine, **settings)`."""
    made: list[Site] = []

    def begin(engine: Engine | None = None, library: Library | None = None, **options: Any) -> Site:
        options = {"data_folder": str(tmp_path), **options}
        site = Site(engine or TalkingEngine(), options, library=library)
        made.append(site)
        return site.start()

    yield begin
    for each in made:
        each.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium (Debian's package chromium)")
    with sync_api.sync_playwright() as playwright:
        # Root has no sandbox of the kernel's to put it into.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


Open = Callable[..., Any]


@pytest.fixture
def open_page(browser: Any) -> Iterator[Open]:
    """Open an address in a window of its own; what the page's own code does wrong fails the test."""
    contexts, wrong = [], []

    def note(message: Any) -> None:
        if message.type in ("error", "warning") and LOST not in message.text:
            wrong.append(message.text)

    def begin(url: str, **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        context.set_default_timeout(TIMEOUT_MS)
        contexts.append(context)
        page = context.new_page()
        page.on("console", note)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(url)
        return page

    yield begin
    for each in contexts:
        each.close()
    assert not wrong


@pytest.fixture
def page(site: Site, open_page: Open) -> Any:
    """The console, ready to chat."""
    page = open_page(site.url)
    page.wait_for_selector(".greeting .address")
    return page
