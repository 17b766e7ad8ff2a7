"""What maintenance windows switch on and off, and what they leave alone."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.operations.windows import WindowPlan, check
from rap.errors import RapError
from rap.messages.orders import Window
from rap.rows import OpenWindow
from rap.windows import WindowKind
from workflows.backend.windows import OpenWindows

pytestmark = pytest.mark.unit

PAUSE, REBOOT, MAINTENANCE = WindowKind.PAUSE, WindowKind.REBOOT, WindowKind.MAINTENANCE


def of(kind: WindowKind, **known: Any) -> OpenWindow:
    return OpenWindow(kind=kind, **known)


def test_a_window_takes_back_what_it_did() -> None:
    windows = OpenWindows({})
    assert windows.opens("w", of(PAUSE), is_on=False)
    assert windows.closes("w") is PAUSE
    assert windows.closes("w") is None


def test_a_window_leaves_a_backend_paused_that_was_paused_before() -> None:
    windows = OpenWindows({})
    assert not windows.opens("w", of(PAUSE), is_on=True)
    assert windows.closes("w") is None


def test_a_reboot_stops_what_runs_even_where_the_backend_is_paused_and_leaves_it_paused() -> None:
    windows = OpenWindows({})
    assert windows.opens("w", of(REBOOT), is_on=True)
    assert windows.closes("w") is None


def test_the_last_of_overlapping_windows_ends_what_the_first_began() -> None:
    windows = OpenWindows({})
    assert windows.opens("first", of(PAUSE), is_on=False)
    windows.opens("second", of(REBOOT), is_on=True)
    assert windows.closes("first") is None
    assert windows.closes("second") is PAUSE


def test_an_order_of_an_operator_outranks_a_window() -> None:
    windows = OpenWindows({})
    windows.opens("w", of(MAINTENANCE), is_on=False)
    windows.outranked(PAUSE)
    assert windows.held == (MAINTENANCE,)
    windows.outranked(MAINTENANCE)
    assert windows.closes("w") is None


def test_a_window_whose_end_was_lost_can_open_again() -> None:
    windows = OpenWindows({})
    windows.opens("w", of(PAUSE), is_on=False)
    windows.outranked(PAUSE)
    assert windows.opens("w", of(PAUSE), is_on=False)
    assert windows.closes("w") is PAUSE


def test_a_window_whose_workflow_is_missing_is_overdue_at_its_planned_end() -> None:
    windows = OpenWindows({})
    windows.opens("lost", of(PAUSE, until=50.0, workflow_id="w/1"), is_on=False)
    windows.opens("kept", of(PAUSE, until=40.0, workflow_id="w/2"), is_on=True)
    windows.opens("by hand", of(PAUSE), is_on=True)
    assert windows.closers() == ("w/1", "w/2")
    assert windows.lose({"w/1", ""})
    assert not windows.lose({"w/1"})
    windows = OpenWindows(windows.by_name, windows.held)
    assert windows.closers() == ("w/2",)
    assert windows.next_end() == 50.0
    assert windows.overdue(49.0) == []
    assert windows.overdue(50.0) == ["lost"]
    # Opened anew by its schedule, it has a workflow again.
    windows.opens("lost", of(PAUSE, until=90.0, workflow_id="w/3"), is_on=True)
    assert windows.next_end() is None


@pytest.mark.parametrize("kind", WindowKind)
def test_a_window_written_by_an_earlier_version_is_read(kind: WindowKind) -> None:
    assert OpenWindow.model_validate(kind.value) == OpenWindow(kind=kind)


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("open"), st.sampled_from("abc"), st.sampled_from(list(WindowKind))),
            st.tuples(st.just("close"), st.sampled_from("abc")),
            st.tuples(st.just("order"), st.booleans()),
        )
    )
)
def test_after_all_windows_the_switch_is_as_operators_left_it(steps: list[Any]) -> None:
    windows, paused, ordered = OpenWindows({}), False, False
    for step in steps:
        if step[0] == "open":
            _, name, kind = step
            # A window cannot open twice at once: its schedule skips.
            if name in windows.by_name:
                continue
            if windows.opens(name, of(kind), is_on=paused) and kind is not MAINTENANCE:
                paused = True
        elif step[0] == "close":
            paused = paused and windows.closes(step[1]) is not PAUSE
        else:
            windows.outranked(PAUSE)
            paused = ordered = step[1]
        windows = OpenWindows(windows.by_name, windows.held)
    for name in list(windows.by_name):
        paused = paused and windows.closes(name) is not PAUSE
    assert paused == ordered


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"cron": "nightly"}, "is not a cron line"),
        ({"time_zone": "Europe/Atlantis"}, "Unknown time zone 'Europe/Atlantis'"),
        ({"name": "a b"}, "Invalid window name 'a b'"),
    ],
)
def test_a_window_that_cannot_be_scheduled_names_what_is_wrong(
    changes: dict[str, str], says: str
) -> None:
    name = changes.pop("name", "w")
    window = Window(backend="b", name=name, kind=PAUSE, seconds=60)
    plan = WindowPlan(window=window, cron="0 22 * * 5").model_copy(update=changes)
    with pytest.raises(RapError, match=says):
        check(plan)
