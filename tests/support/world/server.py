"""A stand-in for Temporal that carries out one thing after another, in an order drawn from a seed.

What a workflow wants done (a signal, a child, an activity) happens at some later step, and its end
is told to the workflow at a later one still; messages of others may come at any step between. What
is here on purpose as it is on a server: a task gets all that has come since the last one, a start
is told to the parent before the child's first task, and what is said to a closed workflow fails.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

from temporalio.api.enums.v1 import WorkflowIdReusePolicy
from temporalio.bridge.proto.child_workflow import (
    ChildWorkflowResult,
    ParentClosePolicy,
    StartChildWorkflowExecutionFailedCause,
)
from temporalio.bridge.proto.child_workflow import Success as ChildSuccess
from temporalio.bridge.proto.workflow_activation import (
    CancelWorkflow,
    DoUpdate,
    FireTimer,
    InitializeWorkflow,
    ResolveChildWorkflowExecution,
    ResolveChildWorkflowExecutionStart,
    ResolveChildWorkflowExecutionStartFailure,
    ResolveChildWorkflowExecutionStartSuccess,
    ResolveSignalExternalWorkflow,
    SignalWorkflow,
    WorkflowActivationJob,
)
from temporalio.bridge.proto.workflow_commands import (
    StartChildWorkflowExecution,
)

from rap.contracts.kinds import Query, Signal, Update, Workflow
from tests.support.world import activities as acts
from tests.support.world.execution import CONVERTER, Execution, payload, registered_name
from tests.support.world.steps import Steps, Timer

CLOSED = "its workflow closed"


@dataclass
class Answer:
    """What became of an update."""

    value: Any = None
    failure: str = ""
    is_there: bool = False


@dataclass
class _Parent:
    run: Execution
    seq: int
    policy: int


class Server(Steps):
    """Some workflows, what is on its way between them, and the time."""

    def __init__(
        self,
        seed: int,
        kinds: Iterable[type],
        activities: Iterable[Callable[..., Awaitable[Any]]],
        *,
        long_histories: tuple[int, ...] = (25, 80, 300),
    ) -> None:
        super().__init__(seed)
        self._kinds = {registered_name(kind): kind for kind in kinds}
        self._long_histories = long_histories
        self._open: dict[str, Execution] = {}
        self._closed: dict[str, list[Execution]] = {}
        self.ends: dict[str, ChildWorkflowResult] = {}
        """How the latest run of each workflow ended."""
        self.begun: dict[str, list[Any]] = {}
        """What the latest run of each workflow was started with, as payloads."""
        self._timers_of: dict[tuple[str, int], Timer] = {}
        self._answers: dict[str, tuple[Answer, type]] = {}
        self.activities = acts.Activities(self, activities)

    # --- what clients do ---

    def start(self, kind: Workflow[Any, Any], workflow_id: str, argument: object) -> None:
        """Start a workflow, unless it runs."""
        if workflow_id not in self._open:
            self._begin(kind.name, workflow_id, [payload(argument)])

    def signal(
        self,
        contract: Signal[Any],
        workflow_id: str,
        argument: object,
        then: Callable[[], None] = lambda: None,
    ) -> None:
        """Send a signal, which arrives at some later step; who sent it goes on ``then``."""
        job = SignalWorkflow(
            signal_name=contract.name,
            input=[payload(argument)],
            originating_event_id=next(self._numbers),
        )

        def deliver() -> None:
            if workflow_id in self._open:
                self._open[workflow_id].inbox.append(WorkflowActivationJob(signal_workflow=job))
            then()

        self.later(f"{contract.name} reaches {workflow_id}", deliver)

    def update(
        self,
        contract: Update[Any, Any],
        workflow_id: str,
        argument: object,
        start: tuple[Workflow[Any, Any], object],
    ) -> Answer:
        """Send an update, which starts the workflow if it does not run."""
        update_id, answer = f"update-{next(self._numbers)}", Answer()
        self._answers[update_id] = (answer, contract.result)
        job = DoUpdate(
            id=update_id,
            protocol_instance_id=update_id,
            name=contract.name,
            input=[payload(argument)],
            run_validator=True,
        )

        def deliver() -> None:
            self.start(start[0], workflow_id, start[1])
            run = self._open[workflow_id]
            run.updates[update_id] = contract.name
            run.inbox.append(WorkflowActivationJob(do_update=job))

        self.later(f"{contract.name} reaches {workflow_id}", deliver)
        return answer

    def cancel(self, workflow_id: str) -> None:
        """Ask a workflow to cancel, as from the Web UI."""

        def deliver() -> None:
            if workflow_id in self._open:
                job = WorkflowActivationJob(cancel_workflow=CancelWorkflow(reason="test"))
                self._open[workflow_id].inbox.append(job)

        self.later(f"cancel reaches {workflow_id}", deliver)

    def terminate(self, workflow_id: str) -> None:
        """End a workflow at once, as from the Web UI."""
        if workflow_id in self._open:
            self.log.append(f"terminated: {workflow_id}")
            self._close(self._open[workflow_id], acts.child_failure(acts.TERMINATED))

    def query(self, contract: Query[Any], workflow_id: str) -> Any:
        """Ask an open workflow something; one that is new answers after its first task."""
        while any(job.HasField("initialize_workflow") for job in self._open[workflow_id].inbox):
            self._run_task(self._open[workflow_id])
        return self._open[workflow_id].query(contract.name, contract.result, self.now)

    def is_open(self, workflow_id: str) -> bool:
        """Whether a workflow runs."""
        return workflow_id in self._open

    def open_ids(self, kind: Workflow[Any, Any]) -> list[str]:
        """The ids of all workflows of a kind that run."""
        return [one for one, run in self._open.items() if run.name == kind.name]

    @property
    def unretrieved(self) -> list[str]:
        """Errors of tasks that nobody looked at: a controller would log them without a reason."""
        runs = [*self._open.values(), *(run for some in self._closed.values() for run in some)]
        return [text for run in runs for text in run.unretrieved]

    def end(self) -> None:
        """Let all workflows go."""
        for run in self._open.values():
            run.evict(self.now)

    # --- what workflows want done ---

    def _with_work(self) -> list[Execution]:
        return [run for run in self._open.values() if run.inbox]

    def _run_task(self, run: Execution) -> None:
        self.log.append(f"task of {run.workflow_id}: {_described(run.inbox)}")
        for command in run.run_task(self.now):
            kind = command.WhichOneof("variant")
            do = getattr(self, f"_{kind}", None)
            if do is not None:
                do(run, getattr(command, kind))
            elif kind not in _NO_MATTER:
                raise AssertionError(f"This world cannot do {kind}: {command}")

    def _start_timer(self, run: Execution, command: Any) -> None:
        def fire() -> None:
            run.inbox.append(WorkflowActivationJob(fire_timer=FireTimer(seq=command.seq)))

        when = self.now + command.start_to_fire_timeout.ToTimedelta().total_seconds()
        timer = self.at(when, f"timer of {run.workflow_id}", fire, run)
        self._timers_of[run.run_id, command.seq] = timer

    def _cancel_timer(self, run: Execution, command: Any) -> None:
        self._timers_of[run.run_id, command.seq].is_off = True

    def _schedule_activity(self, run: Execution, command: Any) -> None:
        self.activities.schedule(run, command, is_local=False)

    def _schedule_local_activity(self, run: Execution, command: Any) -> None:
        self.activities.schedule(run, command, is_local=True)

    def _request_cancel_activity(self, run: Execution, command: Any) -> None:
        self.activities.cancel(run, command.seq)

    _request_cancel_local_activity = _request_cancel_activity

    def _signal_external_workflow_execution(self, run: Execution, command: Any) -> None:
        target = command.child_workflow_id or command.workflow_execution.workflow_id
        name = command.signal_name
        sent = SignalWorkflow(signal_name=name, originating_event_id=next(self._numbers))
        sent.input.extend(command.args)

        def deliver() -> None:
            told = ResolveSignalExternalWorkflow(seq=command.seq)
            if target in self._open:
                self._open[target].inbox.append(WorkflowActivationJob(signal_workflow=sent))
            else:
                told.failure.CopyFrom(acts.NOT_FOUND)
            job = WorkflowActivationJob(resolve_signal_external_workflow=told)
            self.tell(run, job, f"{run.workflow_id} hears of its {name}")

        self.later(f"{name} from {run.workflow_id} reaches {target}", deliver)

    def _start_child_workflow_execution(
        self, run: Execution, command: StartChildWorkflowExecution
    ) -> None:
        def start() -> None:
            if not run.is_open:
                return
            told = ResolveChildWorkflowExecutionStart(seq=command.seq)
            once = WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE
            is_used = command.workflow_id in self._closed
            if command.workflow_id in self._open or (
                is_used and command.workflow_id_reuse_policy == once
            ):
                told.failed.CopyFrom(
                    ResolveChildWorkflowExecutionStartFailure(
                        workflow_id=command.workflow_id,
                        workflow_type=command.workflow_type,
                        cause=_EXISTS,
                    )
                )
            else:
                parent = _Parent(run, command.seq, command.parent_close_policy)
                child = self._begin(
                    command.workflow_type, command.workflow_id, list(command.input), parent
                )
                told.succeeded.CopyFrom(
                    ResolveChildWorkflowExecutionStartSuccess(run_id=child.run_id)
                )
            run.inbox.append(WorkflowActivationJob(resolve_child_workflow_execution_start=told))

        self.later(f"{run.workflow_id} starts {command.workflow_id}", start)

    def _cancel_child_workflow_execution(self, run: Execution, command: Any) -> None:
        for child in list(self._open.values()):
            parent = child.parent
            if parent and parent.run is run and parent.seq == command.child_workflow_seq:
                self.cancel(child.workflow_id)

    def _update_response(self, run: Execution, command: Any) -> None:
        kind = command.WhichOneof("response")
        if kind == "accepted":
            return
        answer, result = self._answers[command.protocol_instance_id]
        run.updates.pop(command.protocol_instance_id)
        answer.is_there = True
        if kind == "completed":
            answer.value = CONVERTER.from_payloads([command.completed], [result])[0]
        else:
            answer.failure = command.rejected.message or "rejected"

    def _complete_workflow_execution(self, run: Execution, command: Any) -> None:
        result = ChildWorkflowResult(completed=ChildSuccess(result=command.result))
        self._close(run, result)

    def _fail_workflow_execution(self, run: Execution, command: Any) -> None:
        self._close(run, acts.child_failure(command.failure))

    def _cancel_workflow_execution(self, run: Execution, _command: Any) -> None:
        self._close(run, acts.child_failure(acts.CANCELLED))

    def _continue_as_new_workflow_execution(self, run: Execution, command: Any) -> None:
        self._forget(run)
        kind = command.workflow_type or run.name
        self._begin(kind, run.workflow_id, list(command.arguments), run.parent)

    # --- the lives of workflows ---

    def _begin(
        self, kind: str, workflow_id: str, arguments: list[Any], parent: _Parent | None = None
    ) -> Execution:
        number = next(self._numbers)
        run = Execution(
            self._kinds[kind],
            workflow_id=workflow_id,
            run_id=f"run-{number}",
            now=self.now,
            seed=number,
            parent=parent,
        )
        run.long_history = self.random.choice(self._long_histories)
        start = InitializeWorkflow(workflow_type=kind, workflow_id=workflow_id, arguments=arguments)
        run.inbox.append(WorkflowActivationJob(initialize_workflow=start))
        self._open[workflow_id] = run
        self.begun[workflow_id] = arguments
        return run

    def _close(self, run: Execution, result: ChildWorkflowResult) -> None:
        self._forget(run)
        self.ends[run.workflow_id] = result
        parent: _Parent | None = run.parent
        if parent is not None:
            told = ResolveChildWorkflowExecution(seq=parent.seq, result=result)
            job = WorkflowActivationJob(resolve_child_workflow_execution=told)
            self.tell(parent.run, job, f"the end of {run.workflow_id} is told to its parent")
        for child in list(self._open.values()):
            if child.parent is None or child.parent.run is not run:
                continue
            if child.parent.policy == ParentClosePolicy.PARENT_CLOSE_POLICY_REQUEST_CANCEL:
                self.cancel(child.workflow_id)
            elif child.parent.policy != ParentClosePolicy.PARENT_CLOSE_POLICY_ABANDON:
                self.terminate(child.workflow_id)

    def _forget(self, run: Execution) -> None:
        run.is_open = False
        del self._open[run.workflow_id]
        self._closed.setdefault(run.workflow_id, []).append(run)
        for update_id in run.updates:
            self._answers[update_id][0].failure = CLOSED
        run.evict(self.now)

    def tell(self, run: Execution, job: WorkflowActivationJob, what: str) -> None:
        """Tell a run something at a later step, if it is still there then."""

        def deliver() -> None:
            if run.is_open:
                run.inbox.append(job)

        self.later(what, deliver)


_EXISTS = StartChildWorkflowExecutionFailedCause.Value(
    "START_CHILD_WORKFLOW_EXECUTION_FAILED_CAUSE_WORKFLOW_ALREADY_EXISTS"
)
_NO_MATTER = (
    "upsert_workflow_search_attributes",
    "modify_workflow_properties",
    "set_patch_marker",
    "cancel_signal_workflow",
)


def _described(jobs: Iterable[WorkflowActivationJob]) -> str:
    return ", ".join(_name(job) for job in jobs)


def _name(job: WorkflowActivationJob) -> str:
    kind = job.WhichOneof("variant") or ""
    if kind == "signal_workflow":
        return job.signal_workflow.signal_name
    return job.do_update.name if kind == "do_update" else kind
