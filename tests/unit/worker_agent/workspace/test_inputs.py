"""Inputs: what a job may read of a workspace in which other jobs go on filing."""

import asyncio
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from rap.egress import Ending, Fault, JobOutcome
from rap.errors import JobFault, PermanentFault, TransientFault
from rap.models import JobDefinition
from tests.support.workspace import HIGH, Backend, tree
from worker_agent.workspace import copying
from worker_agent.workspace.prepare import is_complete, prepare
from worker_agent.workspace.replaced_inputs import InputsReplaced

pytestmark = pytest.mark.unit


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    return Backend(tmp_path)


def maker(backend: Backend, job_id: str, action: str = "", pattern: str = "") -> JobDefinition:
    """A job of the action that its id begins with."""
    action = action or job_id[0]
    spec = {pattern or f"{action}/*": HIGH}
    return backend.job(id=job_id, task_id=f"{job_id}-001", action=action, output_spec=spec)


async def filed(
    backend: Backend,
    job_id: str,
    files: dict[str, str],
    exit_code: int = 0,
    pattern: str = "",
) -> JobOutcome:
    job = maker(backend, job_id, pattern=pattern)
    return await backend.finish(job, files, exit_code)


def reader(backend: Backend, *job_ids: str) -> JobDefinition:
    needs = tuple(job_id[0] for job_id in job_ids)
    return backend.job(id="r1", action="r", input_job_ids=job_ids, needs=needs)


async def read(backend: Backend, *job_ids: str) -> dict[str, str]:
    """The inputs that a job finds which was planned with these."""
    job = reader(backend, *job_ids)
    await prepare(job, backend.storage, backend.git, backend.settings, backend.attempts.note_volume)
    volume = backend.storage.volume(job.attempt_name)
    noted = backend.attempts.inputs(job.attempt_name)
    contents = {file.name: (volume / file.name).read_text() for file in noted}
    assert tree(volume) == {"project.yaml", "a.py", ".opensafely-timestamp", *contents}
    for file in noted:
        assert file.sha256 == sha256(contents[file.name].encode()).hexdigest()
        assert file.size == len(contents[file.name])
    return contents


async def refused(backend: Backend, *job_ids: str) -> JobFault:
    with pytest.raises((PermanentFault, TransientFault)) as caught:
        await read(backend, *job_ids)
    job = reader(backend, *job_ids)
    assert not is_complete(backend.storage, job.attempt_name)
    assert not backend.storage.gathered(job.attempt_name).exists()
    return caught.value


def sources(backend: Backend) -> set[tuple[str, str, str, bool]]:
    inputs = backend.attempts.inputs("r1")
    return {(file.name, file.job_id, file.action, file.verified) for file in inputs}


# --- which job's files ---


async def test_the_files_of_the_planned_job_are_read_and_noted(backend: Backend) -> None:
    await filed(backend, "a1", {"a/x": "1", "a/y": "2"})
    assert await read(backend, "a1") == {"a/x": "1", "a/y": "2"}
    assert sources(backend) == {("a/x", "a1", "a", True), ("a/y", "a1", "a", True)}
    assert {file.level for file in backend.attempts.inputs("r1")} == {HIGH}


async def test_a_half_file_of_a_failed_run_is_not_read(backend: Backend) -> None:
    await filed(backend, "a1", {"a/x": "whole", "a/y": "y"})
    await filed(backend, "a2", {"a/x": "half"}, exit_code=1)
    fault = await refused(backend, "a1")
    assert isinstance(fault, InputsReplaced)
    assert (fault.fault, fault.need) == (Fault.INPUT_REPLACED, 0)
    (file,) = fault.files
    assert (file.name, file.job_id, file.action) == ("a/x", "a1", "a")
    assert file.found_sha256 == sha256(b"half").hexdigest()
    assert file.found is not None
    assert (file.found.job_id, file.found.action) == ("a2", "a")
    assert file.found_sha256 in str(fault)


async def test_a_newer_run_that_succeeded_is_read_with_the_names_of_its_own_record(
    backend: Backend,
) -> None:
    await filed(backend, "a1", {"a/x": "1", "a/old": "1"})
    await filed(backend, "a2", {"a/x": "2", "a/new": "2"})
    await filed(backend, "a3", {"a/x": "3", "a/new": "3"})
    assert await read(backend, "a1") == {"a/x": "3", "a/new": "3"}
    assert {job for _, job, *_ in sources(backend)} == {"a3"}


async def test_an_older_run_is_never_read(backend: Backend) -> None:
    await filed(backend, "a1", {"a/x": "1"})
    await filed(backend, "a2", {"a/x": "2"})
    (backend.high / "a/x").write_text("1")
    assert (await refused(backend, "a2")).fault is Fault.INPUT_REPLACED


async def test_a_run_that_wrote_the_same_changes_nothing(backend: Backend) -> None:
    await filed(backend, "a1", {"a/x": "same"})
    await filed(backend, "a2", {"a/x": "same"}, exit_code=1)
    assert await read(backend, "a1") == {"a/x": "same"}


async def test_a_file_of_the_same_name_of_an_action_that_is_not_needed_is_not_read(
    backend: Backend,
) -> None:
    await filed(backend, "a1", {"out/x": "of a"}, pattern="out/*")
    await filed(backend, "b1", {"out/x": "of b"}, pattern="out/*")
    fault = await refused(backend, "a1")
    assert isinstance(fault, InputsReplaced)
    assert fault.files[0].found is not None
    assert fault.files[0].found.action == "b"


async def test_a_file_that_two_needed_actions_filed_is_that_of_the_last(backend: Backend) -> None:
    await filed(backend, "a1", {"out/x": "of a", "out/only-a": "a"}, pattern="out/*")
    await filed(backend, "b1", {"out/x": "of b"}, pattern="out/*")
    assert await read(backend, "a1", "b1") == {"out/x": "of b", "out/only-a": "a"}
    assert ("out/x", "b1", "b", True) in sources(backend)


async def test_the_first_need_whose_file_was_replaced_is_told(backend: Backend) -> None:
    await filed(backend, "a1", {"a/x": "1"})
    await filed(backend, "b1", {"b/x": "1"})
    await filed(backend, "c1", {"c/x": "1"})
    (backend.high / "b/x").write_text("by hand")
    (backend.high / "c/x").write_text("by hand")
    fault = await refused(backend, "a1", "b1", "c1")
    assert isinstance(fault, InputsReplaced)
    assert fault.need == 1
    assert [file.name for file in fault.files] == ["b/x", "c/x"]
    assert "An input made by b was replaced" in str(fault)
    assert "changed by hand" in str(fault)


async def test_a_file_that_is_gone_is_missing_and_one_that_a_newer_run_does_not_make_is_not(
    backend: Backend,
) -> None:
    await filed(backend, "a1", {"a/x": "1", "a/y": "1"})
    (backend.high / "a/y").unlink()
    assert (await refused(backend, "a1")).fault is Fault.INPUT_MISSING
    await filed(backend, "a2", {"a/x": "2"})
    assert await read(backend, "a1") == {"a/x": "2"}


async def test_a_planned_job_that_failed_has_no_outputs_to_read(backend: Backend) -> None:
    await filed(backend, "a1", {"a/x": "1"}, exit_code=1)
    assert (await refused(backend, "a1")).fault is Fault.INPUT_RECORD_MISSING


async def test_what_is_read_of_the_repository_is_not_lost_to_a_planned_file_that_is_not_read(
    backend: Backend,
) -> None:
    commit = backend.study.commit({"a/old": "of the repository"})
    await filed(backend, "a1", {"a/x": "1", "a/old": "of a"})
    await filed(backend, "a2", {"a/x": "2"})
    study = reader(backend, "a1").study.model_copy(update={"commit": commit})
    job = reader(backend, "a1").model_copy(update={"commit": commit, "study": study})
    await prepare(job, backend.storage, backend.git, backend.settings, backend.attempts.note_volume)
    volume = backend.storage.volume(job.attempt_name)
    assert (volume / "a/old").read_text() == "of the repository"
    assert (volume / "a/x").read_text() == "2"


# --- records of earlier versions ---


def forget_provenance(backend: Backend) -> None:
    """As if the jobs had ended before there were such records."""
    for path in (backend.high / "metadata").glob("provenance/*.json"):
        path.unlink()


def change_manifest(backend: Backend, change: Callable[[dict[str, Any]], object]) -> None:
    document = backend.manifest()
    change(document["outputs"])
    backend.manifest_path.write_text(json.dumps(document))


async def test_of_an_older_job_the_manifest_has_the_hash(backend: Backend) -> None:
    await filed(backend, "a1", {"a/x": "1"})
    forget_provenance(backend)
    assert await read(backend, "a1") == {"a/x": "1"}
    assert sources(backend) == {("a/x", "a1", "a", True)}


async def test_a_file_of_an_older_job_that_was_changed_is_refused(backend: Backend) -> None:
    await filed(backend, "a1", {"a/x": "1"})
    forget_provenance(backend)
    (backend.high / "a/x").write_text("by hand")
    assert (await refused(backend, "a1")).fault is Fault.INPUT_REPLACED


@pytest.mark.parametrize(
    "change",
    [
        lambda outputs: outputs["a/x"].pop("content_hash"),
        lambda outputs: outputs.pop("a/x"),
        lambda outputs: outputs.update({"a/x": "damaged"}),
    ],
)
async def test_a_file_without_a_hash_on_record_is_taken_by_its_name_and_not_verified(
    backend: Backend, change: Callable[[dict[str, Any]], object]
) -> None:
    await filed(backend, "a1", {"a/x": "1"})
    forget_provenance(backend)
    change_manifest(backend, change)
    (backend.high / "a/x").write_text("whatever")
    assert await read(backend, "a1") == {"a/x": "whatever"}
    assert sources(backend) == {("a/x", "a1", "a", False)}


async def test_an_older_jobs_file_that_a_failed_run_wrote_over_is_refused(backend: Backend) -> None:
    await filed(backend, "a1", {"a/x": "1"})
    await filed(backend, "a2", {"a/x": "half"}, exit_code=1)
    forget_provenance(backend)
    assert (await refused(backend, "a1")).fault is Fault.INPUT_REPLACED


async def test_a_newer_run_of_before_the_records_is_read(backend: Backend) -> None:
    await filed(backend, "a1", {"a/x": "1"})
    await filed(backend, "a2", {"a/x": "2"})
    forget_provenance(backend)
    assert await read(backend, "a1") == {"a/x": "2"}
    assert sources(backend) == {("a/x", "a2", "a", True)}


async def test_an_older_file_that_another_actions_pattern_covers_is_taken_and_not_verified(
    backend: Backend,
) -> None:
    await filed(backend, "a1", {"out/x": "1"}, pattern="out/*")
    await filed(backend, "b1", {"out/x": "1", "out/y": "2"}, pattern="out/*")
    forget_provenance(backend)
    assert await read(backend, "a1") == {"out/x": "1"}
    assert sources(backend) == {("out/x", "a1", "a", False)}
    await filed(backend, "b2", {"out/x": "half"}, exit_code=1, pattern="out/*")
    backend.storage.volume("r1").rename(backend.storage.volume("gone"))
    assert (await refused(backend, "a1")).fault is Fault.INPUT_REPLACED


async def test_a_damaged_manifest_may_pass_and_is_of_no_matter_to_newer_records(
    backend: Backend,
) -> None:
    await filed(backend, "a1", {"a/x": "1"})
    forget_provenance(backend)
    backend.manifest_path.write_text("{")
    fault = await refused(backend, "a1")
    assert isinstance(fault, TransientFault)


# --- while others file ---


def when_copying(
    monkeypatch: pytest.MonkeyPatch, name: str, happens: Callable[[], object], times: int = 1
) -> None:
    """Have something happen while a file is copied, after its first byte was read.

    One file is copied after the other, so that it is certain which come later.
    """
    monkeypatch.setattr("worker_agent.workspace.inputs._AT_ONCE", 1)
    real, left = os.read, [times]

    def reading(descriptor: int, count: int) -> bytes:
        is_meant = Path(f"/proc/self/fd/{descriptor}").readlink().match(f"workspaces/ws/{name}")
        if not is_meant or os.lseek(descriptor, 0, os.SEEK_CUR) > 0 or not left[0]:
            return real(descriptor, count)
        left[0] -= 1
        content = real(descriptor, 1)
        happens()
        return content

    monkeypatch.setattr(os, "read", reading)


def replaced_by(path: Path, content: str) -> None:
    path.with_name(".new").write_text(content)
    path.with_name(".new").replace(path)


async def test_an_input_that_is_filed_anew_while_it_is_copied_is_read_whole(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filed(backend, "a1", {"a/x": "first"})
    when_copying(monkeypatch, "a/x", lambda: replaced_by(backend.high / "a/x", "second"))
    assert await read(backend, "a1") == {"a/x": "first"}
    assert (backend.high / "a/x").read_text() == "second"


def file_in_thread(backend: Backend, *args: Any, **options: Any) -> None:
    """File a job's outputs while this thread stands still."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(filed(backend, *args, **options))).result()


async def test_a_newer_run_that_files_while_inputs_are_copied_is_read_as_one_whole(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filed(backend, "a1", {"a/x": "1", "a/y": "1"})
    newer = {"a/x": "2", "a/y": "2"}
    when_copying(monkeypatch, "a/x", lambda: file_in_thread(backend, "a2", newer))
    assert await read(backend, "a1") == newer


async def test_a_failed_run_that_files_while_inputs_are_copied_ends_the_job(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filed(backend, "a1", {"a/x": "1", "a/y": "1"})
    half = {"a/x": "?", "a/y": "?"}
    when_copying(monkeypatch, "a/x", lambda: file_in_thread(backend, "a2", half, exit_code=1))
    fault = await refused(backend, "a1")
    assert isinstance(fault, InputsReplaced)
    assert {file.name for file in fault.files} == {"a/x", "a/y"}


async def test_an_input_that_is_written_to_without_end_may_pass(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filed(backend, "a1", {"a/x": "first"})

    def write() -> None:
        with (backend.high / "a/x").open("a") as file:
            file.write("more")

    when_copying(monkeypatch, "a/x", write, times=1_000)
    fault = await refused(backend, "a1")
    assert isinstance(fault, TransientFault)
    assert fault.fault is Fault.INPUT_CHANGED
    assert "a/x" in str(fault)


async def test_an_input_that_is_mended_while_it_is_copied_is_read(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filed(backend, "a1", {"a/x": "first"})
    (backend.high / "a/x").write_text("by ha")
    when_copying(monkeypatch, "a/x", lambda: (backend.high / "a/x").write_text("first"))
    assert await read(backend, "a1") == {"a/x": "first"}


async def test_the_lock_of_the_workspace_is_free_while_inputs_are_copied(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await filed(backend, "a1", {"a/x": "1"})
    (backend.high / "a/x").write_text("by hand")
    seen: list[Any] = []
    real = copying.copy_version

    def copy(*args: Any) -> Any:
        file_in_thread(backend, f"b{len(seen)}", {"b/y": "1"})
        seen.append(args)
        return real(*args)

    monkeypatch.setattr("worker_agent.workspace.inputs.copy_version", copy)
    assert (await refused(backend, "a1")).fault is Fault.INPUT_REPLACED
    assert seen


# --- what is said of it ---


async def test_the_end_is_explained_in_the_record_and_in_the_log_of_both_workspaces(
    backend: Backend,
) -> None:
    await filed(backend, "a1", {"a/x": "whole"})
    await filed(backend, "a2", {"a/x": "half"}, exit_code=1)
    fault = await refused(backend, "a1")
    assert isinstance(fault, InputsReplaced)
    job = reader(backend, "a1")
    outcome = await backend.abandon(
        job,
        fault=fault.fault,
        cause=str(fault),
        detail=str(fault),
        need=fault.need,
        replaced_inputs=fault.files,
    )
    assert (outcome.ending, outcome.fault, outcome.need) == (
        Ending.FAILED,
        Fault.INPUT_REPLACED,
        0,
    )
    assert "a/x" not in outcome.model_dump_json()
    record = backend.metadata(job)
    (file,) = record["replaced_inputs"]
    assert (file["name"], file["found"]["job_id"]) == ("a/x", "a2")
    for workspace in (backend.high, backend.medium):
        text = (workspace / "metadata/r.log").read_text()
        assert "An input made by a was replaced by another job since" in text
        assert sha256(b"half").hexdigest() in text
        assert "a/x" in text
    # Also where the agent was killed between the record and the copies.
    (backend.medium / "metadata/r.log").unlink()
    assert await backend.abandon(job, cancelled=True) == outcome
    assert (backend.medium / "metadata/r.log").exists()


async def test_inputs_that_were_not_verified_are_said_in_record_and_log(backend: Backend) -> None:
    await filed(backend, "a1", {"a/x": "1"})
    forget_provenance(backend)
    change_manifest(backend, lambda outputs: outputs.pop("a/x"))
    await read(backend, "a1")
    job = reader(backend, "a1")
    await backend.finish(job, {"out.csv": "1"}, inputs=backend.attempts.inputs("r1"))
    assert backend.metadata(job)["unverified_inputs"] == {"a/x": "a1"}
    log = (backend.medium / "metadata/r.log").read_text()
    assert "Inputs not verified (the job that made them kept no hashes):\n  a/x  - a1\n" in log
