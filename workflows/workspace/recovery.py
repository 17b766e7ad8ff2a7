"""What a workspace that was lost knew of its jobs, from their records. Pure.

Decisions are made on what workflows know, never on the read model; but a workspace that somebody
terminated begins again with nothing, and then the records are the next best.
"""

from collections.abc import Iterable

from rap.messages.workspaces import KnownJob, KnownRap, WorkspaceStart
from rap.status import State, StatusCode
from rap.stored_jobs import StoredJob
from workflows.workspace.jobs import KEEP_PER_ACTION, KEEP_RAPS


def recovered(backend: str, workspace: str, records: Iterable[StoredJob]) -> WorkspaceStart:
    """The state of a workspace, from its jobs: oldest first, each after those that it needs."""
    jobs = list(records)
    states = {job.id: job.status_code.state for job in jobs}
    of_action: dict[str, list[KnownJob]] = {}
    of_rap: dict[str, list[StoredJob]] = {}
    waiting: dict[str, list[str]] = {}
    news: dict[str, dict[str, State]] = {}
    for job in jobs:
        of_rap.setdefault(job.rap_id, []).append(job)
        if job.status_code is not StatusCode.CANCELLED_BY_USER:
            known = KnownJob(job_id=job.id, rap_id=job.rap_id, state=job.status_code.state)
            of_action.setdefault(job.action, []).append(known)
        if job.status_code.is_final:
            continue
        own = {one.id for one in of_rap[job.rap_id]}
        for awaited in (one for one in job.wait_for if one not in own):
            if awaited in states and not states[awaited].is_active:
                news.setdefault(job.rap_id, {})[awaited] = states[awaited]
            else:
                waiting.setdefault(awaited, []).append(job.rap_id)
    raps = [_known_rap(some) for some in of_rap.values()]
    done = [rap for rap in raps if rap.done][-KEEP_RAPS:]
    return WorkspaceStart(
        backend=backend,
        workspace=workspace,
        jobs={action: tuple(some[-KEEP_PER_ACTION:]) for action, some in of_action.items()},
        raps=(*done, *(rap for rap in raps if not rap.done)),
        waiting={job_id: tuple(sorted(set(some))) for job_id, some in waiting.items()},
        news=news,
    )


def _known_rap(jobs: list[StoredJob]) -> KnownRap:
    first = jobs[0]
    return KnownRap(
        rap_id=first.rap_id,
        repo_url=first.repo_url,
        commit=first.commit,
        count=len(jobs),
        created_at=first.created_at,
        done=all(job.status_code.is_final for job in jobs),
    )
