"""Why each action of a project would or would not run (docs/spec/controller.md 5.6). Pure.

It looks at the plan from outside: what was planned, what the plan builds on, what it never reached.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum

from rap.messages.workspaces import KnownJob
from rap.models import RUN_ALL, CreateRequest, Model, ProjectAction
from rap.status import State
from workflows.workspace.planning import Plan


class Verdict(StrEnum):
    """What a request means for an action."""

    RUNS = "runs"
    WAITED_FOR = "waited for"
    REUSED = "reused"
    NOT_NEEDED = "not needed"


class Explanation(Model):
    """The verdict on one action, with its reason."""

    action: str
    verdict: Verdict
    because: str
    needs: tuple[str, ...] = ()
    requires_db: bool = False


def explain(
    actions: Sequence[ProjectAction],
    current: Mapping[str, KnownJob],
    request: CreateRequest,
    plan: Plan,
) -> tuple[Explanation, ...]:
    """Explain a plan that was not refused, action by action in the order of the file."""
    planned = {job.action for job in plan.jobs}
    reached = {need for job in plan.jobs for need in job.requires_outputs_from}
    everything = RUN_ALL in request.requested_actions
    explained = []
    for action in actions:
        job = current.get(action.name)
        asked = everything or action.name in request.requested_actions
        if action.name in planned:
            verdict, because = Verdict.RUNS, _why_it_runs(action.name, job, request)
        elif job is None or not (asked or action.name in reached):
            verdict, because = Verdict.NOT_NEEDED, "nothing that runs needs it"
        elif job.state.is_active:
            verdict, because = Verdict.WAITED_FOR, f"job {job.job_id} is {job.state}"
        else:
            verdict, because = Verdict.REUSED, f"job {job.job_id} has succeeded"
        explained.append(
            Explanation(
                action=action.name,
                verdict=verdict,
                because=because,
                needs=action.needs,
                requires_db=action.requires_db,
            )
        )
    return tuple(explained)


def _why_it_runs(name: str, job: KnownJob | None, request: CreateRequest) -> str:
    if name in request.requested_actions:
        return "it was asked for by name"
    if job is None:
        return "it has not run in this workspace"
    if job.state is State.FAILED:
        return f"its last job, {job.job_id}, failed"
    return "what is needed is forced to run again"
