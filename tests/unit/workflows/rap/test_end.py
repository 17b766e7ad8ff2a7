"""How a RAP ends, and what its close tells."""

from dataclasses import dataclass

import pytest
from temporalio.api.failure.v1 import Failure

from rap import ids
from rap.messages.workspaces import RapEnd
from rap.models import JobSpec
from rap.sentences import CODE_SENTENCES
from rap.status import StatusCode
from rap.temporal.codec import DATA_CONVERTER
from rap.temporal.ends import LARGEST_END, LONGEST_SENTENCE, end_in, failed_end
from tests.support.factories import job_spec
from workflows.rap.end import failure_sentence, rap_code, rap_end

pytestmark = pytest.mark.unit


@dataclass
class Ended:
    spec: JobSpec
    code: StatusCode
    attempt: int = 1
    began_at: float | None = None
    ended_at: float | None = None

    @property
    def message(self) -> str:
        return CODE_SENTENCES[self.code]


@pytest.mark.parametrize(
    ("codes", "told"),
    [
        ("succeeded succeeded", "succeeded"),
        ("succeeded dependency_failed nonzero_exit cancelled_by_user", "nonzero_exit"),
        ("dependency_failed succeeded", "dependency_failed"),
        ("cancelled_by_user cancelled_by_user", "cancelled_by_user"),
        ("cancelled_by_user job_error", "job_error"),
        ("dependency_failed cancelled_by_user", "cancelled_by_user"),
    ],
)
def test_a_rap_that_ended_tells_why_its_first_failed_job_did(codes: str, told: str) -> None:
    assert rap_code(StatusCode(one) for one in codes.split()) == told


def test_the_sentence_counts_what_failed_and_says_why() -> None:
    codes = ("succeeded", "cancelled_by_user", "job_error", "dependency_failed")
    jobs = [Ended(job_spec(action=code), StatusCode(code)) for code in codes]
    assert failure_sentence(jobs, StatusCode.JOB_ERROR) == (
        "2 of 4 jobs failed. job_error: This job returned a fatal error."
    )


async def as_a_client_sees_it(error: BaseException) -> tuple[Failure, BaseException]:
    failure = Failure()
    await DATA_CONVERTER.encode_failure(error, failure)
    stored = Failure.FromString(failure.SerializeToString())
    return stored, await DATA_CONVERTER.decode_failure(failure)


async def test_the_end_of_five_thousand_jobs_fits_into_a_failure() -> None:
    codes = list(StatusCode)[-9:]
    jobs = [
        Ended(
            job_spec(id=ids.job_id("r", str(number))),
            codes[number * number % 9],
            attempt=1 + number % 7 // 6,
            began_at=1.8e9 + number * 97 % 3600,
            ended_at=1.8e9 + number * 97 % 3600 + number * 31 % 5000,
        )
        for number in range(5000)
    ]
    end = rap_end(jobs)
    stored, error = await as_a_client_sees_it(failed_end("sentence", StatusCode.NONZERO_EXIT, end))
    assert stored.application_failure_info.details.ByteSize() < LARGEST_END
    assert end_in(error, RapEnd) == end


async def test_a_sentence_too_long_for_temporal_is_cut() -> None:
    error = failed_end("ä" * LONGEST_SENTENCE, StatusCode.JOB_ERROR, RapEnd.model_validate(NOTHING))
    stored, _ = await as_a_client_sees_it(error)
    assert LONGEST_SENTENCE - 2 < len(stored.message.encode()) <= LONGEST_SENTENCE
    assert stored.message.endswith("ä…")


NOTHING: dict[str, tuple[()]] = dict.fromkeys(RapEnd.model_fields, ())


@pytest.mark.parametrize(
    "error", [None, ValueError(), failed_end("", StatusCode.JOB_ERROR, job_spec())]
)
async def test_what_failed_otherwise_has_no_end(error: BaseException | None) -> None:
    assert end_in(error, RapEnd) is None
