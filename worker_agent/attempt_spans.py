"""The spans of an attempt at a job: one for each step of it (docs/spec/agent.md 14.2).

They belong to the trace of the job, which began at the controller. They hold no names of outputs
and no patterns (item agent:62): what the agent read in a study's files or in an error's text stays
here, so an end is given in the words of enumerations. Nothing here fails; errors are logged.
"""

import time

from rap.egress import Ending, Fault, JobOutcome, Stage
from rap.models import JobDefinition
from rap.telemetry import traces
from rap.telemetry.traces import Attributes, Failure
from worker_agent.workspace.metadata import JobRecord

UNKNOWN = "unknown"
BEFORE = "UNKNOWN"
"""The status of an attempt of which nothing is there yet (docs/spec/agent.md 4.1)."""

_STEPS = {
    Stage.PREPARED: {BEFORE: "PREPARED"},
    Stage.EXECUTING: {"PREPARED": "EXECUTING"},
    Stage.FINALIZING: {"EXECUTING": "EXECUTED"},
}
"""The step that is done when a stage is reached: from which status to which."""


def job_attributes(definition: JobDefinition, *, taken_ns: int) -> Attributes:
    """What every span about an attempt says; ``taken_ns`` is when this process took it."""
    return {
        # What the request brought along cannot replace what follows.
        "user": definition.user or UNKNOWN,
        "project": definition.project or UNKNOWN,
        "orgs": ",".join(definition.orgs),
        "backend": definition.backend,
        "task": definition.task_id,
        "task_type": "RUNJOB",
        "task_created_at": taken_ns,
        "job": definition.id,
        "job_request": definition.rap_id,
        "workspace": definition.workspace,
        "repo_url": definition.study.git_repo_url,
        "commit": definition.study.commit,
        "action": definition.action,
        "job_created_at": definition.created_at * traces.NS,
        "image": definition.image,
        "args": ",".join(definition.args),
        "input_job_ids": ",".join(definition.input_job_ids),
        "allow_database_access": definition.allow_database_access,
        "cpu_count": definition.cpu_count,
        "memory_limit": definition.memory_limit,
    }


def result_attributes(outcome: JobOutcome, record: JobRecord | None) -> Attributes:
    """How an attempt ended: numbers, digests, words, and the labels of its image."""
    words = [outcome.ending, outcome.exit_note, outcome.fault, outcome.interruption]
    return {
        "exit_code": outcome.exit_code,
        "image_id": outcome.image_id,
        "executor_message": ": ".join(str(word) for word in words if word is not None),
        "action_version": (record and record.action_version) or UNKNOWN,
        "action_revision": (record and record.action_revision) or UNKNOWN,
        "action_created": (record and record.action_created) or UNKNOWN,
        "base_revision": (record and record.base_revision) or UNKNOWN,
        "base_created": (record and record.base_created) or UNKNOWN,
        "cancelled": outcome.ending is Ending.CANCELLED,
        "error": outcome.fault is not None,
    }


class AttemptSpans:
    """Follows one attempt while this process works on it, and records each step when it is done."""

    def __init__(self, definition: JobDefinition) -> None:
        self.taken_ns = self._since_ns = time.time_ns()
        self._definition = definition
        self._status: str | None = None
        self._ended = False

    def reached(self, stage: Stage) -> None:
        """A stage was reached."""
        if self._status is None:
            # Nothing, or what an earlier process has left.
            self._status = BEFORE if stage is Stage.PREPARING else stage.name
            return
        if stage is Stage.PREPARING:
            self._status = BEFORE
        final = _STEPS.get(stage, {}).get(self._status)
        if final is not None:
            self._record(final)

    def troubled(self, fault: Fault) -> None:
        """Something failed and will be tried again."""
        self._record(
            self._status or BEFORE, {"fatal_task_error": False}, failure=Failure(fault.value)
        )

    def ended(self, outcome: JobOutcome, record: JobRecord | None) -> None:
        """The attempt is over, with this answer and what was written down about it."""
        failed = outcome.ending is Ending.FAILED
        more: dict[str, object] = {"complete": True}
        failure = None
        if outcome.fault is not None and failed:
            more["fatal_task_error"] = True
            failure = Failure(outcome.fault.value)
        if not self._ended:
            with traces.harmless(f"failed to trace job results for job {self._definition.id}"):
                more = {**result_attributes(outcome, record), **more}
            self._record("ERROR" if failed else "FINALIZED", more, failure=failure)
        self._ended = True

    def let_go(self) -> None:
        """Work on the attempt ends here, though it may not be over."""
        if not self._ended and self._status is not None:
            self._record(self._status)
        self._ended = True

    def _record(
        self, final: str, more: Attributes | None = None, *, failure: Failure | None = None
    ) -> None:
        initial, start_ns = self._status or BEFORE, self._since_ns
        self._status, self._since_ns = final, time.time_ns()
        if not traces.is_on():
            return
        with traces.harmless(f"failed to trace task {self._definition.task_id}"):
            traces.record(
                traces.tracer("agent_loop"),
                "LOOP_TASK",
                start_ns=start_ns,
                end_ns=self._since_ns,
                attributes={
                    "complete": False,
                    **(more or {}),
                    **job_attributes(self._definition, taken_ns=self.taken_ns),
                    "initial_job_status": initial,
                    "final_job_status": final,
                },
                parent=traces.root_of(self._definition.trace_context),
                failure=failure,
            )
