"""How lengths and points of time are written and read."""

import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rap.durations import ago, clock, elapsed, exactly, length_s, roughly, since
from rap.errors import ConfigurationError

pytestmark = pytest.mark.unit

UNITS = {"w": 604800, "d": 86400, "h": 3600, "m": 60, "s": 1}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("90s", 90),
        ("0", 0),
        (" 1.5m ", 90),
        ("1.5h", 5400),
        ("4H", 14400),
        ("1d12h", 129600),
        ("1w", 604800),
        ("1w2d3h4m5s", 788645),
    ],
)
def test_lengths_are_read_as_people_write_them(text: str, seconds: int) -> None:
    assert length_s(text, option="--timeout") == seconds


@given(st.dictionaries(st.sampled_from(list(UNITS)), st.integers(0, 10_000), min_size=1))
def test_a_length_is_the_sum_of_its_parts_from_the_largest_unit_to_the_smallest(
    parts: dict[str, int],
) -> None:
    text = "".join(f"{parts[unit]}{unit}" for unit in UNITS if unit in parts)
    assert length_s(text, option="-") == sum(parts[unit] * UNITS[unit] for unit in parts)


@given(st.text(st.sampled_from("0123456789.wdhms -+e\n")) | st.text())
def test_any_text_is_a_finite_length_or_refused(text: str) -> None:
    with suppress(ConfigurationError):
        seconds = length_s(text, option="-")
        assert seconds >= 0
        assert math.isfinite(seconds)


@pytest.mark.parametrize(
    "text",
    ["", "soon", "-5m", "5 parsecs", "4h 5m", "h4", "12h1d", "1h1h", "1h30", "1.", "9" * 400],
)
def test_other_lengths_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--timeout must be a time such as"):
        length_s(text, option="--timeout")


def test_a_moment_is_read_from_a_length_of_time_ago_or_an_iso_time() -> None:
    assert since("1h", 10_000, option="-") == 6400
    assert since("1970-01-01T00:01:00+00:00", 0, option="-") == 60


@pytest.mark.parametrize("text", ["", "soon", "-5m", "2026-13-01"])
def test_what_is_no_moment_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--since must be a time ago"):
        since(text, 0, option="--since")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1, "1 second"),
        (90, "90 seconds"),
        (0.5, "0.5 seconds"),
        (60, "1 minute"),
        (5400, "90 minutes"),
        (86400, "1 day"),
        (604800, "7 days"),
        (129600, "36 hours"),
    ],
)
def test_an_exact_length_is_told_in_the_largest_whole_unit(seconds: float, text: str) -> None:
    assert exactly(seconds) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.9, "0 s"),
        (61, "1 min 1 s"),
        (3 * 3600 + 20 * 60 + 5, "3 h 20 min"),
        (2 * 86_400 + 3600, "2 d 1 h"),
    ],
)
def test_a_growing_length_is_told_in_its_two_largest_units(seconds: float, text: str) -> None:
    assert elapsed(seconds) == text


def test_how_long_ago_something_was_is_told_roughly() -> None:
    assert [ago(None, 0), ago(1, 11), ago(0, 1200)] == ["never", "10 s ago", "20 min ago"]
    assert roughly(0) == "under a minute"


def test_no_moment_has_no_clock_time() -> None:
    assert clock(None) == ""
    assert clock(0).endswith(":00")
