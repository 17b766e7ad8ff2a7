"""What workflows ask of the outside: repositories, images, weights, one host with its containers.

The read model is real. Everything else answers as told by the seed of the world: now and then with
a fault that passes, and a job ends well or badly, by itself or by an order.
"""

from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

from temporalio import activity

from rap import ids
from rap.contracts import activities as contracts
from rap.contracts.workflows import RAP, REPORT, STOP
from rap.egress import (
    Acknowledged,
    AgentReport,
    Ending,
    Fault,
    JobOutcome,
    JobProgress,
    Stage,
)
from rap.messages.backends import CheckSwitches, WorkflowIds
from rap.messages.jobs import (
    AttemptEnd,
    AttemptEnds,
    AttemptQuestion,
    AttemptResult,
    DiscardOrder,
    JobAttempt,
    LatestAttempt,
    StopOrder,
    StopReason,
    TerminateOrder,
)
from rap.messages.workspaces import LostRap, RapFate
from rap.models import (
    BackendRequest,
    CreateRequest,
    ImageAnswer,
    ImageRequest,
    JobDefinition,
    PrivacyLevel,
    Project,
    ProjectAction,
    ProjectAnswer,
    Weights,
)
from rap.planned_jobs import ResolveAnswer, ResolveRequest
from rap.temporal.codec import DATA_CONVERTER
from rap.temporal.ends import end_in
from tests.support.world.activities import Lasting, PassingFault
from tests.support.world.execution import CONVERTER
from tests.support.world.server import Server
from workflows.rows import attempt_ended

HOSTS = ("h1", "h2")
REPORT_EVERY_S = 30.0


def action(name: str, *needs: str, db: bool = False) -> ProjectAction:
    """An action of the project of this world."""
    return ProjectAction(
        name=name,
        run_command=f"python:v2 {name}.py",
        needs=needs,
        outputs={PrivacyLevel.HIGHLY_SENSITIVE: {"out": f"{name}.csv"}},
        requires_db=db,
    )


ACTIONS = (
    action("extract", db=True),
    action("lookup"),
    action("model", "extract", "lookup"),
    action("figure", "model"),
    action("table", "model"),
)


class StandIns:
    """The outside of one backend; ``faults`` is how often something fails that may be repeated."""

    def __init__(self, backend: str, random: Random, *, faults: float = 0.05) -> None:
        self._backend, self._random, self.faults = backend, random, faults
        self.server: Server
        self.running: dict[str, JobDefinition] = {}
        """Task id to what runs in a container."""
        self.lost: set[str] = set()
        """The hosts that are away."""
        self.doubled: list[str] = []
        """Attempts that began while another one of the same job ran and was not given up."""
        self._given_up: set[str] = set()
        self._hosts: dict[str, str] = {}
        self.succeeded: set[str] = set()
        """The jobs that ended with exit code 0."""
        self._killed: set[str] = set()
        self._is_reporting = False

    def calls(self) -> list[Callable[..., Awaitable[Any]]]:
        """The activities."""
        return [
            self.load_known_project,
            self.load_project,
            self.resolve_reusable_actions,
            self.resolve_image,
            self.load_weights,
            self.switch_checks,
            self.find_closed,
            self.find_raps,
            self.find_ends,
            self.latest_attempt,
            self.await_attempts,
            self.run_job,
            self.terminate_job,
            self.discard_job,
        ]

    # --- the controller's ---

    @activity.defn(name=contracts.LOAD_KNOWN_PROJECT.name)
    async def load_known_project(self, request: CreateRequest) -> ProjectAnswer:
        self.may_fail()
        return ProjectAnswer()

    @activity.defn(name=contracts.LOAD_PROJECT.name)
    async def load_project(self, request: CreateRequest) -> ProjectAnswer:
        self.may_fail()
        return ProjectAnswer(project=Project(actions=ACTIONS, pins_images=True))

    @activity.defn(name=contracts.RESOLVE_REUSABLE_ACTIONS.name)
    async def resolve_reusable_actions(self, request: ResolveRequest) -> ResolveAnswer:
        return ResolveAnswer(jobs=request.jobs)

    @activity.defn(name=contracts.RESOLVE_IMAGE.name)
    async def resolve_image(self, request: ImageRequest) -> ImageAnswer:
        self.may_fail()
        return ImageAnswer(digest="sha256:" + "0" * 64)

    @activity.defn(name=contracts.LOAD_WEIGHTS.name)
    async def load_weights(self, request: BackendRequest) -> Weights:
        return Weights()

    @activity.defn(name=contracts.SWITCH_CHECKS.name)
    async def switch_checks(self, switches: CheckSwitches) -> Acknowledged:
        self.may_fail()
        return Acknowledged()

    @activity.defn(name=contracts.FIND_CLOSED.name)
    async def find_closed(self, asked: WorkflowIds) -> WorkflowIds:
        self.may_fail()
        closed = [one for one in asked.ids if not self.server.is_open(one)]
        return WorkflowIds(ids=tuple(closed))

    @activity.defn(name=contracts.FIND_RAPS.name)
    async def find_raps(self, request: BackendRequest) -> WorkflowIds:
        self.may_fail()
        return WorkflowIds(ids=tuple(sorted(self.server.open_ids(RAP))))

    @activity.defn(name=contracts.AWAIT_ATTEMPTS.name)
    async def await_attempts(self, asked: WorkflowIds) -> Lasting:
        def end(_is_cancelled: bool) -> AttemptEnds:
            self.may_fail()
            ends = tuple(end for one in asked.ids if (end := self._end_of(one)) is not None)
            if not ends:
                raise PassingFault
            return AttemptEnds(ends=ends)

        return Lasting(end)

    def _end_of(self, workflow_id: str) -> AttemptEnd | None:
        if workflow_id not in self.server.ends or self.server.is_open(workflow_id):
            return None
        result = self._result_of(workflow_id)
        return AttemptEnd(workflow_id=workflow_id, result=result, killed=result is None)

    @activity.defn(name=contracts.LATEST_ATTEMPT.name)
    async def latest_attempt(self, asked: AttemptQuestion) -> LatestAttempt:
        self.may_fail()
        begun = self.server.begun.get(asked.workflow_id)
        if begun is None:
            return LatestAttempt()
        (attempt,) = CONVERTER.from_payloads(begun, [JobAttempt])
        return LatestAttempt(attempt=attempt)

    @activity.defn(name=contracts.FIND_ENDS.name)
    async def find_ends(self, lost: LostRap) -> RapFate | Lasting:
        self.may_fail()
        if self.server.is_open(ids.rap_workflow_id(lost.workspace, lost.rap_id)):
            return RapFate(is_running=True)
        for one in ACTIONS:
            job = ids.job_id(lost.rap_id, one.name)
            workflow_id = ids.job_workflow_id(lost.workspace, one.name, job)
            if self.server.is_open(workflow_id):
                self.server.signal(STOP, workflow_id, StopOrder(reason=StopReason.KILLED_BY_ADMIN))
        return Lasting(lambda _is_cancelled: self._fate_of(lost))

    def _fate_of(self, lost: LostRap) -> RapFate:
        changes = []
        for one in ACTIONS:
            job = ids.job_id(lost.rap_id, one.name)
            workflow_id = ids.job_workflow_id(lost.workspace, one.name, job)
            result = self._result_of(workflow_id)
            if result is not None and result.code is not None and result.code.is_final:
                changes.append(attempt_ended(job, result))
        return RapFate(changes=tuple(changes))

    def _result_of(self, workflow_id: str) -> AttemptResult | None:
        end = self.server.ends.get(workflow_id)
        if end is None or self.server.is_open(workflow_id):
            return None
        if end.HasField("completed"):
            (result,) = CONVERTER.from_payloads([end.completed.result], [AttemptResult])
            assert isinstance(result, AttemptResult)
            return result
        error = DATA_CONVERTER.failure_converter.from_failure(end.failed.failure, CONVERTER)
        return end_in(error, AttemptResult)

    def may_fail(self) -> None:
        """Fail now and then, so that it is tried again if it may be."""
        if self._random.random() < self.faults:
            raise PassingFault

    # --- the host's ---

    @activity.defn(name=contracts.RUN_JOB.name)
    async def run_job(self, definition: JobDefinition) -> Lasting | JobOutcome:
        task = definition.task_id
        if task in self._killed:
            # An agent that was told to stop an attempt does not begin it.
            return JobOutcome(task_id=task, ending=Ending.CANCELLED)
        self.doubled += [
            task
            for other, one in self.running.items()
            if one.id == definition.id and other != task and other not in self._given_up
        ]
        self.running[task] = definition
        self._hosts[task] = next(
            host
            for host in HOSTS
            if self.server.activities.queue == ids.host_queue(self._backend, host)
        )
        self._report_soon()

        def end(is_cancelled: bool) -> JobOutcome:
            if self._random.random() < self.faults:
                # The agent was killed, and its successor finds the container again.
                raise PassingFault
            was_running = self.running.pop(task, None) is not None
            self._report_soon()
            if is_cancelled or task in self._killed or not was_running:
                return JobOutcome(task_id=task, ending=Ending.CANCELLED)
            return self._outcome(definition)

        return Lasting(end)

    def _outcome(self, definition: JobDefinition) -> JobOutcome:
        task, luck = definition.task_id, self._random.random()
        if luck < self.faults:
            return JobOutcome(task_id=task, ending=Ending.FAILED, fault=Fault.DISK_FULL)
        code = 1 if luck < 4 * self.faults else 0
        if code == 0:
            self.succeeded.add(definition.id)
        return JobOutcome(task_id=task, ending=Ending.COMPLETED, exit_code=code)

    @activity.defn(name=contracts.TERMINATE_JOB.name)
    async def terminate_job(self, order: TerminateOrder) -> Acknowledged:
        self._kill(order.task_id)
        return Acknowledged()

    @activity.defn(name=contracts.DISCARD_JOB.name)
    async def discard_job(self, order: DiscardOrder) -> Acknowledged:
        self._kill(order.definition.task_id)
        return Acknowledged()

    def _kill(self, task: str) -> None:
        self._killed.add(task)
        if self.running.pop(task, None):
            self._report_soon()

    # --- the host's reports ---

    def report_regularly(self) -> None:
        """Send a report now, and one each half minute."""
        self._report()
        server = self.server
        server.at(server.now + REPORT_EVERY_S, "the host reports", self.report_regularly)

    def _report_soon(self) -> None:
        if not self._is_reporting:
            self._is_reporting = True
            self.server.later("the host reports a change", self._report_change)

    def _report_change(self) -> None:
        self._is_reporting = False
        self._report()

    def lose(self, host: str) -> None:
        """A host is away from now on, with all that runs on it."""
        self.lost.add(host)
        self._given_up |= {task for task in self.running if self._hosts[task] == host}
        self.server.activities.away |= {
            ids.host_queue(self._backend, host),
            ids.control_queue(self._backend, host),
        }

    def find_again(self) -> None:
        """All hosts are back."""
        self.lost.clear()
        self.server.activities.away.clear()
        self._report_soon()

    def _report(self) -> None:
        for host in HOSTS:
            if host not in self.lost:
                self._report_of(host)

    def _report_of(self, host: str) -> None:
        jobs = tuple(
            JobProgress(
                job_id=one.id,
                rap_id=one.rap_id,
                attempt=int(task.rpartition("-")[2]),
                stage=Stage.EXECUTING,
                since=self.server.now,
            )
            for task, one in self.running.items()
            if self._hosts[task] == host
        )
        report = AgentReport(backend=self._backend, host=host, at=0.0, room=10, jobs=jobs)
        self.server.signal(REPORT, ids.backend_workflow_id(self._backend), report)
