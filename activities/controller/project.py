"""Load a project: may this request run at all, and what does its project file say?"""

import asyncio
import re
from collections.abc import Sequence
from functools import lru_cache

import structlog
from temporalio import activity

from activities.contracts import LOAD_PROJECT
from activities.controller.unforeseen import unforeseen_stays_here
from rap.errors import FileNotInRepository, GitError, RequestRefused
from rap.git import GitCache
from rap.models import (
    DEFAULT_DATABASE,
    CreateRequest,
    Project,
    ProjectAction,
    ProjectAnswer,
    Refusal,
    RefusalKind,
)
from rap.project import parse_project
from rap.repository_rules import check_study
from rap.settings import ControllerSettings
from worker_controller.weights import WeightFiles

PROJECT_FILE = "project.yaml"
LARGEST_ANSWER = 1_900_000
"""Bytes; Temporal refuses a result of 2 MiB, and then nobody would learn why."""

_WORKSPACE = re.compile(r"[a-zA-Z0-9_-]+")


class ProjectActivities:
    """Reads study repositories for the controller."""

    def __init__(
        self, settings: ControllerSettings, git: GitCache, weights: WeightFiles | None = None
    ) -> None:
        self._settings = settings
        self._git = git
        self._weights = weights or WeightFiles(settings.workdir)

    @activity.defn(name=LOAD_PROJECT.name)
    @unforeseen_stays_here
    async def load_project(self, request: CreateRequest) -> ProjectAnswer:
        """Check the request, cheapest checks first, and read its project file (controller.md 5.2).

        A request that cannot run is answered with a refusal; it is not an error of this activity.
        """
        try:
            return ProjectAnswer(project=await self._load(request))
        except RequestRefused as refused:
            return ProjectAnswer(refusal=refused.refusal)
        except GitError as error:
            structlog.get_logger().warning(
                "The repository could not be read", rap=request.rap_id, reason=str(error)
            )
            return ProjectAnswer(refusal=Refusal(kind=RefusalKind.GIT, message=str(error)))

    async def _load(self, request: CreateRequest) -> Project:
        settings = self._settings
        check_request(request, backends=settings.backends)
        await check_study(
            self._git,
            repo_url=request.repo_url,
            branch=request.branch,
            commit=request.commit,
            allowed_orgs=settings.allowed_github_orgs,
            allow_local=settings.allow_local_git_repos,
        )
        try:
            text = await self._git.read_file(request.repo_url, request.commit, PROJECT_FILE)
        except FileNotInRepository:
            raise RequestRefused(
                RefusalKind.PROJECT, f"No {PROJECT_FILE} file found in {request.repo_url}"
            ) from None
        # In a thread: a large file takes seconds, and the worker has other things to do.
        actions = await asyncio.to_thread(_actions, text)
        project = Project(
            actions=actions,
            limits=settings.job_limits_of(request.backend),
            image_registry=settings.docker_registry,
            pins_images=settings.registry_api is not None,
            job_env=self._job_env(request.workspace),
            weights=self._weights.of_backend(request.backend).of_workspace(request.workspace),
        )
        if len(project.model_dump_json()) > LARGEST_ANSWER:
            raise RequestRefused(
                RefusalKind.PROJECT, "Invalid project: \nThe project has too many actions"
            )
        return project

    def _job_env(self, workspace: str) -> dict[str, str]:
        joins = self._settings.workspace_ehrql_max_join_count
        if workspace not in joins:
            return {}
        return {"EHRQL_MAX_JOIN_COUNT": str(joins[workspace])}


@lru_cache(maxsize=32)
def _actions(text: bytes) -> tuple[ProjectAction, ...]:
    """The actions of a project file.

    Reading it takes longest of all in a create, and the same commit is asked for again and again.
    """
    return parse_project(text)


def check_request(request: CreateRequest, *, backends: Sequence[str]) -> None:
    """The checks of a request that need nothing but the request (controller.md 5.3, 1 to 5).

    Raises:
        RequestRefused: with the sentence for the client; ``kind`` is ``REQUEST``.
    """
    if not request.requested_actions:
        raise _refused("At least one action must be supplied")
    if not request.workspace.strip():
        raise _refused("Workspace name cannot be blank")
    if not _WORKSPACE.fullmatch(request.workspace):
        raise _refused("Invalid workspace name (allowed are alphanumeric, dash and underscore)")
    if request.backend not in backends:
        raise _refused(f"Invalid backend '{request.backend}', allowed are: {', '.join(backends)}")
    if request.database_name != DEFAULT_DATABASE:
        raise _refused(
            f"Invalid database name '{request.database_name}', allowed are: {DEFAULT_DATABASE}"
        )


def _refused(message: str) -> RequestRefused:
    return RequestRefused(RefusalKind.REQUEST, message)
