"""The maintenance windows of backends: Temporal Schedules that an operator makes."""

import re
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
)
from temporalio.service import RPCError, RPCStatusCode

from rap import ids
from rap.contracts.workflows import MAINTENANCE_WINDOW
from rap.errors import RapError
from rap.messages.orders import Window
from rap.models import Model
from rap.temporal.search_attributes import search_attributes
from workflows.texts import window_texts

CATCH_UP = timedelta(minutes=10)
"""How late a window may open after the server was down; after that it falls out."""

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_FIELDS = 5


class WindowPlan(Model):
    """A window as it is scheduled."""

    window: Window
    cron: str
    time_zone: str = "UTC"
    next_times: tuple[datetime, ...] = ()

    @property
    def next(self) -> str:
        """When it opens next, UTC."""
        return f"{self.next_times[0]:%Y-%m-%d %H:%M}" if self.next_times else "never"


def check(plan: WindowPlan) -> None:
    """RapError if a window cannot be scheduled: it names the field, and the remedy."""
    if not NAME.fullmatch(plan.window.name):
        raise RapError(
            f"Invalid window name '{plan.window.name}': letters, digits, dashes and underscores, "
            "at most 40"
        )
    if len(plan.cron.split()) != _FIELDS:
        raise RapError(
            f"'{plan.cron}' is not a cron line of minute, hour, day, month and weekday, such as "
            "'0 22 * * 5' for Fridays at ten in the evening"
        )
    try:
        ZoneInfo(plan.time_zone)
    except (KeyError, ValueError, OSError):
        raise RapError(
            f"Unknown time zone '{plan.time_zone}'; give one such as Europe/London or UTC"
        ) from None


async def add(client: Client, plan: WindowPlan) -> None:
    """Schedule a window; RapError if it cannot be, or there is one of this name."""
    check(plan)
    window = plan.window
    schedule_id = ids.window_id(window.backend, window.name)
    texts = window_texts(window)
    schedule = Schedule(
        action=ScheduleActionStartWorkflow(
            MAINTENANCE_WINDOW.name,
            window,
            id=schedule_id,
            task_queue=ids.CONTROLLER_QUEUE,
            typed_search_attributes=search_attributes(backend=window.backend, requester=window.by),
            static_summary=texts.summary,
            static_details=texts.details,
        ),
        spec=ScheduleSpec(cron_expressions=[plan.cron], time_zone_name=plan.time_zone),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=CATCH_UP),
        # The server keeps the cron line in a form of its own; this is the one that was given.
        state=ScheduleState(note=f"{plan.cron} {plan.time_zone}"),
    )
    try:
        await client.create_schedule(
            schedule_id, schedule, search_attributes=search_attributes(backend=window.backend)
        )
    except ScheduleAlreadyRunningError:
        raise RapError(
            f"Backend {window.backend} has a window {window.name} already; remove it first"
        ) from None
    except RPCError as error:
        if error.status is not RPCStatusCode.INVALID_ARGUMENT:
            raise
        raise RapError(f"Temporal does not take this window: {error.message}") from None


async def planned(client: Client, backend: str) -> list[WindowPlan]:
    """The scheduled windows of a backend, by name."""
    prefix = ids.window_id(backend, "")
    schedules = await client.list_schedules(query=f"Backend = '{backend}'")
    names = [one.id.removeprefix(prefix) async for one in schedules if one.id.startswith(prefix)]
    found = [await plan_of(client, backend, name) for name in names]
    return sorted(found, key=lambda plan: plan.window.name)


async def plan_of(client: Client, backend: str, name: str) -> WindowPlan:
    """One window of a backend that is scheduled."""
    description = await client.get_schedule_handle(ids.window_id(backend, name)).describe()
    action = description.schedule.action
    assert isinstance(action, ScheduleActionStartWorkflow)  # noqa: S101 - made by `add`
    (window,) = await client.data_converter.decode(list(action.args), [Window])
    cron, _, zone = (description.schedule.state.note or "").rpartition(" ")
    return WindowPlan(
        window=window,
        cron=cron,
        time_zone=zone,
        next_times=tuple(description.info.next_action_times[:3]),
    )


async def remove(client: Client, backend: str, name: str) -> None:
    """Schedule a window no more, and close it if it is open; RapError if there is none."""
    schedule_id = ids.window_id(backend, name)
    handle = client.get_schedule_handle(schedule_id)
    try:
        description = await handle.describe()
        for action in description.info.running_actions:
            assert isinstance(action, ScheduleActionExecutionStartWorkflow)  # noqa: S101
            await client.get_workflow_handle(action.workflow_id).cancel()
        await handle.delete()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        raise RapError(f"Backend {backend} has no window {name}") from None
