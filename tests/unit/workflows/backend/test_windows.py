"""What maintenance windows switch on and off, and what they leave alone."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rap.errors import RapError
from rap.messages import Window
from rap.rows import WindowKind
from worker_controller.windows import WindowPlan, check, parse_length
from workflows.maintenance_windows import OpenWindows

pytestmark = pytest.mark.unit

PAUSE, REBOOT, MAINTENANCE = WindowKind.PAUSE, WindowKind.REBOOT, WindowKind.MAINTENANCE


def test_a_window_takes_back_what_it_did():
    windows = OpenWindows({})
    assert windows.opens("w", PAUSE, is_on=False)
    assert windows.closes("w") is PAUSE
    assert windows.closes("w") is None


def test_a_window_leaves_a_backend_paused_that_was_paused_before():
    windows = OpenWindows({})
    assert not windows.opens("w", PAUSE, is_on=True)
    assert windows.closes("w") is None


def test_a_reboot_stops_what_runs_even_where_the_backend_is_paused_and_leaves_it_paused():
    windows = OpenWindows({})
    assert windows.opens("w", REBOOT, is_on=True)
    assert windows.closes("w") is None


def test_the_last_of_overlapping_windows_ends_what_the_first_began():
    windows = OpenWindows({})
    assert windows.opens("first", PAUSE, is_on=False)
    windows.opens("second", REBOOT, is_on=True)
    assert windows.closes("first") is None
    assert windows.closes("second") is PAUSE


def test_an_order_of_an_operator_outranks_a_window():
    windows = OpenWindows({})
    windows.opens("w", MAINTENANCE, is_on=False)
    windows.outranked(PAUSE)
    assert windows.held == (MAINTENANCE,)
    windows.outranked(MAINTENANCE)
    assert windows.closes("w") is None


def test_a_window_whose_end_was_lost_can_open_again():
    windows = OpenWindows({})
    windows.opens("w", PAUSE, is_on=False)
    windows.outranked(PAUSE)
    assert windows.opens("w", PAUSE, is_on=False)
    assert windows.closes("w") is PAUSE


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("open"), st.sampled_from("abc"), st.sampled_from(list(WindowKind))),
            st.tuples(st.just("close"), st.sampled_from("abc")),
            st.tuples(st.just("order"), st.booleans()),
        )
    )
)
def test_after_all_windows_the_switch_is_as_operators_left_it(steps):
    windows, paused, ordered = OpenWindows({}), False, False
    for step in steps:
        if step[0] == "open":
            _, name, kind = step
            # A window cannot open twice at once: its schedule skips.
            if name in windows.by_name:
                continue
            if windows.opens(name, kind, is_on=paused) and kind is not MAINTENANCE:
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
    ("text", "length"),
    [
        ("90m", timedelta(minutes=90)),
        ("4h", timedelta(hours=4)),
        ("1d12h", timedelta(days=1.5)),
        ("1D", timedelta(days=1)),
    ],
)
def test_lengths_are_read(text, length):
    assert parse_length(text) == length.total_seconds()


@pytest.mark.parametrize("text", ["", "4", "0h", "h4", "4h 5", "-4h"])
def test_other_lengths_are_refused_with_an_example(text):
    with pytest.raises(ValueError, match="such as 90m, 4h or 1d12h"):
        parse_length(text)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"cron": "nightly"}, "is not a cron line"),
        ({"time_zone": "Europe/Atlantis"}, "Unknown time zone 'Europe/Atlantis'"),
        ({"name": "a b"}, "Invalid window name 'a b'"),
    ],
)
def test_a_window_that_cannot_be_scheduled_names_what_is_wrong(changes, says):
    name = changes.pop("name", "w")
    window = Window(backend="b", name=name, kind=PAUSE, seconds=60)
    plan = WindowPlan(window=window, cron="0 22 * * 5").model_copy(update=changes)
    with pytest.raises(RapError, match=says):
        check(plan)
