"""What a workspace knows of its jobs and RAPs (docs/spec/controller.md 5.5). Pure."""

from collections.abc import Iterable, Mapping

from rap.messages.workspaces import JobsFinished, KnownJob, KnownRap, WorkspaceStart
from rap.models import JobSpec
from rap.status import State

KEEP_PER_ACTION = 10
"""Uncancelled jobs remembered of each action, so that a cancel uncovers the one before."""

KEEP_RAPS = 500
"""Finished RAPs remembered to answer a repeated create; older ones the read model knows."""


class WorkspaceJobs:
    """The current job of each action, the RAPs, and who waits for whom.

    ``revision`` changes with everything that could change a plan.
    """

    def __init__(self, start: WorkspaceStart) -> None:
        self._backend, self._workspace = start.backend, start.workspace
        self._jobs = {action: list(jobs) for action, jobs in start.jobs.items()}
        self._actions = {job.job_id: action for action, jobs in start.jobs.items() for job in jobs}
        self._raps = {rap.rap_id: rap for rap in start.raps}
        self._waiting = {job_id: list(raps) for job_id, raps in start.waiting.items()}
        self.revision = 0

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to remember."""
        return not self._raps and not any(self._jobs.values())

    def current(self) -> Mapping[str, KnownJob]:
        """The latest uncancelled job of each action."""
        return {action: jobs[-1] for action, jobs in self._jobs.items() if jobs}

    def rap(self, rap_id: str) -> KnownRap | None:
        """A remembered RAP."""
        return self._raps.get(rap_id)

    def is_active(self, rap_id: str) -> bool:
        """Whether this is a remembered RAP with unfinished jobs."""
        rap = self._raps.get(rap_id)
        return rap is not None and not rap.done

    def active_raps(self) -> list[KnownRap]:
        """The RAPs with unfinished jobs."""
        return [rap for rap in self._raps.values() if not rap.done]

    def active_jobs_of(self, rap_id: str) -> list[str]:
        """The unfinished jobs of a RAP that were not cancelled."""
        return [
            job.job_id
            for jobs in self._jobs.values()
            for job in jobs
            if job.rap_id == rap_id and job.state.is_active
        ]

    def states_awaited_by(self, jobs: Iterable[JobSpec]) -> dict[str, State]:
        """The last known states of the jobs of other RAPs that these jobs wait for."""
        jobs = tuple(jobs)
        own = {job.id for job in jobs}
        awaited = {needed for job in jobs for needed in job.wait_for_job_ids} - own
        return {
            job.job_id: job.state
            for known in self._jobs.values()
            for job in known
            if job.job_id in awaited
        }

    def add(self, rap: KnownRap, jobs: Iterable[JobSpec]) -> None:
        """Remember a new RAP; its jobs become current."""
        self._raps[rap.rap_id] = rap
        for awaited in self.states_awaited_by(jobs):
            self._waiting.setdefault(awaited, []).append(rap.rap_id)
        for job in jobs:
            known = self._jobs.setdefault(job.action, [])
            known.append(KnownJob(job_id=job.id, rap_id=rap.rap_id, state=State.PENDING))
            self._actions[job.id] = job.action
            for forgotten in known[:-KEEP_PER_ACTION]:
                self._actions.pop(forgotten.job_id, None)
            del known[:-KEEP_PER_ACTION]
        self.revision += 1

    def remove(self, rap_id: str) -> None:
        """Forget a RAP that was not started after all."""
        self._raps.pop(rap_id, None)
        known = {
            action: [job for job in jobs if job.rap_id != rap_id]
            for action, jobs in self._jobs.items()
        }
        self._jobs = {action: jobs for action, jobs in known.items() if jobs}
        self._actions = {job.job_id: action for action, jobs in known.items() for job in jobs}
        waiting = {
            job_id: [rap for rap in raps if rap != rap_id] for job_id, raps in self._waiting.items()
        }
        self._waiting = {job_id: raps for job_id, raps in waiting.items() if raps}
        self.revision += 1

    def cancel(self, job_ids: Iterable[str]) -> None:
        """Forget cancelled jobs: the job before becomes the action's current one (5.10)."""
        for job_id in job_ids:
            action = self._actions.pop(job_id, None)
            if action is not None:
                self._jobs[action] = [job for job in self._jobs[action] if job.job_id != job_id]
        self.revision += 1

    def finish(self, message: JobsFinished) -> list[str]:
        """Take note of finished jobs; returns the RAPs to be told."""
        for job_id, state in message.states.items():
            if (action := self._actions.get(job_id)) is None:
                continue
            self._jobs[action] = [
                job.model_copy(update={"state": state}) if job.job_id == job_id else job
                for job in self._jobs[action]
            ]
        told = {rap_id for job_id in message.states for rap_id in self._waiting.pop(job_id, ())}
        if message.rap_done and self.is_active(message.rap_id):
            # Moved to the end: the oldest finished RAP is forgotten first.
            rap = self._raps.pop(message.rap_id)
            self._raps[rap.rap_id] = rap.model_copy(update={"done": True})
            finished = [rap.rap_id for rap in self._raps.values() if rap.done]
            for rap_id in finished[: max(0, len(finished) - KEEP_RAPS)]:
                del self._raps[rap_id]
        self.revision += 1
        return sorted(told)

    def carried_over(self) -> WorkspaceStart:
        """Everything, for the next run of the workflow."""
        return WorkspaceStart(
            backend=self._backend,
            workspace=self._workspace,
            jobs={action: tuple(jobs) for action, jobs in self._jobs.items() if jobs},
            raps=tuple(self._raps.values()),
            waiting={job_id: tuple(raps) for job_id, raps in self._waiting.items()},
        )
