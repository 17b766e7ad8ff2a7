"""What a request would come to: the controller's own rules, applied without running anything."""

from collections.abc import Iterator, Mapping, Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text
from temporalio.service import RPCError, RPCStatusCode

from activities.controller.project import ProjectActivities
from activities.controller.reusable_actions import ReusableActionsActivities
from cli import connection
from cli.plan import GraphFormat
from rap import ids
from rap.contracts.workflows import CURRENT_JOBS
from rap.errors import Unavailable
from rap.git import GitCache
from rap.messages.workspaces import KnownJob
from rap.models import CreateRequest, Model, Refusal
from rap.planned_jobs import ResolveRequest
from rap.settings import ControllerSettings
from rap.temporal.messages import query
from workflows.workspace.explanation import Explanation, Verdict, explain
from workflows.workspace.planning import check_codelists, plan_jobs, uses_reusable_action


class Outlook(Model):
    """What a request would come to."""

    request: CreateRequest
    history_known: bool
    """Whether the workspace's earlier jobs were taken into account."""
    explanations: tuple[Explanation, ...] = ()
    nothing_to_do: str | None = None
    refusal: Refusal | None = None


async def look_ahead(
    request: CreateRequest, git: GitCache, settings: ControllerSettings
) -> Outlook:
    """Decide as the controller would, with its own rules and the workspace's own memory."""
    loaded = await ProjectActivities(settings, git).load_project(request)
    if loaded.project is None:
        return Outlook(request=request, history_known=False, refusal=loaded.refusal)
    current = await _current_jobs(request.backend, request.workspace)
    known = current is not None
    current = current or {}
    plan = plan_jobs(loaded.project.actions, current, request, created_at=0)
    refusal = plan.refusal
    if refusal is None and any(uses_reusable_action(job) for job in plan.jobs):
        resolver = ReusableActionsActivities(git)
        resolved = await resolver.resolve_reusable_actions(ResolveRequest(jobs=plan.jobs))
        refusal = resolved.refusal
    refusal = refusal or check_codelists(plan.jobs, request)
    if refusal is not None:
        return Outlook(request=request, history_known=known, refusal=refusal)
    return Outlook(
        request=request,
        history_known=known,
        explanations=explain(loaded.project.actions, current, request, plan),
        nothing_to_do=plan.nothing_to_do,
    )


async def _current_jobs(backend: str, workspace: str) -> Mapping[str, KnownJob] | None:
    """The workspace's current jobs; ``None`` if Temporal or the controller does not answer."""
    try:
        client = await connection.connected()
        workflow_id = ids.workspace_workflow_id(backend, workspace)
        return await query(client, CURRENT_JOBS, workflow_id, within=connection.QUERY_WITHIN)
    except RPCError as error:
        return {} if error.status is RPCStatusCode.NOT_FOUND else None
    except Unavailable:
        return None


# --- for people ---

_COLOURS = {
    Verdict.RUNS: "green",
    Verdict.WAITED_FOR: "cyan",
    Verdict.REUSED: "blue",
    Verdict.NOT_NEEDED: "dim",
}
_LANGUAGES = {
    GraphFormat.MERMAID: (
        "flowchart TD",
        '    {id}["{name}<br/><i>{verdict}</i>"]',
        "    {need} --> {id}",
        [],
    ),
    GraphFormat.DOT: (
        "digraph project {",
        '    {id} [label="{name}\\n{verdict}"];',
        "    {need} -> {id};",
        ["}"],
    ),
}
"""How a graph begins, a node and an arrow of it, how it ends."""


def draw(explanations: Sequence[Explanation], graph: GraphFormat) -> str:
    """The actions and their needs as a graph; each arrow points to what needs the other."""
    head, node, arrow, end = _LANGUAGES[graph]
    numbers = {one.action: f"a{number}" for number, one in enumerate(explanations)}
    nodes = [
        node.format(id=numbers[one.action], name=_quoted(one.action), verdict=one.verdict)
        for one in explanations
    ]
    arrows = [
        arrow.format(need=numbers[need], id=numbers[one.action])
        for one in explanations
        for need in one.needs
    ]
    return "\n".join([head, *nodes, *arrows, *end])


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', "'")


def lines(outlook: Outlook) -> Iterator[RenderableType]:
    """An outlook as a table, with a line about it above and one below."""
    request = outlook.request
    yield (
        f"{request.repo_url} at {request.commit[:12]}, workspace {request.workspace} on "
        f"{request.backend}"
    )
    if not outlook.history_known:
        yield "Temporal does not answer: planned as if nothing had run here yet."
    table = Table("action", "verdict", "why", "needs", "database")
    for one in outlook.explanations:
        table.add_row(
            one.action,
            Text(one.verdict, _COLOURS[one.verdict]),
            one.because,
            ", ".join(one.needs),
            "yes" if one.requires_db else "",
        )
    yield table
    runs = sum(one.verdict is Verdict.RUNS for one in outlook.explanations)
    yield outlook.nothing_to_do or f"{runs} jobs would be created. Nothing was run."
