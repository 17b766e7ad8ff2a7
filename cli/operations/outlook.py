"""``rap plan``: what a request would run, and why; nothing is run or stored."""

import asyncio
from collections.abc import Mapping
from pathlib import Path

from rich.table import Table
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from activities.controller.project import ProjectActivities
from activities.controller.reusable_actions import ReusableActionsActivities
from rap import ids
from rap.cli import environment, orders, show
from rap.cli.main import GraphFormat
from rap.cli.run import Wish, request_of
from rap.errors import Unavailable
from rap.git import git_cache
from rap.messages import KnownJob
from rap.models import CreateRequest, Model, Refusal, ResolveRequest
from rap.settings import ControllerSettings, load
from workflows.explanation import Explanation, Verdict, explain
from workflows.planning import check_codelists, plan_jobs, uses_reusable_action

_COLOURS = {
    Verdict.RUNS: "green",
    Verdict.WAITED_FOR: "cyan",
    Verdict.REUSED: "blue",
    Verdict.NOT_NEEDED: "dim",
}


class Outlook(Model):
    """What a request would come to."""

    request: CreateRequest
    history_known: bool
    """Whether the workspace's earlier jobs were taken into account."""
    explanations: tuple[Explanation, ...] = ()
    nothing_to_do: str | None = None
    refusal: Refusal | None = None


def command(wish: Wish, *, data: Path | None, graph: GraphFormat | None, as_json: bool) -> int:
    """Carry out ``rap plan``; its exit code."""
    environment.enter(data)
    settings = load(ControllerSettings)
    backend = environment.backend_of(wish.backend, settings)
    with show.patience(show.console(errors=True), "Reading the repository …"):
        outlook = asyncio.run(look_ahead(wish, backend, settings))
    if as_json:
        show.print_json(outlook.model_dump(mode="json", exclude={"request": {"asked_at"}}))
    elif outlook.refusal is not None:
        show.say(show.console(errors=True), outlook.refusal.message)
    elif graph is not None:
        show.say(show.console(), draw(outlook.explanations, graph))
    else:
        _tell(outlook)
    return 1 if outlook.refusal is not None else 0


async def look_ahead(wish: Wish, backend: str, settings: ControllerSettings) -> Outlook:
    """Decide as the controller would, with its own rules and the workspace's own memory.

    Raises:
        RapError: the repository cannot be asked for its branches.
    """
    git = git_cache(settings)
    request = await request_of(wish, backend, git)
    loaded = await ProjectActivities(settings, git).load_project(request)
    if loaded.project is None:
        return Outlook(request=request, history_known=False, refusal=loaded.refusal)
    current = await _current_jobs(backend, wish.workspace)
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
        client: Client = await orders.connected()
        handle = client.get_workflow_handle(ids.workspace_workflow_id(backend, workspace))
        answer: dict[str, KnownJob] = await handle.query(
            "current_jobs", result_type=dict[str, KnownJob], rpc_timeout=orders.QUERY_WITHIN
        )
    except RPCError as error:
        return {} if error.status is RPCStatusCode.NOT_FOUND else None
    except Unavailable:
        return None
    return answer


def draw(explanations: tuple[Explanation, ...], graph: GraphFormat) -> str:
    """The actions and their needs as a graph; each arrow points to what needs the other."""
    numbers = {one.action: f"a{number}" for number, one in enumerate(explanations)}
    if graph is GraphFormat.MERMAID:
        lines = ["flowchart TD"]
        lines += [
            f'    {numbers[one.action]}["{_quoted(one.action)}<br/><i>{one.verdict}</i>"]'
            for one in explanations
        ]
        arrow, end = "-->", ""
    else:
        lines = ["digraph project {"]
        lines += [
            f'    {numbers[one.action]} [label="{_quoted(one.action)}\\n{one.verdict}"];'
            for one in explanations
        ]
        arrow, end = "->", ";"
    lines += [
        f"    {numbers[need]} {arrow} {numbers[one.action]}{end}"
        for one in explanations
        for need in one.needs
    ]
    return "\n".join([*lines, *(["}"] if graph is GraphFormat.DOT else [])])


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', "'")


def _tell(outlook: Outlook) -> None:
    out, request = show.console(), outlook.request
    show.say(
        out,
        f"{request.repo_url} at {request.commit[:12]}, workspace {request.workspace} on "
        f"{request.backend}",
    )
    if not outlook.history_known:
        show.say(out, "Temporal does not answer: planned as if nothing had run here yet.")
    table = Table("action", "verdict", "why", "needs", "database")
    for one in outlook.explanations:
        table.add_row(
            one.action,
            f"[{_COLOURS[one.verdict]}]{one.verdict}[/]",
            one.because,
            ", ".join(one.needs),
            "yes" if one.requires_db else "",
        )
    out.print(table)
    runs = sum(one.verdict is Verdict.RUNS for one in outlook.explanations)
    show.say(out, outlook.nothing_to_do or f"{runs} jobs would be created. Nothing was run.")
