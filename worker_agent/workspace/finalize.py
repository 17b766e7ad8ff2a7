"""The end of an attempt at a job: its outputs filed, its log written, its record kept (agent.md 9).

The record, ``metadata.json``, is the commit point: before it everything can be done again from the
start, after it nothing is done differently. So a finished attempt stays as it is, whatever is asked
later, and a crash at any place loses nothing.
"""

import asyncio
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog

from rap.egress import SHA256, Ending, ExitNote, Fault, JobOutcome, Metrics, Stage
from rap.errors import FAULT_SENTENCES, PermanentFault
from rap.git import GitCache
from rap.models import RUN_ALL, JobDefinition
from rap.project import parse_project
from worker_agent.engine.facts import ContainerFacts
from worker_agent.workspace import beneath, job_log, manifest, metadata, outputs
from worker_agent.workspace.filing import discard_staged, file_outputs
from worker_agent.workspace.job_message import exit_note, hint, status_message
from worker_agent.workspace.metadata import JobRecord
from worker_agent.workspace.outputs import Matched
from worker_agent.workspace.storage import Storage
from worker_agent.workspace.turns import turn_of_job

log = structlog.get_logger()

_NOTHING = Matched({}, {}, (), (), {})
_MOST_KNOWN = 100
_known_actions: dict[tuple[str, str], frozenset[str]] = {}
"""The actions at a commit, which never change; every job of a RAP asks for the same."""


async def finalize(
    definition: JobDefinition,
    storage: Storage,
    git: GitCache,
    *,
    container: ContainerFacts | None,
    raw_log: Path | None,
    cancelled: bool = False,
    killed: bool = False,
    fault: Fault | None = None,
    cause: str = "",
    metrics: Metrics | None = None,
    stages: Mapping[Stage, float],
) -> JobOutcome:
    """Bring an attempt to its end, or find that it has one, and tell how it ended.

    Safe to repeat, also while an abandoned call of it still runs. What a program leaves behind is
    filed whatever its exit code; of a cancelled or failed attempt no output is kept. Outputs that
    cannot be kept safely make the attempt fail with OUTPUTS_REFUSED: that too is an ending.

    Args:
        definition: the job and the attempt.
        storage: the backend's folders.
        git: asked for the study's project file, to flag what is out of date in the manifest.
        container: the last inspection; ``None``: it never existed.
        raw_log: what the container wrote, lines with their times; ``None``: no container.
        cancelled: an order ended the attempt.
        killed: that order came from an administrator of this host.
        fault: why the attempt could not be carried out.
        cause: the same in detail, for the record, which stays inside the backend.
        metrics: what it used of the machine.
        stages: when each stage was entered, seconds since the epoch; FINALIZED is added here.

    Raises:
        TransientFault: DISK_FULL, or UNEXPECTED for a damaged manifest; nothing is recorded, so
            the attempt can be finalized again.
        ValueError: there is nothing to finalize: no program ran to its end, and the attempt is
            neither cancelled nor failed.
    """
    recorded = await asyncio.to_thread(_finish_again, definition, storage)
    if recorded is not None:
        return recorded
    project_actions = None
    if not cancelled and fault is None:
        if container is None or container.running or not container.started:
            raise ValueError(f"job {definition.id} has not run to its end")
        project_actions = await _project_actions(definition, storage, git)
    return await asyncio.to_thread(
        _finalize,
        definition,
        storage,
        container=container,
        raw_log=raw_log,
        cancelled=cancelled,
        killed=killed,
        fault=fault,
        cause=cause,
        metrics=metrics,
        stages=stages,
        project_actions=project_actions,
    )


def recorded_outcome(definition: JobDefinition, storage: Storage) -> JobOutcome | None:
    """How this attempt ended, if it has: known without container or volume (agent.md 4.2).

    Raises:
        PermanentFault: the job has several records (agent.md 4.3).
    """
    record = metadata.load_for(definition, storage)
    return None if record is None else metadata.outcome_of(record, definition)


def _finalize(
    definition: JobDefinition,
    storage: Storage,
    *,
    container: ContainerFacts | None,
    raw_log: Path | None,
    cancelled: bool,
    killed: bool,
    fault: Fault | None,
    cause: str,
    metrics: Metrics | None,
    stages: Mapping[Stage, float],
    project_actions: frozenset[str] | None,
) -> JobOutcome:
    with turn_of_job(definition.id):
        recorded = _finish_again(definition, storage)
        if recorded is not None:
            return recorded
        matched, excluded, detail = _NOTHING, dict[str, str](), None
        ran_to_its_end = not cancelled and fault is None
        if ran_to_its_end:
            try:
                matched, excluded = _file(definition, storage, project_actions)
            except PermanentFault as error:
                fault, detail = error.fault, str(error)
                log.warning("outputs refused", reason=detail)
        record = _record(
            definition,
            container,
            matched,
            excluded,
            cancelled=cancelled,
            killed=killed,
            fault=fault,
            detail=detail,
            cause=cause,
            metrics=metrics,
            stages=stages,
        )
        if container is not None or fault is not None:
            job_log.write(storage, definition, record, raw_log)
        metadata.save(storage, definition, record)
        if ran_to_its_end:
            job_log.copy_to_workspaces(storage, definition, again=False)
        discard_staged(storage, definition.id)
        return metadata.outcome_of(record, definition)


def _file(
    definition: JobDefinition, storage: Storage, project_actions: frozenset[str] | None
) -> tuple[Matched, dict[str, str]]:
    try:
        with beneath.directory(storage.volume(definition.id)) as volume:
            matched = outputs.match(volume, definition.output_spec, _marker_time(volume))
            excluded = file_outputs(definition, storage, volume, matched, project_actions)
    except FileNotFoundError as error:
        if storage.volume(definition.id).exists():
            raise
        raise PermanentFault(
            Fault.OUTPUTS_REFUSED, "The files of this job were deleted before they could be kept"
        ) from error
    return matched, excluded


def _record(
    definition: JobDefinition,
    container: ContainerFacts | None,
    matched: Matched,
    excluded: dict[str, str],
    *,
    cancelled: bool,
    killed: bool,
    fault: Fault | None,
    detail: str | None,
    cause: str,
    metrics: Metrics | None,
    stages: Mapping[Stage, float],
) -> JobRecord:
    now = time.time_ns()
    ending = Ending.CANCELLED if cancelled else Ending.FAILED if fault else Ending.COMPLETED
    ended = container is not None and container.started and not container.running
    image_id = container.image_id if container else None
    message = status_message(
        container,
        outputs=matched.outputs,
        unmatched_patterns=matched.unmatched_patterns,
        cancelled=cancelled,
        killed=killed,
        fault=fault,
    )
    note = exit_note(container, cancelled=cancelled, killed=killed)
    outcome = JobOutcome(
        task_id=definition.task_id,
        ending=ending,
        exit_code=container.exit_code if container and ended else None,
        exit_note=note,
        memory_limit_bytes=container.memory_limit_bytes if container else None,
        memory_peak_bytes=container.memory_peak_bytes if container else None,
        run_time_limit_s=(
            container.run_time_limit_s if container and note is ExitNote.OUT_OF_TIME else None
        ),
        has_unmatched_patterns=bool(matched.unmatched_patterns),
        has_level4_excluded_files=bool(excluded),
        fault=None if cancelled else fault,
        image_id=image_id if image_id and re.match(SHA256, image_id) else None,
        stages={**stages, Stage.FINALIZED: now / 1e9},
        metrics=metrics,
    )
    return JobRecord(
        outputs={name: level.value for name, level in matched.outputs.items()},
        unmatched_patterns=matched.unmatched_patterns,
        unmatched_outputs=matched.unmatched_outputs,
        status_message="\n".join(filter(None, (message, detail))) or None,
        hint=hint(
            container,
            unmatched_patterns=matched.unmatched_patterns,
            unmatched_outputs=matched.unmatched_outputs,
        ),
        timestamp_ns=now,
        job_definition_id=definition.id,
        job_definition_rap_id=definition.rap_id,
        task_id=definition.task_id,
        created_at=definition.created_at,
        user=definition.user,
        completed_at=now // 1_000_000_000,
        docker_image_id=image_id,
        expected_image_id=definition.image_sha,
        exit_code=str(container.exit_code) if container else "None",
        oom_killed=container.oom_killed if container else None,
        container_metadata=metadata.redacted(container.inspection) if container else {},
        commit=definition.study.commit,
        database_name=definition.database_name,
        **metadata.image_facts(container),
        level4_excluded_files=excluded,
        cancelled=cancelled,
        error=_error(fault, detail, cause) if outcome.fault else None,
        job_metrics=metrics.model_dump() if metrics else {},
        refused_outputs=matched.refused,
        outcome=outcome,
    )


def _error(fault: Fault | None, detail: str | None, cause: str) -> dict[str, Any] | None:
    if fault is None:
        return None
    return {
        "exception": fault.value,
        "message": detail or FAULT_SENTENCES[fault],
        "traceback": cause,
    }


def _finish_again(definition: JobDefinition, storage: Storage) -> JobOutcome | None:
    """For an attempt with a record: do what a crash may have left undone after it."""
    record = metadata.load_for(definition, storage)
    if record is None:
        return None
    if record.outcome is not None and (
        record.outcome.ending is Ending.COMPLETED or record.outcome.fault is Fault.OUTPUTS_REFUSED
    ):
        job_log.copy_to_workspaces(storage, definition, again=True)
        discard_staged(storage, definition.id)
    return metadata.outcome_of(record, definition)


async def _project_actions(
    definition: JobDefinition, storage: Storage, git: GitCache
) -> frozenset[str] | None:
    """The actions of the study as it is now; ``None`` when that cannot be known, or is not needed.

    Whatever is wrong with the repository must not keep a finished job from being filed.
    """
    document = await asyncio.to_thread(manifest.read, storage, definition.workspace)
    if not document["outputs"]:
        return None
    study = definition.study
    known = _known_actions.get((study.git_repo_url, study.commit))
    if known is not None:
        return known
    try:
        text = await git.read_file(study.git_repo_url, study.commit, "project.yaml")
        actions = await asyncio.to_thread(parse_project, text)
    except Exception as error:  # noqa: BLE001 - see above; a cancellation is not one of these
        log.warning("project file not read, flags of obsolete actions kept", reason=repr(error))
        return None
    names = frozenset(action.name for action in actions) - {RUN_ALL}
    while len(_known_actions) >= _MOST_KNOWN:
        del _known_actions[next(iter(_known_actions))]
    _known_actions[study.git_repo_url, study.commit] = names
    return names


def _marker_time(volume: int) -> int | None:
    try:
        return os.stat(outputs.MARKER, dir_fd=volume, follow_symlinks=False).st_mtime_ns
    except FileNotFoundError:
        return None
