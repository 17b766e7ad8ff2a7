"""The sentences about an exit beyond its code."""

import pytest

from rap.egress import ExitNote
from rap.exit_notes import duration, exit_sentence

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("note", "limits", "sentence"),
    [
        (ExitNote.OUT_OF_MEMORY, {}, "Job ran out of memory"),
        (
            ExitNote.OUT_OF_MEMORY,
            {"memory_limit_bytes": 4 * 1024**3},
            "Job ran out of memory (limit was 4.00GB)",
        ),
        (ExitNote.KILLED, {}, "Job killed by OpenSAFELY admin or memory limits"),
        (ExitNote.OUT_OF_TIME, {}, "Job ran longer than this backend allows"),
        (
            ExitNote.OUT_OF_TIME,
            {"run_time_limit_s": 36 * 3600.0},
            "Job ran longer than this backend allows (limit was 36 hours)",
        ),
    ],
)
@pytest.mark.spec("agent:108")
def test_each_note_has_its_sentence(note, limits, sentence):
    assert exit_sentence(note, **limits) == sentence


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
def test_a_length_of_time_is_told_in_whole_units(seconds, text):
    assert duration(seconds) == text
