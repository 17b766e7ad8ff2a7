"""The activities of the world: called at one step, their ends told at another; and the failures.

An activity is given as its worker registers it. One that lasts returns a :class:`Lasting`: it goes
on until a later step ends it.
"""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from temporalio import activity
from temporalio.api.common.v1 import ActivityType, WorkflowType
from temporalio.api.failure.v1 import (
    ActivityFailureInfo,
    ApplicationFailureInfo,
    CanceledFailureInfo,
    ChildWorkflowExecutionFailureInfo,
    Failure,
    TerminatedFailureInfo,
    TimeoutFailureInfo,
)
from temporalio.bridge.proto.activity_result import ActivityResolution, Cancellation, Success
from temporalio.bridge.proto.activity_result import Failure as FailedActivity
from temporalio.bridge.proto.child_workflow import ChildWorkflowResult
from temporalio.bridge.proto.child_workflow import Failure as FailedChild
from temporalio.bridge.proto.workflow_activation import ResolveActivity, WorkflowActivationJob
from temporalio.bridge.proto.workflow_commands import ActivityCancellationType

from rap.errors import RapError
from tests.support.world.execution import CONVERTER, Execution, payload

if TYPE_CHECKING:
    from tests.support.world.server import Server

CANCELLED = Failure(message="cancelled", canceled_failure_info=CanceledFailureInfo())
TERMINATED = Failure(message="terminated", terminated_failure_info=TerminatedFailureInfo())
TIMED_OUT = Failure(message="timed out", timeout_failure_info=TimeoutFailureInfo())
NOT_FOUND = Failure(
    message="no such workflow runs",
    application_failure_info=ApplicationFailureInfo(type="NotFound"),
)
WHILE_IT_LASTS = 0.2
"""How readily something that lasts ends: messages are to meet it."""

AWAY_FOR_S = 10.0
"""How often it is looked whether a host is back."""


class PassingFault(Exception):
    """What an activity raises that is to be tried again, if it may be."""


@dataclass
class Lasting:
    """What an activity returns that goes on: ``end`` is called with whether it was cancelled."""

    end: Callable[[bool], Any]


@dataclass
class _Scheduled:
    run: Execution
    command: Any
    is_local: bool
    has_begun: bool = False
    is_cancelled: bool = False
    is_over: bool = False
    tries: int = 0
    lasting: Lasting | None = None
    timer: Any = field(default=None)

    @property
    def what(self) -> str:
        return f"{self.command.activity_type} of {self.run.workflow_id}"


class Activities:
    """All that were scheduled."""

    def __init__(self, server: "Server", calls: Iterable[Callable[..., Awaitable[Any]]]) -> None:
        self._server = server
        self._calls = {_definition(call).name: call for call in calls}
        self._scheduled: dict[tuple[str, int], _Scheduled] = {}
        self.away: set[str] = set()
        """The task queues that nobody polls."""
        self.queue = ""
        """The task queue of the activity that is being called."""

    def schedule(self, run: Execution, command: Any, *, is_local: bool) -> None:
        """Have an activity called at a later step."""
        one = _Scheduled(run, command, is_local)
        self._scheduled[run.run_id, command.seq] = one
        limit = command.schedule_to_close_timeout.ToTimedelta().total_seconds()
        if limit:
            one.timer = self._server.at(
                self._server.now + limit,
                f"{one.what} is out of time",
                lambda: self._fail(one, TIMED_OUT),
                run,
            )
        self._offer(one)

    def cancel(self, run: Execution, seq: int) -> None:
        """Cancel an activity, as its kind of cancellation wants it."""
        one = self._scheduled[run.run_id, seq]
        if one.is_over:
            return
        one.is_cancelled = True
        waits = one.command.cancellation_type == _WAIT and not one.is_local
        if not (waits and one.has_begun):
            self._give_up(one)

    def _offer(self, one: _Scheduled) -> None:
        async def begin() -> None:
            if one.is_over or not one.run.is_open:
                return
            if self._is_away(one):
                self._wait(one, lambda: self._offer(one))
                return
            one.has_begun = True
            one.tries += 1
            await self._call(one)

        self._server.later(f"{one.what} begins", begin)

    async def _call(self, one: _Scheduled) -> None:
        call = self._calls.get(one.command.activity_type)
        if call is None:
            raise AssertionError(f"This world has no activity {one.command.activity_type}")
        kinds = list(_definition(call).arg_types or ())
        self.queue = "" if one.is_local else one.command.task_queue
        arguments = CONVERTER.from_payloads(list(one.command.arguments), kinds)
        try:
            result = await call(*arguments)
        except (PassingFault, RapError):
            self._try_again(one)
            return
        if isinstance(result, Lasting):
            one.lasting = result
            self._server.later(f"{one.what} ends", lambda: self._end(one), weight=WHILE_IT_LASTS)
            return
        self._succeed(one, result)

    def _end(self, one: _Scheduled) -> None:
        if one.is_over or not one.run.is_open or one.lasting is None:
            return
        if self._is_away(one):
            self._wait(one, lambda: self._end(one))
            return
        try:
            result = one.lasting.end(one.is_cancelled)
        except PassingFault:
            one.lasting = None
            self._try_again(one)
            return
        self._succeed(one, result)

    def _is_away(self, one: _Scheduled) -> bool:
        return not one.is_local and one.command.task_queue in self.away

    def _wait(self, one: _Scheduled, go_on: Callable[[], None]) -> None:
        self._server.at(self._server.now + AWAY_FOR_S, f"{one.what} waits for its host", go_on)

    def _try_again(self, one: _Scheduled) -> None:
        one.has_begun = False
        most = one.command.retry_policy.maximum_attempts
        if one.is_cancelled:
            self._give_up(one)
        elif most and one.tries >= most:
            self._fail(one, Failure(message="fault", application_failure_info=_PASSING))
        else:
            self._offer(one)

    def _succeed(self, one: _Scheduled, result: Any) -> None:
        if not one.is_over:
            self._tell(one, ActivityResolution(completed=Success(result=payload(result))))

    def _give_up(self, one: _Scheduled) -> None:
        cancelled = Cancellation(failure=_failed(one, CANCELLED))
        self._tell(one, ActivityResolution(cancelled=cancelled))

    def _fail(self, one: _Scheduled, cause: Failure) -> None:
        if not one.is_over:
            failed = FailedActivity(failure=_failed(one, cause))
            self._tell(one, ActivityResolution(failed=failed))

    def _tell(self, one: _Scheduled, result: ActivityResolution) -> None:
        one.is_over = True
        if one.timer is not None:
            one.timer.is_off = True
        told = ResolveActivity(seq=one.command.seq, result=result, is_local=one.is_local)
        job = WorkflowActivationJob(resolve_activity=told)
        self._server.tell(one.run, job, f"the end of {one.what} is told")


_WAIT = ActivityCancellationType.WAIT_CANCELLATION_COMPLETED
_PASSING = ApplicationFailureInfo(type="Unavailable")


def _definition(call: Callable[..., Any]) -> Any:
    return activity._Definition.must_from_callable(call)


def _failed(one: _Scheduled, cause: Failure) -> Failure:
    info = ActivityFailureInfo(
        activity_type=ActivityType(name=one.command.activity_type),
        activity_id=str(one.command.seq),
    )
    return Failure(message="Activity task failed", cause=cause, activity_failure_info=info)


def child_failure(cause: Failure) -> ChildWorkflowResult:
    """A child that did not complete, as its parent hears of it."""
    info = ChildWorkflowExecutionFailureInfo(workflow_type=WorkflowType(name="child"))
    failure = Failure(
        message="Child Workflow failed", cause=cause, child_workflow_execution_failure_info=info
    )
    return ChildWorkflowResult(failed=FailedChild(failure=failure))
