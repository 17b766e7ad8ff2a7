"""What the Web UI shows about workspaces, checks and windows, and parts of such texts. Pure.

The texts of a backend, a RAP and a job stand with their workflows. Texts of others are escaped, and
everything is bounded: see :mod:`workflows.markdown`.
"""

from collections.abc import Mapping, Sequence
from heapq import nsmallest
from typing import NamedTuple

from rap import ids
from rap.messages.checks import DatabaseCheck
from rap.messages.orders import Window
from rap.messages.workspaces import KnownJob, KnownRap
from rap.models import Study
from workflows.markdown import code, details, moment, page, plain, summary, table, workflow_link

MOST_ROWS = 50
LONG_TEXT = 600
_PULLED = ("https://", "http://")


class Texts(NamedTuple):
    """What a workflow says about itself from its start."""

    summary: str
    details: str


# --- a workspace ---


def workspace_texts(backend: str, workspace: str) -> Texts:
    """What the workflow of a workspace is for."""
    return Texts(
        summary(f"Workspace {workspace} on {backend}"),
        details(
            f"Workspace {code(workspace)} on backend {code(backend)}: creates its RAPs one at a "
            "time, and knows the current job of each action."
        ),
    )


def workspace_details(
    backend: str,
    workspace: str,
    *,
    raps: Sequence[KnownRap],
    jobs: Mapping[str, KnownJob],
    namespace: str,
) -> str:
    """The RAPs of a workspace that are not done, and the current job of each action."""
    active = (
        (
            workflow_link(rap.rap_id, ids.rap_workflow_id(workspace, rap.rap_id), namespace),
            str(rap.count),
            code(rap.commit[:10]),
            moment(rap.created_at),
        )
        for rap in raps
    )
    known = nsmallest(MOST_ROWS, jobs.items(), key=lambda one: (not one[1].state.is_active, one[0]))
    current = (
        (
            workflow_link(action, ids.job_workflow_id(workspace, action, job.job_id), namespace),
            job.state.value,
            workflow_link(job.rap_id, ids.rap_workflow_id(workspace, job.rap_id), namespace),
        )
        for action, job in known
    )
    parts = [
        f"Workspace {code(workspace)} on {backend_link(backend, namespace)}",
        f"**{counted(len(raps), 'active RAP')}**",
        *table(("RAP", "jobs", "commit", "created"), active, len(raps), most=MOST_ROWS),
    ]
    if jobs:
        heading = f"**{counted(len(jobs), 'current job')}**, one for each action"
        parts += heading, *table(("action", "state", "RAP"), current, len(jobs), most=MOST_ROWS)
    return page(*parts)


# --- checks and windows ---


def check_details(check: DatabaseCheck, *, namespace: str, answer: str | None = None) -> str:
    """What a database check found, or that it is being made."""
    backend = backend_link(check.backend, namespace)
    found = "is being made" if answer is None else f"found {code(answer) if answer else 'nothing'}"
    return f"The check of {backend} {found}. Image {code(check.image, LONG_TEXT)}"


def window_texts(window: Window) -> Texts:
    """What a maintenance window does, and who made it."""
    why = f": {plain(window.why)}" if window.why else ""
    return Texts(
        summary(f"Window {window.name} of {window.backend}: {window.kind}"),
        details(
            f"**{window.kind}** of {code(window.backend)} for {window.seconds / 60:g} minutes, "
            f"made by {plain(window.by) or 'unknown'}{why}"
        ),
    )


def window_details(window: Window, *, until: float | None, namespace: str) -> str:
    """Whether a window is open, and until when."""
    backend = backend_link(window.backend, namespace)
    if until is None:
        return f"Closed: {backend} was told so."
    return f"Open until {moment(until)}. Cancel this workflow to close it now. {backend}"


# --- parts ---


def backend_link(slug: str, namespace: str) -> str:
    """A link to the workflow of a backend."""
    return workflow_link(slug, ids.backend_workflow_id(slug), namespace)


def requester(user: str, project: str) -> str:
    """For whom something runs."""
    return f"requested by {plain(user) or 'unknown'} for project {plain(project) or 'unknown'}"


def commit(study: Study) -> str:
    """Which code something runs."""
    branch = f" on {code(study.branch)}" if study.branch else ""
    short = code(study.commit[:10])
    url = study.git_repo_url.removesuffix(".git")
    if not url.startswith(_PULLED) or set(url) & set("()<> \n\"'"):
        return f"{short} of {code(study.git_repo_url)}{branch}"
    return f"[{plain(study.commit[:10])}]({url}/tree/{study.commit[:64]}){branch}"


def counted(number: int, noun: str) -> str:
    """``no jobs``, ``1 job``, ``2 jobs`` …"""
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
