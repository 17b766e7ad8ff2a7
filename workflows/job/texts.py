"""What the Web UI shows about an attempt at a job, and about clearing one away. Pure."""

from collections.abc import Iterator, Mapping

from rap import ids
from rap.egress import JobOutcome, Stage
from rap.messages.jobs import AttemptResult, JobAttempt
from rap.models import JobSpec, Study
from workflows.job.conclusion import Conclusion
from workflows.markdown import code, details, moment, page, plain, summary, table, workflow_link
from workflows.texts import LONG_TEXT, Texts, commit, requester

MIB = 1024 * 1024


def job_texts(spec: JobSpec, attempt: JobAttempt, *, namespace: str) -> Texts:
    """What a job is, for whom, and from which code."""
    definition = attempt.definition
    rap = workflow_link(spec.rap_id, ids.rap_workflow_id(spec.workspace, spec.rap_id), namespace)
    database = f"yes, {code(spec.database_name)}" if spec.requires_db else "no"
    lines = [
        f"**{plain(spec.action)}** of workspace {code(spec.workspace)}",
        "",
        f"- attempt {attempt.attempt} on host {code(attempt.host)} of {code(spec.backend)}",
        f"- RAP {rap}, {requester(spec.user, spec.project)}",
        f"- code {commit(spec.study)}",
        f"- command {code(spec.run_command, LONG_TEXT)}",
        f"- image {code(definition.image, LONG_TEXT)}"
        + (f" {code(definition.image_sha)}" if definition.image_sha else ""),
        f"- database: {database}",
        f"- at most {definition.cpu_count:g} cores and {code(definition.memory_limit or '')}"
        if definition.cpu_count
        else "- no limit of cores",
        f"- container {code(ids.container_name(spec.id))}",
    ]
    if spec.action_repo_url and spec.action_commit:
        action = Study(git_repo_url=spec.action_repo_url, commit=spec.action_commit, branch="")
        lines.insert(5, f"- reusable action {commit(action)}")
    return Texts(
        summary(f"{spec.action} of {spec.workspace}, attempt {attempt.attempt}"),
        details(page("\n".join(lines))),
    )


def clean_up_texts(attempt: JobAttempt, *, namespace: str) -> Texts:
    """What a host has to clear away, should it come back."""
    definition, host = attempt.definition, code(attempt.host)
    workflow_id = ids.job_workflow_id(definition.workspace, definition.action, definition.id)
    job = workflow_link(definition.action, workflow_id, namespace)
    return Texts(
        summary(f"Clear away {definition.action} on {attempt.host} once it is back"),
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
        plain(end.message, LONG_TEXT),
    ]
    outcome = result.outcome
    if outcome is None:
        return page(*lines, "The host did not tell how it went.")
    if outcome.fault is not None:
        lines.append(f"Fault: {outcome.fault.value}")
    if outcome.interruption is not None:
        lines.append(f"Interrupted: {outcome.interruption.value}")
    if outcome.exit_code is not None:
        lines.append(f"Exit code {outcome.exit_code}{_memory(outcome)}")
    if outcome.image_id:
        lines.append(f"Image {code(outcome.image_id)}")
    if outcome.stages:
        lines += _stages(outcome.stages)
    return page(*lines)


def _stages(stages: Mapping[Stage, float]) -> Iterator[str]:
    entered = sorted(stages.items(), key=lambda one: (one[1], list(Stage).index(one[0])))
    left = [at for _, at in entered[1:]]
    took = [f"{max(0.0, end - at):.1f}" for (_, at), end in zip(entered, left, strict=False)]
    rows = (
        (stage.value, moment(at), seconds)
        for (stage, at), seconds in zip(entered, [*took, ""], strict=True)
    )
    return table(("stage", "entered", "seconds"), rows, len(entered), most=len(entered))


def _memory(outcome: JobOutcome) -> str:
    if outcome.memory_peak_bytes is None:
        return ""
    limit = outcome.memory_limit_bytes
    of = f" of {limit / MIB:.0f}" if limit else ""
    return f", at most {outcome.memory_peak_bytes / MIB:.0f}{of} MiB of memory at once"
