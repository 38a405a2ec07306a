"""Home: the page for people who open the server's URL in a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import render_template_string

from .access.keys import has_keys
from .errors import ModelLoading
from .web.responses.response import Response
from .web.routing.routes import PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .web.context import RequestContext

ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" '
    'fill="#2f5fd0"/><path d="M8 10l6 6-6 6M16 22h9" fill="none" stroke="#fff" stroke-width="3"/></svg>'
)
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>OpenedAI</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="{{ base_url }}/favicon.ico" type="image/svg+xml">
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 2rem auto; padding: 0 1rem;
       color: #1f2430; background: #fff; overflow-wrap: break-word; }
code, pre { font: 14px/1.5 ui-monospace, monospace; background: #f2f4f8; border-radius: 4px; }
code { padding: .1em .3em; } pre { padding: .8rem; margin: 0; white-space: pre-wrap; }
figure { margin: 1rem 0; position: relative; }
figcaption { display: flex; justify-content: space-between; align-items: end; margin-bottom: .3rem; }
button { font: inherit; font-size: 14px; padding: .1rem .7rem; cursor: pointer; }
a { color: #1d4ed8; }
@media (prefers-color-scheme: dark) {
  body { color: #e6e8ee; background: #16181d; } code, pre { background: #252932; } a { color: #8ab4ff; }
}
</style></head>
<body>
<h1>OpenedAI</h1>
{% if info %}
<p>An OpenAI-compatible API for the model <code>{{ info.model }}</code>
(context of {{ info.context_length }} tokens, {{ info.parallel }} requests at once).
{{ info.description }}</p>
{% else %}
<p>An OpenAI-compatible API. The model is still being loaded.</p>
{% endif %}
<figure><figcaption>Base URL for clients{% if key %} (a key is needed){% endif %}
<button type="button">Copy</button></figcaption><pre>{{ base_url }}/v1</pre></figure>
{% if public_url %}
<figure><figcaption>From everywhere <button type="button">Copy</button></figcaption>
<pre>{{ public_url }}/v1</pre></figure>
{% endif %}
<figure><figcaption>In a terminal <button type="button">Copy</button></figcaption>
<pre>curl {{ base_url }}/v1/chat/completions \\
  -H "Content-Type: application/json"{% if key %} -H "Authorization: Bearer $OPENAI_API_KEY"{% endif %} \\
  -d '{"model": "{{ info.model if info else "MODEL" }}",
       "messages": [{"role": "user", "content": "Hello!"}]}'</pre></figure>
<ul>
<li><a href="{{ base_url }}/docs">Try the API</a> (Swagger)</li>
<li><a href="{{ base_url }}/redoc">Read the API</a> (Redoc)</li>
<li><a href="{{ base_url }}/openapi.json">openapi.json</a></li>
{% if not key %}<li><a href="{{ base_url }}/v1/models">Models</a></li>{% endif %}
<li><a href="{{ base_url }}/health">Health</a></li>
</ul>
<script>
for (const button of document.querySelectorAll("button")) button.onclick = async () => {
  const text = button.closest("figure").querySelector("pre").textContent;
  try { await navigator.clipboard.writeText(text); button.textContent = "Copied"; }
  catch {  // Without TLS, browsers give only pages of this machine access to the clipboard.
    getSelection().selectAllChildren(button.closest("figure").querySelector("pre"));
    button.textContent = "Selected";
  }
};
</script>
</body></html>
"""


def home(context: RequestContext) -> Response:
    """A page with the model, the base URL and links to the documentation."""
    try:
        info = context.services.models.loaded().info
    except ModelLoading:
        info = None
    settings, tunnel = context.services.settings, context.services.tunnel
    public_url = tunnel.url + settings.api_prefix if tunnel and tunnel.url else None
    key = has_keys(settings)
    return Response(
        render_template_string(
            PAGE, info=info, base_url=context.base_url, key=key, public_url=public_url
        ),
        mimetype="text/html",
    )


def icon(context: RequestContext) -> Response:
    """The favicon."""
    response = Response(ICON, content_type="image/svg+xml")
    response.headers["Cache-Control"] = "max-age=86400"
    return response


ROUTES = endpoint(
    "home",
    Route("GET", "/", home, "Home", PathPrefixes.ROOT, scope=None),
    Route(
        *("GET", "/favicon.ico", icon, "Icon", PathPrefixes.ROOT),
        scope=None,
        media="image/svg+xml",
    ),
)
