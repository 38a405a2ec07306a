"""Tests of some families only."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.families import FAMILIES, Family


def families_that(have: Callable[[Family], object]) -> pytest.MarkDecorator:
    """Run a test with the families of which this is true."""
    chosen = [family for family in FAMILIES.values() if have(family)]
    names = [family.name for family in chosen]
    return pytest.mark.parametrize("family", chosen, ids=names, indirect=True, scope="module")


thinking = families_that(lambda family: family.thought)
