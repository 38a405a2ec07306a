"""What answers look like: Markdown, formulas, and nothing that a model or a user could slip in."""

from __future__ import annotations

from typing import Any

import httpx

from tests.console.conftest import Open, Start
from tests.console.talking_engine import LONG, TalkingEngine

RENDER = """async (text) => {
    const {markdown} = await import(new URL('console/markdown.js', document.baseURI));
    const box = document.createElement('div');
    box.id = 'rendered';
    box.append(...markdown(text));
    document.body.append(box);
    const html = box.innerHTML;
    box.remove();
    return html;
}"""
HOSTILE = [
    "<script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    "<svg onload=window.hacked=1>",
    "<iframe src='javascript:parent.hacked = 1'></iframe>",
    "[click](javascript:window.hacked=1)",
    "[click](JaVaScRiPt:window.hacked=1)",
    "[click](\u0001javascript:window.hacked=1)",
    "[click](java\nscript:window.hacked=1)",
    "[click](data:text/html,<script>window.hacked=1</script>)",
    "[click](vbscript:window.hacked=1)",
    "![x](javascript:window.hacked=1)",
    "![x](http://elsewhere.example/pixel.png)",
    "<javascript:window.hacked=1>",
    "[a](http://x.example/\"onmouseover='window.hacked=1')",
    "`<img src=x onerror=window.hacked=1>`",
    "```html\n<img src=x onerror=window.hacked=1>\n```",
    "```\"><img src=x onerror=window.hacked=1>\nx\n```",
    "| <img src=x onerror=window.hacked=1> |\n| --- |\n| <b onclick=window.hacked=1>x</b> |",
    "$\\text{<img src=x onerror=window.hacked=1>}$",
    "$$\\href{javascript:window.hacked=1}{x}$$",
    "&lt;img src=x onerror=window.hacked=1&gt;",
    "<a href=\"javascript:window.hacked=1\">x</a>",
    "\\<script>window.hacked=1\\</script>",
    "**<style>*{display:none}</style>**",
    "<form action=//elsewhere.example><button>x</button></form>",
]  # fmt: skip
ALLOWED = (
    "p, br, a, code, pre, figure, figcaption, span, button, svg, path, div, table, thead, tbody, tr, th, td, "
    "strong, em, math, math *"
)


MARKDOWN = [
    ("a **b** *c* ~~d~~ `e`", "<p>a <strong>b</strong> <em>c</em> <del>d</del> <code>e</code></p>"),
    ("# One\n\ntwo\nthree", "<h3>One</h3><p>two<br>three</p>"),
    ("- a\n- b\n  - c\n\n1. x\n2. y", "<ul><li>a</li><li>b<ul><li>c</li></ul></li></ul>"
     "<ol><li>x</li><li>y</li></ol>"),
    ("> quoted\n> more\n\n---", "<blockquote><p>quoted<br>more</p></blockquote><hr>"),
    ("snake_case_name and 2 * 3 * 4", "<p>snake_case_name and 2 * 3 * 4</p>"),
    ("- [ ] open\n- [x] done", "<ul><li>☐ open</li><li>☑ done</li></ul>"),
    ("3. third\n4. fourth", '<ol start="3"><li>third</li><li>fourth</li></ol>'),
    ("a < b & c > d", "<p>a &lt; b &amp; c &gt; d</p>"),
    ("costs $5 and $6", "<p>costs $5 and $6</p>"),
    ("\\*not\\*", "<p>*not*</p>"),
]  # fmt: skip


def test_markdown(page: Any) -> None:
    for text, html in MARKDOWN:
        assert page.evaluate(RENDER, text) == html


def test_tables_code_links_and_formulas(page: Any) -> None:
    html = page.evaluate(RENDER, "| a | b |\n| :-: | --: |\n| 1 | 2 \\| 3 |")
    assert (
        '<th class="center" scope="col">a</th>' in html and '<td class="right">2 | 3</td>' in html
    )
    html = page.evaluate(RENDER, "```python\nprint('<b>')\n```\nafter")
    assert "<code>print('&lt;b&gt;')</code>" in html and ">python</span>" in html
    assert html.endswith("<p>after</p>")
    html = page.evaluate(RENDER, "see [it](https://x.example/a_(b)) or https://y.example/z.")
    assert 'href="https://x.example/a_(b)"' in html and ">https://y.example/z</a>." in html
    assert html.count('rel="noopener noreferrer nofollow"') == 2
    html = page.evaluate(RENDER, "$\\frac{a}{b} + \\sqrt{x_1^2}$ and \\(\\alpha \\le \\infty\\)")
    assert "<mfrac><mrow><mi>a</mi></mrow><mrow><mi>b</mi></mrow></mfrac>" in html
    assert "<msqrt>" in html and "<msubsup>" in html and "<mi>α</mi>" in html and "≤" in html
    html = page.evaluate(RENDER, "$$\n\\begin{pmatrix} 1 & 0 \\\\ 0 & 1 \\end{pmatrix}\n$$")
    assert html.count("<mtd>") == 4 and 'display="block"' in html
    assert page.evaluate(RENDER, "$\\unknown{x}$") == (
        '<p><code class="math-source">\\unknown{x}</code></p>'
    )


def test_nothing_hostile_is_ever_more_than_text(page: Any) -> None:
    for text in HOSTILE:
        page.fill("#message", text)
        page.press("#message", "Enter")
        page.wait_for_selector(".message.assistant:last-child:not(.writing)")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    found = page.evaluate(
        """(allowed) => [...document.querySelectorAll('.message .text *')].filter((each) =>
            !each.matches(allowed)
            || [...each.attributes].some(({name}) => name.startsWith('on') || name === 'style')
            || (each.matches('a') && !/^(https?|mailto):/.test(each.getAttribute('href')))
        ).map((each) => each.outerHTML)""",
        ALLOWED,
    )
    assert found == []
    for link in page.locator(".message .text a").all():
        assert link.get_attribute("href").startswith("http")
    assert page.evaluate("window.hacked") is None
    assert page.locator(".message.assistant").count() == len(HOSTILE)
    assert not [url for url in asked if "elsewhere" in url]


def test_hostile_names_errors_and_metadata_are_text(start: Start, open_page: Open) -> None:
    hostile = "<img src=x onerror=window.hacked=1>"
    site = start(TalkingEngine(hostile))
    body = {"model": hostile, "messages": [{"role": "user", "content": hostile}], "user": hostile}
    more = {"store": True, "metadata": {"title": hostile}}
    assert (
        httpx.post(f"{site.url}v1/chat/completions", json={**body, **more}, timeout=60).status_code
        == 200
    )
    wrong = {**body, "tools": [{"type": hostile}]}
    assert httpx.post(f"{site.url}v1/chat/completions", json=wrong, timeout=60).status_code == 400
    page = open_page(site.url)
    page.wait_for_selector(f".greeting :text('{hostile[:12]}')")
    assert hostile in page.inner_text(".greeting")
    for view in ("stored", "requests", "usage", "models"):
        page.click(f"#view-{view}")
        page.wait_for_selector(f"main :text('{hostile[:12]}')")
        assert page.locator("main img").count() == 0
    assert page.evaluate("window.hacked") is None


def test_two_hundred_kilobytes_without_a_stutter(page: Any) -> None:
    """No task may hold the page up for long while the answer comes; bounds are for a busy machine."""
    page.evaluate(
        """() => {
            window.frames_ = [];
            let last = performance.now();
            const tick = () => {
                window.frames_.push(performance.now() - last);
                last = performance.now();
                if (!document.querySelector('.assistant:not(.writing)')) requestAnimationFrame(tick);
            };
            requestAnimationFrame(tick);
        }"""
    )
    page.fill("#message", "long")
    page.press("#message", "Enter")
    page.wait_for_selector(".message.assistant:not(.writing)", timeout=40_000)
    assert page.locator(".assistant .text > p").count() == len(LONG)
    assert page.locator(".assistant .text strong").count() == 4 * len(LONG)
    frames = page.evaluate("window.frames_")
    assert len(frames) > 2 and sorted(frames)[len(frames) // 2] < 200 and max(frames) < 1500


def test_a_stream_is_rendered_as_the_whole_is(page: Any) -> None:
    """Whatever the pieces are that an answer comes in."""
    text = "# T\n\nA **b** c\n\n```py\nx = 1\n\ny = 2\n```\n\n- a\n\n- b\n\n| a |\n| - |\n| 1 |\n\n$$\nx\n$$"
    differ = page.evaluate(
        """async (text) => {
            const {MarkdownWriter, markdown} = await import(new URL('console/markdown.js', document.baseURI));
            const whole = document.createElement('div');
            whole.append(...markdown(text));
            const wrong = [];
            for (const size of [1, 2, 3, 7, 20]) {
                const box = document.createElement('div');
                const writer = new MarkdownWriter(box);
                for (let at = size; at < text.length + size; at += size) writer.show(text.slice(0, at));
                if (box.innerHTML !== whole.innerHTML) wrong.push([size, box.innerHTML]);
            }
            return wrong;
        }""",
        text,
    )
    assert differ == []
