"""What a study may try, and all that comes of it: its status, its sentence, its files at level 4.

All studies are run once, several at a time, by one agent; each test then looks at one of them.
"""

import asyncio
import dataclasses
import hashlib
import json
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from docker import DockerClient
from temporalio.testing import ActivityEnvironment

from activities.agent.run_job import RunJob
from infra.images.build import PYTHON, JobImages
from rap import egress
from rap.egress import Ending, Fault, JobOutcome
from rap.models import JobDefinition, JobLimits
from rap.sentences import FAULT_SENTENCES
from rap.settings import AgentSettings
from tests.docker.conftest import IMPATIENT, files_in
from tests.docker.hostile.studies import OUTSIDE, Study
from tests.docker.hostile.table import ALL
from worker_agent.host import Host

pytestmark = pytest.mark.docker

AT_ONCE = 6
SECRET = "this-is-nobodys-business"
SUMMARY = "=============JOB SUMMARY=============\n"


class Run(NamedTuple):
    definition: JobDefinition
    outcome: JobOutcome
    heartbeats: list
    outside: Path
    host: Host

    @property
    def high(self) -> Path:
        return self.host.storage.high_workspaces / self.definition.workspace

    @property
    def medium(self) -> Path:
        return self.host.storage.medium_workspaces / self.definition.workspace


@pytest.fixture(scope="module")
async def runs(
    image: str, study: Any, docker_client: DockerClient, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Any]:
    """What each study came to, by its name."""
    JobImages(docker_client, tell=lambda _: None).ensure(PYTHON)
    base = tmp_path_factory.mktemp("hostile")
    outside = base / "outside" / "secret.csv"
    outside.parent.mkdir()
    outside.write_text(SECRET)
    outside.chmod(0o644)
    settings = AgentSettings(
        backend="test",
        workdir=base / "workdir",
        high_privacy_storage_base=base / "high",
        medium_privacy_storage_base=base / "medium",
        allow_local_git_repos=True,
    )
    host = Host.of(settings, IMPATIENT)
    at_once = asyncio.Semaphore(AT_ONCE)

    async def run(number: int, wanted: Study) -> Run:
        definition = define(number, wanted, study, image, outside)
        environment = ActivityEnvironment()
        beats: list = []
        environment.on_heartbeat = lambda *details: beats.extend(details)
        environment.info = dataclasses.replace(environment.info, task_token=os.urandom(8))
        async with at_once:
            outcome = await environment.run(RunJob(host).run_job, definition)
        return Run(definition, outcome, beats, outside, host)

    done = await asyncio.gather(*(run(number, each) for number, each in enumerate(ALL)))
    yield {wanted.name: each for wanted, each in zip(ALL, done, strict=True)}
    for each in done:
        for container in docker_client.containers.list(
            all=True, filters={"name": f"^/os-job-{each.definition.id}$"}
        ):
            container.remove(force=True, v=True)


def define(number: int, wanted: Study, study: Any, image: str, outside: Path) -> JobDefinition:
    def real(text: str) -> str:
        return text.replace(OUTSIDE, str(outside))

    program = real(wanted.program)
    shell = ("/bin/busybox", "sh", "-c", f"mkdir output; {program}")
    python = ("python", "-c", f"import os; os.mkdir('output')\n{program}")
    job_id = f"h{number:02d}{uuid4().hex[:12]}"
    definition = JobDefinition(
        id=job_id,
        rap_id="hostilerap000001",
        task_id=f"{job_id}-001",
        repo_url=study.git_repo_url,
        commit=study.commit,
        study=study,
        workspace=f"hostile-{number}",
        action="act",
        created_at=1767323045,
        image=PYTHON if wanted.in_python else image,
        args=python if wanted.in_python else shell,
        env={"OPENSAFELY_BACKEND": "test"},
        output_spec={real(pattern): level for pattern, level in wanted.patterns.items()},
        backend="test",
        level4_file_types=JobLimits().level4_file_types,
    )
    return definition.model_copy(update=dict(wanted.changes))


each_study = pytest.mark.parametrize("wanted", ALL, ids=lambda study: study.name)


def test_there_are_at_least_forty_studies_of_different_names() -> None:
    assert len({study.name for study in ALL}) == len(ALL) >= 40


@each_study
def test_a_hostile_study_has_its_status(runs: dict[str, Run], wanted: Study) -> None:
    outcome = runs[wanted.name].outcome
    assert (outcome.ending, outcome.fault) == (wanted.ending, wanted.fault)
    assert (outcome.exit_code, outcome.exit_note) == (wanted.exit_code, wanted.exit_note)
    assert outcome.has_unmatched_patterns is wanted.unmatched
    assert outcome.has_level4_excluded_files is wanted.excluded


@each_study
def test_its_author_reads_why(runs: dict[str, Run], wanted: Study) -> None:
    run = runs[wanted.name]
    if not wanted.is_shown:
        folder = run.host.storage.log_dir(run.definition)
        if folder.exists():
            record = json.loads((folder / "metadata.json").read_text())
            assert record["error"]["message"] == FAULT_SENTENCES[wanted.fault]
            assert (folder / "logs.txt").exists()
            for text in wanted.says:
                assert text.replace(OUTSIDE, str(run.outside)) in record["error"]["traceback"]
        return
    log = (run.medium / wanted.log).read_bytes().decode(errors="backslashreplace")
    assert log.count(f"\n{SUMMARY}") == 1, "nobody but the agent writes the line of the summary"
    for text in wanted.says:
        assert text.replace(OUTSIDE, str(run.outside)) in log
    for text in wanted.says_not:
        assert text not in log
    assert (run.high / wanted.log).read_bytes() == (
        run.host.storage.log_dir(run.definition) / "logs.txt"
    ).read_bytes()


@each_study
def test_level_4_holds_its_files_and_nothing_else(runs: dict[str, Run], wanted: Study) -> None:
    run = runs[wanted.name]
    if not wanted.is_shown:
        assert not run.medium.exists()
        assert not run.high.exists()
        return
    kept = wanted.fault is None
    log, manifest = {wanted.log}, {"metadata/manifest.json"} if kept else set()
    assert set(files_in(run.medium)) == {*wanted.level4, *log, *manifest}
    for name, text in wanted.level4.items():
        assert text is None or text in (run.medium / name).read_text()
    high = wanted.level4 if wanted.high is None else wanted.high
    assert set(files_in(run.high)) == {*high, *log}


@each_study
def test_its_manifest_tells_the_truth(runs: dict[str, Run], wanted: Study) -> None:
    run = runs[wanted.name]
    if not (run.medium / "metadata/manifest.json").exists():
        assert wanted.fault is not None
        return
    entries = json.loads((run.medium / "metadata/manifest.json").read_text())["outputs"]
    high = wanted.level4 if wanted.high is None else wanted.high
    assert set(entries) == set(high)
    for name, entry in entries.items():
        content = (run.high / name).read_bytes()
        assert entry["content_hash"] == hashlib.sha256(content).hexdigest()
        assert entry["size"] == len(content)
        if entry["level"] == "moderately_sensitive" and not entry["excluded"]:
            assert (run.medium / name).read_bytes() == content


@each_study
def test_nothing_of_it_leaves_the_backend(runs: dict[str, Run], wanted: Study) -> None:
    run = runs[wanted.name]
    said = [run.outcome.model_dump(mode="json")]
    said += [beat.model_dump(mode="json") for beat in run.heartbeats]
    ours = {run.definition.id, run.definition.task_id, run.definition.rap_id}
    assert {
        text
        for document in said
        for text in strings(document)
        if text not in ours and not text.startswith("sha256:")
    } <= words_that_may_leave()


@each_study
def test_nothing_is_left_of_it(
    runs: dict[str, Run], wanted: Study, docker_client: DockerClient
) -> None:
    run = runs[wanted.name]
    job_id = run.definition.id
    filters: dict[str, Any] = {"name": f"^/os-job-{job_id}$"}
    assert not docker_client.containers.list(all=True, filters=filters)
    assert not run.host.storage.volume(job_id).exists()
    for place in (
        run.host.storage.state_dir,
        run.host.storage.high_workspaces / ".incoming",
        run.host.storage.medium_workspaces / ".incoming",
    ):
        assert not [path for path in place.rglob("*") if job_id in str(path)]


def test_no_study_has_read_or_changed_a_file_of_the_host(runs: dict[str, Run]) -> None:
    run = next(iter(runs.values()))
    assert run.outside.read_text() == SECRET
    assert run.outside.stat().st_nlink == 1
    areas = (run.host.settings.high_privacy, run.host.settings.medium_privacy)
    found = [
        path
        for area in areas
        for path in area.rglob("*")
        if path.is_symlink() or (path.is_file() and SECRET.encode() in path.read_bytes())
    ]
    assert found == []


def strings(document: dict[str, Any] | float | str | None) -> Iterator[str]:
    """All texts in a document, keys as well."""
    if isinstance(document, str):
        yield document
    elif isinstance(document, dict):
        for key, value in document.items():
            yield from strings(key)
            yield from strings(value)
    elif isinstance(document, list):
        for value in document:
            yield from strings(value)


def words_that_may_leave() -> set[str]:
    """Names of fields, and words of enumerations: chosen by us, never by a study."""
    models = (egress.JobOutcome, egress.JobProgress, egress.Metrics)
    words = {name for model in models for name in model.model_fields}
    enums = (Ending, Fault, egress.Stage, egress.ExitNote)
    return words | {member.value for enum in enums for member in enum}
