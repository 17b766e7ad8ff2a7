"""What the Web UI shows about a workflow: short Markdown texts. Pure."""

from collections.abc import Iterable, Mapping

from rap.messages import JobAttempt, KnownRap, RapStart
from rap.models import JobSpec, Study
from rap.rows import BackendRow
from rap.status import StatusCode

_MOST_ROWS = 100


def job_details(spec: JobSpec, attempt: JobAttempt) -> str:
    """What a job is, for whom, and from which code."""
    return "\n".join(
        [
            f"**{spec.action}** of workspace `{spec.workspace}`",
            "",
            f"- attempt {attempt.attempt} on host `{attempt.host}`",
            f"- requested by {spec.user or 'unknown'} for project {spec.project or 'unknown'}",
            f"- code {_code(spec.study)}",
            f"- command `{spec.run_command}`",
            f"- database: {'yes' if spec.requires_db else 'no'}",
        ]
    )


def rap_details(start: RapStart, status: Mapping[str, StatusCode]) -> str:
    """The jobs of a RAP and where they stand."""
    head = f"Workspace `{start.workspace}` on `{start.backend}`"
    return "\n\n".join([head, _table(("action", "status"), status.items())])


def workspace_details(raps: Iterable[KnownRap]) -> str:
    """The RAPs of a workspace that are not done."""
    active = [(rap.rap_id, str(rap.count)) for rap in raps if not rap.done]
    if not active:
        return "No active RAP"
    return _table(("RAP", "jobs"), active)


def backend_details(row: BackendRow) -> str:
    """The switches, slots, queue and agents of a backend."""
    held = f" ({row.hold_up.value.replace('_', ' ')})" if row.hold_up else ""
    unasked = " (checks disabled)" if row.checks_disabled else ""
    lines = [
        f"Paused: {'yes' if row.paused else 'no'}{held}",
        f"Database maintenance: {row.maintenance_type or 'no'}{unasked}",
        f"Agents: {', '.join(agent.host for agent in row.agents) or 'none'}",
        f"**{len(row.slots)} running**",
        _table(
            ("job", "workspace", "host", "database"),
            [
                (slot.job_id, slot.workspace, slot.host, "yes" if slot.requires_db else "no")
                for slot in row.slots
            ],
        ),
        f"**{len(row.queue)} waiting**",
        _table(
            ("job", "workspace", "database"),
            [
                (entry.job_id, entry.workspace, "yes" if entry.requires_db else "no")
                for entry in row.queue
            ],
        ),
    ]
    return "\n\n".join(lines)


def _code(study: Study) -> str:
    short = study.commit[:10]
    if study.git_repo_url.startswith("https://"):
        return f"[{short}]({study.git_repo_url}/tree/{study.commit}) on `{study.branch}`"
    return f"`{short}` on `{study.branch}`"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    body = [" | ".join(row) for row in rows]
    rest = len(body) - _MOST_ROWS
    lines = [" | ".join(head), " | ".join("---" for _ in head), *body[:_MOST_ROWS]]
    if rest > 0:
        lines.append(f"and {rest} more" + " | " * (len(head) - 1))
    return "\n".join(f"| {line} |" for line in lines)
