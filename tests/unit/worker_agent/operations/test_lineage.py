"""The tree of a file's origins, from records alone."""

import pytest

from tests.support.provenance import filed, read, record, sha256_of
from worker_agent.operations.lineage import (
    Filed,
    FileNode,
    JobFacts,
    JobNode,
    Lineage,
    Recording,
    Standing,
    dataset_definition,
    is_doubtful,
    of_record,
)
from worker_agent.workspace.provenance import ProvenanceRecord

pytestmark = pytest.mark.unit

DATA, TABLE = filed("data.csv"), filed("table.csv")
EXTRACT = record(
    "job1",
    "extract",
    DATA,
    args=("generate-dataset", "analysis/dataset.py", "--output", "data.csv"),
    database_name="default",
    filed_at_ns=1,
)
TABULATE = record("job2", "tabulate", TABLE, inputs=(read(DATA, "job1", "extract"),), filed_at_ns=2)


def lineage(*records: ProvenanceRecord | JobFacts, **contents: str | None) -> Lineage:
    """With files that hold their own names, unless ``contents`` says otherwise."""

    def now(name: str) -> str | None:
        text = contents.get(name.removesuffix(".csv"), name)
        return None if text is None else sha256_of(text)

    return Lineage(
        (each if isinstance(each, JobFacts) else of_record(each) for each in records), now
    )


def traced(tree: Lineage, name: str) -> FileNode:
    file = tree.of_file(name)
    assert file is not None
    return file


def maker(file: FileNode) -> JobNode:
    assert file.job is not None
    return file.job


def test_a_table_is_followed_back_to_the_dataset_definition() -> None:
    table = traced(lineage(EXTRACT, TABULATE), "table.csv")
    assert (table.standing, table.sha256) == (Standing.AS_FILED, TABLE.sha256)
    job = maker(table)
    assert (job.job_id, job.recording, job.commit) == ("job2", Recording.RECORDED, "c" * 40)
    (data,) = job.inputs
    assert (data.name, data.standing) == ("data.csv", Standing.AS_FILED)
    first = maker(data)
    assert (first.action, first.database_name) == ("extract", "default")
    assert (first.dataset_definition, first.inputs) == ("analysis/dataset.py", ())


@pytest.mark.parametrize(
    ("args", "file"),
    [
        ((), None),
        (("python", "analysis/a.py"), None),
        (("generate-measures", "--option", "analysis/m.py"), "analysis/m.py"),
        (("generate-dataset", "--output", "a.csv"), None),
    ],
)
def test_only_a_command_of_ehrql_names_a_definition(
    args: tuple[str, ...], file: str | None
) -> None:
    assert dataset_definition(args) == file


def test_a_file_changed_by_hand_is_told_with_both_hashes() -> None:
    table = traced(lineage(EXTRACT, TABULATE, table="forged"), "table.csv")
    assert table.standing is Standing.CHANGED
    assert (table.sha256, table.sha256_now) == (TABLE.sha256, sha256_of("forged"))
    assert maker(table).job_id == "job2"


def test_an_input_that_another_job_made_again_names_it() -> None:
    again = record("job3", "extract", filed("data.csv", "newer"), filed_at_ns=3)
    tree = lineage(EXTRACT, TABULATE, again, data="newer")
    (data,) = maker(traced(tree, "table.csv")).inputs
    assert (data.standing, data.made_again_by) == (Standing.MADE_AGAIN, "job3")
    assert maker(data).job_id == "job1"
    assert maker(traced(tree, "data.csv")).job_id == "job3"


def test_an_input_that_is_gone_or_was_changed_is_told_and_the_rest_answered() -> None:
    (gone,) = maker(traced(lineage(EXTRACT, TABULATE, data=None), "table.csv")).inputs
    assert (gone.standing, maker(gone).job_id) == (Standing.GONE, "job1")
    (changed,) = maker(traced(lineage(EXTRACT, TABULATE, data="forged"), "table.csv")).inputs
    assert (changed.standing, changed.made_again_by) == (Standing.CHANGED, None)


def test_a_file_whose_bytes_an_earlier_job_filed_is_that_jobs() -> None:
    later = record("job3", "tabulate", filed("table.csv", "newer"), filed_at_ns=3)
    assert maker(traced(lineage(EXTRACT, TABULATE, later), "table.csv")).job_id == "job2"


def test_a_job_that_made_several_inputs_is_shown_with_its_own_inputs_once() -> None:
    more = filed("more.csv")
    extract = record("job1", "extract", DATA, more, filed_at_ns=1)
    inputs = (read(DATA, "job1", "extract"), read(more, "job1", "extract"))
    tabulate = record("job2", "tabulate", TABLE, inputs=inputs, filed_at_ns=2)
    nodes = [maker(file) for file in maker(traced(lineage(extract, tabulate), "table.csv")).inputs]
    assert [node.is_shown_elsewhere for node in nodes] == [False, True]


def test_an_input_without_a_hash_is_not_verified_whatever_lies_there() -> None:
    unverified = read(DATA, "job1", "extract", verified=False)
    tabulate = record("job2", "tabulate", TABLE, inputs=(unverified,), filed_at_ns=2)
    (data,) = maker(traced(lineage(tabulate), "table.csv")).inputs
    assert data.standing is Standing.UNVERIFIED
    assert maker(data) == JobNode(job_id="job1", action="extract", recording=Recording.MISSING)


def test_a_job_from_before_there_were_records_is_told_as_one() -> None:
    earlier = JobFacts("job1", "extract", 1, {"data.csv": Filed(None)})
    data = traced(lineage(earlier), "data.csv")
    assert data.standing is Standing.UNVERIFIED
    assert maker(data).recording is Recording.EARLIER


def test_a_file_that_no_job_filed_and_one_that_is_not_there() -> None:
    tree = lineage(EXTRACT, other=None)
    stranger = traced(tree, "stranger.csv")
    assert (stranger.standing, stranger.job) == (Standing.UNRECORDED, None)
    assert stranger.sha256_now == sha256_of("stranger.csv")
    assert tree.of_file("other.csv") is None


def test_an_untouched_output_is_its_makers() -> None:
    kept = filed("data.csv", untouched=True, made_by="job1", excluded=True, reason="not its own")
    tabulate = record("job2", "tabulate", TABLE, kept, filed_at_ns=2)
    data = traced(lineage(EXTRACT, tabulate), "data.csv")
    assert (data.is_untouched, data.is_from_repository, data.excluded) == (True, False, True)
    assert maker(data).job_id == "job1"


def test_an_untouched_output_from_the_repository_was_made_by_no_job() -> None:
    committed = filed("lookup.csv", untouched=True)
    lookup = traced(lineage(record("job2", "tabulate", committed)), "lookup.csv")
    assert (lookup.is_from_repository, lookup.job) == (True, None)


def test_a_job_is_shown_with_what_it_filed_and_what_it_read() -> None:
    job = lineage(EXTRACT, TABULATE).of_job("job2")
    assert [(file.name, file.job) for file in job.outputs] == [("table.csv", None)]
    assert [file.name for file in job.inputs] == ["data.csv"]
    assert lineage().of_job("nobody").recording is Recording.MISSING


def test_a_tree_is_doubtful_if_a_file_in_it_is_what_no_job_filed() -> None:
    assert not is_doubtful(traced(lineage(EXTRACT, TABULATE), "table.csv"))
    forged = lineage(EXTRACT, TABULATE, data="forged")
    assert is_doubtful(traced(forged, "table.csv"))
    assert is_doubtful(forged.of_job("job2"))
    assert is_doubtful(traced(forged, "stranger.csv"))
    assert not is_doubtful(traced(lineage(record("job2", "x", filed("a", untouched=True))), "a"))
