"""A backend's waiting jobs go over to the next run of its workflow, however many there are."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rap import ids
from rap.messages.backends import BackendLimits, BackendStart
from rap.messages.packed_queue import pack, unpack
from rap.messages.slots import Reservation, SlotRequest
from rap.temporal.codec import MOST_STORED, size_as_sent
from workflows.backend.start import that_fits
from workflows.backend.state import BackendState

pytestmark = pytest.mark.unit

MOST = 100_000

requests = st.builds(
    SlotRequest,
    job_id=st.sampled_from([ids.job_id("a", "x"), ids.job_id("b", "y"), "other", "more"]),
    workspace=st.sampled_from(["w1", "w2"]),
    requires_db=st.booleans(),
    weight=st.sampled_from([1.0, 2.5]),
    created_at=st.integers(0, 3),
    position=st.integers(0, 2),
    attempt=st.integers(1, 3),
    action=st.sampled_from(["x", "y", ""]),
    image=st.sampled_from(["", "0123456789ab", "ba9876543210"]),
)
waiting = st.builds(
    Reservation,
    rap_id=st.sampled_from(["a", "b"]),
    request=requests,
    since=st.floats(0, 2e9),
    host=st.none(),
)


@given(st.lists(waiting, unique_by=lambda job: job.request.job_id))
def test_all_waiting_jobs_come_back_as_they_were(jobs: list[Reservation]) -> None:
    limits = BackendLimits(max_workers=1, max_db_workers=1)
    start = BackendStart(slug="b", limits=limits, waiting=pack(jobs))
    carried = BackendStart.model_validate_json(start.model_dump_json())
    assert sorted(map(repr, unpack(carried.waiting))) == sorted(map(repr, jobs))


def test_every_field_of_a_request_goes_over() -> None:
    """The property above draws all of them: whoever adds a field has to add it there too."""
    drawn = {"job_id", "workspace", "requires_db", "weight", "created_at", "position", "attempt"}
    assert SlotRequest.model_fields.keys() == drawn | {"action", "image"}


@pytest.mark.parametrize("of_a_rap", [2, 500])
def test_as_many_as_may_wait_fit_into_a_start(of_a_rap: int) -> None:
    limits = BackendLimits(max_workers=1, max_db_workers=1)
    start = BackendStart(slug="b", limits=limits, waiting=pack(_many(of_a_rap)))
    assert size_as_sent(start) < 0.95 * MOST_STORED


def test_where_they_do_not_fit_their_raps_are_asked_for_them() -> None:
    limits = BackendLimits(max_workers=1, max_db_workers=1)
    state = BackendState(BackendStart(slug="b", limits=limits, waiting=pack(_many(1))))
    start = that_fits(state.carried_over(), waiting=MOST)
    assert (start.waiting, start.recovering, start.untold) == ((), True, None)
    assert size_as_sent(start) < MOST_STORED


def _many(of_a_rap: int) -> Iterator[Reservation]:
    for number in range(MOST):
        rap, position = divmod(number, of_a_rap)
        # Such ids do not compress.
        rap_id = ids.job_id("", str(rap))
        action = f"generate_study_population_{number % 500}"
        request = SlotRequest(
            job_id=ids.job_id(rap_id, action),
            workspace=f"workspace{rap % 100}",
            requires_db=number % 5 == 0,
            created_at=1_700_000_000 + rap,
            position=position,
            attempt=1,
            action=action,
            image=f"{number % 3:012x}",
        )
        yield Reservation(rap_id=rap_id, request=request, since=1.7e9 + rap * 3.1234567)
