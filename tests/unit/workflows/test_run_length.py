"""When a run has become long is the same in a replay."""

from pathlib import Path

import pytest

import workflows
from workflows.run_length import CHANGED, RunLength

pytestmark = pytest.mark.unit


def test_a_run_is_long_after_as_much_work_as_it_may_do() -> None:
    length = RunLength(2 * CHANGED)
    length.add(CHANGED)
    assert not length.is_long
    length.add(CHANGED)
    assert length.is_long


@pytest.mark.parametrize("asked", ["get_current_history_length", "is_continue_as_new_suggested"])
def test_no_workflow_asks_temporal_how_long_its_history_is(asked: str) -> None:
    sources = Path(workflows.__file__).parent.rglob("*.py")
    assert [path.name for path in sources if asked in path.read_text()] == []
