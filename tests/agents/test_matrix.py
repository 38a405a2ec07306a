"""Real coding agents, each in each dialect that it speaks, in each case of cases.py."""

from __future__ import annotations

import pytest

from tests.agents.cases import CASES, LEFT_OUT
from tests.agents.installed import INSTALLED
from tests.agents.stage import Stage

pytestmark = [
    pytest.mark.skipif(not INSTALLED, reason="needs the agents: make test-agents"),
    pytest.mark.timeout(900),
]


@pytest.mark.parametrize("case", CASES)
def test_an_agent_meets(case: str, stage: Stage) -> None:
    why = LEFT_OUT.get((stage.agent.name, case))
    if why is not None:
        pytest.skip(f"{stage.agent.name} {why}")
    CASES[case](stage)
