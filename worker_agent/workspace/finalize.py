"""The end of an attempt: outputs published, log written, record kept (docs/spec/agent.md 9).

The record, ``metadata.json``, is the commit point: before it everything can be done again from the
start, after it nothing is done differently. So a finished attempt stays as it is, whatever is asked
later, and a crash at any place loses nothing.
"""

import asyncio
import re
import time
from dataclasses import replace

import structlog

from rap.egress import SHA256, Ending, ExitNote, Fault, Interruption, JobOutcome, Stage
from rap.errors import PermanentFault
from rap.git import GitCache
from rap.models import RUN_ALL, JobDefinition
from rap.project_reader import read_project
from rap.sentences import FAULT_SENTENCES, INTERRUPTION_SENTENCES
from worker_agent.workspace import job_log, manifest, metadata, outputs, safe_paths
from worker_agent.workspace.attempt_end import AttemptEnd
from worker_agent.workspace.job_texts import exit_note, hint, status_message
from worker_agent.workspace.limits import LIMITS, Limits
from worker_agent.workspace.locks import job_lock
from worker_agent.workspace.metadata import JobRecord
from worker_agent.workspace.outputs import NOTHING, Matched
from worker_agent.workspace.publish import discard_staged, publish_outputs
from worker_agent.workspace.storage import Storage

log = structlog.get_logger()

_MOST_KNOWN = 100
_known_actions: dict[tuple[str, str], frozenset[str]] = {}
"""The actions at a commit, which never change; every job of a RAP asks for the same."""


class _VolumeGone(Exception):
    """Somebody deleted the files of a job before they could be kept."""


async def finalize(
    definition: JobDefinition,
    storage: Storage,
    git: GitCache,
    end: AttemptEnd,
    limits: Limits = LIMITS,
) -> JobOutcome:
    """Bring an attempt to its end, or find that it has one; how it ended.

    Safe to repeat, also while an abandoned call of it still runs. What a program leaves behind
    is published whatever its exit code; of a cancelled or failed attempt no output is kept. Outputs
    that cannot be kept safely make the attempt fail with OUTPUTS_REFUSED, and files that somebody
    deleted meanwhile make it one that was interrupted: those too are endings. Where a later attempt
    is on record, this one was given up, and ends as cancelled without a trace.
    Git is asked for the study's project file, to flag what is out of date in the manifest.

    Raises:
        TransientFault: DISK_FULL, or UNEXPECTED for a damaged manifest; nothing is recorded, so
            the attempt can be finalized again.
        ValueError: the attempt is neither cancelled nor failed, and no program ran to its end.
    """
    recorded = await asyncio.to_thread(finish_recorded, definition, storage)
    if recorded is not None:
        return recorded
    project_actions = None
    if end.ending is Ending.COMPLETED:
        if end.ended_container is None:
            raise ValueError(f"job {definition.id} has not run to its end")
        project_actions = await _project_actions(definition, storage, git)
    return await asyncio.to_thread(_finalize, definition, storage, end, project_actions, limits)


def finish_recorded(definition: JobDefinition, storage: Storage) -> JobOutcome | None:
    """How this attempt ended, if it has, by its record alone (docs/spec/agent.md 4.2).

    What a crash may have left undone after the record is done now, or DISK_FULL. A PermanentFault
    if the job has several records (docs/spec/agent.md 4.3).
    """
    record = metadata.load_for(definition, storage)
    if record is None:
        return None
    if record.outcome is not None and (
        record.outcome.ending is Ending.COMPLETED or record.outcome.fault is Fault.OUTPUTS_REFUSED
    ):
        job_log.copy_to_workspaces(storage, definition, again=True)
        discard_staged(storage, definition.attempt_name)
    return metadata.outcome_of(record, definition)


def _finalize(
    definition: JobDefinition,
    storage: Storage,
    end: AttemptEnd,
    project_actions: frozenset[str] | None,
    limits: Limits,
) -> JobOutcome:
    with job_lock(definition.attempt_name):
        recorded = finish_recorded(definition, storage)
        if recorded is not None:
            return recorded
        if metadata.is_superseded(definition, storage):
            log.warning("not kept: a later attempt at the job is on record")
            return JobOutcome(task_id=definition.task_id, ending=Ending.CANCELLED)
        metadata.keep_earlier(storage, definition)
        matched, excluded = NOTHING, dict[str, str]()
        ran_to_its_end = end.ending is Ending.COMPLETED
        if ran_to_its_end:
            try:
                matched, excluded = _publish(definition, storage, end, project_actions, limits)
            except _VolumeGone:
                end = replace(end, interruption=Interruption.VOLUME_GONE)
            except PermanentFault as error:
                log.warning("outputs refused", reason=str(error))
                end = replace(end, fault=error.fault, detail=str(error))
        record = _record(definition, end, matched, excluded)
        if end.container is not None or end.fault is not None or end.interruption is not None:
            job_log.write(storage, definition, record, end.raw_log, limits)
        metadata.save(storage, definition, record)
        if ran_to_its_end and end.interruption is None:
            job_log.copy_to_workspaces(storage, definition, again=False)
        discard_staged(storage, definition.attempt_name)
        return metadata.outcome_of(record, definition)


def _publish(
    definition: JobDefinition,
    storage: Storage,
    end: AttemptEnd,
    project_actions: frozenset[str] | None,
    limits: Limits,
) -> tuple[Matched, dict[str, str]]:
    prepared = end.stages.get(Stage.PREPARED)
    try:
        with safe_paths.directory(storage.volume(definition.attempt_name)) as volume:
            matched = outputs.match(volume, definition.output_spec, prepared, limits)
            return matched, publish_outputs(
                definition, storage, volume, matched, project_actions, limits
            )
    except FileNotFoundError as error:
        if storage.volume(definition.attempt_name).exists():
            raise
        raise _VolumeGone from error


def _record(
    definition: JobDefinition, end: AttemptEnd, matched: Matched, excluded: dict[str, str]
) -> JobRecord:
    now = time.time_ns()
    container, ended, note = end.container, end.ended_container, exit_note(end)
    image_id = container.image_id if container else None
    fault = None if end.cancelled else end.fault
    interruption = end.interruption if end.ending is Ending.INTERRUPTED else None
    outcome = JobOutcome(
        task_id=definition.task_id,
        ending=end.ending,
        # Of a program that was interrupted it says nothing about the program.
        exit_code=ended.exit_code if ended and interruption is None else None,
        exit_note=note,
        memory_limit_bytes=container.memory_limit_bytes if container else None,
        memory_peak_bytes=container.memory_peak_bytes if container else None,
        run_time_limit_s=(
            container.run_time_limit_s if container and note is ExitNote.OUT_OF_TIME else None
        ),
        has_unmatched_patterns=bool(matched.unmatched_patterns),
        has_level4_excluded_files=bool(excluded),
        fault=fault if interruption is None else None,
        interruption=interruption,
        image_id=image_id if image_id and re.match(SHA256, image_id) else None,
        stages={**end.stages, Stage.FINALIZED: now / 1e9},
        metrics=end.metrics,
    )
    return JobRecord(
        outputs={name: level.value for name, level in matched.outputs.items()},
        unmatched_patterns=matched.unmatched_patterns,
        unmatched_outputs=matched.unmatched_outputs,
        status_message="\n".join(filter(None, (status_message(end, matched), end.detail))) or None,
        hint=hint(end, matched),
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
        cancelled=end.cancelled,
        error=_error(end, fault, interruption),
        job_metrics=end.metrics.model_dump() if end.metrics else {},
        refused_outputs=matched.refused,
        action=definition.action,
        outcome=outcome,
    )


def _error(
    end: AttemptEnd, fault: Fault | None, interruption: Interruption | None
) -> dict[str, str] | None:
    """Why the attempt has no outputs on record, for people on the host."""
    if interruption is not None:
        message = INTERRUPTION_SENTENCES[interruption]
        return {"exception": interruption.value, "message": message, "traceback": end.cause}
    if fault is not None:
        message = end.detail or FAULT_SENTENCES[fault]
        return {"exception": fault.value, "message": message, "traceback": end.cause}
    return None


async def _project_actions(
    definition: JobDefinition, storage: Storage, git: GitCache
) -> frozenset[str] | None:
    """The actions of the study as it is now; ``None`` when that cannot be known, or is not needed.

    Whatever is wrong with the repository must not keep a job's outputs from being published.
    """
    document = await asyncio.to_thread(manifest.read, storage, definition.workspace)
    if not document["outputs"]:
        return None
    at = (definition.study.git_repo_url, definition.study.commit)
    if at not in _known_actions:
        try:
            text = await git.read_file(*at, "project.yaml")
            actions = await read_project(text)
        except Exception as error:  # noqa: BLE001 - see above; a cancellation is not one of these
            log.warning("project file not read, flags of obsolete actions kept", reason=repr(error))
            return None
        while len(_known_actions) >= _MOST_KNOWN:
            del _known_actions[next(iter(_known_actions))]
        _known_actions[at] = frozenset(action.name for action in actions) - {RUN_ALL}
    return _known_actions[at]
