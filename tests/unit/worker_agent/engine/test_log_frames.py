"""Lines that an engine sends in pieces (tests/cases/jobs/long-line-timestamps)."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_agent.engine.log_frames import Frame, whole_lines

pytestmark = pytest.mark.unit

OUT, ERR, ENGINE = 1, 2, 3


def text_of(*frames: tuple[int, str], most_held: int = 1000) -> str:
    """With pieces of two bytes."""
    pieces = (Frame(stream, content.encode()) for stream, content in frames)
    return b"".join(whole_lines(pieces, most_held=most_held, piece_bytes=2)).decode()


def test_lines_of_one_piece_stay_as_they_are() -> None:
    assert text_of((OUT, "t1 a\n"), (ERR, "t2 b c\n")) == "t1 a\nt2 b c\n"


def test_a_line_in_pieces_has_its_time_once() -> None:
    assert text_of((OUT, "t1 aa"), (OUT, "t1  a"), (OUT, "t1 b\n")) == "t1 aa ab\n"


def test_a_newline_that_the_engine_lost_is_put_back() -> None:
    text = text_of((OUT, "t1 aa"), (OUT, "t1 b"), (OUT, "t2 c\n"), (OUT, "t3 d"), (ERR, "t4 e\n"))
    assert text == "t1 aab\nt2 c\nt3 d\nt4 e\n"


def test_what_the_other_stream_says_meanwhile_follows_the_line() -> None:
    text = text_of((ERR, "t1 1%"), (OUT, "t2 a\n"), (OUT, "t3 b\n"), (ERR, "t1 2%\n"))
    assert text == "t1 1%2%\nt2 a\nt3 b\n"
    text = text_of((ERR, "t1 1%"), (OUT, "t2 a\n"), (ERR, "t1 2"), (OUT, "t3 b\n"))
    assert text == "t1 1%2\nt2 a\nt3 b\n"


def test_a_line_of_the_other_stream_that_is_in_pieces_too_goes_on_after_it() -> None:
    text = text_of((ERR, "t1 aa"), (OUT, "t2 bb"), (ERR, "t1 a\n"), (ERR, "t4 c\n"), (OUT, "t2 b"))
    assert text == "t1 aaa\nt2 bbb\nt4 c\n"


def test_a_line_that_keeps_much_of_the_other_stream_back_is_broken_off() -> None:
    frames = [(ERR, "t1 1%"), *((OUT, f"t{at} a\n") for at in (2, 3, 4)), (ERR, "t1 2%\n")]
    assert text_of(*frames, most_held=10) == "t1 1%\nt2 a\nt3 a\nt4 a\nt1 2%\n"


def test_a_log_that_ends_within_a_line_loses_nothing() -> None:
    text = text_of((ERR, "t1 1%"), (OUT, "t2 aa"), (ENGINE, "Error x\n"), (OUT, "t2 b"))
    assert text == "t1 1%\nt2 aab\nError x\n"


def test_an_empty_log_stays_empty() -> None:
    assert text_of() == ""


@given(
    st.lists(
        st.tuples(
            st.sampled_from((OUT, ERR)), st.text("ab", max_size=3), st.sampled_from(("", "\n", "!"))
        )
    ),
    st.integers(0, 40),
)
def test_every_stream_is_kept_whole_in_its_order_and_each_line_begins_with_one_time(
    said: list[tuple[int, str, str]], most_held: int
) -> None:
    # Each stream speaks in letters of its own, so that they can be told apart again.
    letters = {OUT: "ab", ERR: "xy"}
    lines_begun: Counter[int] = Counter()
    frames, spoken = [], {OUT: "", ERR: ""}
    for stream, words, end in said:
        text = words.translate(str.maketrans("ab", letters[stream]))
        spoken[stream] += text
        newline = "\n" if end == "\n" else ""  # with "!" the line ends, and the newline is lost
        frames.append((stream, f"@{stream}.{lines_begun[stream]} {text}{newline}"))
        lines_begun[stream] += bool(end)
    lines = text_of(*frames, most_held=most_held).splitlines()
    assert all(line.startswith("@") and line.count("@") == 1 for line in lines)
    told = "".join(line.partition(" ")[2] for line in lines)
    for stream, text in spoken.items():
        assert "".join(letter for letter in told if letter in letters[stream]) == text
