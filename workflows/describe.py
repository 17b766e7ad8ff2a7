"""What the Web UI shows about jobs, RAPs, workspaces, checks and windows. Pure.

The texts of a backend are in :mod:`workflows.describe_backend`. Texts of others are escaped, and
everything is bounded: see :mod:`workflows.markdown`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from rap import ids
from rap.egress import JobOutcome, Stage
from rap.messages import AttemptResult, DatabaseCheck, JobAttempt, KnownJob, KnownRap, Window
from rap.models import CreateRequest, JobSpec, Study
from rap.status import StatusCode
from workflows.markdown import (
    code,
    details,
    moment,
    page,
    plain,
    summary,
    table,
    workflow_link,
)
from workflows.results import Conclusion

MOST_ROWS = 50
_LONG_TEXT = 600
_MIB = 1024 * 1024
_PULLED = ("https://", "http://")


class Texts(NamedTuple):
    """What a workflow says about itself from its start."""

    summary: str
    details: str


# --- a job ---


def job_texts(spec: JobSpec, attempt: JobAttempt, *, namespace: str) -> Texts:
    """What a job is, for whom, and from which code."""
    definition = attempt.definition
    rap = workflow_link(spec.rap_id, ids.rap_workflow_id(spec.rap_id), namespace)
    database = f"yes, {code(spec.database_name)}" if spec.requires_db else "no"
    lines = [
        f"**{plain(spec.action)}** of workspace {code(spec.workspace)}",
        "",
        f"- attempt {attempt.attempt} on host {code(attempt.host)} of {code(spec.backend)}",
        f"- RAP {rap}, {_requester(spec.user, spec.project)}",
        f"- code {_commit(spec.study)}",
        f"- command {code(spec.run_command, _LONG_TEXT)}",
        f"- image {code(definition.image, _LONG_TEXT)}"
        + (f" {code(definition.image_sha)}" if definition.image_sha else ""),
        f"- database: {database}",
        f"- at most {definition.cpu_count:g} cores and {code(definition.memory_limit or '')}"
        if definition.cpu_count
        else "- no limit of cores",
        f"- container {code(ids.container_name(spec.id))}",
    ]
    if spec.action_repo_url and spec.action_commit:
        action = Study(git_repo_url=spec.action_repo_url, commit=spec.action_commit, branch="")
        lines.insert(5, f"- reusable action {_commit(action)}")
    return Texts(
        summary(f"{spec.action} of {spec.workspace}, attempt {attempt.attempt}"),
        details(page("\n".join(lines))),
    )


def clean_up_texts(attempt: JobAttempt, *, namespace: str) -> Texts:
    """What a host has to clear away, should it come back."""
    job_id, host = attempt.definition.id, code(attempt.host)
    job = workflow_link(attempt.definition.action, ids.job_workflow_id(job_id), namespace)
    return Texts(
        summary(f"Clear away {attempt.definition.action} on {attempt.host} once it is back"),
        details(
            page(
                f"Host {host} was declared lost while attempt {attempt.attempt} of {job} was with "
                "it. Should it come back, it removes what is left of that attempt; the job itself "
                "has gone on elsewhere."
            )
        ),
    )


def running_details(attempt: JobAttempt) -> str:
    """Where a job stands while its attempt runs."""
    return (
        f"Attempt {attempt.attempt} is with host {code(attempt.host)}. How far it is: the "
        "heartbeat under *Pending Activities*, or the table of its backend."
    )


def ended_details(attempt: JobAttempt, result: AttemptResult, end: Conclusion) -> str:
    """How an attempt ended, and how long each stage took."""
    lines = [
        f"Attempt {attempt.attempt} on host {code(attempt.host)} ended: **{end.code.value}**",
        plain(end.message, _LONG_TEXT),
    ]
    outcome = result.outcome
    if outcome is None:
        return page(*lines, "The host did not tell how it went.")
    if outcome.fault is not None:
        lines.append(f"Fault: {outcome.fault.value}")
    if outcome.exit_code is not None:
        lines.append(f"Exit code {outcome.exit_code}{_memory(outcome)}")
    if outcome.image_id:
        lines.append(f"Image {code(outcome.image_id)}")
    if outcome.stages:
        lines.append(_stages(outcome.stages))
    return page(*lines)


def _stages(stages: Mapping[Stage, float]) -> str:
    entered = sorted(stages.items(), key=lambda one: (one[1], list(Stage).index(one[0])))
    left = [at for _, at in entered[1:]]
    took = [f"{max(0.0, end - at):.1f}" for (_, at), end in zip(entered, left, strict=False)]
    rows = (
        (stage.value, moment(at), seconds)
        for (stage, at), seconds in zip(entered, [*took, ""], strict=True)
    )
    return table(("stage", "entered", "seconds"), rows, most=len(entered))


def _memory(outcome: JobOutcome) -> str:
    if outcome.memory_peak_bytes is None:
        return ""
    limit = outcome.memory_limit_bytes
    of = f" of {limit / _MIB:.0f}" if limit else ""
    return f", at most {outcome.memory_peak_bytes / _MIB:.0f}{of} MiB of memory at once"


# --- a RAP ---


class JobLine(NamedTuple):
    """A job as the table of its RAP shows it."""

    job_id: str
    action: str
    code: StatusCode
    message: str
    attempt: int
    host: str
    has_page: bool
    """Whether an attempt was ever started."""


def rap_texts(request: CreateRequest, jobs: Sequence[JobSpec], *, namespace: str) -> Texts:
    """What a RAP is, for whom, and from which code."""
    workspace = ids.workspace_workflow_id(request.backend, request.workspace)
    link = workflow_link(request.workspace, workspace, namespace)
    study = Study(git_repo_url=request.repo_url, commit=request.commit, branch=request.branch)
    lines = [
        f"{_count(len(jobs), 'job')} of workspace {link} on {code(request.backend)}",
        "",
        f"- {_requester(request.created_by, request.project)}",
        f"- code {_commit(study)}",
        f"- actions asked for: {_names(request.requested_actions)}",
    ]
    if request.force_run_dependencies:
        lines.append("- the actions they need run again as well")
    by = f" for {request.created_by}" if request.created_by else ""
    return Texts(
        summary(f"{_count(len(jobs), 'job')} of {request.workspace}{by}"),
        details(page("\n".join(lines))),
    )


def rap_details(backend: str, jobs: Sequence[JobLine], *, namespace: str) -> str:
    """The jobs of a RAP and where they stand: failed ones first, succeeded ones last."""
    counts = Counter(job.code.value for job in jobs)
    head = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    shown = sorted(jobs, key=_interest) if len(jobs) > MOST_ROWS else jobs
    rows = (
        (
            workflow_link(job.action, ids.job_workflow_id(job.job_id), namespace)
            if job.has_page
            else plain(job.action, 60),
            job.code.value,
            str(job.attempt),
            code(job.host) if job.host else "",
            # Its usual sentence says no more than the code.
            "" if job.message == job.code.message else plain(job.message),
        )
        for job in shown
    )
    lines = [
        f"**{_count(len(jobs), 'job')}:** {head}",
        table(("action", "status", "attempt", "host", "message"), rows, most=MOST_ROWS),
        *_rest(len(jobs)),
        f"What holds up the waiting ones: {_backend_link(backend, namespace)}",
    ]
    return page(*lines)


def _interest(job: JobLine) -> int:
    if not job.code.is_final:
        return 1
    return 2 if job.code is StatusCode.SUCCEEDED else 0


def rap_code(codes: Iterable[StatusCode]) -> StatusCode:
    """The status code of a RAP that has ended: why its first failed job did, else succeeded."""
    failed = [one for one in codes if one is not StatusCode.SUCCEEDED]
    causes = [one for one in failed if one is not StatusCode.DEPENDENCY_FAILED]
    return next(iter([*causes, *failed]), StatusCode.SUCCEEDED)


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
            workflow_link(rap.rap_id, ids.rap_workflow_id(rap.rap_id), namespace),
            str(rap.count),
            code(rap.commit[:10]),
            moment(rap.created_at),
        )
        for rap in raps
    )
    known = sorted(jobs.items(), key=lambda one: (not one[1].state.is_active, one[0]))
    current = (
        (
            workflow_link(action, ids.job_workflow_id(job.job_id), namespace),
            job.state.value,
            workflow_link(job.rap_id, ids.rap_workflow_id(job.rap_id), namespace),
        )
        for action, job in known
    )
    lines = [
        f"Workspace {code(workspace)} on {_backend_link(backend, namespace)}",
    ]
    lines.append(f"**{_count(len(raps), 'active RAP')}**")
    if raps:
        lines.append(table(("RAP", "jobs", "commit", "created"), active, most=MOST_ROWS))
        lines += _rest(len(raps))
    if jobs:
        lines.append(f"**{_count(len(jobs), 'current job')}**, one for each action")
        lines.append(table(("action", "state", "RAP"), current, most=MOST_ROWS))
        lines += _rest(len(jobs))
    return page(*lines)


# --- checks and windows ---


def check_details(check: DatabaseCheck, *, namespace: str, answer: str | None = None) -> str:
    """What a database check found, or that it is being made."""
    backend = _backend_link(check.backend, namespace)
    found = "is being made" if answer is None else f"found {code(answer) if answer else 'nothing'}"
    return f"The check of {backend} {found}. Image {code(check.image, _LONG_TEXT)}"


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
    backend = _backend_link(window.backend, namespace)
    if until is None:
        return f"Closed: {backend} was told so."
    return f"Open until {moment(until)}. Cancel this workflow to close it now. {backend}"


# --- parts ---


def _backend_link(slug: str, namespace: str) -> str:
    return workflow_link(slug, ids.backend_workflow_id(slug), namespace)


def _requester(user: str, project: str) -> str:
    return f"requested by {plain(user) or 'unknown'} for project {plain(project) or 'unknown'}"


def _commit(study: Study) -> str:
    branch = f" on {code(study.branch)}" if study.branch else ""
    short = code(study.commit[:10])
    url = study.git_repo_url.removesuffix(".git")
    if not url.startswith(_PULLED) or set(url) & set("()<> \n\"'"):
        return f"{short} of {code(study.git_repo_url)}{branch}"
    return f"[{plain(study.commit[:10])}]({url}/tree/{study.commit[:64]}){branch}"


def _names(names: Sequence[str]) -> str:
    more = len(names) - MOST_ROWS
    shown = ", ".join(code(name, 60) for name in names[:MOST_ROWS])
    return f"{shown} and {more} more" if more > 0 else shown


def _rest(count: int) -> list[str]:
    return [f"… and {count - MOST_ROWS} more"] if count > MOST_ROWS else []


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"
