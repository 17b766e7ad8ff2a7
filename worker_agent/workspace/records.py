"""What is written down about an attempt that has ended: its own record, and where its files come
from. Pure.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rap.egress import SHA256, Ending, ExitNote, Fault, Interruption, JobOutcome, Stage
from rap.models import JobDefinition
from rap.sentences import FAULT_SENTENCES, INTERRUPTION_SENTENCES
from worker_agent.workspace import metadata
from worker_agent.workspace.attempt_end import AttemptEnd
from worker_agent.workspace.job_texts import exit_note, hint, status_message
from worker_agent.workspace.metadata import JobRecord
from worker_agent.workspace.outputs import NOTHING, Matched
from worker_agent.workspace.provenance import OutputFile, ProvenanceRecord
from worker_agent.workspace.staging import Staged


class Described(NamedTuple):
    """The outputs of an attempt, as far as its records tell of them."""

    matched: Matched = NOTHING
    staged: Sequence[Staged] = ()


def job_record(
    definition: JobDefinition, end: AttemptEnd, described: Described, *, at_ns: int
) -> JobRecord:
    """``metadata.json`` of an attempt that ends now."""
    matched, staged = described
    container, ended, note = end.container, end.ended_container, exit_note(end)
    image_id = container.image_id if container else None
    fault = None if end.cancelled else end.fault
    interruption = end.interruption if end.ending is Ending.INTERRUPTED else None
    excluded = {file.name: file.output.message for file in staged if file.output.message}
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
        need=end.need if fault is Fault.INPUT_REPLACED and interruption is None else None,
        interruption=interruption,
        image_id=_digest(image_id),
        stages={**end.stages, Stage.FINALIZED: at_ns / 1e9},
        metrics=end.metrics,
    )
    return JobRecord(
        outputs={file.name: file.level.value for file in staged},
        unmatched_patterns=matched.unmatched_patterns,
        unmatched_outputs=matched.unmatched_outputs,
        status_message="\n".join(filter(None, (status_message(end, matched), end.detail))) or None,
        hint=hint(end, matched),
        timestamp_ns=at_ns,
        job_definition_id=definition.id,
        job_definition_rap_id=definition.rap_id,
        task_id=definition.task_id,
        created_at=definition.created_at,
        user=definition.user,
        completed_at=at_ns // 1_000_000_000,
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
        unverified_inputs={file.name: file.job_id for file in end.inputs if not file.verified},
        replaced_inputs=end.replaced_inputs,
        output_hashes={file.name: file.output.content_hash for file in staged},
        untouched_outputs={file.name: file.found.remark for file in staged if file.found},
        outcome=outcome,
    )


def provenance_record(
    definition: JobDefinition,
    end: AttemptEnd,
    described: Described,
    record: JobRecord,
    *,
    at_ns: int,
) -> ProvenanceRecord:
    """Where the outputs come from that are filed together with this record of their job."""
    outcome = record.outcome or JobOutcome(task_id=definition.task_id, ending=end.ending)
    return ProvenanceRecord(
        job_id=definition.id,
        task_id=definition.task_id,
        rap_id=definition.rap_id,
        backend=definition.backend,
        workspace=definition.workspace,
        action=definition.action,
        repo=definition.study.git_repo_url,
        branch=definition.study.branch,
        commit=definition.study.commit,
        action_repo=definition.repo_url,
        action_commit=definition.commit,
        created_at=definition.created_at,
        user=definition.user,
        project=definition.project,
        orgs=definition.orgs,
        database_name=definition.database_name if definition.allow_database_access else None,
        permissions=_permissions(definition.env) if definition.allow_database_access else (),
        image=definition.image,
        image_digest=definition.image_sha,
        image_id=outcome.image_id,
        args=definition.args,
        patterns=definition.output_spec,
        level4_max_filesize=definition.level4_max_filesize,
        level4_max_csv_rows=definition.level4_max_csv_rows,
        level4_file_types=definition.level4_file_types,
        needs=definition.input_job_ids,
        inputs=end.inputs,
        outputs=tuple(_output(file) for file in described.staged),
        succeeded=(
            end.ending is Ending.COMPLETED
            and outcome.exit_code == 0
            and not outcome.has_unmatched_patterns
        ),
        exit_code=outcome.exit_code,
        stages=outcome.stages,
        filed_at_ns=at_ns,
    )


def _output(file: Staged) -> OutputFile:
    return OutputFile(
        name=file.name,
        size=file.output.size,
        sha256=file.output.content_hash,
        level=file.level,
        excluded=file.output.excluded,
        reason=file.output.message,
        untouched=file.found is not None,
        made_by=file.found.made_by if file.found else None,
    )


def _permissions(env: Mapping[str, str]) -> tuple[str, ...]:
    try:
        listed = json.loads(env.get("EHRQL_PERMISSIONS", ""))
    except ValueError:
        return ()
    return tuple(map(str, listed)) if isinstance(listed, list) else ()


def _digest(image_id: str | None) -> str | None:
    return image_id if image_id and re.match(SHA256, image_id) else None


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
