"""Everything the model is taught about the OpenedAI project."""

from __future__ import annotations

from tiny.fact import Fact
from tiny.facts_setup import SETUP
from tiny.facts_use import USE

FACTS: tuple[Fact, ...] = SETUP + USE
