"""What workflows write for readers."""

import pytest

from rap.messages.jobs import AttemptResult
from rap.sentences import CODE_SENTENCES
from rap.status import StatusCode
from workflows.rows import attempt_ended

pytestmark = pytest.mark.unit


def test_the_end_of_an_attempt_is_told_with_the_sentence_of_its_code() -> None:
    change = attempt_ended("job", AttemptResult(code=StatusCode.SUCCEEDED, attempt=2, ended_at=5.0))
    assert (change.job_id, change.attempt, change.at) == ("job", 2, 5.0)
    assert change.message == CODE_SENTENCES[StatusCode.SUCCEEDED]


def test_an_attempt_that_has_not_ended_tells_of_no_end() -> None:
    with pytest.raises(ValueError, match="has not ended"):
        attempt_ended("job", AttemptResult())
