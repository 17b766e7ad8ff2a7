"""Which files of which jobs a job may read: the rule on small cases, and against a naive model."""

from collections.abc import Sequence
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker_agent.workspace.input_choice import (
    Choice,
    Filed,
    FiledFile,
    Need,
    choose,
    names_of,
)

pytestmark = pytest.mark.unit


def filed(job_id: str, **hashes: str | None) -> Filed:
    return Filed(job_id, job_id[0], {name: FiledFile(each) for name, each in hashes.items()})


def jobs_of(choice: Choice) -> list[str]:
    return [job.job_id for job in choice.jobs]


def test_the_planned_job_is_read_where_its_files_stand() -> None:
    need = Need(filed("a1", f="x", g="y"), later=filed("a2", f="x"))
    choice = choose([need], {"f": "x", "g": "y"})
    assert (jobs_of(choice), choice.unfit) == (["a1"], ())


def test_the_later_job_is_read_where_a_file_was_replaced_and_with_its_own_names() -> None:
    need = Need(filed("a1", f="x", g="y"), later=filed("a2", f="z", h="h"))
    choice = choose([need], {"f": "z", "g": "y", "h": "h"})
    assert (jobs_of(choice), choice.unfit) == (["a2"], ())
    assert set(choice.sources) == {"f", "h"}


def test_files_of_two_jobs_of_one_action_are_never_mixed() -> None:
    need = Need(filed("a1", f="1", g="1"), later=filed("a2", f="2", g="2"))
    choice = choose([need], {"f": "1", "g": "2"})
    assert choice.unfit == ((0, "f"),)


def test_what_no_needed_job_filed_is_unfit_for_each_need_that_wants_it() -> None:
    needs = [Need(filed("a1", f="x")), Need(filed("b1", g="y", h="z")), Need(filed("c1", h="z"))]
    choice = choose(needs, {"f": "x", "g": "half", "h": "z"})
    assert choice.unfit == ((1, "g"),)
    assert choose(needs, {"f": "x", "g": "y"}).unfit == ((1, "h"), (2, "h"))


def test_a_file_that_several_needed_actions_filed_may_be_of_any_of_them() -> None:
    needs = [Need(filed("a1", f="a", g="g")), Need(filed("b1", f="b"))]
    for found in ("a", "b"):
        choice = choose(needs, {"f": found, "g": "g"})
        assert choice.unfit == ()
        assert choice.sources["f"].job.job_id == f"{found}1"
    assert choose(needs, {"f": "c", "g": "g"}).unfit == ((0, "f"), (1, "f"))


def test_a_file_of_an_action_that_is_not_needed_is_unfit() -> None:
    assert choose([Need(filed("a1", f="a"))], {"f": "b"}).unfit == ((0, "f"),)


def test_a_need_stays_with_its_planned_job_while_the_others_job_explains_its_file() -> None:
    needs = [Need(filed("a1", f="a", g="g")), Need(filed("b1", f="b"), later=filed("b2", f="b2"))]
    choice = choose(needs, {"f": "b2", "g": "g"})
    assert (jobs_of(choice), choice.unfit) == (["a1", "b2"], ())
    assert choice.sources["f"].job.job_id == "b2"


def test_without_a_hash_on_record_the_name_is_enough_and_nothing_is_verified() -> None:
    choice = choose([Need(filed("a1", f=None))], {"f": "anything"})
    assert choice.unfit == ()
    assert not choice.sources["f"].verified
    assert choose([Need(filed("a1", f=None))], {}).unfit == ((0, "f"),)


def test_what_is_certain_comes_before_what_is_not() -> None:
    needs = [Need(filed("a1", f=None)), Need(filed("b1", f="x"))]
    choice = choose(needs, {"f": "x"})
    assert (choice.sources["f"].job.job_id, choice.sources["f"].verified) == ("b1", True)
    assert not choose(needs, {"f": "y"}).sources["f"].verified


def test_a_file_that_is_known_to_be_replaced_is_never_taken_by_its_name() -> None:
    gone = Filed("a1", "a", {"f": FiledFile(None, verified=False, replaced=True)})
    assert choose([Need(gone)], {"f": "x"}).unfit == ((0, "f"),)


def test_the_hash_of_whoever_filed_last_fits_and_verifies_nothing() -> None:
    last = Filed("a1", "a", {"f": FiledFile("x", verified=False)})
    choice = choose([Need(last)], {"f": "x"})
    assert choice.unfit == ()
    assert not choice.sources["f"].verified
    assert choose([Need(last)], {"f": "y"}).unfit == ((0, "f"),)


# --- against a naive model ---

NAMES = ("f", "g", "h")


@st.composite
def filings(draw: st.DrawFn) -> tuple[list[Need], dict[str, str]]:
    """A history of a workspace: jobs file in turn, some fail, somebody edits; then a job reads.

    The workspace holds what was filed last, as in the product.
    """
    actions = draw(st.sampled_from(["a", "ab", "abc"]))
    standing: dict[str, str] = {}
    succeeded: dict[str, list[Filed]] = {action: [] for action in actions}
    for number in range(draw(st.integers(1, 8))):
        action = draw(st.sampled_from([*actions, "other"]))
        hashes = draw(st.dictionaries(st.sampled_from(NAMES), st.sampled_from("xy"), min_size=1))
        standing |= hashes
        if action in succeeded and draw(st.booleans()):
            files = {name: FiledFile(each) for name, each in hashes.items()}
            succeeded[action].append(Filed(f"{action}{number}", action, files))
    for name in draw(st.sets(st.sampled_from(sorted(standing)), max_size=1)):
        standing.pop(name)
    needs = []
    for jobs in succeeded.values():
        if jobs:
            planned = draw(st.integers(0, len(jobs) - 1))
            needs.append(Need(jobs[planned], None if planned == len(jobs) - 1 else jobs[-1]))
    return needs, standing


def is_good(jobs: Sequence[Filed], found: dict[str, str]) -> bool:
    """The rule, as one would say it: each file of each job is what one of them filed."""
    return all(
        any(name in one.files and one.files[name].sha256 == found.get(name) for one in jobs)
        for job in jobs
        for name in job.files
    )


@given(filings())
def test_what_is_chosen_is_good_and_what_is_refused_has_no_good_choice(
    history: tuple[list[Need], dict[str, str]],
) -> None:
    needs, found = history
    choice = choose(needs, found)
    options = [[job for job in need if job is not None] for need in _pairs(needs)]
    good = [jobs for jobs in product(*options) if is_good(jobs, found)]
    if choice.unfit:
        assert good == []
        assert all(each.name in choice.jobs[each.need].files for each in choice.unfit)
        return
    assert is_good(choice.jobs, found)
    assert set(choice.sources) == {name for job in choice.jobs for name in job.files}
    assert all(
        source.verified and source.job in choice.jobs and source.file.sha256 == found[name]
        for name, source in choice.sources.items()
    )
    # What was planned is read where it can be.
    planned = [need.planned for need in needs]
    if is_good(planned, found):
        assert list(choice.jobs) == planned
    assert set(choice.sources) <= names_of(needs)


def _pairs(needs: Sequence[Need]) -> list[tuple[Filed, Filed | None]]:
    return [(need.planned, need.later) for need in needs]
