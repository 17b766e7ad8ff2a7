"""A backend's switches as flags: the lines, and what setting one stands for."""

import pytest

from cli.operations.flags import (
    Change,
    FlagName,
    change_for,
    flags_of,
    maintenance_lines,
    parse,
    paused_lines,
)
from rap.errors import ConfigurationError
from rap.rows import BackendRow, MaintenanceType
from tests.support.records import backend_row

pytestmark = pytest.mark.unit

NEVER = backend_row("b")
PAUSED = backend_row("b", paused=True, paused_since=1_757_502_733.25)
MANUAL = backend_row(
    "b",
    maintenance=True,
    maintenance_type=MaintenanceType.MANUAL,
    maintenance_since=1.0,
    manual_since=2.0,
    checks_disabled=True,
    checks_disabled_since=3.0,
)
SCHEDULED = backend_row(
    "b", maintenance=True, maintenance_type=MaintenanceType.SCHEDULED, maintenance_since=1.0
)


def lines(row: BackendRow, *names: str) -> list[str]:
    return [flag.line for flag in flags_of(row, names)]


def test_an_order_ends_with_the_flags_that_it_is_about() -> None:
    assert paused_lines(PAUSED) == lines(PAUSED, "paused")
    assert maintenance_lines(MANUAL) == lines(
        MANUAL, "mode", "manual-db-maintenance", "db-maintenance-checks-disabled"
    )


@pytest.mark.spec("controller:175")
def test_flags_that_were_never_set_are_shown_only_by_name() -> None:
    assert lines(NEVER) == []
    assert lines(NEVER, "foo", "paused") == [
        "[b] foo=None (never set)",
        "[b] paused=None (never set)",
    ]


@pytest.mark.spec("controller:172")
def test_a_flag_has_the_time_of_its_last_change() -> None:
    assert lines(PAUSED) == ["[b] paused=true (2025-09-10T11:12:13.250000Z)"]
    cleared = PAUSED.model_copy(update={"paused": False})
    assert lines(cleared, "paused") == ["[b] paused=None (2025-09-10T11:12:13.250000Z)"]


def test_maintenance_by_hand_shows_in_three_flags_and_a_found_one_in_one() -> None:
    assert lines(MANUAL) == [
        "[b] mode=db-maintenance (1970-01-01T00:00:01Z)",
        "[b] manual-db-maintenance=on (1970-01-01T00:00:02Z)",
        "[b] db-maintenance-checks-disabled=true (1970-01-01T00:00:03Z)",
    ]
    assert lines(SCHEDULED) == ["[b] mode=db-maintenance (1970-01-01T00:00:01Z)"]


def test_the_last_contact_is_a_flag_to_be_read() -> None:
    seen = backend_row("b", last_seen=1.0)
    assert lines(seen) == ["[b] last-seen-at=1970-01-01T00:00:01Z (1970-01-01T00:00:01Z)"]
    with pytest.raises(ConfigurationError, match="cannot be set"):
        parse(["last-seen-at=2026"])


# --- setting ---


@pytest.mark.spec("controller:152")
@pytest.mark.parametrize(("word", "paused"), [("true", True), ("True", True), ("", False)])
def test_true_in_any_capitals_pauses_and_none_does_not(word: str, paused: bool) -> None:
    assert change_for(parse([f"paused={word}"]), NEVER) == Change(pause=paused)


@pytest.mark.spec("controller:176")
def test_a_word_without_a_value_is_refused_in_the_known_words() -> None:
    with pytest.raises(ConfigurationError, match="invalid parse_cli_flag value: 'foo'"):
        parse(["paused=true", "foo"])


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("foo=", "'foo' cannot be set; those that can are: paused, mode, manual-db-maintenance"),
        ("paused=maybe", "can be paused=true, or paused= for none, but not 'maybe'"),
        ("mode=other", "can be mode=db-maintenance"),
    ],
)
def test_what_has_no_meaning_is_refused_with_what_has(word: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        parse([word])


@pytest.mark.parametrize(
    ("words", "row", "change"),
    [
        (["mode=db-maintenance"], NEVER, Change(maintenance=True)),
        (["manual-db-maintenance=on"], SCHEDULED, Change(maintenance=True)),
        (["manual-db-maintenance=on"], MANUAL, Change(maintenance=True, disable_checks=True)),
        (["mode="], MANUAL, Change(maintenance=False)),
        (["db-maintenance-checks-disabled="], MANUAL, Change(maintenance=True)),
        (["db-maintenance-checks-disabled="], SCHEDULED, Change()),
        (
            ["manual-db-maintenance=on", "db-maintenance-checks-disabled=true", "paused="],
            NEVER,
            Change(pause=False, maintenance=True, disable_checks=True),
        ),
    ],
)
def test_flags_of_maintenance_are_one_switch_and_its_checks(
    words: list[str], row: BackendRow, change: Change
) -> None:
    assert change_for(parse(words), row) == change


@pytest.mark.parametrize(
    "words",
    [
        ["mode=", "manual-db-maintenance=on"],
        ["db-maintenance-checks-disabled=true"],
        ["mode=", "db-maintenance-checks-disabled=true"],
    ],
)
def test_flags_that_contradict_each_other_are_refused(words: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="manual-db-maintenance"):
        change_for(parse(words), SCHEDULED)


def test_every_flag_can_be_asked_for() -> None:
    assert [flag.name for flag in flags_of(NEVER, list(FlagName))] == list(FlagName)
