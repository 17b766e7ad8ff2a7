"""The manifest: what each entry says, when it is flagged, and that none is ever lost."""

import asyncio
import hashlib
import json
import multiprocessing
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from rap.egress import Ending, Fault
from rap.errors import TransientFault
from rap.git import GitCache
from rap.models import JobDefinition, Study
from rap.settings import AgentSettings
from tests.support.workspace import HIGH, MODERATE, PROJECT, Backend, container
from worker_agent.workspace import locks, manifest
from worker_agent.workspace.attempt_end import AttemptEnd
from worker_agent.workspace.finalize import finalize
from worker_agent.workspace.storage import Storage

pytestmark = pytest.mark.unit


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    return Backend(tmp_path)


def entry(action: str, **changes: Any) -> dict[str, Any]:
    return {
        "level": "moderately_sensitive",
        "job_id": "old",
        "job_request": "r",
        "action": action,
        "excluded": False,
        "row_count": None,
        "col_count": None,
        **changes,
    }


def begin_with(backend: Backend, outputs: dict[str, Any], **document: Any) -> None:
    backend.manifest_path.parent.mkdir(parents=True)
    content = {"workspace": "ws", "repo": None, "outputs": outputs, **document}
    backend.manifest_path.write_text(json.dumps(content, indent=2))


@pytest.mark.spec("agent:130")
async def test_each_output_has_an_entry_with_every_key(backend: Backend) -> None:
    job = backend.job(output_spec={"*.csv": HIGH, "out/*.csv": MODERATE})
    files = {"data.csv": "patient_id\n1\n", "out/b.csv": "x,y,z\n1,2,3\n"}
    await backend.finish(job, files)
    assert backend.manifest() == {
        "workspace": "ws",
        "repo": None,
        "outputs": {
            name: {
                "level": level,
                "job_id": "job1",
                "job_request": "rap1",
                "action": "make",
                "user": "alice",
                "repo": backend.study.url,
                "commit": backend.commit,
                "size": len(files[name]),
                "timestamp": (backend.high / name).stat().st_mtime,
                "content_hash": hashlib.sha256((backend.high / name).read_bytes()).hexdigest(),
                "excluded": False,
                "message": None,
                "row_count": rows,
                "col_count": cols,
            }
            for name, level, rows, cols in (
                ("data.csv", "highly_sensitive", None, None),
                ("out/b.csv", "moderately_sensitive", 1, 3),
            )
        },
    }
    assert list(backend.manifest()["outputs"]["data.csv"]) == [
        "level",
        "job_id",
        "job_request",
        "action",
        "user",
        "repo",
        "commit",
        "size",
        "timestamp",
        "content_hash",
        "excluded",
        "message",
        "row_count",
        "col_count",
    ]
    assert backend.manifest_path.read_text().startswith('{\n  "workspace": "ws",\n  "repo": null')


@pytest.mark.spec("agent:131", "agent:133")
async def test_an_output_that_is_not_produced_again_is_flagged_and_stays(backend: Backend) -> None:
    job = backend.job(output_spec={"*.csv": MODERATE})
    await backend.finish(job, {"a.csv": "x\n1\n", "b.csv": "y\n2\n"})
    again = job.model_copy(update={"task_id": "job1-002"})
    await backend.finish(again, {"a.csv": "x\n1\n"})
    outputs = backend.manifest()["outputs"]
    assert outputs["b.csv"]["out_of_date_output"] is True
    assert (backend.medium / "b.csv").exists()
    assert (backend.high / "b.csv").exists()
    assert not {"out_of_date_output", "out_of_date_action"} & set(outputs["a.csv"])


async def test_a_file_produced_again_loses_its_flag_and_keeps_its_place(backend: Backend) -> None:
    begin_with(
        backend,
        {"out.csv": entry("make", out_of_date_output=True), "other.csv": entry("make")},
    )
    await backend.finish(backend.job(), {"out.csv": "x\n"})
    outputs = backend.manifest()["outputs"]
    assert list(outputs) == ["out.csv", "other.csv"]
    assert "out_of_date_output" not in outputs["out.csv"]
    assert outputs["other.csv"]["out_of_date_output"] is True


@pytest.mark.spec("agent:132")
async def test_actions_that_are_no_longer_in_the_project_are_flagged_and_others_cleared(
    backend: Backend,
) -> None:
    run_all = PROJECT.format("run_all").split("actions:")[1]
    run_all = run_all.replace("out.csv", "all.csv").replace("a.py", "b.py")
    commit = backend.study.commit({"project.yaml": PROJECT.format("other") + run_all})
    begin_with(
        backend,
        {
            "gone.csv": entry("gone"),
            "back.csv": entry("other", out_of_date_action=True),
            "all.csv": entry("run_all"),
        },
    )
    study = Study(git_repo_url=backend.study.url, commit=commit, branch="main")
    await backend.finish(backend.job(study=study), {"out.csv": "x\n"})
    outputs = backend.manifest()["outputs"]
    assert outputs["gone.csv"]["out_of_date_action"] is True
    assert outputs["back.csv"]["out_of_date_action"] is False
    assert outputs["all.csv"]["out_of_date_action"] is True
    assert "out_of_date_action" not in outputs["out.csv"]


@pytest.mark.spec("agent:134")
async def test_for_a_reusable_action_the_project_file_of_the_study_counts(
    backend: Backend, tmp_path: Path
) -> None:
    begin_with(backend, {"old.csv": entry("make")})
    job = backend.job(repo_url="https://github.com/opensafely-actions/x", commit="f" * 40)
    await backend.finish(job, {"out.csv": "x\n"})
    outputs = backend.manifest()["outputs"]
    assert outputs["old.csv"]["out_of_date_action"] is False
    assert outputs["out.csv"]["repo"] == backend.study.url
    assert outputs["out.csv"]["commit"] == backend.commit


@pytest.mark.spec("agent:135")
@pytest.mark.parametrize("trouble", ["no commit", "no project file", "invalid project file"])
async def test_a_project_that_cannot_be_read_leaves_flags_and_records_outputs(
    backend: Backend, trouble: str
) -> None:
    commit = "f" * 40
    if trouble == "no project file":
        (backend.study.path / "project.yaml").unlink()
        commit = backend.study.commit()
    if trouble == "invalid project file":
        commit = backend.study.commit({"project.yaml": "version: 4\nactions: [\0"})
    begin_with(backend, {"a.csv": entry("gone"), "b.csv": entry("make", out_of_date_action=True)})
    study = Study(git_repo_url=backend.study.url, commit=commit, branch="main")
    await backend.finish(backend.job(study=study), {"out.csv": "x\n"})
    outputs = backend.manifest()["outputs"]
    assert "out_of_date_action" not in outputs["a.csv"]
    assert outputs["b.csv"]["out_of_date_action"] is True
    assert outputs["out.csv"]["job_id"] == "job1"


async def test_a_job_that_failed_and_produced_nothing_flags_its_old_outputs(
    backend: Backend,
) -> None:
    await backend.finish(backend.job(), {"out.csv": "x\n"})
    await backend.finish(backend.job(task_id="job1-002"), {}, exit_code=1)
    assert backend.manifest()["outputs"]["out.csv"]["out_of_date_output"] is True


@pytest.mark.spec("agent:136")
@pytest.mark.parametrize("ending", [{"cancelled": True}, {"fault": Fault.UNEXPECTED}])
async def test_cancelled_and_failed_attempts_do_not_touch_the_manifest(
    backend: Backend, ending: dict[str, Any]
) -> None:
    begin_with(backend, {"out.csv": entry("make")})
    before = backend.manifest_path.read_bytes(), backend.manifest_path.stat().st_mtime_ns
    await backend.finish(backend.job(), {"out.csv": "new\n"}, **ending)
    assert (
        backend.manifest_path.read_bytes(),
        backend.manifest_path.stat().st_mtime_ns,
    ) == before
    assert not (backend.high / "out.csv").exists()


def test_nothing_is_written_when_nothing_changed(backend: Backend) -> None:
    job = backend.job()
    with locks.workspace_lock(backend.storage, "ws"):
        document = manifest.updated(manifest.read(backend.storage, "ws"), job, {}, None)
        manifest.write(backend.storage, "ws", document, by=job.id)
        before = backend.manifest_path.stat()
        manifest.write(backend.storage, "ws", manifest.read(backend.storage, "ws"), by=job.id)
    assert backend.manifest_path.stat().st_ino == before.st_ino


def test_what_others_wrote_into_a_manifest_is_kept(backend: Backend) -> None:
    begin_with(backend, {"a.csv": {"unknown": 1}}, repo="legacy", extra=[1])
    document = manifest.updated(manifest.read(backend.storage, "ws"), backend.job(), {}, None)
    assert document == {
        "workspace": "ws",
        "repo": "legacy",
        "outputs": {"a.csv": {"unknown": 1}},
        "extra": [1],
    }
    backend.manifest_path.write_text('{"workspace": "ws"}')
    assert manifest.read(backend.storage, "ws") == {"workspace": "ws", "outputs": {}}


@pytest.mark.parametrize("content", ["", '{"outputs": {', "[]", '{"outputs": []}', "\0"])
async def test_a_damaged_manifest_stops_the_publishing_before_anything_is_moved(
    backend: Backend, content: str
) -> None:
    backend.manifest_path.parent.mkdir(parents=True)
    backend.manifest_path.write_text(content)
    with pytest.raises(TransientFault) as caught:
        await backend.finish(backend.job(), {"out.csv": "x\n"})
    assert caught.value.fault is Fault.UNEXPECTED
    assert str(backend.manifest_path) in str(caught.value)
    assert backend.manifest_path.read_text() == content
    assert not (backend.high / "out.csv").exists()
    assert not (backend.log_dir(backend.job()) / "metadata.json").exists()


def fifty_jobs(backend: Backend) -> list[JobDefinition]:
    """Jobs of one workspace that have just ended, with an output each."""
    jobs = [
        backend.job(
            id=f"job{number}",
            task_id=f"job{number}-001",
            action=f"action{number}",
            output_spec={f"out/{number}.csv": MODERATE},
        )
        for number in range(50)
    ]
    for number, job in enumerate(jobs):
        backend.fill_volume(job, {f"out/{number}.csv": f"x\n{number}\n"})
    return jobs


@contextmanager
def a_reader_at_work(backend: Backend) -> Iterator[None]:
    """The release tool, reading all the time; it must find nothing wrong, and must have read."""
    stop, errors, reads = threading.Event(), list[Any](), list[Any]()

    def read() -> None:
        while not stop.wait(0.001):
            try:
                document = backend.manifest()
            except FileNotFoundError:
                continue
            except ValueError as error:
                errors.append(error)
                continue
            reads.append(len(document["outputs"]))
            for name, item in document["outputs"].items():
                content = (backend.medium / name).read_bytes()
                if hashlib.sha256(content).hexdigest() != item["content_hash"]:
                    errors.append(name)
            errors.extend(
                path.name
                for path in backend.manifest_path.parent.iterdir()
                if path.suffix not in (".json", ".log")
            )

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        try:
            yield
        finally:
            stop.set()
        reading.result()
    assert errors == []
    assert reads
    assert reads == sorted(reads), "an entry vanished"


def assert_all_fifty_are_there(backend: Backend) -> None:
    outputs = backend.manifest()["outputs"]
    assert {name: item["job_id"] for name, item in outputs.items()} == {
        f"out/{number}.csv": f"job{number}" for number in range(50)
    }
    for name, item in outputs.items():
        for area in (backend.high, backend.medium):
            assert hashlib.sha256((area / name).read_bytes()).hexdigest() == item["content_hash"]
    assert {path.name for path in backend.manifest_path.parent.iterdir()} == {
        "manifest.json",
        *(f"action{number}.log" for number in range(50)),
    }


@pytest.mark.spec("agent:137", "agent:138")
async def test_fifty_jobs_finishing_together_lose_no_entry_and_readers_see_whole_files(
    backend: Backend,
) -> None:
    jobs = fifty_jobs(backend)
    loop = asyncio.get_running_loop()
    # As many threads as jobs, so that all of them are at it at once.
    with ThreadPoolExecutor(50) as threads, a_reader_at_work(backend):
        loop.set_default_executor(threads)
        try:
            outcomes = await asyncio.gather(*(backend.finish(job) for job in jobs))
        finally:
            loop.set_default_executor(ThreadPoolExecutor())
    assert {outcome.ending for outcome in outcomes} == {Ending.COMPLETED}
    assert_all_fifty_are_there(backend)


def finish_in_this_process(settings: Any, definitions: Any, raw_log: Any) -> Any:
    """What another agent process on the same host does; runs in a process of its own."""
    storage = Storage(AgentSettings(**settings))
    git = GitCache(Path(settings["workdir"]) / "repos", proxy_domain="x", token="", user="u")

    async def finish_all() -> Any:
        return await asyncio.gather(
            *(
                finalize(
                    JobDefinition(**definition),
                    storage,
                    git,
                    AttemptEnd(container=container(), raw_log=Path(raw_log)),
                )
                for definition in definitions
            )
        )

    return [outcome.ending for outcome in asyncio.run(finish_all())]


@pytest.mark.spec("agent:137", "agent:138")
def test_jobs_finished_by_several_processes_at_once_lose_no_entry(backend: Backend) -> None:
    definitions = [job.model_dump() for job in fifty_jobs(backend)]
    settings = {
        "workdir": str(backend.settings.workdir),
        "high_privacy_storage_base": str(backend.settings.high_privacy),
        "medium_privacy_storage_base": str(backend.settings.medium_privacy),
        "allow_local_git_repos": True,
    }
    raw_log = str(backend.raw_log())
    with (
        ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool,
        a_reader_at_work(backend),
    ):
        started = [
            pool.submit(finish_in_this_process, settings, definitions[first::2], raw_log)
            for first in range(2)
        ]
        endings = [ending for each in started for ending in each.result()]
    assert endings == [Ending.COMPLETED] * 50
    assert_all_fifty_are_there(backend)


def test_another_process_waits_for_the_lock(backend: Backend, tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path\n"
        "from rap.settings import AgentSettings\n"
        "from worker_agent.workspace import locks\n"
        "from worker_agent.workspace.storage import Storage\n"
        "base = Path(sys.argv[1])\n"
        "storage = Storage(AgentSettings(workdir=base / 'workdir',"
        " high_privacy_storage_base=base / 'high',"
        " medium_privacy_storage_base=base / 'medium'))\n"
        "print('asking', flush=True)\n"
        "with locks.workspace_lock(storage, 'ws'): print('has it', flush=True)\n"
    )
    with locks.workspace_lock(backend.storage, "ws"):
        other = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        assert other.stdout is not None
        assert other.stdout.readline() == "asking\n"
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(0.3)
    assert other.communicate(timeout=20)[0] == "has it\n"


def test_the_lock_is_not_where_output_checkers_look(backend: Backend) -> None:
    with locks.workspace_lock(backend.storage, "ws"):
        pass
    assert not backend.settings.medium_privacy.exists()


async def test_reading_the_project_is_spared_when_nothing_could_be_flagged(
    backend: Backend,
) -> None:
    study = Study(git_repo_url="/nowhere", commit="f" * 40, branch="main")
    with capture_logs() as logged:
        await backend.finish(backend.job(study=study), {"out.csv": "x\n"})
    assert not [line for line in logged if line["log_level"] == "warning"]
