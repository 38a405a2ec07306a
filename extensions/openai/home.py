"""The page for a person who opens the server's address in a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import render_template_string

from .access.keys import has_keys
from .errors import ModelLoading
from .web.response import Response
from .web.routes import PathPrefixes, Route, endpoint

if TYPE_CHECKING:
    from .web.context import RequestContext

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>OpenedAI</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 44rem; margin: 3rem auto; padding: 0 1rem;
       color: #1f2430; background: #fff; }
code, pre { font: 14px/1.5 ui-monospace, monospace; background: #f2f4f8; border-radius: 4px; }
code { padding: .1em .3em; } pre { padding: .8rem; overflow-x: auto; }
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
<p>Base URL for clients: <code>{{ base_url }}/v1</code>{% if key %} (a key is needed){% endif %}</p>
{% if public_url %}<p>From everywhere: <code>{{ public_url }}/v1</code></p>{% endif %}
<pre>curl {{ base_url }}/v1/chat/completions \\
  -H "Content-Type: application/json"{% if key %} -H "Authorization: Bearer $OPENAI_API_KEY"{% endif %} \\
  -d '{"model": "{{ info.model if info else "MODEL" }}",
       "messages": [{"role": "user", "content": "Hello!"}]}'</pre>
<ul>
<li><a href="{{ base_url }}/docs">Try the API</a> (Swagger)</li>
<li><a href="{{ base_url }}/redoc">Read the API</a> (Redoc)</li>
<li><a href="{{ base_url }}/openapi.json">openapi.json</a></li>
<li><a href="{{ base_url }}/v1/models">Models</a>, <a href="{{ base_url }}/health">health</a></li>
</ul>
</body></html>
"""


def home(context: RequestContext) -> Response:
    """What runs here, the base URL, and where to read on."""
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


ROUTES = endpoint("home", Route("GET", "/", home, "Home", PathPrefixes.ROOT, scope=None))
