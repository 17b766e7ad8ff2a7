"""The end of an attempt: outputs published, log written, record kept (docs/spec/agent.md 9).

The record, ``metadata.json``, is the commit point: before it everything can be done again from the
start, after it nothing is done differently. So a finished attempt stays as it is, whatever is asked
later, and a crash at any place loses nothing.
"""

import asyncio
import threading
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace

import structlog

from rap.egress import Ending, Fault, Interruption, JobOutcome, Stage
from rap.errors import PermanentFault
from rap.git import GitCache
from rap.models import RUN_ALL, JobDefinition
from rap.project_reader import read_project
from worker_agent.workspace import (
    filing,
    found_outputs,
    job_log,
    manifest,
    metadata,
    outputs,
    records,
    safe_paths,
    untouched,
)
from worker_agent.workspace.attempt_end import AttemptEnd
from worker_agent.workspace.copying import Unwanted
from worker_agent.workspace.found_outputs import Found
from worker_agent.workspace.limits import LIMITS, Limits
from worker_agent.workspace.locks import job_lock, workspace_lock
from worker_agent.workspace.makers import Makers
from worker_agent.workspace.metadata import JobRecord
from worker_agent.workspace.outputs import Matched
from worker_agent.workspace.provenance import ProvenanceRecord
from worker_agent.workspace.publish import Telling, publish_outputs
from worker_agent.workspace.records import Described
from worker_agent.workspace.replaced_inputs import INPUT_FAULTS
from worker_agent.workspace.staging import Staged
from worker_agent.workspace.storage import Storage

log = structlog.get_logger()

NEVER = threading.Event()
"""An order to stop that does not come."""

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
    *,
    stopped: Unwanted = NEVER,
    alone: AbstractAsyncContextManager[object] | None = None,
) -> JobOutcome:
    """Bring an attempt to its end, or find that it has one; how it ended.

    Safe to repeat, also while an abandoned call of it still runs. What a program leaves behind
    is published whatever its exit code; of a cancelled or failed attempt no output is kept. Outputs
    that cannot be kept safely make the attempt fail with OUTPUTS_REFUSED, and files that somebody
    deleted meanwhile make it one that was interrupted: those too are endings. Where a later attempt
    is on record, this one was given up, and ends as cancelled without a trace.
    Git is asked for the study's project file, to flag what is out of date in the manifest.
    ``alone`` is held while the thread is at work that nobody can cancel.

    Raises:
        Interrupted: the attempt was ``stopped`` before the filing of its outputs had begun; nothing
            is recorded, and it is to be finalized as cancelled.
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
    async with alone or nullcontext():
        return await asyncio.to_thread(
            _finalize, definition, storage, end, project_actions, limits, stopped
        )


def finish_recorded(definition: JobDefinition, storage: Storage) -> JobOutcome | None:
    """How this attempt ended, if it has, by its record alone (docs/spec/agent.md 4.2).

    What a crash may have left undone after the record is done now, or DISK_FULL. A PermanentFault
    if the job has several records (docs/spec/agent.md 4.3).
    """
    if filing.has_begun(storage, definition.attempt_name):
        with workspace_lock(storage, definition.workspace):
            filing.finish_begun(storage, definition.workspace)
    record = metadata.load_for(definition, storage)
    if record is None:
        return None
    if record.outcome is not None and (
        record.outcome.ending is Ending.COMPLETED
        or record.outcome.fault in (Fault.OUTPUTS_REFUSED, *INPUT_FAULTS)
    ):
        job_log.copy_to_workspaces(storage, definition, again=True)
        filing.discard_staged(storage, definition.attempt_name)
    return metadata.outcome_of(record, definition)


def _finalize(
    definition: JobDefinition,
    storage: Storage,
    end: AttemptEnd,
    project_actions: frozenset[str] | None,
    limits: Limits,
    stopped: Unwanted,
) -> JobOutcome:
    with job_lock(definition.attempt_name):
        recorded = finish_recorded(definition, storage)
        if recorded is not None:
            return recorded
        if metadata.is_superseded(definition, storage):
            log.warning("not kept: a later attempt at the job is on record")
            return JobOutcome(task_id=definition.task_id, ending=Ending.CANCELLED)
        metadata.keep_earlier(storage, definition)
        ran_to_its_end = end.ending is Ending.COMPLETED
        if ran_to_its_end:
            try:
                record = _publish(definition, storage, end, project_actions, limits, stopped)
            except _VolumeGone:
                end = replace(end, interruption=Interruption.VOLUME_GONE)
            except PermanentFault as error:
                log.warning("outputs refused", reason=str(error))
                end = replace(end, fault=error.fault, detail=str(error))
            else:
                return metadata.outcome_of(record, definition)
        if filing.is_begun_in(storage, definition.workspace):
            # It may be that of an attempt before this one, whose record must not come after ours.
            with workspace_lock(storage, definition.workspace):
                filing.finish_begun(storage, definition.workspace)
            metadata.keep_earlier(storage, definition)
        record = records.job_record(definition, end, Described(), at_ns=time.time_ns())
        if end.container is not None or end.fault is not None or end.interruption is not None:
            job_log.write(storage, definition, record, end.raw_log, limits, is_cut=end.log_is_cut)
        metadata.save(storage, definition, record)
        is_about_inputs = end.ending is Ending.FAILED and end.fault in INPUT_FAULTS
        if (ran_to_its_end and end.interruption is None) or is_about_inputs:
            job_log.copy_to_workspaces(storage, definition, again=False)
        filing.discard_staged(storage, definition.attempt_name)
        return metadata.outcome_of(record, definition)


def _publish(
    definition: JobDefinition,
    storage: Storage,
    end: AttemptEnd,
    project_actions: frozenset[str] | None,
    limits: Limits,
    stopped: Unwanted,
) -> JobRecord:
    prepared = end.stages.get(Stage.PREPARED)
    try:
        with safe_paths.directory(storage.volume(definition.attempt_name)) as volume:
            matched = outputs.match(volume, definition.output_spec, prepared, limits)

            def record(staged: Sequence[Staged]) -> JobRecord:
                described = Described(matched, staged)
                made = records.job_record(definition, end, described, at_ns=time.time_ns())
                job_log.write(storage, definition, made, end.raw_log, limits, is_cut=end.log_is_cut)
                return made

            def provenance(
                staged: Sequence[Staged], record: JobRecord, at_ns: int
            ) -> ProvenanceRecord:
                described = Described(matched, staged)
                return records.provenance_record(definition, end, described, record, at_ns=at_ns)

            return publish_outputs(
                definition,
                storage,
                volume,
                matched,
                _found(definition, storage, end, volume, matched),
                Telling(record, provenance),
                project_actions,
                limits,
                stopped,
            )
    except FileNotFoundError as error:
        if storage.volume(definition.attempt_name).exists():
            raise
        raise _VolumeGone from error


def _found(
    definition: JobDefinition, storage: Storage, end: AttemptEnd, volume: int, matched: Matched
) -> dict[str, Found]:
    """The outputs that the job did not make, and what is to become of them."""
    sources = {file.name: file for file in end.inputs}
    makers = Makers(storage, definition.workspace)
    found = {}
    for name in untouched.left_alone(volume, matched.outputs, end.laid_out):
        source = sources.get(name)
        maker = makers.of(source) if source else None
        found[name] = found_outputs.decide(name, matched.outputs[name], maker)
        if maker is not None and maker.level is None:
            log.warning(f"level of its maker not known: {name}", made_by=maker.job_id)
    return found


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
