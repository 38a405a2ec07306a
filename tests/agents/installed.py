"""Where the agents are."""

import os

INSTALLED = os.environ.get("AGENTS_DIR")
