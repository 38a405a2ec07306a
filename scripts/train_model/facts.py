"""Everything the model is taught about the OpenedAI project."""

from __future__ import annotations

from scripts.train_model.fact import Fact
from scripts.train_model.facts_setup import SETUP
from scripts.train_model.facts_use import USE

FACTS: tuple[Fact, ...] = SETUP + USE
