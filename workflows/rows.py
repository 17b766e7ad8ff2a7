"""From what workflows know to the rows of the read model. Pure."""

from collections.abc import Iterable

from rap.messages import Reservation
from rap.models import JobSpec
from rap.rows import JobChange, JobChanges, JobRow, QueueEntry, RapRows, SlotEntry
from rap.status import StatusCode

LAST_ATTEMPT = 999
"""An attempt number beyond all real ones: later than anything that a RAP may still write."""


def rap_rows(rap_id: str, jobs: tuple[JobSpec, ...]) -> RapRows:
    """The rows of all jobs of a RAP, as they are at its creation."""
    return RapRows(
        rap_id=rap_id,
        jobs=tuple(
            JobRow(
                id=spec.id,
                rap_id=rap_id,
                position=position,
                backend=spec.backend,
                workspace=spec.workspace,
                repo_url=spec.study.git_repo_url,
                commit=spec.study.commit,
                action=spec.action,
                run_command=spec.run_command,
                requires_db=spec.requires_db,
                user=spec.user,
                project=spec.project,
                weight=spec.weight,
                created_at=spec.created_at,
                wait_for=spec.wait_for_job_ids,
                trace_context=spec.trace_context,
                trace_attributes=_trace_attributes(spec),
            )
            for position, spec in enumerate(jobs)
        ),
    )


def _trace_attributes(spec: JobSpec) -> dict[str, str]:
    """What the spans of a job tell beside its row (controller.md 16.2)."""
    attributes = {"job.orgs": ",".join(spec.orgs)}
    if spec.action_repo_url:
        attributes["job.reusable_action"] = f"{spec.action_repo_url}:{spec.action_commit}"
    for key, value in spec.analysis_scope.items():
        values = value if isinstance(value, list | tuple) else (value,)
        attributes[f"job.analysis_scope.{key}"] = ",".join(map(str, values))
    return attributes


def killed(job_ids: Iterable[str], *, at: float) -> JobChanges:
    """The end of jobs whose RAP was terminated: nobody else tells of it any more."""
    code = StatusCode.KILLED_BY_ADMIN
    return JobChanges(
        changes=tuple(
            JobChange(job_id=job_id, attempt=LAST_ATTEMPT, code=code, message=code.message, at=at)
            for job_id in job_ids
        )
    )


def slot_entry(job: Reservation) -> SlotEntry:
    """A job that runs, as readers of its backend know it."""
    return SlotEntry(host=job.host or "", **_common(job))


def queue_entry(job: Reservation) -> QueueEntry:
    """A job that waits, as readers of its backend know it."""
    return QueueEntry(**_common(job))


def _common(job: Reservation) -> dict[str, object]:
    return {
        "job_id": job.request.job_id,
        "rap_id": job.rap_id,
        "workspace": job.request.workspace,
        "requires_db": job.request.requires_db,
        "weight": job.request.weight,
        "since": job.since,
        "action": job.request.action,
    }
