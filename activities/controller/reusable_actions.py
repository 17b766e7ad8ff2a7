"""Reusable actions: commands that live in repositories of their own (docs/spec/controller.md 7).

``reusable-action:v1 --option`` in a study stands for the ``run`` command in the ``action.yaml`` of
that action's repository, at the commit of the tag ``v1``, with the option added at the end.
"""

import asyncio
import shlex
import textwrap
from typing import NamedTuple

from temporalio import activity

from activities.controller.for_clients import for_clients
from rap.action_file import ACTION_FILE, ReusableActionError
from rap.contracts.activities import RESOLVE_REUSABLE_ACTIONS
from rap.errors import (
    FileNotInRepository,
    GitError,
    RepositoryRefused,
    RequestRefused,
    UnknownRef,
)
from rap.git import GitCache
from rap.models import ALLOWED_RUNTIMES, JobSpec, Refusal, RefusalKind
from rap.planned_jobs import ResolveAnswer, ResolveRequest
from rap.project_reader import read_action
from rap.repository_and_branch_rules import ACTIONS_BRANCH, is_repository_name
from rap.temporal.codec import size_as_sent

LARGEST_ANSWER = 1_900_000
"""Bytes as they are sent; Temporal refuses a result of 2 MiB, and then nobody would learn why."""

ACTIONS_URL = "https://github.com/opensafely-actions"


class ReusableAction(NamedTuple):
    """A reusable action at one of its versions."""

    repo_url: str
    commit: str
    command: tuple[str, ...]


class ReusableActionsActivities:
    """Resolves reusable actions for the controller."""

    def __init__(self, git: GitCache, *, actions_url: str = ACTIONS_URL) -> None:
        """Take the base URL of the repositories of all reusable actions, without a slash."""
        self._git = git
        self._actions_url = actions_url

    @activity.defn(name=RESOLVE_REUSABLE_ACTIONS.name)
    @for_clients
    async def resolve_reusable_actions(self, request: ResolveRequest) -> ResolveAnswer:
        """Rewrite the commands of jobs that use a reusable action; leave the others alone.

        One that cannot be used refuses them all. Each action is looked up once.
        """
        commands = [shlex.split(job.run_command) for job in request.jobs]
        names = list(dict.fromkeys(words[0] for words in commands if not _is_runtime(words[0])))
        found = dict(
            zip(names, await asyncio.gather(*(self._look_up(name) for name in names)), strict=True)
        )
        jobs = []
        for job, words in zip(request.jobs, commands, strict=True):
            result = found.get(words[0])
            if isinstance(result, ReusableActionError):
                message = f"in '{job.action}: {words[0]}' {result}"
                return ResolveAnswer(
                    refusal=Refusal(kind=RefusalKind.REUSABLE_ACTION, message=message)
                )
            jobs.append(_rewritten(job, words, result) if result else job)
        answer = ResolveAnswer(jobs=tuple(jobs))
        if size_as_sent(answer) > LARGEST_ANSWER:
            message = f"the commands of {len(jobs)} jobs with reusable actions are too long"
            return ResolveAnswer(refusal=Refusal(kind=RefusalKind.REUSABLE_ACTION, message=message))
        return answer

    async def _look_up(self, name: str) -> ReusableAction | ReusableActionError:
        """The action behind ``image:tag``, or why there is none."""
        try:
            return await self._resolve(name)
        except ReusableActionError as error:
            return error

    async def _resolve(self, name: str) -> ReusableAction:
        image, _, tag = name.partition(":")
        if not is_repository_name(image):
            raise ReusableActionError(f"'{image}' contains invalid characters")
        repo = f"{self._actions_url}/{image}"
        commit = await self._approved_commit(image, tag, repo)
        try:
            text = await self._git.read_file(repo, commit, ACTION_FILE)
        except FileNotInRepository:
            raise ReusableActionError(
                f"{repo}/tree/{tag} doesn't look like a valid action "
                f"(no '{ACTION_FILE}' file present)"
            ) from None
        except GitError as error:
            raise ReusableActionError(f"error reading '{commit}' from {repo}") from error
        try:
            command = await read_action(text)
        except RequestRefused as error:
            reason = textwrap.indent(str(error), "  ")
            raise ReusableActionError(
                f"invalid action, please open an issue on {repo}/issues\n\n{reason}"
            ) from error
        return ReusableAction(repo_url=repo, commit=commit, command=command)

    async def _approved_commit(self, image: str, tag: str, repo: str) -> str:
        """The commit of a version, which must have been reviewed: it is on the main branch."""
        try:
            commit = await self._git.resolve(repo, tag)
        except RepositoryRefused as error:
            raise ReusableActionError(
                f"could not find a repo at {repo}\nCheck that '{image}' is in the list of "
                "available actions at https://actions.opensafely.org"
            ) from error
        except UnknownRef as error:
            raise ReusableActionError(f"'{tag}' is not a tag listed in {repo}/tags") from error
        try:
            approved = await self._git.commit_is_on_branch(repo, ACTIONS_BRANCH, commit)
        except GitError as error:
            raise ReusableActionError(f"error validating '{commit}' in {repo}") from error
        if not approved:
            raise ReusableActionError(
                f"tag '{tag}' has not yet been approved for use (not merged into main branch)"
            )
        return commit


def _is_runtime(name: str) -> bool:
    return name.partition(":")[0] in ALLOWED_RUNTIMES


def _rewritten(job: JobSpec, words: list[str], action: ReusableAction) -> JobSpec:
    return job.model_copy(
        update={
            "run_command": shlex.join([*action.command, *words[1:]]),
            "action_repo_url": action.repo_url,
            "action_commit": action.commit,
        }
    )
