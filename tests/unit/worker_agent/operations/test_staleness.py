"""Which outputs are stale, from what is known alone."""

from typing import Any

import pytest

from rap.models import PrivacyLevel
from tests.support.provenance import MODERATE, REGISTRY, filed, read, record, sha256_of
from worker_agent.operations.staleness import (
    ActionNow,
    ActionState,
    Earlier,
    Reason,
    Situation,
    Verdict,
    Why,
    judge,
)
from worker_agent.workspace.provenance import ProvenanceRecord

pytestmark = pytest.mark.unit

HEAD, OLD = "c" * 40, "b" * 40
DATA, TABLE = filed("data.csv"), filed("table.csv")
EXTRACT = record("job1", "extract", DATA, filed_at_ns=1)
TABULATE = record(
    "job2", "tabulate", TABLE, inputs=(read(DATA, "job1", "extract"),), needs=("job1",),
    filed_at_ns=2,
)  # fmt: skip


def action(name: str, *needs: str, **changes: Any) -> ActionNow:
    facts: dict[str, Any] = {
        "needs": needs,
        "patterns": {"data.csv" if name == "extract" else "table.csv": MODERATE},
        "command": (f"{REGISTRY}/python:v2", "python", f"analysis/{name}.py"),
    }
    return ActionNow(**(facts | changes))


ACTIONS = {"extract": action("extract"), "tabulate": action("tabulate", "extract")}


def states(*records: ProvenanceRecord, **changes: Any) -> dict[str, ActionState]:
    """As if nothing had changed since, but for ``changes``."""
    names = [file.name for each in records for file in each.outputs]
    facts: dict[str, Any] = {
        "records": records,
        "earlier": (),
        "actions": ACTIONS,
        "differing": {HEAD: ()},
        "contents": {name: sha256_of(name) for name in names},
        "image_ids": {f"{REGISTRY}/python:v2": f"sha256:{'e' * 64}"},
    }
    return {state.action: state for state in judge(Situation(**(facts | changes)))}


def reasons(state: ActionState) -> dict[Why, tuple[str, ...]]:
    return {reason.why: reason.names for reason in state.reasons}


def test_outputs_that_follow_from_everything_as_it_is_now_are_current() -> None:
    found = states(EXTRACT, TABULATE)
    assert list(found) == ["extract", "tabulate"]
    assert {state.verdict for state in found.values()} == {Verdict.CURRENT}
    assert found["tabulate"].outputs == ("table.csv",)
    assert found["tabulate"].reasons == ()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"command": (f"{REGISTRY}/python:v3", "python", "analysis/tabulate.py")},
         Why.COMMAND_CHANGED),
        ({"patterns": {"table.csv": PrivacyLevel.HIGHLY_SENSITIVE}}, Why.OUTPUTS_CHANGED),
        ({"needs": ("extract", "clean")}, Why.NEEDS_CHANGED),
    ],
)  # fmt: skip
def test_an_action_that_changed_makes_its_outputs_stale(changes: dict[str, Any], why: Why) -> None:
    changed = ACTIONS | {"tabulate": ACTIONS["tabulate"]._replace(**changes)}
    found = states(EXTRACT, TABULATE, actions=changed)
    assert (found["tabulate"].verdict, reasons(found["tabulate"])) == (Verdict.STALE, {why: ()})
    assert found["extract"].verdict is Verdict.CURRENT


def test_needs_are_not_compared_where_a_job_that_met_one_is_not_on_record() -> None:
    assert Why.NEEDS_CHANGED not in reasons(states(TABULATE)["tabulate"])


def test_outputs_of_an_action_that_is_gone_are_stale_and_so_is_what_was_made_of_them() -> None:
    found = states(EXTRACT, TABULATE, actions={"tabulate": ACTIONS["tabulate"]})
    assert reasons(found["extract"]) == {Why.ACTION_GONE: ()}
    assert reasons(found["tabulate"]) == {Why.INPUT_STALE: ("extract",)}
    assert found["tabulate"].verdict is Verdict.STALE


@pytest.mark.parametrize(
    ("files", "why", "verdict"),
    [
        (("project.yaml",), {}, Verdict.CURRENT),
        (("analysis/extract.py", "project.yaml"),
         {Why.CODE_CHANGED: ("analysis/extract.py",)}, Verdict.STALE),
        (("analysis/lib.py",), {Why.CODE_ELSEWHERE_CHANGED: ("analysis/lib.py",)},
         Verdict.PERHAPS),
        (("extract.py",), {Why.CODE_ELSEWHERE_CHANGED: ("extract.py",)}, Verdict.PERHAPS),
        (None, {Why.CODE_NOT_COMPARED: ()}, Verdict.PERHAPS),
    ],
)  # fmt: skip
def test_code_that_the_command_names_makes_outputs_stale_and_other_code_perhaps(
    files: tuple[str, ...] | None, why: dict[Why, tuple[str, ...]], verdict: Verdict
) -> None:
    old = EXTRACT.model_copy(update={"commit": OLD})
    state = states(old, differing={OLD: files})["extract"]
    assert (reasons(state), state.verdict) == (why, verdict)


def test_of_many_files_the_first_are_named_and_all_counted() -> None:
    old = EXTRACT.model_copy(update={"commit": OLD})
    files = tuple(f"lib/{number}.py" for number in range(9))
    (reason,) = states(old, differing={OLD: files})["extract"].reasons
    assert (reason.names, reason.count) == (files[:5], 9)


@pytest.mark.parametrize(
    ("now", "why"),
    [
        ({"action_commit": "1" * 40}, {}),
        ({"action_commit": "2" * 40},
         {Why.CODE_CHANGED: ("https://github.com/opensafely-actions/x",)}),
        ({"command": None}, {Why.CODE_NOT_COMPARED: ()}),
    ],
)  # fmt: skip
def test_the_code_of_a_reusable_action_is_that_of_its_version(
    now: dict[str, Any], why: dict[Why, tuple[str, ...]]
) -> None:
    repo = "https://github.com/opensafely-actions/x"
    reusable = EXTRACT.model_copy(
        update={"action_repo": repo, "action_commit": "1" * 40, "commit": OLD}
    )
    found = states(reusable, actions={"extract": action("extract", **now)})
    assert reasons(found["extract"]) == why


@pytest.mark.parametrize(
    ("ids", "why"),
    [
        ({f"{REGISTRY}/python:v2": f"sha256:{'f' * 64}"},
         {Why.IMAGE_NEWER: (f"{REGISTRY}/python:v2",)}),
        ({f"{REGISTRY}/python:v2": None}, {}),
        ({}, {}),
    ],
)  # fmt: skip
def test_an_image_whose_name_stands_for_another_makes_outputs_stale(
    ids: dict[str, str | None], why: dict[Why, tuple[str, ...]]
) -> None:
    assert reasons(states(EXTRACT, image_ids=ids)["extract"]) == why


def test_an_image_is_not_compared_where_the_record_does_not_tell_it() -> None:
    assert states(EXTRACT.model_copy(update={"image_id": None}))["extract"].reasons == ()


def test_an_input_that_was_made_again_makes_outputs_stale_unless_its_bytes_are_the_same() -> None:
    same = EXTRACT.model_copy(update={"job_id": "job3", "filed_at_ns": 3})
    assert states(EXTRACT, TABULATE, same)["tabulate"].verdict is Verdict.CURRENT
    other = record("job4", "extract", filed("data.csv", "newer"), filed_at_ns=4)
    contents = {"data.csv": sha256_of("newer"), "table.csv": TABLE.sha256}
    found = states(EXTRACT, TABULATE, other, contents=contents)
    assert reasons(found["tabulate"]) == {Why.INPUT_MADE_AGAIN: ("data.csv",)}
    assert found["extract"].job_id == "job4"


def test_a_later_job_that_failed_counts_only_by_what_it_left_in_the_workspace() -> None:
    half = record(
        "job3", "extract", filed("data.csv", "half"), succeeded=False, exit_code=1, filed_at_ns=3
    )
    contents = {"data.csv": sha256_of("half"), "table.csv": TABLE.sha256}
    found = states(EXTRACT, TABULATE, half, contents=contents)
    assert found["extract"].job_id == "job1"
    assert reasons(found["extract"]) == {Why.OUTPUT_REPLACED: ("data.csv",)}
    assert reasons(found["tabulate"]) == {
        Why.INPUT_REPLACED: ("data.csv",),
        Why.INPUT_STALE: ("extract",),
    }


def test_files_that_are_gone_or_changed_by_hand_make_outputs_stale() -> None:
    found = states(TABULATE, contents={"table.csv": sha256_of("forged")})
    assert reasons(found["tabulate"]) == {
        Why.INPUT_REPLACED: ("data.csv",),
        Why.OUTPUT_REPLACED: ("table.csv",),
    }


def test_an_input_that_its_action_made_again_later_and_is_stale_is_judged_first() -> None:
    again = EXTRACT.model_copy(update={"job_id": "job3", "filed_at_ns": 3})
    found = states(TABULATE, again, actions={"tabulate": ACTIONS["tabulate"]})
    assert Why.INPUT_STALE in reasons(found["tabulate"])


def test_actions_that_changed_their_places_are_judged_all_the_same() -> None:
    first = EXTRACT.model_copy(update={"inputs": (read(TABLE, "job2", "tabulate"),)})
    assert set(states(first, TABULATE)) == {"extract", "tabulate"}


def test_what_a_job_did_not_make_is_not_its_output() -> None:
    kept = filed("data.csv", untouched=True, made_by="job1")
    tabulate = record("job2", "tabulate", TABLE, kept, patterns={"table.csv": MODERATE})
    state = states(EXTRACT, tabulate, contents={"table.csv": TABLE.sha256})["tabulate"]
    assert (state.outputs, Why.OUTPUT_REPLACED in reasons(state)) == (("table.csv",), False)


def test_an_action_whose_last_job_has_no_record_is_unknown() -> None:
    earlier = (Earlier("clean", "job0", ("b.csv", "a.csv")), Earlier("extract", "job00", ()))
    found = states(EXTRACT, earlier=earlier)
    assert found["clean"] == ActionState(
        action="clean",
        job_id="job0",
        outputs=("a.csv", "b.csv"),
        verdict=Verdict.UNKNOWN,
        reasons=(Reason(why=Why.NO_RECORD),),
    )
    assert found["extract"].verdict is Verdict.CURRENT
