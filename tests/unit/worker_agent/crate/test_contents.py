"""What goes into a crate whole, what by its hash, and which jobs."""

from typing import Any

import pytest

from rap.egress import Stage
from tests.support.shelf import BEGAN, HIGH, MODERATE, output, record
from worker_agent.crate.contents import (
    Audience,
    Contents,
    Found,
    Key,
    Stays,
    decide,
    standing,
    why_it_stays,
)
from worker_agent.workspace.provenance import InputFile, ProvenanceRecord

pytestmark = pytest.mark.unit

SHOWN = output("a.csv", b"1", MODERATE)


def entry(of: Any = SHOWN, job_id: str = "job1", **changes: Any) -> dict[str, Any]:
    fields = {"level": of.level.value, "job_id": job_id, "content_hash": of.sha256}
    return fields | {"excluded": False} | changes


def read(name: str, job_id: str, **changes: Any) -> InputFile:
    fields: dict[str, Any] = {"action": "maker", "size": 1, "sha256": "0" * 64, "level": HIGH}
    return InputFile(name=name, job_id=job_id, **(fields | changes))


def contents(*records: ProvenanceRecord, **found: Any) -> Contents:
    manifest = {
        each.name: entry(each, one.job_id, excluded=each.excluded)
        for one in records
        for each in one.outputs
    }
    fields: dict[str, Any] = {"workspace": "ws", "records": records, "manifest": manifest}
    return decide(Found(**(fields | found)), Audience.REVIEWERS)


@pytest.mark.parametrize(
    ("filed", "listed", "for_reviewers", "inside"),
    [
        (SHOWN, entry(), None, None),
        (output("a.csv", b"1", HIGH), entry(output("a.csv", b"1", HIGH)), Stays.SENSITIVE, None),
        (
            output("a.csv", b"1", MODERATE, excluded=True),
            entry(excluded=True),
            Stays.EXCLUDED,
            None,
        ),
        # Record and manifest should agree; where they do not, the stricter one counts.
        (output("a.csv", b"1", HIGH), entry(), Stays.SENSITIVE, None),
        (SHOWN, entry(level="highly_sensitive"), Stays.EXCLUDED, None),
        (SHOWN, entry(excluded=True), Stays.EXCLUDED, None),
        (SHOWN, entry(job_id="job2"), Stays.REPLACED, Stays.REPLACED),
        (SHOWN, entry(content_hash="0" * 64), Stays.REPLACED, Stays.REPLACED),
        (SHOWN, None, Stays.REPLACED, Stays.REPLACED),
    ],
)
def test_a_file_is_whole_only_if_its_readers_may_see_it_and_it_is_what_its_job_filed(
    filed: Any, listed: Any, for_reviewers: Stays | None, inside: Stays | None
) -> None:
    manifest = {"a.csv": listed} if listed else {}
    assert why_it_stays("job1", filed, manifest, Audience.REVIEWERS) is for_reviewers
    assert why_it_stays("job1", filed, manifest, Audience.INSIDE) is inside


def test_a_run_has_its_jobs_in_the_order_in_which_they_filed_and_reads_only_what_others_made() -> (
    None
):
    second = record(
        "two",
        filed_at_ns=2,
        inputs=(read("a.csv", "one"), read("b.csv", "elsewhere"), read("b.csv", "elsewhere")),
        outputs=(output("c.csv"),),
    )
    found = contents(second, record("one", filed_at_ns=1, outputs=(SHOWN,)))

    (run,) = found.runs
    assert [job.record.job_id for job in run.jobs] == ["one", "two"]
    assert run.objects == (Key("elsewhere", "b.csv"),)
    assert run.results == (Key("one", "a.csv"), Key("two", "c.csv"))
    assert [part.key for part in found.whole] == [Key("one", "a.csv")]
    assert found.parts[Key("elsewhere", "b.csv")].stays is Stays.ELSEWHERE


def test_a_run_succeeded_if_all_its_jobs_did_also_those_that_filed_nothing() -> None:
    assert contents(record()).latest.succeeded
    assert not contents(record(succeeded=False)).latest.succeeded
    assert not contents(record(), failed_raps={"rap1"}).latest.succeeded


def test_raps_are_runs_of_their_own_the_latest_last() -> None:
    found = contents(
        record("two", rap_id="rap2", filed_at_ns=2), record("one", rap_id="rap1", filed_at_ns=1)
    )
    assert [run.rap_id for run in found.runs] == ["rap1", "rap2"]
    assert found.latest.first.job_id == "two"
    assert [job.record.job_id for job in found.jobs] == ["one", "two"]


def test_a_job_that_was_never_measured_began_when_it_was_asked_for() -> None:
    (run,) = contents(record(stages={})).runs
    assert run.jobs[0].started_at == BEGAN
    (run,) = contents(record(stages={Stage.EXECUTING: 7.0})).runs
    assert run.jobs[0].started_at == 7.0


def test_a_workspace_is_what_stands_in_it_back_to_the_first_input() -> None:
    records = {
        "dataset": record("dataset"),
        "table": record("table", inputs=(read("d", "dataset"), read("x", "unknown"))),
        "plot": record("plot", inputs=(read("d", "dataset"),)),
        "before": record("before"),
    }
    manifest = {"t": {"job_id": "table"}, "p": {"job_id": "plot"}, "old": {"job_id": "old"}}
    found = standing(records, manifest)
    assert {each.job_id for each in found} == {"table", "plot", "dataset"}
