"""The schedules of the database checks: one a backend and kind, as the settings ask for.

Temporal starts the checks. One that is still under way when the next is due lets that one fall
out, and those missed while the server was down are not made up for.
"""

from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any, NamedTuple

import structlog
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError, RPCStatusCode

from rap import ids
from rap.contracts.kinds import Workflow
from rap.contracts.workflows import DATA_CHECK, STATUS_CHECK
from rap.ids import CheckKind
from rap.messages.checks import DatabaseCheck
from rap.settings import ControllerSettings
from rap.temporal.search_attributes import search_attributes

log = structlog.get_logger()

CATCH_UP = timedelta(minutes=1)
"""How late a check may start; the next one is a better answer than an old one."""


class _Kind(NamedTuple):
    workflow: Workflow[DatabaseCheck, Any]
    title: str
    details: str


_KINDS = {
    CheckKind.STATUS: _Kind(
        STATUS_CHECK,
        "is the database in maintenance?",
        "Runs `in_maintenance_mode` on a host of the backend. `db-maintenance` sends database jobs "
        "back to waiting, an empty status lets them go on, and a failed check changes nothing. "
        "Database maintenance that was switched on by hand outranks it.",
    ),
    CheckKind.DATA: _Kind(
        DATA_CHECK,
        "do the hospital data reach the expected month?",
        "Runs `hes_cutoff_date_check` on a host of the backend. The answer, `OK` or `FAILED`, is "
        "the result of the workflow; nothing else depends on it. Paused during database "
        "maintenance.",
    ),
}


async def ensure_schedules(client: Client, settings: ControllerSettings) -> None:
    """Make the schedules that the settings ask for, bring others up to date, remove the rest.

    One that is new makes its first check at once; whether one is paused is left as it is.
    """
    for backend, kind in product(settings.backends, CheckKind):
        schedule_id = ids.check_id(kind, backend)
        wanted = wanted_schedule(kind, backend, settings)
        if wanted is None:
            await _remove(client, schedule_id)
        else:
            await _make(client, schedule_id, backend, wanted)


def wanted_schedule(kind: CheckKind, backend: str, settings: ControllerSettings) -> Schedule | None:
    """What the settings say about a check of a backend; ``None`` if it is not to be made."""
    if kind is CheckKind.STATUS:
        enabled = settings.maintenance_enabled_backends
        month, seconds = "", settings.maintenance_poll_interval
    else:
        enabled = settings.data_check_enabled_backends
        month = settings.data_check_hes_expected_activity_month
        seconds = settings.data_check_poll_interval
    if backend not in enabled:
        return None
    workflow, title, details = _KINDS[kind]
    return Schedule(
        action=ScheduleActionStartWorkflow(
            workflow.name,
            DatabaseCheck(
                backend=backend,
                image=settings.database_check_image,
                pins_image=settings.registry_api is not None,
                hes_expected_activity_month=month,
            ),
            id=ids.check_id(kind, backend),
            task_queue=ids.CONTROLLER_QUEUE,
            typed_search_attributes=search_attributes(backend=backend),
            static_summary=f"{kind} of {backend}: {title}",
            static_details=details,
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=timedelta(seconds=seconds))]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=CATCH_UP),
    )


async def _make(client: Client, schedule_id: str, backend: str, wanted: Schedule) -> None:
    try:
        await client.create_schedule(
            schedule_id,
            wanted,
            trigger_immediately=True,
            search_attributes=search_attributes(backend=backend),
        )
    except ScheduleAlreadyRunningError:

        def renewed(found: ScheduleUpdateInput) -> ScheduleUpdate:
            return ScheduleUpdate(replace(wanted, state=found.description.schedule.state))

        await client.get_schedule_handle(schedule_id).update(renewed)
    else:
        log.info("database check scheduled", schedule=schedule_id)


async def _remove(client: Client, schedule_id: str) -> None:
    try:
        await client.get_schedule_handle(schedule_id).delete()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
    else:
        log.info("database check no longer scheduled", schedule=schedule_id)
