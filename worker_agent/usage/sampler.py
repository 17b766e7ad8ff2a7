"""Measuring what every running job uses of the machine, again and again (docs/spec/agent.md 13)."""

import asyncio
import time

import structlog

from rap.errors import JobFault
from worker_agent.engine.docker import Engine
from worker_agent.engine.facts import RunningContainer
from worker_agent.running_jobs import Job, Jobs
from worker_agent.state.usage import Usage, UsageState, aggregate
from worker_agent.usage.spans import Measurement, Round, record_round

log = structlog.get_logger()

SHORTEST_PAUSE = 2.0
"""Seconds between two rounds, however long one takes; less only where less is asked for."""


class Sampler:
    """Reads the use of every running job once an interval, for as long as the agent lives."""

    def __init__(
        self, engine: Engine, jobs: Jobs, usage: UsageState, interval: float, backend: str = ""
    ) -> None:
        self._engine = engine
        self._jobs = jobs
        self._usage = usage
        self._interval = interval
        self._backend = backend
        self._strangers: dict[str, Usage] = {}
        """Containers of jobs that this process does not work on, by id."""
        self._last_ns: int | None = None
        self._warned = False
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
        record_round(found, backend=self._backend, start_ns=last_ns, end_ns=self._last_ns)

    async def sample(self) -> Round:
        """Measure every running job once."""
        found, began = Round(), time.time_ns()
        try:
            containers = await self._engine.containers.running()
        except JobFault as fault:
            found.missed(fault)
            self._log_answering(answering=False)
            found.asked_ns = (began, time.time_ns())
            return found
        self._log_answering(answering=True)
        found.containers = len(containers)
        results = await asyncio.gather(
            *(self._measure(each) for each in containers), return_exceptions=True
        )
        found.asked_ns = (began, time.time_ns())
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
        job, job_id = self._own(container), container.job_id
        facts = job.container if job else None
        reading = await self._engine.containers.usage(container.id)
        gone = job is not None and job.container is not facts
        if reading is None:
            # It may have ended meanwhile.
            if job and not gone and not self._warned:
                log.warning("Docker gives no figures about a running container", id=job_id)
                self._warned = True
            return None
        if gone:
            return None
        if job is None or facts is None or facts.started_at_ns is None:
            job, before, started_at = None, self._strangers.get(container.id), container.created_at
        else:
            before, started_at = (
                self._usage.read(job.definition.attempt_name),
                facts.started_at_ns / 1e9,
            )
        usage = aggregate(before, reading, container_id=container.id, started_at=started_at)
        if usage is not None and job is None:
            self._strangers[container.id] = usage
        elif usage is not None and job:
            self._usage.write(job.definition.attempt_name, usage)
            job.metrics = usage.metrics
        return Measurement(container=container, reading=reading, usage=usage, job=job)

    def _own(self, container: RunningContainer) -> Job | None:
        """The job that this process works on in that very container."""
        jobs = self._jobs.reported()
        return next((j for j in jobs if j.container and j.container.id == container.id), None)

    def _log_answering(self, *, answering: bool) -> None:
        if answering is not self._answering:
            if answering:
                log.info("Docker answers again: jobs are measured")
            else:
                log.warning("Docker does not answer: jobs are not measured")
        self._answering = answering
