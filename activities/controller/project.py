"""Load a project: may this request run at all, and what does its project file say?"""

import asyncio
import re
from collections.abc import Sequence

import structlog
from temporalio import activity

from activities.controller.for_clients import for_clients
from activities.controller.weight_files import WeightFiles
from rap.contracts.activities import LOAD_KNOWN_PROJECT, LOAD_PROJECT
from rap.errors import FileNotInRepository, GitError, NotFetched, RequestRefused, Unavailable
from rap.git import GitCache
from rap.models import (
    DEFAULT_DATABASE,
    CreateRequest,
    Project,
    ProjectAnswer,
    Refusal,
    RefusalKind,
)
from rap.project_reader import read_project
from rap.records import Records
from rap.repository_and_branch_rules import validate_study
from rap.settings import ControllerSettings
from rap.settings.job_limits import job_limits
from rap.temporal.codec import size_as_sent

PROJECT_FILE = "project.yaml"
LARGEST_ANSWER = 1_900_000
"""Bytes as they are sent; Temporal refuses a result of 2 MiB, and then nobody would learn why."""

_WORKSPACE = re.compile(r"[a-zA-Z0-9_-]+")


class ProjectActivities:
    """Reads study repositories for the controller."""

    def __init__(
        self,
        settings: ControllerSettings,
        git: GitCache,
        weights: WeightFiles | None = None,
        records: Records | None = None,
        *,
        warm_git: GitCache | None = None,
    ) -> None:
        """Take a git for what may have to be fetched, and one that never fetches.

        Without ``records``, nobody knows how many jobs a backend has.
        """
        self._settings, self._records = settings, records
        self._git, self._warm_git = git, warm_git
        self._weights = weights or WeightFiles(settings.workdir)

    @activity.defn(name=LOAD_KNOWN_PROJECT.name)
    @for_clients
    async def load_known_project(self, request: CreateRequest) -> ProjectAnswer:
        """As the next, but with nothing in its answer if a fetch would be needed."""
        git = self._warm_git
        if git is None or not git.has(request.repo_url, request.commit):
            return ProjectAnswer()
        try:
            return await self._answer(request, git)
        except NotFetched:
            return ProjectAnswer()

    @activity.defn(name=LOAD_PROJECT.name)
    @for_clients
    async def load_project(self, request: CreateRequest) -> ProjectAnswer:
        """Check the request, cheapest checks first, and read its project file
        (docs/spec/controller.md 5.2).

        A request that cannot run is answered with a refusal; it is not an error of this activity.
        """
        return await self._answer(request, self._git)

    async def _answer(self, request: CreateRequest, git: GitCache) -> ProjectAnswer:
        try:
            return ProjectAnswer(project=await self._load(request, git))
        except RequestRefused as refused:
            return ProjectAnswer(refusal=refused.refusal)
        except GitError as error:
            structlog.get_logger().warning(
                "The repository could not be read", rap=request.rap_id, reason=str(error)
            )
            return ProjectAnswer(refusal=Refusal(kind=RefusalKind.GIT, message=str(error)))

    async def _load(self, request: CreateRequest, git: GitCache) -> Project:
        settings = self._settings
        validate_request(request, backends=settings.backends)
        await validate_study(
            git,
            repo_url=request.repo_url,
            branch=request.branch,
            commit=request.commit,
            allowed_orgs=settings.allowed_github_orgs,
            allow_local=settings.allow_local_git_repos,
        )
        try:
            text = await git.read_file(request.repo_url, request.commit, PROJECT_FILE)
        except FileNotInRepository:
            raise RequestRefused(
                RefusalKind.PROJECT, f"No {PROJECT_FILE} file found in {request.repo_url}"
            ) from None
        actions = await read_project(text)
        joins = settings.workspace_ehrql_max_join_count.get(request.workspace)
        project = Project(
            actions=actions,
            limits=job_limits(settings, request.backend),
            image_registry=settings.docker_registry,
            pins_images=settings.registry_api is not None,
            interruptions_a_day=settings.job_interruptions_a_day,
            job_env={} if joins is None else {"EHRQL_MAX_JOIN_COUNT": str(joins)},
            weights=self._weights.of_backend(request.backend).of_workspace(request.workspace),
            unfinished=await self._unfinished(request.backend),
        )
        if size_as_sent(project) > LARGEST_ANSWER:
            raise RequestRefused(
                RefusalKind.PROJECT,
                f"Invalid project: \nThe project has too many actions ({len(actions)})",
            )
        return project

    async def _unfinished(self, backend: str) -> int:
        if self._records is None:
            return 0
        try:
            return await asyncio.to_thread(self._records.count_unfinished, backend)
        except Unavailable:
            # A bound that is far from being reached shall not keep anything from running.
            return 0


def validate_request(request: CreateRequest, *, backends: Sequence[str]) -> None:
    """The checks of a request that need nothing but the request
    (docs/spec/controller.md 5.3, checks 1 to 5).

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
