from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import ScheduleActionStartWorkflow

from activities.controller.check_schedules import is_due
from rap.errors import ConfigurationError
from rap.ids import CheckKind
from rap.messages.backends import BackendLimits, BackendStart, CheckSwitches
from rap.messages.checks import DatabaseCheck
from rap.rows import BackendRow, MaintenanceType
from rap.settings import ControllerSettings, load
from worker_controller.schedules import wanted_schedule
from workflows.backend.database_checks import wanted_checks
from workflows.backend.state import BackendState
from workflows.backend.texts import backend_details

pytestmark = pytest.mark.unit

NOW = datetime(2026, 4, 1, 12, tzinfo=UTC)
INTERVAL = timedelta(minutes=5)


@pytest.mark.spec("controller:166")
@pytest.mark.parametrize(
    ("ages", "due"), [([], True), ([1], False), ([299], False), ([301], True), ([900, 1], False)]
)
def test_a_check_is_due_when_the_last_one_is_older_than_the_interval(
    ages: list[Any], due: bool
) -> None:
    started = [NOW - timedelta(seconds=age) for age in ages]
    assert is_due(started, INTERVAL, NOW) is due


@pytest.mark.spec("controller:165", "controller:168", "controller:169")
def test_by_default_the_checks_of_tpp_and_of_no_other_backend_are_made() -> None:
    settings = ControllerSettings()
    for kind, seconds, month in ((CheckKind.STATUS, 300, ""), (CheckKind.DATA, 86400, "202304")):
        assert wanted_schedule(kind, "test", settings) is None
        schedule = wanted_schedule(kind, "tpp", settings)
        assert isinstance(schedule.action, ScheduleActionStartWorkflow)
        assert schedule.action.args == [
            DatabaseCheck(
                backend="tpp",
                image="ghcr.io/opensafely-core/tpp-database-utils:latest",
                pins_image=True,
                database_name="default",
                hes_expected_activity_month=month,
            )
        ]
        assert schedule.spec.intervals[0].every == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("text", "backends"),
    [("", ("tpp",)), ("none", ()), ("emis, tpp", ("emis", "tpp")), ("test", ("test",))],
)
def test_which_backends_are_checked_is_a_setting(
    monkeypatch: pytest.MonkeyPatch, text: str, backends: tuple[Any, ...]
) -> None:
    monkeypatch.setenv("MAINTENANCE_ENABLED_BACKENDS", text)
    monkeypatch.setenv("DATA_CHECK_ENABLED_BACKENDS", text)
    settings = load(ControllerSettings)
    assert settings.maintenance_enabled_backends == backends
    assert settings.data_check_enabled_backends == backends


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        (
            "MAINTENANCE_ENABLED_BACKENDS",
            "tpp,typo",
            (
                "MAINTENANCE_ENABLED_BACKENDS names typo, but BACKENDS only has test, tpp, emis, "
                "ted; list backends of BACKENDS, or set it to none"
            ),
        ),
        (
            "MAINTENANCE_POLL_INTERVAL",
            "0",
            "MAINTENANCE_POLL_INTERVAL: Input should be greater than or equal to 1",
        ),
        (
            "DATA_CHECK_HES_EXPECTED_ACTIVITY_MONTH",
            "202313",
            "DATA_CHECK_HES_EXPECTED_ACTIVITY_MONTH: must be a month, YYYYMM",
        ),
    ],
)
def test_a_setting_that_cannot_work_is_named_with_its_remedy(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as refused:
        load(ControllerSettings)
    assert str(refused.value) == sentence


def test_a_development_system_without_tpp_needs_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKENDS", "test")
    settings = load(ControllerSettings)
    assert wanted_schedule(CheckKind.STATUS, "test", settings) is None


@pytest.mark.spec("controller:167", "controller:169")
@pytest.mark.parametrize(
    ("manual", "disabled", "kind", "status", "data"),
    [
        (False, False, None, True, True),
        (False, False, MaintenanceType.SCHEDULED, True, False),
        (True, False, MaintenanceType.MANUAL, True, False),
        (True, True, MaintenanceType.MANUAL, False, False),
    ],
)
def test_which_checks_are_wanted(
    manual: bool, disabled: bool, kind: MaintenanceType | None, status: bool, data: bool
) -> None:
    limits = BackendLimits(max_workers=1, max_db_workers=1)
    switched = {"manual_maintenance": manual, "checks_disabled": disabled}
    state = BackendState(BackendStart(slug="tpp", limits=limits, **switched))
    state.set_maintenance(kind, now=1.0)
    wanted = CheckSwitches(backend="tpp", status=status, data=data)
    assert wanted_checks(state) == wanted
    # Nothing of it is lost when the workflow continues as new.
    assert wanted_checks(BackendState(state.carried_over())) == wanted


def test_the_page_of_a_backend_says_that_its_checks_are_disabled() -> None:
    row = BackendRow(slug="tpp", version=1, updated_at=1.0)
    assert "checks disabled" not in backend_details(row)
    manual = {"maintenance": True, "maintenance_type": MaintenanceType.MANUAL}
    shown = backend_details(row.model_copy(update={**manual, "checks_disabled": True}))
    assert "checks disabled" in shown
