"""Which jobs a request needs (docs/spec/controller.md 5.6 to 5.8 and 8). Pure.

::

    plan_jobs        walk the needs of the requested actions, reuse what may be reused
    check_codelists  after reusable actions are resolved: may the new database jobs run?
    check_room       may the backend have so many jobs?

"May be reused" in one table, for the latest uncancelled job of an action; first match wins:

===============================  ==========================================
the job is pending or running    reused, waited for
the action was asked for by name  made again
``force_run_dependencies``       made again
the job succeeded                reused; what it needed is not looked at
the job failed                   made again
===============================  ==========================================
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from rap import ids
from rap.messages.workspaces import KnownJob
from rap.models import (
    ALLOWED_RUNTIMES,
    RUN_ALL,
    CreateRequest,
    JobSpec,
    Model,
    Project,
    ProjectAction,
    Refusal,
    RefusalKind,
    Study,
)
from rap.status import State
from workflows.job.definition import image_and_tag

EVENT_LEVEL_PROJECTS = frozenset({"echo-evaluation-of-covid-19-vaccine-histories-using-opensafely"})
"""The projects whose database jobs may read event-level data (docs/spec/controller.md 8)."""

MOST_UNFINISHED = 100_000
"""Jobs of a backend, which may all wait for a slot at once: its workflow carries as many over."""

ALL_SUCCEEDED = "All actions have already completed successfully"
ALL_SCHEDULED = "All requested actions were already scheduled to run"


class Plan(Model):
    """What a request comes to: exactly one of the three says something."""

    jobs: tuple[JobSpec, ...] = ()
    """The new jobs; those that others need come first."""
    nothing_to_do: str | None = None
    refusal: Refusal | None = None


def plan_jobs(
    actions: Sequence[ProjectAction],
    current: Mapping[str, KnownJob],
    request: CreateRequest,
    *,
    created_at: int,
) -> Plan:
    """Decide which jobs to create for a valid request.

    Actions are in the order of the project file; current jobs of actions that it does not have are
    ignored. ``created_at``, in whole seconds, stands in every new job.
    """
    by_name = {action.name: action for action in actions}
    known = {name: job for name, job in current.items() if name in by_name}
    walk = _Walk(by_name, known, request, created_at)
    if RUN_ALL in request.requested_actions:
        # An action of that name may exist in old projects; it was never meant to be run.
        targets = [action.name for action in actions if action.name != RUN_ALL]
    else:
        targets = list(request.requested_actions)
    for target in targets:
        refusal = walk.visit(target)
        if refusal is not None:
            return Plan(refusal=refusal)
    if walk.planned:
        return Plan(jobs=tuple(walk.planned.values()))
    # An action asked for by name is made again unless it is active, so no third case exists.
    everything = RUN_ALL in request.requested_actions
    return Plan(nothing_to_do=ALL_SUCCEEDED if everything else ALL_SCHEDULED)


def check_codelists(jobs: Sequence[JobSpec], request: CreateRequest) -> Refusal | None:
    """Refuse new database jobs while codelists are stale (docs/spec/controller.md 5.8)."""
    if request.codelists_ok:
        return None
    for job in jobs:
        if job.requires_db:
            sentence = f"Codelists are out of date (required by action {job.action})"
            return Refusal(kind=RefusalKind.CODELISTS, message=sentence)
    return None


def check_room(project: Project, jobs: Sequence[JobSpec], backend: str) -> Refusal | None:
    """Refuse jobs that a backend could not hold, should all that are not over wait at once.

    Exact but for requests of other workspaces that are being created at the same moment.
    """
    total = project.unfinished + len(jobs)
    if total <= MOST_UNFINISHED:
        return None
    sentence = (
        f"Backend '{backend}' has {project.unfinished:,} unfinished jobs; with the {len(jobs):,} "
        f"of this request they would be more than the {MOST_UNFINISHED:,} that it can hold. "
        "Please try again when some have ended."
    )
    return Refusal(kind=RefusalKind.REQUEST, message=sentence)


def uses_reusable_action(job: JobSpec) -> bool:
    """Whether the command of a job names a reusable action instead of a runtime."""
    image, _, _ = image_and_tag(job.run_command).partition(":")
    return image not in ALLOWED_RUNTIMES


@dataclass
class _Walk:
    """Depth first through the needs, without recursion: chains may be thousands of actions long."""

    actions: Mapping[str, ProjectAction]
    current: Mapping[str, KnownJob]
    request: CreateRequest
    created_at: int
    planned: dict[str, JobSpec] = field(default_factory=dict)

    @cached_property
    def asked_for(self) -> frozenset[str]:
        return frozenset(self.request.requested_actions)

    def visit(self, target: str) -> Refusal | None:
        """Plan what a target needs and then the target, as far as it must be run."""
        path: dict[str, Iterator[str]] = {}
        name: str | None = target
        while True:
            if name is not None and not self._is_settled(name):
                if name in path:
                    return _circular([*list(path)[list(path).index(name) :], name])
                if name not in self.actions:
                    return _invalid(f"Action '{name}' not found in project.yaml")
                path[name] = iter(self.actions[name].needs)
            if not path:
                return None
            action, needs = next(reversed(path.items()))
            name = next(needs, None)
            if name is None:
                del path[action]
                self.planned[action] = self._plan(self.actions[action])

    def _is_settled(self, action: str) -> bool:
        """Whether the action has a job that will do; otherwise it must be run."""
        if action in self.planned:
            return True
        job = self.current.get(action)
        if job is None:
            return False
        if job.state.is_active:
            return True
        if action in self.asked_for or self.request.force_run_dependencies:
            return False
        return job.state is State.SUCCEEDED

    def _plan(self, action: ProjectAction) -> JobSpec:
        """The new job of an action whose needs are all settled."""
        request = self.request
        met_by: list[str] = []
        unfinished: list[str] = []
        for need in action.needs:
            planned = self.planned.get(need)
            job_id = planned.id if planned else self.current[need].job_id
            met_by.append(job_id)
            if planned or self.current[need].state.is_active:
                unfinished.append(job_id)
        return JobSpec(
            id=ids.job_id(request.rap_id, action.name),
            rap_id=request.rap_id,
            action=action.name,
            backend=request.backend,
            workspace=request.workspace,
            study=Study(
                git_repo_url=request.repo_url, commit=request.commit, branch=request.branch
            ),
            run_command=action.run_command,
            requires_db=action.requires_db,
            database_name=request.database_name,
            requires_outputs_from=action.needs,
            wait_for_job_ids=tuple(unfinished),
            input_job_ids=tuple(met_by),
            outputs=action.outputs,
            user=request.created_by,
            project=request.project,
            orgs=request.orgs,
            analysis_scope=_scope(request) if action.requires_db else {},
            created_at=self.created_at,
        )


def _scope(request: CreateRequest) -> dict[str, Any]:
    """What database jobs may read (docs/spec/controller.md 8); unknown keys are kept."""
    scope = dict(request.analysis_scope)
    scope["dataset_permissions"] = sorted(scope.get("dataset_permissions") or ())
    if request.project in EVENT_LEVEL_PROJECTS:
        sent = scope.get("component_access") or ()
        scope["component_access"] = sorted({*sent, "event_level_data"})
    return scope


def _circular(circle: Sequence[str]) -> Refusal:
    shown = " -> ".join(f"`{name}`" for name in circle)
    return _invalid(f"Invalid project: \nThe `needs` of these actions form a circle: {shown}")


def _invalid(sentence: str) -> Refusal:
    return Refusal(kind=RefusalKind.PROJECT, message=sentence)
