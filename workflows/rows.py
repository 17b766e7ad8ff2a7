"""From planned jobs to the rows of the read model. Pure."""

from rap.models import JobSpec
from rap.rows import JobRow, RapRows


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
