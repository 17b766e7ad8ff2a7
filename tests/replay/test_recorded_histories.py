"""A change of a workflow must not break those that are running when it is deployed.

The histories were recorded by ``pytest tests/workflows --record-histories tests/replay/histories``
and are kept, one set a release. If one of these tests fails, guard the change with
``workflow.patched`` instead of recording again.
"""

from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory

from tests.support.histories import replayer

pytestmark = pytest.mark.unit

FOLDER = Path(__file__).parent / "histories"
RECORDED = sorted(FOLDER.glob("**/*.json"))


def test_every_kind_of_workflow_has_a_recorded_history():
    kinds = {path.name.split(".")[1] for path in RECORDED}
    assert kinds == {"backend", "dbdatacheck", "dbstatus", "job", "rap", "workspace"}


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: f"{path.parent.name}/{path.stem}")
async def test_recorded_history_replays(path: Path):
    kind = path.name.split(".")[1]
    history = WorkflowHistory.from_json(f"{kind}/recorded", path.read_text())
    await replayer().replay_workflow(history)
