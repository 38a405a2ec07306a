"""The page at the server's address, and its files. tests/console opens it in a browser."""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from typing import Any

import pytest
from flask.testing import FlaskClient

from extensions.openai.engines.echo import EchoEngine
from extensions.openai.engines.swappable import SwappableEngine
from extensions.openai.home import FOLDER
from extensions.openai.settings import Settings
from extensions.openai.web.app import create_app

MOST_FIRST = 100_000  # bytes of script before the chat can be used


def page(engine: Any = None, path: str = "/", **options: Any) -> str:
    client = create_app(Settings(**options), engine or EchoEngine()).test_client()
    return client.get(path).get_data(as_text=True)


def test_without_scripts_it_says_what_to_copy() -> None:
    html = page()
    assert "<pre>http://localhost/v1</pre>" in html and "<code>echo</code>" in html
    assert '"model": "echo"' in html and "width=device-width" in html
    assert "Authorization" not in html and 'href="v1/models"' in html


def test_with_a_key_nothing_leads_to_a_401() -> None:
    html = page(api_key="k")
    assert "Authorization: Bearer $OPENAI_API_KEY" in html and "a key is needed" in html
    assert "v1/models" not in html


def test_while_the_model_loads() -> None:
    html = page(SwappableEngine())
    assert "still being loaded" in html and '"model": "MODEL"' in html


def test_names_are_escaped() -> None:
    assert "<script>x" not in page(EchoEngine(name="<script>x"))


@pytest.mark.parametrize(
    ("path", "wanted"), [("/", '"console/'), ("/a/b/", '"console/'), ("/a/b", '"b/console/')]
)
def test_its_files_are_found_from_where_it_is(path: str, wanted: str) -> None:
    """Whatever a proxy puts before the path."""
    html = page(path=path, api_prefix=path.rstrip("/") or "")
    addresses = re.findall(r'(?:src|href)=("[^"]*console/)', html)
    assert len(addresses) > 3 and set(addresses) == {wanted}


def test_its_policy_allows_nothing_in_the_page_and_no_other_site(client: FlaskClient) -> None:
    answer = client.get("/")
    policy = dict(
        part.strip().partition(" ")[::2]
        for part in answer.headers["Content-Security-Policy"].split(";")
    )
    assert policy["default-src"] == "'none'" and policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["require-trusted-types-for"] == "'script'" and policy["trusted-types"] == "'none'"
    html = answer.get_data(as_text=True)
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script>|javascript:", html)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_nothing_makes_html_of_a_text() -> None:
    for file in FOLDER.glob("*.js"):
        source = file.read_text("utf-8")
        made = re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|DOMParser",
            source,
        )
        assert made is None, file.name


def test_its_files_are_kept_until_they_change(client: FlaskClient) -> None:
    first = client.get("/console/main.js")
    assert first.mimetype == "text/javascript" and "no-cache" in first.headers["Cache-Control"]
    again = client.get("/console/main.js", headers={"If-None-Match": first.headers["ETag"]})
    assert again.status_code == 304 and again.data == b""
    assert client.get("/console/style.css").mimetype == "text/css"


@pytest.mark.parametrize(
    "file", ["none.js", "page.html", "../home.py", "..%2fhome.py", "a/main.js", ""]
)
def test_nothing_else_is_a_file_of_it(client: FlaskClient, file: str) -> None:
    answer = client.get(f"/console/{file}")
    assert answer.status_code == 404 and answer.json["error"]["type"] == "invalid_request_error"


def imported(name: str, found: set[str] | None = None) -> set[str]:
    """The modules that one loads before it runs."""
    found = set() if found is None else found
    if name not in found:
        found.add(name)
        for each in re.findall(
            r'^import .*?"\./([\w.]+)";', (FOLDER / name).read_text("utf-8"), re.MULTILINE
        ):
            imported(each, found)
    return found


def test_the_first_paint_needs_little_script() -> None:
    first = imported("main.js")
    assert {"chat.js", "texts.js"} <= first
    assert sum((FOLDER / name).stat().st_size for name in first) < MOST_FIRST


def test_each_module_is_loaded_by_another() -> None:
    names = {file.name for file in FOLDER.glob("*.js")} - {"main.js", "plot_frame.js"}
    sources = "".join(file.read_text("utf-8") for file in FOLDER.glob("*.js"))
    views = {f"{name}.js" for name in re.findall(r"^  (\w+): \{ icon", sources, re.MULTILINE)}
    assert names == {each for each in names if f'"./{each}"' in sources} | (views & names)


@pytest.mark.parametrize("path", ["/favicon.ico"])
def test_the_icon(client: FlaskClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200 and answer.mimetype == "image/svg+xml"
    assert answer.data.startswith(b"<svg ")


def test_a_figure_is_drawn_in_a_frame_that_reaches_nothing(client: FlaskClient) -> None:
    answer = client.get("/console/plot.html")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "sandbox allow-scripts" in policy
    assert "connect-src" not in policy and "allow-same-origin" not in policy
    scripts = re.findall(rb"<script>(.*?)</script>", answer.data, re.DOTALL)
    hashes = [b64encode(sha256(each).digest()).decode() for each in scripts]
    assert hashes and all(f"'sha256-{each}'" in policy for each in hashes)
    assert policy.count("sha256-") == len(scripts)
