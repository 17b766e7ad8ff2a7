"""From a planned job to an attempt for the agent (docs/spec/controller.md 10.2, 10.3). Pure."""

import json
import shlex
from collections.abc import Mapping

from rap import ids
from rap.models import JobDefinition, JobLimits, JobSpec


def image_of(spec: JobSpec, image_registry: str) -> str:
    """The full name of a job's image, with registry and tag."""
    return f"{image_registry}/{image_and_tag(spec.run_command)}"


def job_definition(
    spec: JobSpec,
    *,
    attempt: int,
    limits: JobLimits,
    image_registry: str,
    image_sha: str | None,
    job_env: Mapping[str, str],
) -> JobDefinition:
    """The definition of one attempt at a job. Holds no secrets: those are the agent's to add.

    The limits are those of the backend, which a request cannot change; ``job_env`` has further
    variables for database jobs.
    """
    _, *args = shlex.split(spec.run_command)
    return JobDefinition(
        id=spec.id,
        rap_id=spec.rap_id,
        task_id=ids.task_id(spec.id, attempt),
        repo_url=spec.action_repo_url or spec.study.git_repo_url,
        commit=spec.action_commit or spec.study.commit,
        study=spec.study,
        workspace=spec.workspace,
        action=spec.action,
        created_at=spec.created_at,
        image=image_of(spec, image_registry),
        image_sha=image_sha,
        args=tuple(args),
        env=_environment(spec, job_env),
        input_job_ids=spec.input_job_ids,
        output_spec={
            pattern: level
            for level, patterns in spec.outputs.items()
            for pattern in patterns.values()
        },
        allow_database_access=spec.requires_db,
        database_name=spec.database_name if spec.requires_db else None,
        **limits.model_dump(),
        user=spec.user,
        project=spec.project,
        orgs=spec.orgs,
        trace_context=spec.trace_context,
        backend=spec.backend,
    )


def _environment(spec: JobSpec, job_env: Mapping[str, str]) -> dict[str, str]:
    env = {"OPENSAFELY_BACKEND": spec.backend}
    if spec.requires_db:
        lists = [value for value in spec.analysis_scope.values() if isinstance(value, list | tuple)]
        env["EHRQL_PERMISSIONS"] = json.dumps([item for items in lists for item in items])
        env |= job_env
    return env


def image_and_tag(run_command: str) -> str:
    """The first word of a command; the rest, which may be long, is not looked at."""
    words = shlex.shlex(run_command, posix=True)
    words.whitespace_split, words.commenters = True, ""
    return words.get_token() or ""
