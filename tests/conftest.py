"""What many tests need: the application in process, the official client on it, a real server."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import openai
import pytest

# Before NumPy is imported: its threads wait for each other by spinning, which takes the processors from the
# servers under test, and a small model's products are too small to be shared.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# The programs that tests start may keep what they compile: in a new clone each would compile it again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

from flask import Flask
from flask.testing import FlaskClient

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.llamacpp.engine import LlamaCppEngine
from extensions.openai.engines.protocol import Engine
from extensions.openai.server.limits import DEFAULT_LIMITS, ServerLimits
from extensions.openai.server.server import APIServer
from extensions.openai.settings import Settings
from extensions.openai.system import data_folder
from extensions.openai.web.app import ROUTES, create_app
from extensions.openai.web.routing.routes import Route
from tests.support import postgres
from tests.support.api import Api
from tests.support.postgres import PostgresServer
from tests.support.process import ROOT, ServerProcess
from tests.support.random_encoder import write_encoder
from tests.support.random_model import write_model

# Under `nohup` or behind a shell's `&` they are ignored, and the processes that tests start inherit that.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

# What the official client uses: httpx2 since its version 3.
http_library = import_module("httpx2" if find_spec("httpx2") else "httpx")


def pytest_collection_finish() -> None:
    """Keep the garbage collector from walking through all tests again and again: a fourth of their time. An
    application has ten thousand objects that refer to each other, and most tests make one: with Python's own
    bound, 700 new objects, half of what such a test takes was the collector's."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000)


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No option of the developer's environment gets into tests."""
    for name in os.environ:
        if name.startswith(("OPENEDAI_", "OPENAI_")) or name == "USE_MOCK_API":
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True, scope="session")
def _data_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests neither read nor write the developer's own keys and usage."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data_folder, "DEFAULT", tmp_path_factory.mktemp("data"))
        yield


@pytest.fixture
def settings() -> Settings:
    return Settings()


@pytest.fixture
def engine() -> EchoEngine:
    return EchoEngine()


@pytest.fixture
def app(settings: Settings, engine: EchoEngine) -> Flask:
    return create_app(settings, engine)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def sdk(app: Flask) -> Iterator[openai.OpenAI]:
    """The official client, strict about what it is answered, on the application and without a port."""
    with sdk_on(app) as client:
        yield client


def sdk_on(app: Flask) -> openai.OpenAI:
    return openai.OpenAI(
        api_key="unused",
        base_url="http://127.0.0.1/v1",
        max_retries=0,
        http_client=http_library.Client(transport=http_library.WSGITransport(app=app)),
        _strict_response_validation=True,
    )


Serve = Callable[..., APIServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a real listening server in this process: `serve(engine, limits, **settings).port`."""
    running: list[APIServer] = []

    def start(
        engine: Engine,
        limits: ServerLimits = DEFAULT_LIMITS,
        *,
        routes: Sequence[Route] = ROUTES,
        **options: object,
    ) -> APIServer:
        settings = Settings(**{"api_port": 0, "drain_timeout": 0.0, **options})  # type: ignore[arg-type]
        app = create_app(settings, engine, routes=routes)
        server = APIServer(app, settings, limits)
        server.start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.stop(5.0)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    if not postgres.available():
        pytest.skip(postgres.MISSING)
    server = PostgresServer()
    yield server
    server.close()


@pytest.fixture(params=("sqlite", "memory", "encrypted sqlite", "encrypted postgresql"))
def where(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What `--store` says; with `encrypted` the contents are encrypted as well."""
    *encrypted, name = request.param.split()
    if encrypted:
        monkeypatch.setenv("OPENEDAI_STORE_ENCRYPTION", "true")
    if name == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres_server")
        return server.new_database()
    return str(name)


@pytest.fixture(scope="session")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GGUF file with random weights."""
    return write_model(tmp_path_factory.mktemp("model") / "random.gguf")


@pytest.fixture(scope="session")
def embedded_model() -> Path | None:
    """The model that comes with the program, None in a tree that has none."""
    return next(iter(sorted((ROOT / "models" / "openedai-tiny").glob("*.gguf"))), None)


@pytest.fixture(scope="session")
def llamacpp(random_model: Path) -> Iterator[LlamaCppEngine]:
    """llama.cpp in this process, with random weights."""
    engine = LlamaCppEngine(random_model, name="random", threads=1)
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def tiny(embedded_model: Path | None) -> Iterator[Api]:
    """The application with the model that comes with it.

    One answer at a time: what runs beside an answer changes the last digits of its probabilities.
    """
    if embedded_model is None:
        pytest.skip("this tree has no embedded model")
    engine = LlamaCppEngine(embedded_model, name="tiny", threads=1, parallel=1)
    yield Api(engine)
    engine.close()


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder of pictures and sounds with random weights, for the model that comes along."""
    return write_encoder(tmp_path_factory.mktemp("encoder") / "mmproj.gguf", model_width=256)


@pytest.fixture(scope="session")
def seeing(embedded_model: Path | None, encoder: Path) -> Iterator[Api]:
    """The application with the model that comes with it, and an encoder. One answer at a time."""
    if embedded_model is None:
        pytest.skip("this tree has no embedded model")
    engine = LlamaCppEngine(embedded_model, name="seeing", threads=1, parallel=1, mmproj=encoder)
    yield Api(engine)
    engine.close()


@pytest.fixture(scope="session")
def noise(random_model: Path) -> Iterator[Api]:
    """The application with random weights: answers of arbitrary bytes. One answer at a time."""
    engine = LlamaCppEngine(random_model, name="noise", threads=1, parallel=1)
    yield Api(engine)
    engine.close()


@pytest.fixture(scope="session")
def server(embedded_model: Path | None, random_model: Path) -> Iterator[ServerProcess]:
    """The whole program with its model, in a process of its own."""
    chosen = [] if embedded_model else ["--model", str(random_model)]
    process = ServerProcess(*chosen, "--threads", "1")
    process.wait_until_ready()
    yield process
    process.stop()
