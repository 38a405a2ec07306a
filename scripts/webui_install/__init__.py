"""Installs the extension into a text-generation-webui; `scripts/install_into_webui.py` starts it.

It needs nothing but the standard library, runs on Linux, macOS and Windows, and changes neither a file that
git tracks nor a package of the web UI's environment.
"""
