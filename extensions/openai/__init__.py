"""OpenedAI: an OpenAI-compatible API inside text-generation-webui style apps.

`script.py` is the door through which a host loads this folder; `app.create_app` gives the Flask
application to anybody who brings an engine of their own.
"""

__version__ = "0.1.0"
