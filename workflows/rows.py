"""From what workflows know to the rows of the read model. Pure."""

from collections.abc import Iterable

from rap.messages.jobs import AttemptResult
from rap.messages.slots import Reservation
from rap.models import JobSpec
from rap.rows import JobChange, JobChanges, JobRow, QueueEntry, RapRows, SlotEntry
from rap.sentences import CODE_SENTENCES
from rap.status import StatusCode

LAST_ATTEMPT = 999
"""An attempt number beyond all real ones: later than anything that a RAP may still write."""


_SAME = JobSpec.model_fields.keys() & JobRow.model_fields.keys()
"""What a planned job and its row both tell."""


def rap_rows(rap_id: str, jobs: tuple[JobSpec, ...]) -> RapRows:
    """The rows of all jobs of a RAP, as they are at its creation."""
    return RapRows(
        rap_id=rap_id,
        jobs=tuple(
            JobRow(
                **spec.model_dump(include=_SAME),
                position=position,
                repo_url=spec.study.git_repo_url,
                commit=spec.study.commit,
                wait_for=spec.wait_for_job_ids,
                trace_attributes=_trace_attributes(spec),
            )
            for position, spec in enumerate(jobs)
        ),
    )


def _trace_attributes(spec: JobSpec) -> dict[str, str]:
    """What the spans of a job tell beside its row (docs/spec/controller.md 16.2)."""
    attributes = {"job.orgs": ",".join(spec.orgs)}
    if spec.action_repo_url:
        attributes["job.reusable_action"] = f"{spec.action_repo_url}:{spec.action_commit}"
    for key, value in spec.analysis_scope.items():
        values = value if isinstance(value, list | tuple) else (value,)
        attributes[f"job.analysis_scope.{key}"] = ",".join(map(str, values))
    return attributes


def attempt_ended(job_id: str, result: AttemptResult) -> JobChange:
    """The end of a job that the final result of its last attempt tells.

    Raises:
        ValueError: the result tells no code.
    """
    if result.code is None:
        raise ValueError("An attempt that has not ended tells of no end")
    outcome = result.outcome
    return JobChange(
        job_id=job_id,
        attempt=result.attempt,
        code=result.code,
        message=result.message or CODE_SENTENCES[result.code],
        at=result.ended_at,
        metrics=outcome.metrics if outcome else None,
        exit_code=outcome.exit_code if outcome else None,
        image_id=outcome.image_id if outcome else None,
    )


def killed(job_ids: Iterable[str], *, at: float) -> JobChanges:
    """The end of jobs whose RAP was terminated: nobody else tells of it any more."""
    code = StatusCode.KILLED_BY_ADMIN
    return JobChanges(
        changes=tuple(
            JobChange(
                job_id=job_id, attempt=LAST_ATTEMPT, code=code, message=CODE_SENTENCES[code], at=at
            )
            for job_id in job_ids
        )
    )


def slot_entry(job: Reservation) -> SlotEntry:
    """A job that runs, as readers of its backend know it."""
    return SlotEntry(host=job.host or "", **queue_entry(job).model_dump())


def queue_entry(job: Reservation) -> QueueEntry:
    """A job that waits, as readers of its backend know it."""
    request = job.request
    return QueueEntry(
        job_id=request.job_id,
        rap_id=job.rap_id,
        workspace=request.workspace,
        requires_db=request.requires_db,
        weight=request.weight,
        since=job.since,
        action=request.action,
        created_at=request.created_at,
        position=request.position,
    )
