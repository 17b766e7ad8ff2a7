"""The words before a reboot (docs/spec/controller.md 15.3)."""

from typing import Any

import pytest

from cli.operations.reboot import (
    Readiness,
    is_being_stopped,
    readiness,
    status_lines,
    warning,
)
from rap.rows import MaintenanceType, OrderEntry, OrderKind, SlotEntry
from tests.support import factories
from tests.support.records import backend_row

pytestmark = pytest.mark.unit


def slot(
    job_id: str = "j", since: float = 10.0, host: str = "h1", *, db: bool = False
) -> SlotEntry:
    return factories.slot(job_id, requires_db=db, host=host, since=since)


def test_the_warning_is_the_known_one() -> None:
    assert warning("tpp").split("\n") == [
        "== DANGER ZONE ==",
        "",
        (
            "This will kill all running jobs on backend 'tpp' and reset them to the PENDING state, "
            "ready"
        ),
        "to be restarted following a reboot.",
        "",
        "It should only be run when the job-runner service has been paused on the backend.",
    ]


HEAD = ["", "== PREPARING FOR REBOOT =="]
NOT_PAUSED = "Backend 'b' is not paused. Run prepare_for_reboot, then check the status again"
READY = ["", "== READY TO REBOOT ==", "Safe to reboot now"]


@pytest.mark.spec("controller:180")
@pytest.mark.parametrize(
    ("paused", "running", "stopping", "rest"),
    [
        (False, 0, 0, ["1) backend 'b' is not paused", "2) 0 job(s) are running", NOT_PAUSED]),
        (False, 2, 0, ["1) backend 'b' is not paused", "2) 2 job(s) are running", NOT_PAUSED]),
        (
            False,
            1,
            1,
            [
                "1) backend 'b' is not paused",
                "2) 1 job(s) are running",
                "3) 1 job(s) are being cancelled",
                NOT_PAUSED,
            ],
        ),
        (True, 3, 0, ["1) backend 'b' is paused", "2) 3 job(s) are running"]),
        (
            True,
            0,
            2,
            [
                "1) backend 'b' is paused",
                "2) 0 job(s) are running",
                "3) 2 job(s) are being cancelled",
            ],
        ),
        (True, 0, 0, ["1) backend 'b' is paused", "2) 0 job(s) are running", *READY]),
    ],
)
def test_the_status_tells_what_is_missing(
    paused: bool, running: int, stopping: int, rest: list[str]
) -> None:
    assert list(status_lines(Readiness("b", paused, running, stopping))) == [*HEAD, *rest]


def order(kind: OrderKind, at: float, detail: str = "") -> OrderEntry:
    return OrderEntry(at=at, kind=kind, detail=detail)


@pytest.mark.parametrize(
    ("values", "stopped"),
    [
        ({}, False),
        ({"orders": (order(OrderKind.PREPARE_FOR_REBOOT, 11.0),)}, True),
        ({"orders": (order(OrderKind.PREPARE_FOR_REBOOT, 9.0),)}, False),
        ({"orders": (order(OrderKind.PAUSE, 11.0),)}, False),
        ({"orders": (order(OrderKind.HOST_LOST, 11.0, "h1"),)}, True),
        ({"orders": (order(OrderKind.HOST_LOST, 11.0, "h2"),)}, False),
    ],
)
def test_a_job_is_being_stopped_after_an_order_that_reached_it(
    values: dict[str, Any], stopped: bool
) -> None:
    assert is_being_stopped(backend_row(**values), slot()) is stopped


def test_maintenance_stops_database_jobs_alone_and_a_cancelled_job_counts_as_being_cancelled() -> (
    None
):
    maintenance: dict[str, Any] = {
        "maintenance": True,
        "maintenance_type": MaintenanceType.SCHEDULED,
    }
    slots = (slot("data", db=True), slot("plain"), slot("cancelled"))
    row = backend_row("b", paused=True, slots=slots, **maintenance)
    state = readiness(row, over={"cancelled"})
    assert (state.running, state.being_cancelled) == (1, 2)
    assert not state.is_ready
