"""``rap agent provenance``: what it prints, on real folders."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.main import run_app
from tests.support.provenance import filed, read, record, sha256_of
from tests.support.workspace import Backend, container
from worker_agent.workspace import provenance
from worker_agent.workspace.provenance import ProvenanceRecord

pytestmark = pytest.mark.unit

DATA, TABLE = filed("output/data.csv"), filed("output/table.csv")
EXTRACT = record(
    "job1",
    "extract",
    DATA,
    args=("generate-dataset", "analysis/dataset.py", "--output", "output/data.csv"),
    database_name="default",
    permissions=("event_level_data",),
    filed_at_ns=1,
)
TABULATE = record("job2", "tabulate", TABLE, inputs=(read(DATA, "job1", "extract"),))


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Backend:
    backend = Backend(tmp_path)
    for name, value in backend.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("rap.telemetry.logs.configure", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    return backend


@pytest.fixture
def keep(backend: Backend) -> Callable[..., None]:
    """Keeps the records of jobs, and files as they have filed them."""

    def write(*records: ProvenanceRecord) -> None:
        for each in records:
            path = provenance.path_of(backend.storage, each.workspace, each.job_id)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(provenance.encoded(each))
            for output in each.outputs:
                file = backend.storage.high(each.workspace) / output.name
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(output.name)

    return write


def shown(capsys: Any, *arguments: str) -> str:
    assert run_app(["agent", "provenance", *arguments]) == 0
    text: str = capsys.readouterr().out
    return text


def test_a_file_is_shown_as_a_tree_back_to_the_dataset_definition(
    keep: Callable[..., None], capsys: Any
) -> None:
    keep(EXTRACT, TABULATE)
    lines = shown(capsys, "ws/output/table.csv").splitlines()
    assert lines[0] == f"output/table.csv  moderately_sensitive  {TABLE.sha256[:12]}"
    assert lines[1].startswith("└── tabulate  job job2  filed 2026-01-01")
    text = "\n".join(lines)
    assert "code      https://github.com/opensafely/study main cccccccccccc" in text
    assert "image     ghcr.io/opensafely-core/python:v2 dddddddddddd" in text
    assert "database  default, permissions event_level_data" in text
    assert "dataset   analysis/dataset.py of that commit" in text
    assert "for       alice, project asthma, RAP raprapraprap0001" in text
    assert text.index("output/table.csv") < text.index("output/data.csv") < text.index("extract")
    assert "\x1b" not in text


def test_a_file_is_named_by_a_path_of_either_side_or_with_its_workspace(
    keep: Callable[..., None], backend: Backend, capsys: Any
) -> None:
    keep(EXTRACT, TABULATE)
    text = shown(capsys, "ws/output/table.csv")
    assert shown(capsys, "output/table.csv", "--workspace", "ws") == text
    for side in (backend.high, backend.medium):
        assert shown(capsys, str(side / "output/table.csv")) == text


def test_a_job_is_named_by_the_beginning_of_its_id(keep: Callable[..., None], capsys: Any) -> None:
    keep(EXTRACT, TABULATE, record("other1", "x", workspace="another"))
    document = json.loads(shown(capsys, "job2", "--json"))
    assert (document["workspace"], document["about"]["job_id"]) == ("ws", "job2")
    assert [file["name"] for file in document["about"]["outputs"]] == ["output/table.csv"]
    assert json.loads(shown(capsys, "oth", "--json"))["workspace"] == "another"
    assert shown(capsys, "job2").splitlines()[1] == "├── filed"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["job"], "'job' is the beginning of several jobs: job1, job2.\n"),
        (["nobody"], "No job is on record here whose id begins with 'nobody'."),
        (["*"], "No job is on record here whose id begins with '*'."),
        (["nowhere/a.csv"], "There is no workspace nowhere on this host.\n"),
        (["../a.csv"], "There is no workspace .. on this host.\n"),
        (["a.csv", "--workspace", "nowhere"], "There is no workspace nowhere on this host.\n"),
        (["ws/no.csv"], "There is no file no.csv in workspace ws, and no job is on record"),
        (["ws/../ws/a"], "'../ws/a' "),
        (["/etc/passwd"], "/etc/passwd is no file of a workspace of this host"),
    ],
)
def test_what_is_not_known_gets_a_sentence(
    keep: Callable[..., None], capsys: Any, arguments: list[str], sentence: str
) -> None:
    keep(EXTRACT, TABULATE)
    assert run_app(["agent", "provenance", *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(sentence)
    assert err.count("\n") == 1


def test_a_file_changed_by_hand_is_told_with_both_hashes(
    keep: Callable[..., None], backend: Backend, capsys: Any
) -> None:
    keep(EXTRACT, TABULATE)
    (backend.high / "output/data.csv").write_text("forged")
    text = shown(capsys, "ws/output/table.csv")
    was, now = DATA.sha256, sha256_of("forged")
    assert f"changed by hand since: it was {was}, it is {now}" in text


def test_what_the_records_do_not_tell_is_said_for_that_file_and_the_rest_answered(
    keep: Callable[..., None], backend: Backend, capsys: Any
) -> None:
    more = filed("more.csv")
    inputs = (read(DATA, "job1", "extract", verified=False), read(more, "job0", "gone"))
    keep(record("job2", "tabulate", TABLE, inputs=inputs))
    folder = provenance.folder_of(backend.storage, "ws")
    (folder / "job1.json").write_text("{")
    assert run_app(["agent", "provenance", "ws/output/table.csv"]) == 0
    out, err = capsys.readouterr()
    assert "not in the workspace any more" in out
    assert "gone  job job0  there is no record of it" in out
    assert f"The record {folder / 'job1.json'} is damaged." in err
    (backend.high / "stranger.csv").write_text("x")
    text = shown(capsys, "ws/stranger.csv")
    assert f"no job is on record that filed it; it is {sha256_of('x')}" in text


async def test_a_file_of_a_job_without_a_record_of_provenance_is_told_as_such(
    backend: Backend, capsys: Any
) -> None:
    labels = {"Config": {"Labels": {"workspace": "ws", "action": "make"}}}
    old = backend.job(id="old1", task_id="old1-001")
    await backend.finish(old, {"out.csv": "x"}, container=container(inspection=labels))
    provenance.path_of(backend.storage, "ws", "old1").unlink(missing_ok=True)
    text = shown(capsys, "ws/out.csv")
    assert "make  job old1  it has no record of provenance: what it read is not known" in text
    backend.manifest_path.write_text("[]")
    assert "not verified: no hash is on record" in shown(capsys, "old1")


def test_a_file_whose_job_is_just_filing_it_is_judged_once_that_is_over(
    keep: Callable[..., None],
    backend: Backend,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keep(EXTRACT)
    later = record("job3", "extract", filed("output/data.csv", "newer"), filed_at_ns=3)
    (backend.high / "output/data.csv").write_text("newer")

    def ends(*_: Any) -> bool:
        """The moves are made; the record comes while somebody looks."""
        path = provenance.path_of(backend.storage, "ws", "job3")
        path.write_bytes(provenance.encoded(later))
        return False

    monkeypatch.setattr("worker_agent.workspace.filing.is_begun_in", ends)
    about = json.loads(shown(capsys, "ws/output/data.csv", "--json"))["about"]
    assert (about["standing"], about["job"]["job_id"]) == ("as_filed", "job3")


def test_results_that_stay_half_filed_are_told(
    keep: Callable[..., None],
    backend: Backend,
    capsys: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keep(EXTRACT)
    (backend.high / "output/data.csv").write_text("newer")
    monkeypatch.setattr("worker_agent.workspace.filing.is_begun_in", lambda *_: True)
    monkeypatch.setattr("worker_agent.operations.provenance.sleep", lambda _: None)
    ticks = itertools.count(step=10)
    monkeypatch.setattr("worker_agent.operations.provenance.monotonic", lambda: next(ticks))
    assert run_app(["agent", "provenance", "ws/output/data.csv"]) == 0
    out, err = capsys.readouterr()
    assert "changed by hand since" in out
    assert "The results of a job are half filed in this workspace" in err


def test_a_user_who_may_not_read_the_records_is_told(
    keep: Callable[..., None], capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(EXTRACT)

    def refused(*_: Any) -> None:
        raise PermissionError(13, "Permission denied", "/srv/high")

    monkeypatch.setattr("worker_agent.operations.provenance.trace", refused)
    assert run_app(["agent", "provenance", "job1"]) == 1
    assert capsys.readouterr().err == (
        "This user may not read /srv/high: run this as the agent's user.\n"
    )
