"""OpenedAI: an OpenAI-compatible API inside text-generation-webui style apps.

`script.py` is the door through which a host loads this folder; `app.create_app` gives the Flask
application to anybody who brings an engine of their own.
"""

from pathlib import Path

from .system import private_packages

__version__ = "0.1.0"

# Before other modules are imported: the installer may have put what they need beside the host's packages.
private_packages.attach(__name__, Path(__file__).resolve().parent)
