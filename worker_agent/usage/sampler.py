"""Measuring what every running job uses of the machine, again and again (agent.md 13)."""

import asyncio
import time
from dataclasses import dataclass, field

import structlog

from rap.egress import Fault
from rap.errors import JobFault
from worker_agent.engine.docker import Engine
from worker_agent.engine.facts import ContainerFacts, RunningContainer
from worker_agent.jobs import Job, Jobs
from worker_agent.metrics_spans import Measurement, tell_tick
from worker_agent.usage import Usage, UsageBook, aggregate

log = structlog.get_logger()

SHORTEST_PAUSE = 2.0
"""Seconds between two rounds, however long one takes; less only where less is asked for."""


@dataclass
class Round:
    """What came of measuring all running jobs once."""

    measured: list[Measurement] = field(default_factory=list)
    took_ns: tuple[int, int] = (0, 0)
    containers: int = 0
    timed_out: bool = False
    fault: Fault | None = None
    """Why some figures are missing, if not for the time they took."""

    def missed(self, fault: JobFault) -> None:
        """Note that the engine did not answer a question."""
        if isinstance(fault.__cause__, TimeoutError):
            self.timed_out = True
        else:
            self.fault = fault.fault


class Sampler:
    """Reads the use of every running job once an interval, for as long as the agent lives."""

    def __init__(
        self, engine: Engine, jobs: Jobs, book: UsageBook, interval: float, backend: str = ""
    ) -> None:
        self._engine = engine
        self._jobs = jobs
        self._book = book
        self._interval = interval
        self._backend = backend
        self._strangers: dict[str, Usage] = {}
        """Containers of jobs that this process does not work on, by id."""
        self._last_ns: int | None = None
        self._told = False
        self._answering = True

    async def run(self) -> None:
        """Sample until cancelled. A failure costs samples, never more."""
        while True:
            began = time.monotonic()
            await self.tick()
            shortest = min(SHORTEST_PAUSE, self._interval)
            await asyncio.sleep(max(shortest, self._interval - (time.monotonic() - began)))

    async def tick(self) -> None:
        """Sample, and tell about the time since the tick before; the first only starts the time."""
        last_ns, self._last_ns = self._last_ns, time.time_ns()
        if last_ns is None:
            return
        found = await self.sample()
        self._last_ns = time.time_ns()
        tell_tick(
            found.measured,
            backend=self._backend,
            start_ns=last_ns,
            end_ns=self._last_ns,
            took_ns=found.took_ns,
            containers=found.containers,
            timed_out=found.timed_out,
            fault=found.fault,
        )

    async def sample(self) -> Round:
        """Measure every running job once."""
        found, began = Round(), time.time_ns()
        try:
            containers = await self._engine.running_containers()
        except JobFault as fault:
            found.missed(fault)
            self._say(answering=False)
            found.took_ns = (began, time.time_ns())
            return found
        self._say(answering=True)
        found.containers = len(containers)
        results = await asyncio.gather(
            *(self._measure(each) for each in containers), return_exceptions=True
        )
        found.took_ns = (began, time.time_ns())
        for container, result in zip(containers, results, strict=True):
            if isinstance(result, Measurement):
                found.measured.append(result)
            elif isinstance(result, JobFault):
                found.missed(result)
                log.warning("the use of a job could not be measured", id=container.job_id)
            elif isinstance(result, Exception):
                log.error("measuring a job failed", id=container.job_id, exc_info=result)
        seen = {container.id for container in containers}
        self._strangers = {id_: use for id_, use in self._strangers.items() if id_ in seen}
        return found

    async def _measure(self, container: RunningContainer) -> Measurement | None:
        job, facts = self._own(container)
        reading = await self._engine.usage(container.id)
        if reading is None:
            # It may have ended meanwhile.
            if facts is not None and job is not None and job.container is facts and not self._told:
                log.warning("Docker gives no figures about a running container", id=job.job_id)
                self._told = True
            return None
        if job is None or facts is None or facts.started_at_ns is None:
            usage = aggregate(
                self._strangers.get(container.id),
                reading,
                container_id=container.id,
                started_at=container.created_at,
            )
            if usage is not None:
                self._strangers[container.id] = usage
            return Measurement(container=container, reading=reading, usage=usage)
        if job.container is not facts:
            return None
        usage = aggregate(
            self._book.read(job.job_id),
            reading,
            container_id=container.id,
            started_at=facts.started_at_ns / 1e9,
        )
        if usage is not None:
            self._book.write(job.job_id, usage)
            job.metrics = usage.metrics
        return Measurement(container=container, reading=reading, usage=usage, job=job)

    def _own(self, container: RunningContainer) -> tuple[Job | None, ContainerFacts | None]:
        """The job that this process works on in that very container."""
        for job in self._jobs.reported():
            facts = job.container
            if facts is not None and facts.id == container.id:
                return job, facts
        return None, None

    def _say(self, *, answering: bool) -> None:
        if answering is not self._answering:
            if answering:
                log.info("Docker answers again: jobs are measured")
            else:
                log.warning("Docker does not answer: jobs are not measured")
        self._answering = answering
