"""Which jobs of a RAP wait for which, of this RAP or another, and how those stand."""

from collections.abc import Mapping

from rap.status import State
from workflows.rap.progress import Progress


class Dependencies:
    """The states of all jobs that matter here; whoever waits for one is woken when it changes."""

    def __init__(self, jobs: Mapping[str, Progress], awaited: Mapping[str, State]) -> None:
        self._own = jobs.keys()
        self._states = {**awaited, **{job_id: job.code.state for job_id, job in jobs.items()}}
        self._dependants: dict[str, list[Progress]] = {}
        for job in jobs.values():
            for needed in job.spec.wait_for_job_ids:
                self._dependants.setdefault(needed, []).append(job)

    def states_needed_by(self, job: Progress) -> list[State | None]:
        """Of each job that this one waits for; ``None`` where nothing is known of it."""
        return [self._states.get(needed) for needed in job.spec.wait_for_job_ids]

    def reach(self, job_id: str, state: State) -> None:
        """A job of this RAP has reached a state."""
        self._states[job_id] = state
        for dependant in self._dependants.get(job_id, ()):
            dependant.wake.set()

    def learn(self, states: Mapping[str, State]) -> None:
        """Jobs of other RAPs have ended; of those that nobody waits for nothing is kept."""
        for job_id, state in states.items():
            if job_id in self._dependants and job_id not in self._own:
                self.reach(job_id, state)

    @property
    def awaited(self) -> dict[str, State]:
        """How the jobs of other RAPs stand, for the next run of the workflow."""
        others = self._states.keys() - self._own
        return {job_id: self._states[job_id] for job_id in sorted(others)}
