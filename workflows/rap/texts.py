"""What the Web UI shows about a RAP. Pure."""

from collections import Counter
from collections.abc import Collection, Sequence
from heapq import nsmallest
from typing import Protocol

from rap import ids
from rap.models import CreateRequest, JobSpec, Study
from rap.sentences import CODE_SENTENCES
from rap.status import StatusCode
from workflows.markdown import code, details, page, plain, summary, table, workflow_link
from workflows.texts import MOST_ROWS, Texts, backend_link, commit, counted, requester


class ShownJob(Protocol):
    """What is shown of a job."""

    spec: JobSpec
    code: StatusCode
    message: str
    attempt: int
    host: str
    """Empty while no attempt was ever started."""


def rap_texts(request: CreateRequest, jobs: Sequence[JobSpec], *, namespace: str) -> Texts:
    """What a RAP is, for whom, and from which code."""
    workspace = ids.workspace_workflow_id(request.backend, request.workspace)
    link = workflow_link(request.workspace, workspace, namespace)
    study = Study(git_repo_url=request.repo_url, commit=request.commit, branch=request.branch)
    lines = [
        f"{counted(len(jobs), 'job')} of workspace {link} on {code(request.backend)}",
        "",
        f"- {requester(request.created_by, request.project)}",
        f"- code {commit(study)}",
        f"- actions asked for: {_names(request.requested_actions)}",
    ]
    if request.force_run_dependencies:
        lines.append("- the actions they need run again as well")
    by = f" for {request.created_by}" if request.created_by else ""
    return Texts(
        summary(f"{counted(len(jobs), 'job')} of {request.workspace}{by}"),
        details(page("\n".join(lines))),
    )


def rap_details(
    backend: str, jobs: Collection[ShownJob], *, namespace: str, about: str = ""
) -> str:
    """The jobs of a RAP and where they stand: failed ones first, succeeded ones last.

    What the RAP is ``about`` is said first, where its page does not say it elsewhere.
    """
    counts = Counter(job.code for job in jobs)
    head = ", ".join(f"{count} {code.value}" for code, count in counts.most_common())
    shown = nsmallest(MOST_ROWS, jobs, key=_interest) if len(jobs) > MOST_ROWS else jobs
    rows = (
        (
            # Without a host no attempt was ever started, and there is no page of it.
            workflow_link(job.spec.action, _workflow_of(job.spec), namespace)
            if job.host
            else plain(job.spec.action, 60),
            job.code.value,
            str(job.attempt),
            code(job.host) if job.host else "",
            # Its usual sentence says no more than the code.
            "" if job.message == CODE_SENTENCES[job.code] else plain(job.message),
        )
        for job in shown
    )
    columns = ("action", "status", "attempt", "host", "message")
    return page(
        *((about,) if about else ()),
        f"**{counted(len(jobs), 'job')}:** {head}",
        *table(columns, rows, len(jobs), most=MOST_ROWS),
        f"What holds up the waiting ones: {backend_link(backend, namespace)}",
    )


def _workflow_of(job: JobSpec) -> str:
    return ids.job_workflow_id(job.workspace, job.action, job.id)


def _interest(job: ShownJob) -> int:
    return _INTEREST[job.code]


_INTEREST = {
    code: 1 if not code.is_final else 2 if code is StatusCode.SUCCEEDED else 0
    for code in StatusCode
}


def _names(names: Sequence[str]) -> str:
    more = len(names) - MOST_ROWS
    shown = ", ".join(code(name, 60) for name in names[:MOST_ROWS])
    return f"{shown} and {more} more" if more > 0 else shown
