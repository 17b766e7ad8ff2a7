"""The end of an attempt: what is published where, for every way of ending, and once only."""

import asyncio
import errno
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from rap.egress import Ending, ExitNote, Fault, Interruption
from rap.errors import TransientFault
from rap.models import JobDefinition
from tests.support.workspace import HIGH, MODERATE, Backend, container, tree
from worker_agent import atomic_files
from worker_agent.engine.facts import ContainerFacts
from worker_agent.workspace import copying, job_log, manifest, metadata, publish
from worker_agent.workspace.attempt_end import AttemptEnd
from worker_agent.workspace.finalize import finalize, finish_recorded
from worker_agent.workspace.limits import Limits

pytestmark = pytest.mark.unit

MARKER = ".opensafely-timestamp"
PATIENTS = "patient_id,age\n1,2\n"


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    return Backend(tmp_path)


def logged_files(backend: Backend, job: JobDefinition) -> set[str]:
    folder = backend.log_dir(job)
    return tree(folder) if folder.exists() else set()


# --- a program that ran to its end ---


@pytest.mark.spec("agent:101", "agent:118")
async def test_outputs_are_published_by_their_level(backend: Backend) -> None:
    job = backend.job(output_spec={"data/*.csv": HIGH, "out/*.txt": MODERATE})
    outcome = await backend.finish(job, {"data/a.csv": PATIENTS, "out/b.txt": "small"})
    assert (outcome.ending, outcome.exit_code) == (Ending.COMPLETED, 0)
    assert tree(backend.high) == {"data/a.csv", "out/b.txt", "metadata/make.log"}
    assert tree(backend.medium) == {"out/b.txt", "metadata/make.log", "metadata/manifest.json"}
    assert (backend.high / "data/a.csv").read_text() == PATIENTS
    assert (backend.medium / "out/b.txt").read_text() == "small"
    assert backend.metadata(job)["status_message"] == "Completed successfully"
    assert backend.metadata(job)["outputs"] == {
        "data/a.csv": "highly_sensitive",
        "out/b.txt": "moderately_sensitive",
    }


async def test_nothing_is_left_where_outputs_were_put_together(backend: Backend) -> None:
    await backend.finish(backend.job(output_spec={"*.csv": MODERATE}), {"a.csv": PATIENTS})
    for workspaces in (backend.storage.high_workspaces, backend.storage.medium_workspaces):
        assert {path for path in tree(workspaces) if not path.startswith("ws/")} == set()


@pytest.mark.spec("agent:106")
async def test_a_program_that_failed_has_its_outputs_published_all_the_same(
    backend: Backend,
) -> None:
    job = backend.job(output_spec={"out.csv": HIGH, "none.csv": HIGH})
    outcome = await backend.finish(job, {"out.csv": "x"}, exit_code=1)
    assert (outcome.ending, outcome.exit_code) == (Ending.COMPLETED, 1)
    assert outcome.has_unmatched_patterns
    record = backend.metadata(job)
    assert record["exit_code"] == "1"
    assert record["unmatched_patterns"] == ["none.csv"]
    assert record["status_message"] is None
    assert (backend.high / "out.csv").exists()


@pytest.mark.spec("agent:107")
async def test_a_killed_program_is_told_as_such_with_both_logs(backend: Backend) -> None:
    job = backend.job()
    outcome = await backend.finish(job, {}, exit_code=137)
    assert (outcome.exit_code, outcome.exit_note) == (137, ExitNote.KILLED)
    record = backend.metadata(job)
    assert record["exit_code"] == "137"
    assert record["status_message"] == "Job killed by OpenSAFELY admin or memory limits"
    assert (backend.high / "metadata/make.log").exists()
    assert (backend.medium / "metadata/make.log").exists()


@pytest.mark.spec("agent:108")
async def test_running_out_of_memory_is_told_with_the_limit(backend: Backend) -> None:
    job = backend.job()
    ended = container(137, oom_killed=True, memory_limit_bytes=6 * 1024 * 1024)
    outcome = await backend.finish(job, {}, container=ended)
    assert outcome.exit_note is ExitNote.OUT_OF_MEMORY
    assert outcome.memory_limit_bytes == 6 * 1024 * 1024
    record = backend.metadata(job)
    assert record["status_message"] == "Job ran out of memory (limit was 0.01GB)"
    assert record["oom_killed"] is True


async def test_what_the_program_did_to_the_marker_changes_nothing(backend: Backend) -> None:
    job = backend.job()
    volume = backend.fill_volume(job, {"out.csv": "x", "stray.csv": "y"})
    (volume / MARKER).write_text("9" * 300)
    os.utime(volume / MARKER, (4e9, 4e9))
    outcome = await backend.finish(job)
    assert backend.metadata(job)["unmatched_outputs"] == ["stray.csv"]
    assert max(outcome.stages.values()) <= time.time()


# --- level 4 ---


@pytest.mark.spec("agent:119", "agent:126")
@pytest.mark.parametrize(
    ("name", "limits", "content", "reason"),
    [
        (
            "out/a.txt",
            {"level4_max_filesize": 1024 * 1024, "level4_file_types": (".txt",)},
            "x" * (2 * 1024 * 1024),
            "File size of 2.0Mb is larger than limit of 1.0Mb.",
        ),
        ("out/a.exe", {}, "x", "File type of .exe is not valid level 4 file"),
        ("out/a.csv", {}, PATIENTS, "File has patient_id column"),
        (
            "out/a.csv",
            {"level4_max_csv_rows": 1},
            "x\n1\n2\n",
            "File row count (2) exceeds maximum allowed rows (1)",
        ),
    ],
)
async def test_an_excluded_file_is_replaced_by_a_message_file(
    backend: Backend, name: str, limits: dict[str, Any], content: str, reason: str
) -> None:
    job = backend.job(output_spec={"out/*": MODERATE}, **limits)
    old = backend.medium / name
    old.parent.mkdir(parents=True)
    old.write_text("the copy of an earlier run")
    outcome = await backend.finish(job, {name: content})
    assert outcome.has_level4_excluded_files
    assert (backend.high / name).read_text() == content
    assert not old.exists()
    message = (backend.medium / f"{name}.txt").read_text()
    assert message.startswith(f"\nThe file:\n\n{name}\n\n")
    entry = backend.manifest()["outputs"][name]
    assert (entry["excluded"], entry["message"]) == (True, reason)
    assert entry["content_hash"] == hashlib.sha256(content.encode()).hexdigest()
    assert backend.metadata(job)["level4_excluded_files"] == {name: reason}
    log = (backend.medium / "metadata/make.log").read_text()
    assert f"\nInvalid moderately_sensitive outputs:\n  {name}  - {reason}\n" in log


@pytest.mark.spec("agent:125")
async def test_a_later_good_run_removes_the_message_file(backend: Backend) -> None:
    job = backend.job(output_spec={"a.csv": MODERATE})
    await backend.finish(job, {"a.csv": PATIENTS})
    assert tree(backend.medium) >= {"a.csv.txt"}
    await backend.finish(backend.job(id="job2", output_spec=job.output_spec), {"a.csv": "x"})
    assert tree(backend.medium) == {"a.csv", "metadata/make.log", "metadata/manifest.json"}
    entry = backend.manifest()["outputs"]["a.csv"]
    assert (entry["excluded"], entry["message"]) == (False, None)


async def test_a_file_that_became_highly_sensitive_leaves_level_4(backend: Backend) -> None:
    await backend.finish(backend.job(output_spec={"a.csv": MODERATE}), {"a.csv": "x"})
    await backend.finish(backend.job(id="job2", output_spec={"a.csv": HIGH}), {"a.csv": "x"})
    assert tree(backend.medium) == {"metadata/make.log", "metadata/manifest.json"}
    assert (backend.high / "a.csv").exists()


@pytest.mark.spec("agent:128")
async def test_a_name_with_an_apostrophe_is_nothing_special(backend: Backend) -> None:
    job = backend.job(output_spec={"qu'ote.csv": MODERATE, "bad'one.csv": MODERATE})
    await backend.finish(job, {"qu'ote.csv": "x\n1\n", "bad'one.csv": PATIENTS})
    assert tree(backend.medium) >= {"qu'ote.csv", "bad'one.csv.txt"}
    assert backend.manifest()["outputs"]["qu'ote.csv"]["row_count"] == 1


@pytest.mark.spec("agent:129")
async def test_links_in_the_places_of_outputs_are_replaced(
    backend: Backend, tmp_path: Path
) -> None:
    victims = []
    for number, place in enumerate(
        (backend.high / "a.csv", backend.medium / "a.csv", backend.medium / "b.csv.txt")
    ):
        victim = tmp_path / f"victim{number}"
        victim.write_text("untouched")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(victim)
        victims.append(victim)
    job = backend.job(output_spec={"*.csv": MODERATE})
    await backend.finish(job, {"a.csv": "x", "b.csv": PATIENTS})
    assert [victim.read_text() for victim in victims] == ["untouched"] * 3
    assert not (backend.medium / "a.csv").is_symlink()
    assert not (backend.medium / "b.csv.txt").is_symlink()


@pytest.mark.parametrize("content", ["x\n1\n", PATIENTS])
async def test_an_output_with_the_name_of_a_message_file_is_not_lost_to_it(
    backend: Backend, content: str
) -> None:
    job = backend.job(output_spec={"a.csv": MODERATE, "a.csv.txt": MODERATE})
    await backend.finish(job, {"a.csv": content, "a.csv.txt": "a real output"})
    assert (backend.medium / "a.csv.txt").read_text() == "a real output"
    await backend.finish(
        backend.job(id="job2", action="other", output_spec={"a.csv": MODERATE}), {"a.csv": content}
    )
    assert (backend.medium / "a.csv.txt").read_text() == "a real output"


async def test_the_message_file_of_one_file_survives_the_exclusion_of_its_namesake(
    backend: Backend,
) -> None:
    job = backend.job(output_spec={"*": MODERATE}, level4_file_types=(".csv",))
    job = job.model_copy(update={"output_spec": {"a.csv": MODERATE, "a.csv.txt": MODERATE}})
    await backend.finish(job, {"a.csv": PATIENTS, "a.csv.txt": "wrong type"})
    assert "patient_id" in (backend.medium / "a.csv.txt").read_text()
    assert "wrong type" not in (backend.medium / "a.csv.txt").read_text()
    assert (backend.medium / "a.csv.txt.txt").exists()


async def test_only_bytes_that_passed_are_ever_in_the_area_of_level_4(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    real = atomic_files.replace

    def replace(*args: Any) -> None:
        seen.extend(
            path.read_bytes()
            for path in backend.settings.medium_privacy.rglob("*")
            if path.is_file()
        )
        real(*args)

    monkeypatch.setattr("worker_agent.workspace.publish.replace", replace)
    job = backend.job(output_spec={"*.csv": MODERATE, "high.txt": HIGH})
    await backend.finish(job, {"a.csv": PATIENTS, "b.csv": "good\n", "high.txt": PATIENTS})
    assert b"good\n" in seen
    assert PATIENTS.encode() not in seen


# --- traps ---


async def test_a_refused_file_is_told_in_the_log_and_its_pattern_is_unmatched(
    backend: Backend, tmp_path: Path
) -> None:
    job = backend.job(output_spec={"*.csv": MODERATE})
    (tmp_path / "secret").write_text("canary")
    (backend.fill_volume(job, {}) / "a.csv").symlink_to(tmp_path / "secret")
    outcome = await backend.finish(job)
    assert outcome.has_unmatched_patterns
    log = (backend.medium / "metadata/make.log").read_text()
    assert "\nRefused outputs:\n  a.csv  - it is a symbolic link\n" in log
    assert tree(backend.high) == {"metadata/make.log"}
    assert not any(
        b"canary" in path.read_bytes() for path in tmp_path.rglob("*/ws/**/*") if path.is_file()
    )


async def test_a_sparse_giant_is_refused_beside_a_good_file(backend: Backend) -> None:
    job = backend.job(output_spec={"*.csv": MODERATE})
    with (backend.fill_volume(job, {"good.csv": "x"}) / "giant.csv").open("wb") as file:
        file.truncate(2**43)
    outcome = await backend.finish(job)
    assert (outcome.ending, outcome.fault) == (Ending.COMPLETED, None)
    assert tree(backend.medium) == {"good.csv", "metadata/make.log", "metadata/manifest.json"}
    assert list(backend.metadata(job)["refused_outputs"]) == ["giant.csv"]


async def test_more_than_the_disk_holds_fails_the_job_with_a_sentence_and_files_nothing(
    backend: Backend,
) -> None:
    job = backend.job(output_spec={"*.csv": MODERATE})
    with (backend.fill_volume(job, {"good.csv": "x"}) / "giant.csv").open("wb") as file:
        file.truncate(2**43)
    outcome = await backend.finish(job, limits=Limits(sparse_from=2**60))
    assert (outcome.ending, outcome.fault) == (Ending.FAILED, Fault.OUTPUTS_REFUSED)
    assert outcome.exit_code == 0
    record = backend.metadata(job)
    assert record["outputs"] == {}
    assert record["error"]["exception"] == "outputs_refused"
    assert record["error"]["message"].startswith("The outputs are larger than the whole disk")
    for workspace in (backend.high, backend.medium):
        log = (workspace / "metadata/make.log").read_text()
        assert "\nstatus_message: The outputs are larger than the whole disk" in log
    assert not backend.manifest_path.exists()
    assert tree(backend.high) == {"metadata/make.log"}


@pytest.mark.parametrize(
    ("there", "name"), [("out", "out/a.csv"), ("a.csv/x", "a.csv"), ("out/a.csv/x", "out/a.csv")]
)
@pytest.mark.parametrize("area", ["high", "medium"])
async def test_an_output_that_has_no_place_in_the_workspace_fails_the_job(
    backend: Backend, there: str, name: str, area: str
) -> None:
    path = getattr(backend, area) / there
    path.parent.mkdir(parents=True)
    path.write_text("older")
    job = backend.job(output_spec={"*.csv": MODERATE, "out/*.csv": MODERATE, "b.csv": MODERATE})
    outcome = await backend.finish(job, {name: "x", "b.csv": "y"})
    assert outcome.fault is Fault.OUTPUTS_REFUSED
    assert path.read_text() == "older"
    assert "b.csv" not in tree(backend.high) | tree(backend.medium)
    assert "cannot be filed" in backend.metadata(job)["error"]["message"]


async def test_a_message_file_without_its_place_fails_the_job_before_anything_is_published(
    backend: Backend,
) -> None:
    job = backend.job(output_spec={"*.csv": MODERATE, "*/*.txt": MODERATE, "b.csv": MODERATE})
    files = {"a.csv": PATIENTS, "a.csv.txt/x.txt": "x", "b.csv": "y"}
    outcome = await backend.finish(job, files, exit_code=137)
    assert outcome.fault is Fault.OUTPUTS_REFUSED
    assert tree(backend.high) == tree(backend.medium) == {"metadata/make.log"}
    assert backend.metadata(job)["status_message"] == (
        "Job killed by OpenSAFELY admin or memory limits\n"
        "a.csv.txt cannot be filed: in the workspace, a file stands where it needs a directory, "
        "or a directory where it needs a file"
    )


async def test_a_clock_set_back_does_not_keep_the_log_of_an_earlier_run(backend: Backend) -> None:
    await backend.finish(backend.job(), {"out.csv": "x"}, raw_log=backend.raw_log("first\n"))
    later = backend.medium / "metadata/make.log"
    os.utime(later, (later.stat().st_mtime + 300,) * 2)
    second = backend.job(id="job2", task_id="job2-001")
    await backend.finish(second, {"out.csv": "x"}, raw_log=backend.raw_log("second\n"))
    assert later.read_text().startswith("second\n")


async def test_a_volume_that_vanished_interrupts_the_attempt(backend: Backend) -> None:
    outcome = await backend.finish(backend.job())
    assert (outcome.ending, outcome.fault) == (Ending.INTERRUPTED, None)
    assert outcome.interruption is Interruption.VOLUME_GONE
    assert "were deleted" in backend.metadata(backend.job())["error"]["message"]


# --- nothing to finalize ---


@pytest.mark.spec("agent:110")
@pytest.mark.parametrize(
    "facts", [None, container(running=True), container(started=False)], ids=["no", "runs", "dead"]
)
async def test_an_attempt_that_has_not_run_is_not_finalized(
    backend: Backend, facts: ContainerFacts | None
) -> None:
    job = backend.job()
    backend.fill_volume(job, {"out.csv": "x"})
    with pytest.raises(ValueError, match="has not run to its end"):
        await finalize(job, backend.storage, backend.git, AttemptEnd(container=facts))
    assert not backend.log_dir(job).exists()
    assert not backend.high.exists()


# --- cancelled ---


@pytest.mark.spec("agent:45", "agent:48", "agent:49")
@pytest.mark.parametrize("prepared", [False, True])
async def test_a_cancelled_attempt_that_never_started_leaves_only_its_record(
    backend: Backend, prepared: bool
) -> None:
    job = backend.job(image_sha=None)
    if prepared:
        backend.fill_volume(job, {"out.csv": "x"})
    outcome = await backend.abandon(job, cancelled=True)
    assert (outcome.ending, outcome.exit_code, outcome.fault) == (Ending.CANCELLED, None, None)
    assert logged_files(backend, job) == {"metadata.json"}
    assert not backend.high.exists()
    assert not backend.medium.exists()
    record = backend.metadata(job)
    assert record["exit_code"] == "None"
    assert record["status_message"] == "Job cancelled by system"
    assert record["cancelled"] is True
    assert record["error"] is None
    assert record["outputs"] == {}
    assert record["container_metadata"] == {}


@pytest.mark.spec("agent:46", "agent:47")
async def test_a_cancelled_running_attempt_leaves_its_log_but_none_in_the_workspace(
    backend: Backend,
) -> None:
    job = backend.job()
    outcome = await backend.finish(
        job, {"out.csv": "x"}, exit_code=137, cancelled=True, raw_log=backend.raw_log("said\n")
    )
    assert (outcome.ending, outcome.exit_code, outcome.exit_note) == (Ending.CANCELLED, 137, None)
    assert logged_files(backend, job) == {"metadata.json", "logs.txt"}
    assert not backend.high.exists()
    assert not backend.medium.exists()
    record = backend.metadata(job)
    assert record["exit_code"] == "137"
    assert record["status_message"] == "Job cancelled by system"
    log = (backend.log_dir(job) / "logs.txt").read_text()
    assert log.startswith("said\n\n=============JOB SUMMARY=============\n")
    assert log.endswith("\noutputs:\n  (no outputs)\n")


async def test_the_outputs_of_a_cancelled_attempt_that_had_ended_are_discarded(
    backend: Backend,
) -> None:
    job = backend.job()
    await backend.finish(job, {"out.csv": "x"}, exit_code=3, cancelled=True)
    assert not backend.high.exists()
    record = backend.metadata(job)
    assert (record["exit_code"], record["status_message"]) == ("3", None)


@pytest.mark.spec("agent:50", "agent:51")
async def test_a_cancelled_attempt_stays_so_and_a_new_one_starts_afresh(backend: Backend) -> None:
    job = backend.job()
    cancelled = await backend.abandon(job, cancelled=True)
    assert await backend.finish(job, {"out.csv": "x"}) == cancelled
    assert not backend.high.exists()
    again = backend.job(task_id="job1-002")
    assert finish_recorded(again, backend.storage) is None
    outcome = await backend.finish(again, {"out.csv": "x"})
    assert outcome.ending is Ending.COMPLETED
    assert backend.metadata(again)["outputs"] == {"out.csv": "highly_sensitive"}


# --- failed ---


@pytest.mark.spec("agent:111", "agent:112")
async def test_a_failed_attempt_without_container_is_recorded_with_its_error(
    backend: Backend,
) -> None:
    job = backend.job()
    outcome = await backend.abandon(job, fault=Fault.INPUT_MISSING, cause="a.csv is not there")
    assert (outcome.ending, outcome.fault, outcome.exit_code) == (
        Ending.FAILED,
        Fault.INPUT_MISSING,
        None,
    )
    record = backend.metadata(job)
    assert record["status_message"] == "Job errored"
    assert record["exit_code"] == "None"
    assert record["cancelled"] is False
    assert record["error"]["exception"] == "input_missing"
    assert record["error"]["message"].startswith("A file that this job needs")
    assert record["error"]["traceback"] == "a.csv is not there"
    assert set(record["error"]) == {"exception", "message", "traceback"}
    assert "a.csv" not in outcome.model_dump_json()
    assert logged_files(backend, job) == {"metadata.json", "logs.txt"}
    assert not backend.high.exists()


@pytest.mark.spec("agent:111")
@pytest.mark.parametrize("running", [True, False])
async def test_a_failed_attempt_with_a_container_keeps_its_log(
    backend: Backend, running: bool
) -> None:
    job = backend.job()
    outcome = await backend.finish(
        job, {"out.csv": "x"}, container=container(0, running=running), fault=Fault.UNEXPECTED
    )
    assert outcome.fault is Fault.UNEXPECTED
    assert outcome.exit_code == (None if running else 0)
    record = backend.metadata(job)
    assert record["exit_code"] == "0"
    assert record["outputs"] == {}
    assert record["error"]["exception"] == "unexpected"
    assert (backend.log_dir(job) / "logs.txt").read_text().startswith("2026-01-02T")
    assert not backend.high.exists()


async def test_a_cancel_outweighs_a_fault(backend: Backend) -> None:
    outcome = await backend.abandon(backend.job(), cancelled=True, fault=Fault.UNEXPECTED)
    assert (outcome.ending, outcome.fault) == (Ending.CANCELLED, None)
    assert backend.metadata(backend.job())["error"] is None


# --- once only ---


@pytest.mark.spec("agent:109")
async def test_finalizing_twice_changes_nothing(backend: Backend) -> None:
    job = backend.job(output_spec={"out.csv": MODERATE})
    outcome = await backend.finish(job, {"out.csv": "x\n"})
    files = {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for root in (backend.high, backend.medium, backend.log_dir(job))
        for path in root.rglob("*")
        if path.is_file()
    }
    (backend.storage.volume("job1") / "out.csv").write_text("changed later")
    assert await backend.finish(job, exit_code=1) == outcome
    assert {
        path: (path.read_bytes(), path.stat().st_mtime_ns)
        for root in (backend.high, backend.medium, backend.log_dir(job))
        for path in root.rglob("*")
        if path.is_file()
    } == files


async def test_a_late_cancel_of_a_finished_attempt_does_not_lose_its_outputs(
    backend: Backend,
) -> None:
    job = backend.job()
    outcome = await backend.finish(job, {"out.csv": "x"})
    assert await backend.abandon(job, cancelled=True) == outcome
    assert backend.metadata(job)["outputs"] == {"out.csv": "highly_sensitive"}
    assert backend.metadata(job)["cancelled"] is False


async def test_a_cancel_waits_for_a_finalization_whose_caller_was_cancelled(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = backend.job()
    publish, go_on = threading.Event(), threading.Event()
    real = manifest.write

    def write(*args: Any, **options: Any) -> None:
        publish.set()
        assert go_on.wait(20)
        real(*args, **options)

    monkeypatch.setattr(manifest, "write", write)
    first = asyncio.create_task(backend.finish(job, {"out.csv": "x"}))
    await asyncio.to_thread(publish.wait)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = asyncio.create_task(backend.abandon(job, cancelled=True))
    await asyncio.wait([second], timeout=0.1)
    go_on.set()
    assert (await second).ending is Ending.COMPLETED
    assert backend.metadata(job)["outputs"] == {"out.csv": "highly_sensitive"}


STEPS = ["copy", "publish", "manifest", "log", "record", "copies"]


@pytest.mark.parametrize("step", STEPS)
async def test_a_crash_at_any_step_loses_nothing(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    job = backend.job(output_spec={"*.csv": MODERATE, "data": HIGH, "data.bin": HIGH})
    files = {"a.csv": "x\n1\n", "b.csv": PATIENTS, "data.bin": "z"}
    backend.fill_volume(job, files)
    where = {
        "copy": (copying, "write_all"),
        "publish": (os, "replace"),
        "manifest": (manifest, "write"),
        "log": (job_log, "write"),
        "record": (metadata, "save"),
        "copies": (job_log, "copy_to_workspaces"),
    }[step]
    real, calls = getattr(*where), []

    def crash(*args: Any, **options: Any) -> None:
        calls.append(1)
        if step in ("copy", "publish") and len(calls) < 4:
            return real(*args, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(*where, crash)
    with pytest.raises(KeyboardInterrupt):
        await asyncio.to_thread(lambda: asyncio.run(backend.finish(job)))
    monkeypatch.undo()
    assert (finish_recorded(job, backend.storage) is None) is (step != "copies")
    outcome = await backend.finish(job)
    assert outcome.ending is Ending.COMPLETED
    assert outcome.has_level4_excluded_files
    assert tree(backend.high) == {*files, "metadata/make.log"}
    assert tree(backend.medium) == {
        "a.csv",
        "b.csv.txt",
        "metadata/make.log",
        "metadata/manifest.json",
    }
    for name, entry in backend.manifest()["outputs"].items():
        content = (backend.high / name).read_bytes()
        assert entry["content_hash"] == hashlib.sha256(content).hexdigest()
    log = (backend.log_dir(job) / "logs.txt").read_text()
    assert (backend.medium / "metadata/make.log").read_text() == log
    assert tree(backend.storage.high_workspaces / ".incoming") == set()
    assert tree(backend.storage.medium_workspaces / ".incoming") == set()


@pytest.mark.parametrize("nth", range(1, 11))
async def test_a_full_disk_at_any_write_records_nothing_and_passes(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    job = backend.job(output_spec={"*.csv": MODERATE})
    backend.fill_volume(job, {"a.csv": "x\n1\n", "b.csv": PATIENTS})
    real, calls = os.write, []

    def write(descriptor: int, content: memoryview) -> int:
        calls.append(1)
        if len(calls) >= nth:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, content)

    monkeypatch.setattr(os, "write", write)
    (result,) = await asyncio.gather(backend.finish(job), return_exceptions=True)
    assert isinstance(result, TransientFault)
    assert result.fault is Fault.DISK_FULL
    assert len(calls) == nth
    monkeypatch.undo()
    for workspaces in (backend.storage.high_workspaces, backend.storage.medium_workspaces):
        assert tree(workspaces / ".incoming") == set()
    for path in (backend.medium / "a.csv", backend.medium / "b.csv.txt", backend.manifest_path):
        assert not path.exists() or path.read_bytes()
    if backend.manifest_path.exists():
        assert set(backend.manifest()["outputs"]) == {"a.csv", "b.csv"}
    outcome = await backend.finish(job)
    assert outcome.ending is Ending.COMPLETED
    assert (backend.medium / "a.csv").read_text() == "x\n1\n"
    assert json.loads(backend.manifest_path.read_bytes())["outputs"]["b.csv"]["excluded"]


async def test_what_cannot_be_deleted_at_level_4_is_logged_and_ignored(backend: Backend) -> None:
    (backend.medium / "a.csv").mkdir(parents=True)
    with capture_logs() as logged:
        await backend.finish(backend.job(output_spec={"a.csv": HIGH}), {"a.csv": "x"})
    events = [line["event"] for line in logged if line["log_level"] == "warning"]
    assert events == [f"Could not delete {backend.medium / 'a.csv'}"]


async def test_an_attempt_that_an_administrator_killed_says_so_and_keeps_nothing(
    backend: Backend,
) -> None:
    definition = backend.job()
    outcome = await backend.finish(definition, {"out.csv": "a\n"}, 137, cancelled=True, killed=True)
    assert (outcome.ending, outcome.exit_note) == (Ending.CANCELLED, ExitNote.KILLED)
    record = backend.metadata(definition)
    assert record["status_message"] == "Job killed by an OpenSAFELY administrator"
    assert record["cancelled"] is True
    assert record["outputs"] == {}
    assert not backend.high.exists()
    log = (backend.log_dir(definition) / "logs.txt").read_text()
    assert "status_message: Job killed by an OpenSAFELY administrator" in log


# --- what a record relies on is on the disk before it ---


@pytest.mark.parametrize("few", [0, 10])
async def test_files_are_forced_to_the_disk_before_they_are_shown(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    happened: list[str] = []
    for module, name in (
        (os, "fsync"),
        (publish, "force_to_disk"),
        (publish, "replace"),
        (manifest, "write"),
        (metadata, "save"),
    ):
        monkeypatch.setattr(module, name, noting(happened, name, getattr(module, name)))
    job = backend.job(output_spec={"*.csv": MODERATE, "high.txt": HIGH})
    files = {"a.csv": PATIENTS, "b.csv": "x\n", "high.txt": "x"}
    await backend.finish(job, files, limits=Limits(forced_singly=few))
    before = happened[: happened.index("replace")]
    # Three files, of which two have something to show at level 4; or each area at once.
    assert before == (["fsync"] * 5 if few else ["force_to_disk"] * 2)
    assert happened.index("replace") < happened.index("write") < happened.index("save")
    between = happened[happened.index("replace") : happened.index("write")]
    assert "fsync" in between, "the names as well"
    assert tree(backend.medium) >= {"a.csv.txt", "b.csv"}


def noting(happened: list[Any], name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def noted(*args: Any, **options: Any) -> None:
        happened.append(name)
        return real(*args, **options)

    return noted


def test_a_disk_that_cannot_be_forced_is_an_error() -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        copying.force_to_disk(-1)
