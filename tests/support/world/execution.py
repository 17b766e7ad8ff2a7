"""One run of a workflow: the SDK's own instance of it, given its activations by hand."""

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.bridge.proto.workflow_activation import (
    QueryWorkflow,
    RemoveFromCache,
    WorkflowActivation,
    WorkflowActivationJob,
)
from temporalio.bridge.proto.workflow_commands import WorkflowCommand
from temporalio.common import Priority, TypedSearchAttributes
from temporalio.worker._workflow_instance import (
    UnsandboxedWorkflowRunner,
    WorkflowInstanceDetails,
)

from rap.temporal.codec import DATA_CONVERTER

NAMESPACE = "default"
CONVERTER = DATA_CONVERTER.payload_converter

# As in a worker, workflows run on a thread of their own: each has its own event loop.
_THREAD = ThreadPoolExecutor(1, thread_name_prefix="workflows")


class TaskFailed(AssertionError):
    """The code of a workflow failed at a task: a server would give it again for ever."""


class Execution:
    """A run with what was sent to it since its last task (``inbox``)."""

    def __init__(
        self, kind: type, *, workflow_id: str, run_id: str, now: float, seed: int, parent: Any
    ) -> None:
        self.workflow_id, self.run_id, self.parent = workflow_id, run_id, parent
        self.kind = workflow._Definition.must_from_class(kind)
        self.inbox: list[WorkflowActivationJob] = []
        self.is_open = True
        self.events = 0
        self.long_history = 10**9
        """Events at which it is advised to continue as new."""
        self.updates: dict[str, str] = {}
        """Updates at work, by their ids: what they are called."""
        self.unretrieved: list[str] = []
        """Errors of its tasks that nobody looked at."""
        self._instance = _instance(self.kind, workflow_id, run_id, now, seed)
        self._instance.set_exception_handler(self._note)

    def _note(self, _loop: object, context: dict[str, Any]) -> None:
        self.unretrieved.append(f"{self.workflow_id}: {context}")

    @property
    def name(self) -> str:
        """The registered name of the workflow."""
        return self.kind.name or ""

    def run_task(self, now: float) -> list[WorkflowCommand]:
        """Give it all that has come; returns what it wants done."""
        jobs, self.inbox = self.inbox, []
        commands = self._activate(jobs, now)
        self.events += len(jobs) + len(commands) + 3
        return commands

    def query(self, name: str, result: type, now: float) -> Any:
        """Ask it something."""
        job = WorkflowActivationJob(query_workflow=QueryWorkflow(query_id="q", query_type=name))
        (command,) = self._activate([job], now)
        answer = command.respond_to_query
        if answer.HasField("failed"):
            raise TaskFailed(f"{self.workflow_id} failed at {name}: {answer.failed.message}")
        return CONVERTER.from_payloads([answer.succeeded.response], [result])[0]

    def evict(self, now: float) -> None:
        """End its tasks, as a worker does with a run that it forgets."""
        job = WorkflowActivationJob(remove_from_cache=RemoveFromCache())
        self._activate([job], now)

    def _activate(self, jobs: Sequence[WorkflowActivationJob], now: float) -> list[WorkflowCommand]:
        act = WorkflowActivation(
            run_id=self.run_id,
            jobs=jobs,
            history_length=self.events,
            history_size_bytes=self.events * 500,
            continue_as_new_suggested=self.events > self.long_history,
        )
        act.timestamp.FromNanoseconds(int(now * 1e9))
        done = _THREAD.submit(self._instance.activate, act).result()
        if done.HasField("failed"):
            failure = done.failed.failure
            raise TaskFailed(f"{self.workflow_id}: {failure.message}\n{failure.stack_trace}")
        return list(done.successful.commands)


def registered_name(kind: type) -> str:
    """The name of a workflow on the wire."""
    return workflow._Definition.must_from_class(kind).name or ""


def payload(value: object) -> Payload:
    """A value as it travels."""
    return CONVERTER.to_payloads([value])[0]


def _instance(kind: Any, workflow_id: str, run_id: str, now: float, seed: int) -> Any:
    started = datetime.fromtimestamp(now, UTC)
    info = workflow.Info(
        attempt=1,
        continued_run_id=None,
        cron_schedule=None,
        execution_timeout=None,
        first_execution_run_id=run_id,
        headers={},
        namespace=NAMESPACE,
        original_execution_run_id=run_id,
        parent=None,
        root=None,
        priority=Priority(),
        raw_memo={},
        retry_policy=None,
        run_id=run_id,
        run_timeout=None,
        search_attributes={},
        start_time=started,
        task_queue="queue",
        task_timeout=timedelta(seconds=10),
        typed_search_attributes=TypedSearchAttributes([]),
        workflow_id=workflow_id,
        workflow_start_time=started,
        workflow_type=kind.name,
    )
    details = WorkflowInstanceDetails(
        payload_converter_factory=DATA_CONVERTER.payload_converter_class,
        failure_converter_class=DATA_CONVERTER.failure_converter_class,
        interceptor_classes=(),
        defn=kind,
        info=info,
        randomness_seed=random.Random(seed).getrandbits(63),
        extern_functions={"__temporal_assert_local_activity_valid": lambda _name: None},
        disable_eager_activity_execution=True,
        worker_level_failure_exception_types=(),
        patch_activation_callback=None,
        last_completion_result=Payloads(),
        last_failure=None,
    )
    return UnsandboxedWorkflowRunner().create_instance(details)
