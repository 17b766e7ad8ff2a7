"""Those who give orders to a live system by hand: with Temporal's own command, or with ours."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from infra.local_system import BACKEND
from infra.temporal.cli import resolve_cli
from rap import ids
from rap.contracts.kinds import Signal
from rap.contracts.workflows import (
    BACKEND_STATE,
    DATABASE_MAINTENANCE,
    HOST_LOST,
    LIMITS,
    PAUSE,
    PREPARE_FOR_REBOOT,
)
from tests.support.live_system import LiveSystem, container_of, eventually

RAP_COMMAND = Path(sys.executable).parent / "rap"
WITHIN = 60.0
BY, WHY = "ada", "drill"


class TemporalCommand:
    """An operator who has nothing but the ``temporal`` command."""

    def __init__(self, system: LiveSystem) -> None:
        self._system = system

    def pause(self, *, on: bool) -> None:
        self.signal(PAUSE, on=on)

    def maintenance(self, *, on: bool) -> None:
        self.signal(DATABASE_MAINTENANCE, on=on)

    def prepare_for_reboot(self) -> None:
        self.signal(PREPARE_FOR_REBOOT)

    def host_lost(self, host: str) -> None:
        self.signal(HOST_LOST, host=host)

    def limits(self, **workers: float) -> None:
        self.signal(LIMITS, **workers)

    def is_safe_to_reboot(self) -> bool:
        state = self.state()
        return bool(state["paused"]) and not state["slots"]

    def terminate(self, workflow_id: str) -> None:
        """End a workflow at once, as a click in the Web UI does."""
        self._temporal("terminate", workflow_id, "--reason", WHY)

    def state(self) -> dict[str, Any]:
        """The backend's own account of itself."""
        shown = self._temporal(
            "query", ids.backend_workflow_id(BACKEND), "--type", BACKEND_STATE.name, "-o", "json"
        )
        (row,) = json.loads(shown)["queryResult"]
        assert isinstance(row, dict)
        return row

    def runs(self, workflow_id: str) -> bool:
        """Whether a workflow runs now."""
        described = json.loads(self._temporal("describe", workflow_id, "-o", "json"))
        return bool(
            described["workflowExecutionInfo"]["status"] == "WORKFLOW_EXECUTION_STATUS_RUNNING"
        )

    def signal(self, signal: Signal[Any], **message: object) -> None:
        payload = json.dumps({**message, "by": BY, "why": WHY})
        backend = ids.backend_workflow_id(BACKEND)
        self._temporal("signal", backend, "--name", signal.name, "--input", payload)

    def _temporal(self, what: str, workflow_id: str, *options: str) -> str:
        address = self._system.env["TEMPORAL_ADDRESS"]
        return _run(
            [str(resolve_cli()), "workflow", what, "--workflow-id", workflow_id, *options],
            {"TEMPORAL_ADDRESS": address, "TEMPORAL_NAMESPACE": "default"},
        ).stdout


class RapCommand:
    """An operator with the ``rap`` command."""

    def __init__(self, system: LiveSystem) -> None:
        self._system = system

    def pause(self, *, on: bool) -> None:
        self._order("pause" if on else "unpause", BACKEND)

    def maintenance(self, *, on: bool) -> None:
        self._order("db-maintenance", "on" if on else "off", BACKEND)

    def prepare_for_reboot(self) -> None:
        self._order("prepare-for-reboot", BACKEND, "--yes")

    def host_lost(self, host: str) -> None:
        self._order("host-lost", BACKEND, host, "--yes")

    def is_safe_to_reboot(self) -> bool:
        said = self.rap("backend", "prepare-for-reboot", BACKEND, "--status").stdout
        return "Safe to reboot now" in said.splitlines()

    def doctor(self) -> list[dict[str, str]]:
        """What ``rap doctor`` finds; it must have nothing left to complain of."""
        return list(json.loads(self.rap("doctor", "--json").stdout)["checks"])

    def rap(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run the installed command; it must succeed."""
        return _run([str(RAP_COMMAND), *arguments], self._system.env)

    def _order(self, *words: str) -> None:
        self.rap("backend", *words, "--by", BY, "--why", WHY)


Operator = TemporalCommand | RapCommand


def nothing_is_left(system: LiveSystem, *raps: Any) -> None:
    """No container, no folder, no slot and no place in the queue is left of these RAPs."""
    job_ids = [job["identifier"] for rap in raps for job in rap.jobs().values()]
    assert system.left_over(job_ids) == []
    operator = TemporalCommand(system)

    def is_idle() -> bool:
        state = operator.state()
        return not state["slots"] and not state["queue"]

    eventually(is_idle, "the slots are free")


def are_gone(system: LiveSystem, job_ids: list[str]) -> bool:
    """Whether there are neither containers nor volumes of these jobs now."""
    volumes = system.high_privacy / "volumes"
    return not any(container_of(job) or list(volumes.glob(f"{job}*")) for job in job_ids)


def _run(argv: list[str], settings: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    strangers = {name: value for name, value in os.environ.items() if "TEMPORAL_" not in name}
    done = subprocess.run(
        argv,
        env={**strangers, **settings},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WITHIN,
    )
    assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
    return done
