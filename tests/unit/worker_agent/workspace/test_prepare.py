"""Volumes: exactly the code and the inputs, complete or not there; and everything that refuses."""

import asyncio
import os
import shutil
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from rap.egress import Fault
from rap.errors import (
    GitError,
    JobFault,
    PermanentFault,
    RemoteAway,
    RepositoryRefused,
    TransientFault,
)
from rap.models import JobDefinition, Study
from tests.support.workspace import HIGH, MODERATE, Backend, tree
from worker_agent.workspace.cleanup import remove_volume
from worker_agent.workspace.prepare import is_complete, prepare

pytestmark = pytest.mark.unit

MARKER = ".opensafely-timestamp"


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    return Backend(tmp_path)


async def prepared(backend: Backend, job: JobDefinition, git: Any = None) -> Path:
    await prepare(job, backend.storage, git or backend.git, backend.settings)
    return backend.storage.volume(job.id)


async def fault_of(backend: Backend, job: JobDefinition, git: Any = None) -> JobFault:
    with pytest.raises((PermanentFault, TransientFault)) as caught:
        await prepared(backend, job, git)
    assert not is_complete(backend.storage, job.id)
    return caught.value


def at(backend: Backend, commit: str) -> dict[str, Any]:
    study = Study(git_repo_url=backend.study.url, commit=commit, branch="main")
    return {"commit": commit, "study": study}


async def earlier_job(backend: Backend, **changes: Any) -> JobDefinition:
    job = backend.job(
        id="early",
        task_id="early-001",
        action="early",
        output_spec={"in/*.csv": HIGH, "small.csv": MODERATE},
        **changes,
    )
    await backend.finish(job, {"in/a.csv": "a", "in/b.csv": "b", "small.csv": "x\n1\n"})
    return job


# --- what is in a volume ---


@pytest.mark.spec("agent:75", "agent:76", "agent:85")
async def test_a_volume_holds_the_code_the_inputs_and_the_marker_and_nothing_else(
    backend: Backend,
) -> None:
    await earlier_job(backend)
    volume = await prepared(backend, backend.job(input_job_ids=("early",)))
    assert tree(volume) == {"project.yaml", "a.py", "in/a.csv", "in/b.csv", "small.csv", MARKER}
    assert (volume / "in/a.csv").read_text() == "a"
    assert (volume / "small.csv").read_text() == "x\n1\n"
    assert {path.name for path in volume.parent.iterdir()} == {"early", "job1"}


async def test_an_input_is_the_current_file_of_the_workspace_and_wins_over_the_code(
    backend: Backend,
) -> None:
    await earlier_job(backend)
    (backend.high / "small.csv").write_text("newer")
    commit = backend.study.commit({"small.csv": "of the repository"})
    volume = await prepared(backend, backend.job(input_job_ids=("early",), **at(backend, commit)))
    assert (volume / "small.csv").read_text() == "newer"


async def test_links_of_a_repository_stay_links(backend: Backend) -> None:
    (backend.study.path / "link").symlink_to("/etc/passwd")
    job = backend.job(**at(backend, backend.study.commit()))
    volume = await prepared(backend, job)
    assert (volume / "link").readlink().as_posix() == "/etc/passwd"


async def test_the_code_is_that_of_the_reusable_action(backend: Backend, tmp_path: Path) -> None:
    other = Backend(tmp_path / "other")
    commit = other.study.commit({"action.py": "pass"})
    volume = await prepared(backend, backend.job(repo_url=other.study.url, commit=commit))
    assert (volume / "action.py").exists()


# --- complete or not there ---


async def test_the_marker_says_that_the_volume_is_complete(backend: Backend) -> None:
    volume = await prepared(backend, backend.job())
    assert abs(int((volume / MARKER).read_text()) - time.time_ns()) < 3600e9
    assert is_complete(backend.storage, "job1")


async def test_a_volume_from_before_the_hosts_last_start_is_made_again(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    volume = await prepared(backend, backend.job())
    (volume / "a.py").write_text("")  # what a loss of power may leave of it
    started_later = (time.time() + 60) * 1e9
    monkeypatch.setattr("worker_agent.workspace.prepare._host_started_at_ns", lambda: started_later)
    assert not is_complete(backend.storage, "job1")
    await prepared(backend, backend.job())
    assert (volume / "a.py").read_text() == "pass"


@pytest.mark.spec("agent:16")
async def test_a_volume_without_marker_is_not_prepared(backend: Backend) -> None:
    assert not is_complete(backend.storage, "job1")
    volume = backend.storage.volume("job1")
    volume.mkdir(parents=True)
    assert not is_complete(backend.storage, "job1")
    (volume / MARKER).symlink_to("/etc/hostname")
    assert not is_complete(backend.storage, "job1")


@pytest.mark.spec("agent:80")
async def test_a_volume_without_marker_is_made_again_from_nothing(backend: Backend) -> None:
    (backend.study.path / "link").symlink_to("a.py")
    job = backend.job(**at(backend, backend.study.commit()))
    volume = await prepared(backend, job)
    (volume / MARKER).unlink()
    (volume / "half-copied.csv").touch()
    backend.storage.unfinished("job1").mkdir()
    (backend.storage.unfinished("job1") / "other").touch()
    await prepared(backend, job)
    assert tree(volume) == {"project.yaml", "a.py", "link", MARKER}


@pytest.mark.spec("agent:81")
async def test_a_prepared_volume_is_left_as_it_is(backend: Backend) -> None:
    volume = await prepared(backend, backend.job())
    (volume / "by-the-program.csv").touch()
    before = {path.name: path.stat().st_mtime_ns for path in volume.iterdir()}
    await prepared(backend, backend.job(commit="f" * 40))
    assert {path.name: path.stat().st_mtime_ns for path in volume.iterdir()} == before


@pytest.mark.spec("agent:80")
async def test_a_repository_cannot_bring_its_own_marker(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = backend.job(**at(backend, backend.study.commit({MARKER: "1"})))
    real = backend.git.checkout

    async def checkout(repo_url: str, commit: str, target: Path) -> None:
        await real(repo_url, commit, target)
        assert (target / MARKER).exists()
        raise RuntimeError("the agent is killed here")

    monkeypatch.setattr(backend.git, "checkout", checkout)
    with pytest.raises(RuntimeError):
        await prepared(backend, job)
    assert not is_complete(backend.storage, "job1")
    monkeypatch.undo()
    volume = await prepared(backend, job)
    assert (volume / MARKER).read_text() != "1"


async def test_a_directory_in_the_markers_place_is_no_obstacle(backend: Backend) -> None:
    job = backend.job(**at(backend, backend.study.commit({f"{MARKER}/x": "1"})))
    volume = await prepared(backend, job)
    assert (volume / MARKER).is_file()


async def test_a_clean_up_waits_for_the_thread_of_a_cancelled_preparation(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await earlier_job(backend)
    copying_now, go_on = threading.Event(), threading.Event()
    real = os.read

    def read(descriptor: int, count: int) -> bytes:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == "b.csv":
            copying_now.set()
            assert go_on.wait(20)
        return real(descriptor, count)

    monkeypatch.setattr(os, "read", read)
    preparing = asyncio.create_task(prepared(backend, backend.job(input_job_ids=("early",))))
    await asyncio.to_thread(copying_now.wait)
    preparing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await preparing
    cleaning = asyncio.create_task(asyncio.to_thread(remove_volume, backend.storage, "job1"))
    done, _ = await asyncio.wait([cleaning], timeout=0.1)
    assert not done
    go_on.set()
    await cleaning
    assert {path.name for path in backend.settings.volume_dir.iterdir()} == {"early"}


async def test_copying_ends_when_nobody_wants_the_volume_any_more(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await earlier_job(backend)
    with (backend.high / "small.csv").open("ab") as file:
        file.truncate(2**30)
    chunks, copying_now, go_on = [], threading.Event(), threading.Event()
    real = os.read

    def read(descriptor: int, count: int) -> bytes:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == "small.csv":
            chunks.append(count)
            copying_now.set()
            assert go_on.wait(20)
        return real(descriptor, count)

    monkeypatch.setattr(os, "read", read)
    preparing = asyncio.create_task(prepared(backend, backend.job(input_job_ids=("early",))))
    await asyncio.to_thread(copying_now.wait)
    preparing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await preparing
    go_on.set()
    await asyncio.to_thread(remove_volume, backend.storage, "job1")
    assert len(chunks) == 1
    assert {path.name for path in backend.settings.volume_dir.iterdir()} == {"early"}


async def test_the_volume_is_given_to_the_user_of_the_container(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        user, group = os.geteuid(), os.getegid()
    else:
        user, group = 10_000, 10_001
    backend = Backend(tmp_path, docker_user_id=user, docker_group_id=group)
    await earlier_job(backend)
    (backend.study.path / "link").symlink_to("/etc/passwd")
    before = Path("/etc/passwd").stat().st_uid
    job = backend.job(input_job_ids=("early",), **at(backend, backend.study.commit()))
    volume = await prepared(backend, job)
    owned = [path for path in [volume, *volume.rglob("*")] if path.name != MARKER]
    assert {(p.lstat().st_uid, p.lstat().st_gid) for p in owned} == {(user, group)}
    assert len(owned) == 8
    assert Path("/etc/passwd").stat().st_uid == before


# --- what refuses ---


@pytest.mark.spec("agent:77")
async def test_a_missing_input_is_named_with_workspace_and_job(backend: Backend) -> None:
    await earlier_job(backend)
    (backend.high / "in/b.csv").unlink()
    fault = await fault_of(backend, backend.job(input_job_ids=("early",)))
    assert fault.fault is Fault.INPUT_MISSING
    assert str(fault) == (
        "The file in/b.csv doesn't exist in workspace ws as requested for job job1"
    )


async def test_an_input_that_became_a_link_counts_as_missing(
    backend: Backend, tmp_path: Path
) -> None:
    await earlier_job(backend)
    (backend.high / "in/b.csv").unlink()
    (backend.high / "in/b.csv").symlink_to("/etc/passwd")
    fault = await fault_of(backend, backend.job(input_job_ids=("early",)))
    assert fault.fault is Fault.INPUT_MISSING


async def test_a_record_that_names_files_elsewhere_gets_none(backend: Backend) -> None:
    job = await earlier_job(backend)
    path = backend.log_dir(job) / "metadata.json"
    path.write_text(path.read_text().replace("in/b.csv", "../../x"))
    fault = await fault_of(backend, backend.job(input_job_ids=("early",)))
    assert fault.fault is Fault.INPUT_MISSING


@pytest.mark.parametrize("state", ["absent", "damaged", "cancelled", "failed"])
async def test_an_input_job_without_record_of_its_outputs_is_an_error(
    backend: Backend, state: str
) -> None:
    early = backend.job(id="early", task_id="early-001")
    if state == "damaged":
        await earlier_job(backend)
        (backend.log_dir(early) / "metadata.json").write_text("{")
    if state == "cancelled":
        await backend.abandon(early, cancelled=True)
    if state == "failed":
        await backend.abandon(early, fault=Fault.UNEXPECTED)
    fault = await fault_of(backend, backend.job(input_job_ids=("early",)))
    assert fault.fault is Fault.INPUT_RECORD_MISSING
    assert "early" in str(fault)


@pytest.mark.spec("agent:76")
async def test_the_record_of_any_attempt_and_month_serves(backend: Backend) -> None:
    await earlier_job(backend, created_at=0)
    volume = await prepared(backend, backend.job(input_job_ids=("early", "early")))
    assert (volume / "in/a.csv").exists()


@pytest.mark.spec("agent:78")
@pytest.mark.parametrize("commit", ["f" * 40, "--force", "main", ""])
async def test_a_commit_that_cannot_be_had_is_named_with_its_repository(
    backend: Backend, commit: str
) -> None:
    fault = await fault_of(backend, backend.job(commit=commit))
    assert fault.fault is Fault.COMMIT_UNAVAILABLE
    assert commit in str(fault)
    assert backend.study.url in str(fault)


@pytest.mark.spec("agent:79")
@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.zstd", ".tar.xz"])
async def test_an_archived_workspace_is_refused(backend: Backend, suffix: str) -> None:
    backend.settings.archive_dir.mkdir(parents=True)
    (backend.settings.archive_dir / f"ws{suffix}").touch()
    fault = await fault_of(backend, backend.job())
    assert fault.fault is Fault.WORKSPACE_ARCHIVED
    assert str(fault) == (
        "Workspace ws has been archived. Contact the OpenSAFELY tech team to resolve"
    )


@pytest.mark.parametrize(
    ("repo", "study"),
    [
        ("https://github.com/elsewhere/study", "https://github.com/elsewhere/study"),
        ("https://github.com/elsewhere/action", None),
        ("http://github.com/opensafely-actions/action", None),
        ("/etc", None),
    ],
)
async def test_repositories_of_study_and_action_are_both_checked(
    tmp_path: Path, repo: str, study: str | None
) -> None:
    backend = Backend(tmp_path)
    settings = backend.settings.model_copy(
        update={"allow_local_git_repos": study is None and repo != "/etc"}
    )
    url = study or backend.study.url
    job = backend.job(
        repo_url=repo, study=Study(git_repo_url=url, commit=backend.commit, branch="main")
    )
    with pytest.raises(PermanentFault) as caught:
        await prepare(job, backend.storage, backend.git, settings)
    assert caught.value.fault is Fault.REPOSITORY_REFUSED
    assert not backend.settings.volume_dir.exists()


class Git:
    """A git that fails in one way: such failures cannot be caused on a disk."""

    def __init__(
        self,
        *,
        on_branch: bool | set[str] = True,
        error: GitError | RemoteAway | RepositoryRefused | None = None,
    ) -> None:
        self.on_branch, self.error = on_branch, error
        self.asked: list[Any] = []

    async def commit_is_on_branch(self, repo_url: str, branch: str, commit: str) -> bool:
        self.asked.append((repo_url, branch, commit))
        return self.on_branch if isinstance(self.on_branch, bool) else commit in self.on_branch

    async def checkout(self, repo_url: str, commit: str, target: Path) -> None:
        raise self.error


async def test_the_commit_that_runs_must_be_on_the_branch_of_the_study(backend: Backend) -> None:
    url = "https://github.com/opensafely/study"
    job = backend.job(
        repo_url=url, commit="b" * 40, study=Study(git_repo_url=url, commit="a" * 40, branch="main")
    )
    git = Git(error=GitError("x"))
    assert (await fault_of(backend, job, git)).fault is Fault.COMMIT_UNAVAILABLE
    assert set(git.asked) == {(url, "main", "a" * 40), (url, "main", "b" * 40)}
    fault = await fault_of(backend, job, Git(on_branch=False))
    assert fault.fault is Fault.REPOSITORY_REFUSED


async def test_a_reusable_action_runs_only_from_the_main_branch_of_its_own_repository(
    backend: Backend,
) -> None:
    url, action = "https://github.com/opensafely/study", "https://github.com/opensafely-actions/x"
    study = Study(git_repo_url=url, commit="a" * 40, branch="other")
    job = backend.job(repo_url=action, commit="b" * 40, study=study)
    git = Git(error=GitError("x"))
    assert (await fault_of(backend, job, git)).fault is Fault.COMMIT_UNAVAILABLE
    assert set(git.asked) == {(url, "other", "a" * 40), (action, "main", "b" * 40)}
    fault = await fault_of(backend, job, Git(on_branch={"a" * 40}))
    assert fault.fault is Fault.REPOSITORY_REFUSED
    assert str(fault) == f"Could not find commit on branch 'main': {'b' * 40}"


@pytest.mark.parametrize("error", [RemoteAway("x"), RepositoryRefused("x")])
async def test_a_repository_out_of_reach_may_be_tried_again(
    backend: Backend, error: RemoteAway | RepositoryRefused
) -> None:
    fault = await fault_of(backend, backend.job(), Git(error=error))
    assert isinstance(fault, TransientFault)
    assert fault.fault is Fault.GIT_UNREACHABLE


@pytest.mark.parametrize("pattern", ["../a.csv", "/a.csv", "**/a.csv"])
async def test_an_output_pattern_that_leads_elsewhere_is_refused_before_anything_runs(
    backend: Backend, pattern: str
) -> None:
    fault = await fault_of(backend, backend.job(output_spec={pattern: HIGH}))
    assert fault.fault is Fault.OUTPUT_PATH_REFUSED


async def test_a_job_is_not_prepared_when_less_than_the_reserve_would_stay_free(
    tmp_path: Path,
) -> None:
    free = shutil.disk_usage(tmp_path).free
    backend = Backend(tmp_path, disk_reserve_mb=free // 2**20 + 2**20)
    fault = await fault_of(backend, backend.job())
    assert isinstance(fault, TransientFault)
    assert fault.fault is Fault.DISK_FULL
    assert "bytes are free, of which" in str(fault)


async def test_a_checkout_that_fails_on_a_full_disk_is_told_as_that(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Filling(Git):
        async def checkout(self, repo_url: str, commit: str, target: Path) -> None:
            monkeypatch.setitem(backend.settings.__dict__, "disk_reserve_mb", 2**40)
            raise GitError("Could not checkout")

    assert (await fault_of(backend, backend.job(), Filling())).fault is Fault.DISK_FULL


async def test_space_is_made_sure_of_for_the_inputs_as_well(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    await earlier_job(backend)
    with (backend.high / "small.csv").open("ab") as file:
        file.truncate(2**43)
    fault = await fault_of(backend, backend.job(input_job_ids=("early",)))
    assert fault.fault is Fault.DISK_FULL


async def test_an_input_is_never_written_through_a_link_of_the_repository(
    backend: Backend, tmp_path: Path
) -> None:
    await earlier_job(backend)
    (tmp_path / "outside").mkdir()
    (backend.study.path / "in").symlink_to(tmp_path / "outside")
    job = backend.job(input_job_ids=("early",), **at(backend, backend.study.commit()))
    fault = await fault_of(backend, job)
    assert fault.fault is Fault.REPOSITORY_REFUSED
    assert tree(tmp_path / "outside") == set()


async def test_an_input_replaces_a_link_of_the_repository(backend: Backend, tmp_path: Path) -> None:
    await earlier_job(backend)
    (tmp_path / "outside.csv").write_text("untouched")
    (backend.study.path / "small.csv").symlink_to(tmp_path / "outside.csv")
    job = backend.job(input_job_ids=("early",), **at(backend, backend.study.commit()))
    volume = await prepared(backend, job)
    assert not (volume / "small.csv").is_symlink()
    assert (tmp_path / "outside.csv").read_text() == "untouched"


@pytest.mark.parametrize("names", [{"workspace": "../x"}, {"id": "../x"}, {"workspace": ""}])
async def test_names_that_lead_elsewhere_are_refused(
    backend: Backend, names: dict[str, str]
) -> None:
    with pytest.raises(PermanentFault) as caught:
        await prepared(backend, backend.job(**names))
    assert caught.value.fault is Fault.UNEXPECTED


@pytest.mark.parametrize("action", ["models/fit", ".hidden", "a" * 210, "../x", "a\nb"])
async def test_an_action_may_have_any_name(backend: Backend, action: str) -> None:
    assert (await prepared(backend, backend.job(action=action))).is_dir()
