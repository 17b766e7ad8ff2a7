"""The sentences about an exit beyond its code."""

from typing import Any

import pytest

from rap.egress import ExitNote
from rap.sentences import exit_sentence

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
def test_each_note_has_its_sentence(note: ExitNote, limits: dict[str, Any], sentence: str) -> None:
    assert exit_sentence(note, **limits) == sentence
