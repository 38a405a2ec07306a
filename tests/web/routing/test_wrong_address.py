"""What a 404 and a 405 say: what was probably meant."""

from __future__ import annotations

from typing import Any

import pytest

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.settings import Settings
from extensions.openai.web.app import ROUTES, create_app
from extensions.openai.web.routing.wrong_address import NOT_SERVED, logged
from tests.support.reference import assert_envelope, assert_ollama_error


def message(method: str, path: str, status: int = 404, **options: Any) -> str:
    client = create_app(Settings(**options), EchoEngine()).test_client()
    answer = client.open(path, method=method)
    assert answer.status_code == status
    if path.startswith("/api/"):
        return str(assert_ollama_error(answer.json)["message"])
    return str(assert_envelope(answer.json, status=status)["message"])


@pytest.mark.parametrize(
    ("method", "path", "hint"),
    [
        ("POST", "/v1/chat/completion", "Did you mean POST /v1/chat/completions?"),
        ("POST", "/v1/chat/complete", "Did you mean POST /v1/chat/completions?"),
        ("POST", "/v1/Chat/Completions", "Did you mean POST /v1/chat/completions?"),
        ("POST", "/v1/completion/", "use POST /v1/completions"),
        ("GET", "/v1/model", "Did you mean GET /v1/models?"),
        ("GET", "/v1/v1/models", "has /v1 twice. Did you mean GET /v1/models?"),
        ("POST", "/v1/v1/chat/completions", "Did you mean POST /v1/chat/completions?"),
        ("POST", "/v1//chat/completions", "Did you mean POST /v1/chat/completions?"),
        ("POST", "/v1/chat/completions/chat/completions", "it has to end with /v1"),
        ("POST", "/v1/chat/completions/v1/responses", "it has to end with /v1"),
        ("GET", "/v1/chat/completions/x/message", "this server has no such endpoint."),
        ("GET", "/v1", "this is the base URL"),
        ("GET", "/v1/", "such as /v1/models"),
        ("POST", "/v1/evals", "this version of the server does not have that endpoint."),
        ("POST", "/evals", "this version of the server does not have that endpoint."),
        ("POST", "/api/pull", "use POST /v1/internal/models/download."),
        ("POST", "/embedding", "use POST /v1/embeddings."),
        ("POST", "/reranking", "use POST /v1/rerank."),
        ("POST", "/v1/response", "Did you mean POST /v1/responses?"),
        ("DELETE", "/api/delete", "use DELETE /v1/internal/models/{model}."),
        ("GET", "/wp-login.php", "this server has no such endpoint."),
    ],
)
def test_it_says_what_is_near(method: str, path: str, hint: str) -> None:
    output = message(method, path)
    assert hint in output and f"({method} {path})" in output


def test_with_a_prefix() -> None:
    assert "lie below /custom" in message("GET", "/v1/models", api_prefix="/custom")
    output = message("POST", "/custom/v1/chat/completion", api_prefix="/custom")
    assert "Did you mean POST /custom/v1/chat/completions?" in output


def test_what_is_off_is_not_advised() -> None:
    output = message("POST", "/v1/chat/completion", disabled_endpoints=("chat",))
    assert "Did you mean POST /v1/chat/completions" not in output


def test_what_is_said_not_to_be_here_is_not_here() -> None:
    paths = {route.path.strip("/") for route in ROUTES}
    for name in NOT_SERVED:
        assert not [path for path in paths if f"{path}/".startswith(f"{name}/")], name


@pytest.mark.parametrize(
    ("method", "path", "hint"),
    [
        ("PUT", "/v1/chat/completions", "Use GET or POST."),
        ("GET", "/v1/completions", "Use POST."),
        ("POST", "/v1/models", "Use GET."),
        ("DELETE", "/health", "Use GET."),
        ("POST", "/v1/responses/resp_1", "Use DELETE or GET."),
    ],
)
def test_a_wrong_method_is_told_the_right_one(method: str, path: str, hint: str) -> None:
    assert message(method, path, 405).endswith(hint)


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/v1/chat/completion", "GET /v1/chat/completion"),
        ("/v1/sk-alice-abcdef/models", "GET /v1/[redacted]/models"),
        ("/v1/0a1b2c3d4e5f0a1b2c3d4e5f/x", "GET /v1/[redacted]/x"),
        ("/" + "a" * 500, "GET /" + "a" * 99),
    ],
)
def test_what_the_log_shows_of_it(path: str, shown: str) -> None:
    assert logged("GET", path) == shown
