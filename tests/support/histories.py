"""Every history that a workflow test makes is replayed at once, and recorded when asked to.

Replay finds a workflow that is not deterministic. The recorded histories of a release
(``tests/replay/histories``) find a change that would break the workflows running when it arrives.
"""

import json
import re
from pathlib import Path

from temporalio.client import Client, WorkflowHistory
from temporalio.worker import Replayer, UnsandboxedWorkflowRunner

from rap.temporal.codec import DATA_CONVERTER
from worker_controller.worker import WORKFLOWS


def replayer() -> Replayer:
    return Replayer(
        workflows=WORKFLOWS,
        data_converter=DATA_CONVERTER,
        workflow_runner=UnsandboxedWorkflowRunner(),
        debug_mode=True,  # on a busy machine a step may take longer than the SDK lets it
    )


async def histories_of(client: Client, backend: str) -> list[WorkflowHistory]:
    """All histories of one backend's workflows, the runs that continued as new included.

    But of those that have just begun, which have no task yet: the SDK's replayer waits for it for
    ever.
    """
    query = (
        f"Backend = '{backend}' OR WorkflowId = 'backend/{backend}' "
        f"OR WorkflowId STARTS_WITH 'workspace/{backend}/'"
    )
    found = [
        await client.get_workflow_handle(each.id, run_id=each.run_id).fetch_history()
        async for each in client.list_workflows(query)
    ]
    return [history for history in found if len(history.events) > 1]


_recorded: set[tuple[str, ...]] = set()


def record(histories: list[WorkflowHistory], folder: Path, scenario: str) -> None:
    """Keep histories as JSON, one file each, named after what they show.

    One that takes the same path as another of this run, event by event, shows nothing new.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbers: dict[str, int] = {}
    for history in histories:
        kind = history.workflow_id.partition("/")[0]
        path = (kind, *(str(event.event_type) for event in history.events))
        if path in _recorded:
            continue
        _recorded.add(path)
        numbers[kind] = numbers.get(kind, 0) + 1
        name = f"{re.sub(r'[^a-z0-9]+', '_', scenario.lower())}.{kind}.{numbers[kind]}.json"
        document = _without_origin(json.loads(history.to_json()))
        (folder / name).write_text(json.dumps(document) + "\n")


def _without_origin(value: object) -> object:
    """A history without what tells on which machine it came about."""
    if isinstance(value, dict):
        return {
            name: _without_origin(one)
            for name, one in value.items()
            if name not in ("identity", "stackTrace", "binaryChecksum")
        }
    if isinstance(value, list):
        return [_without_origin(one) for one in value]
    return re.sub(r"^\d+@[\w.-]+$", "worker", value) if isinstance(value, str) else value
