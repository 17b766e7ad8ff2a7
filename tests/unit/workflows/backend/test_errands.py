"""What a backend has to tell others is told, however often it continues as new meanwhile."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rap.messages.backends import Errand, ErrandKind
from workflows.backend.errands import AT_ONCE, ErrandList

pytestmark = pytest.mark.unit

ERRANDS = st.builds(Errand, kind=st.sampled_from(ErrandKind), rap_id=st.sampled_from("abc"))


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), ERRANDS),
            st.tuples(st.sampled_from(["take", "done", "continue as new"]), st.none()),
        ),
        max_size=40,
    )
)
def test_every_errand_is_run_after_it_came_up_over_any_number_of_continuations(
    steps: list[tuple[str, Errand | None]],
) -> None:
    errands, owed, at_hand = ErrandList(), set(), set()
    for step, errand in steps:
        if step == "put" and errand is not None:
            errands.put(errand)
            owed.add(errand)
            at_hand.discard(errand)
        elif step == "take" and not at_hand:
            at_hand = set(errands.take())
        elif step == "done":
            owed -= at_hand
            at_hand = set()
            errands.done()
        elif step == "continue as new":
            errands, at_hand = ErrandList(errands.carried_over), set()
        assert owed <= set(errands.carried_over)
    errands = ErrandList(errands.carried_over)
    while errands:
        owed -= set(errands.take())
        errands.done()
    assert not owed


def test_no_more_are_run_at_once_than_a_workflow_may_send() -> None:
    many = [Errand(kind=ErrandKind.ANNOUNCE, rap_id=str(number)) for number in range(AT_ONCE + 1)]
    errands = ErrandList(many)
    assert errands.take() == tuple(many[:AT_ONCE])
    assert errands
    assert errands.carried_over == tuple(many)
