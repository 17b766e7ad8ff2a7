"""The jobs that this process is busy with: who may touch which, and how each one stands."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog

from rap import ids
from rap.egress import Fault, JobProgress, Metrics, Stage
from rap.models import JobDefinition
from worker_agent.attempt_spans import AttemptSpans
from worker_agent.engine.facts import ContainerFacts

log = structlog.get_logger()


class Job:
    """One attempt at a job, while this process works on it."""

    def __init__(
        self, definition: JobDefinition, on_change: Callable[[], None], *, reported: bool
    ) -> None:
        self.definition = definition
        self.reported = reported
        self.stage = Stage.PREPARING
        self.since = time.time()
        self.trouble: Fault | None = None
        self.container: ContainerFacts | None = None
        """The running container, while there is one."""
        self.metrics: Metrics | None = None
        self.spans = AttemptSpans(definition)
        self.stop = asyncio.Event()
        """Set by an order to stop this attempt."""
        self.superseded = asyncio.Event()
        """Set when a later call wants the job: this one leaves everything as it is."""
        self.gone = asyncio.Event()
        """Set when this process has let go of the job."""
        self._on_change = on_change
        self._shown: Stage | None = None

    def enter(self, stage: Stage, since: float | None = None) -> None:
        """A stage was reached, now or earlier; nothing happens while it stays the same."""
        if stage is self._shown:
            return
        before = self._shown.name if self._shown else None
        log.info(f"State change for job {self.definition.id}: {before} -> {stage.name}")
        self._shown = self.stage = stage
        self.since = time.time() if since is None else since
        self.trouble = None
        self.spans.reached(stage)
        self._on_change()

    def in_trouble(self, fault: Fault | None) -> None:
        """Something is being tried again, or works again."""
        if fault is not self.trouble:
            self.trouble = fault
            if fault is not None:
                self.spans.troubled(fault)
            self._on_change()

    @property
    def progress(self) -> JobProgress:
        """What the outside may know."""
        return JobProgress(
            job_id=self.definition.id,
            rap_id=self.definition.rap_id,
            attempt=ids.attempt_of(self.definition.task_id),
            stage=self.stage,
            since=self.since,
            trouble=self.trouble,
            metrics=self.metrics,
        )


class Jobs:
    """All jobs that this process is busy with; at most one call works on a job at a time.

    ``on_change`` is called, from the event loop, whenever a report would look different.
    """

    def __init__(self, on_change: Callable[[], None] = lambda: None) -> None:
        self._jobs: dict[str, Job] = {}
        self.on_change = on_change

    @asynccontextmanager
    async def admit(
        self, definition: JobDefinition, *, reported: bool = True
    ) -> AsyncIterator[Job]:
        """Work on a job, after whoever did so before has let go of it."""
        while (other := self._jobs.get(definition.id)) is not None:
            other.superseded.set()
            await other.gone.wait()
        job = Job(definition, self.on_change, reported=reported)
        self._jobs[definition.id] = job
        try:
            yield job
        finally:
            del self._jobs[definition.id]
            job.gone.set()
            job.spans.let_go()
            self.on_change()

    def find(self, job_id: str, task_id: str) -> Job | None:
        """The job if this process is at work on this attempt of it."""
        job = self._jobs.get(job_id)
        return job if job is not None and job.definition.task_id == task_id else None

    def of(self, job_id: str) -> list[Job]:
        """What this process does for a job, whichever attempt at it."""
        job = self._jobs.get(job_id)
        return [] if job is None else [job]

    def reported(self) -> list[Job]:
        """The jobs that occupy this host."""
        return [job for job in self._jobs.values() if job.reported]


def bind_log_to(definition: JobDefinition) -> None:
    """Name the job in every line that the current task logs from now on."""
    structlog.contextvars.bind_contextvars(
        workspace=definition.workspace,
        action=definition.action,
        id=definition.id,
        task=definition.task_id,
    )
