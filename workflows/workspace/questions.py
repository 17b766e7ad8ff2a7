"""What a workspace asks others before it creates a RAP: its project, and which jobs it means."""

from temporalio import workflow
from temporalio.exceptions import ActivityError

from rap.contracts.activities import LOAD_KNOWN_PROJECT, LOAD_PROJECT, RESOLVE_REUSABLE_ACTIONS
from rap.models import CreateRequest, JobSpec, Project, ProjectAnswer, Refusal, RefusalKind
from rap.planned_jobs import ResolveRequest
from rap.temporal.codec import size_as_sent
from workflows.calls import at_once, for_client, passes
from workflows.rap.start import LARGEST_RAP, too_many
from workflows.workspace.jobs import WorkspaceJobs
from workflows.workspace.planning import (
    Plan,
    check_codelists,
    check_room,
    plan_jobs,
    uses_reusable_action,
)


async def read_project(request: CreateRequest, *, until: float) -> ProjectAnswer:
    """Read the project of a request, or why it cannot run; as it is here if possible.

    Raises:
        ActivityError: neither in that time.
    """
    try:
        found = await at_once(LOAD_KNOWN_PROJECT, request)
    except ActivityError as error:
        if not passes(error):
            raise
    else:
        if found.project is not None or found.refusal is not None:
            return found
    return await for_client(LOAD_PROJECT, request, until=until, summary="read the project")


async def plan_request(
    project: Project, request: CreateRequest, known: WorkspaceJobs, *, until: float
) -> tuple[Plan, tuple[JobSpec, ...]]:
    """Decide on the jobs; again if the workspace changed while a repository was read.

    Raises:
        ActivityError: reusable actions could not be resolved in that time.
    """
    while True:
        revision = known.revision
        created_at = int(workflow.time())
        plan = plan_jobs(project.actions, known.current(), request, created_at=created_at)
        jobs = plan.jobs
        reusing = tuple(job for job in jobs if uses_reusable_action(job))
        question = ResolveRequest(jobs=reusing)
        if reusing and size_as_sent(question) > LARGEST_RAP:
            refusal = Refusal(kind=RefusalKind.REQUEST, message=too_many(len(jobs)))
            return plan.model_copy(update={"refusal": refusal}), jobs
        if reusing:
            resolved = await for_client(
                RESOLVE_REUSABLE_ACTIONS,
                question,
                until=until,
                summary="resolve reusable actions",
            )
            rewritten = {job.id: job for job in resolved.jobs}
            jobs = tuple(rewritten.get(job.id, job) for job in jobs)
            if resolved.refusal is not None:
                plan = plan.model_copy(update={"refusal": resolved.refusal})
        if plan.refusal is None and jobs:
            plan = plan.model_copy(update={"refusal": check_codelists(jobs, request)})
        if plan.refusal is None and jobs:
            plan = plan.model_copy(update={"refusal": check_room(project, jobs, request.backend)})
        if revision == known.revision:
            return plan, jobs
