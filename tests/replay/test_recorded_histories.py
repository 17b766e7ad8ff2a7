"""A change of a workflow must not break those that are running when it is deployed.

The histories are recorded for each release (docs/how-to/index.md) and kept. If one of these tests
fails, guard the change with ``workflow.patched`` instead of recording again.
"""

import importlib.metadata
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory

from rap.ids import CheckKind
from tests.support.histories import replayer

pytestmark = pytest.mark.unit

FOLDER = Path(__file__).parent / "histories"
CHANGELOG = Path(__file__).parents[2] / "CHANGELOG.md"
RECORDED = sorted(FOLDER.glob("**/*.json"))


def test_every_kind_of_workflow_has_a_recorded_history() -> None:
    kinds = {path.name.split(".")[1] for path in RECORDED}
    entities = {"backend", "clean-up", "job", "rap", "window", "workspace"}
    assert kinds == entities | {kind.value for kind in CheckKind}


def test_the_version_of_the_product_has_its_histories_and_its_entry_in_the_changelog() -> None:
    version = importlib.metadata.version("opensafely-rap")
    assert (FOLDER / version).is_dir()
    assert f"\n## [{version}]" in CHANGELOG.read_text()


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: f"{path.parent.name}/{path.stem}")
async def test_recorded_history_replays(path: Path) -> None:
    kind = path.name.split(".")[1]
    history = WorkflowHistory.from_json(f"{kind}/recorded", path.read_text())
    await replayer().replay_workflow(history)
