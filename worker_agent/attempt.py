"""One attempt at a job, from wherever it stands to its end (architecture.md 2.3).

The story is told by :meth:`Attempt._carry_on`: prepare, execute, finalize, clean up. It is a state
machine over what is really there, so it may be broken off anywhere and begun again, by this process
or by the next: the container, the volume's marker and the metadata say what is left to do
(agent.md 4.2). Nothing in here knows Temporal.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog

from rap.egress import Ending, Fault, JobOutcome, Stage
from rap.errors import JobFault, PermanentFault, TransientFault
from worker_agent import execution
from worker_agent.engine.facts import ContainerFacts
from worker_agent.engine.images import ensure_image
from worker_agent.host import Host
from worker_agent.jobs import Job
from worker_agent.notes import key_of
from worker_agent.workspace.cleanup import remove_volume
from worker_agent.workspace.finalize import finalize, recorded_outcome
from worker_agent.workspace.prepare import prepare, prepared_at

log = structlog.get_logger()

FIRST_DELAYS = (1.0, 3.0, 10.0)
"""Seconds between the tries of what costs little to give up: nothing has run yet."""
LATE_DELAYS = (1.0, 3.0, 10.0, 30.0) + (60.0,) * 60
"""The same once the program has run: an hour, since days of computing may be at stake."""


class Attempt:
    """The work of one host on one attempt at a job.

    Args:
        host: where.
        job: what; it shows how far the work has come.
    """

    def __init__(self, host: Host, job: Job) -> None:
        self._host = host
        self._job = job
        self._definition = job.definition
        self._key = key_of(job.definition.id, job.definition.task_id)
        self._has_run = False
        self.filing = asyncio.Lock()
        """Held while results are filed: whoever wants to stop the attempt waits for it."""

    async def run(self) -> JobOutcome:
        """Carry the attempt on to its end. Expected failures are outcomes, never exceptions."""
        try:
            return await self._patiently(self._carry_on)
        except JobFault as fault:
            log.error(f"the attempt is given up: {fault.fault}", exc_info=fault)  # noqa: TRY400
            return await self._give_up(fault)

    async def stop(self) -> JobOutcome:
        """Kill what runs, file the attempt as cancelled and clean up; or say what it came to.

        Waits for an engine that is away: afterwards nothing of the attempt runs, for certain.
        """
        self._has_run = True
        try:
            return await self._patiently(lambda: self._settle(cancelled=True))
        except JobFault as fault:
            log.error(f"a stop could not be recorded: {fault.fault}", exc_info=fault)  # noqa: TRY400
            return self._unrecorded(Ending.CANCELLED, None)

    async def _carry_on(self) -> JobOutcome:
        """The story: go on from what is there."""
        if await self._recorded():
            return await self._finish_recorded()
        if self._host.notes.is_stopped(self._key):
            return await self._settle(cancelled=True)
        container = await self._own_container()
        if container is None:
            image = await self._prepare()
            if self._host.notes.is_stopped(self._key):
                # By an administrator of this host: an order would have ended the preparing.
                return await self._settle(cancelled=True)
            await execution.start(self._host, self._definition, image)
            container = await self._host.engine.inspect(self._definition.id)
            if container is not None and not container.started:
                # What a killed predecessor had asked for came about just now; it goes, and again.
                raise TransientFault(Fault.CONTAINER_REFUSED, "the container was never started")
        container = await self._wait(container)
        if self._host.notes.is_stopped(self._key):
            return await self._settle(cancelled=True)
        async with self.filing:
            return await self._finalize(container)

    async def _own_container(self) -> ContainerFacts | None:
        """The container of this attempt, after removing what an earlier attempt has left."""
        job_id, engine, notes = self._definition.id, self._host.engine, self._host.notes
        container = await engine.inspect(job_id)
        if container is not None and not (self._owns(container) and container.started):
            # Created but never started (agent.md 8.5), or another attempt's.
            await engine.remove(container.id)
            container = None
        owner = notes.owner(job_id)
        if container is None and owner and owner.task_id != self._definition.task_id:
            log.warning("removing the volume of another attempt", other=owner.task_id)
            await asyncio.to_thread(remove_volume, self._host.storage, job_id)
            notes.leave(job_id)
        return container

    async def _prepare(self) -> str:
        """Fill the volume unless that is done, and make sure of the image; its reference."""
        definition, host = self._definition, self._host
        host.notes.take(definition)
        self._job.enter(Stage.PREPARING)
        if await asyncio.to_thread(prepared_at, host.storage, definition.id) is None:
            await prepare(definition, host.storage, host.git, host.settings)
        image = await ensure_image(host.engine, definition, host.settings)
        self._job.enter(Stage.PREPARED)
        return image

    async def _wait(self, container: ContainerFacts | None) -> ContainerFacts:
        self._has_run = True
        started = container.started_at_ns if container else None
        self._job.enter(Stage.EXECUTING, since=started / 1e9 if started else None)
        if container is not None and container.running:
            self._job.container = container
            try:
                container = await execution.run_to_end(self._host, self._definition.id, container)
            finally:
                self._job.container = None
        if container is None:
            # By hand; what is left of the volume says where to begin again (agent.md 4.6).
            raise TransientFault(Fault.UNEXPECTED, "the container was removed while it ran")
        return await execution.explained(self._host, self._definition.id, container)

    async def _finalize(self, container: ContainerFacts) -> JobOutcome:
        self._job.enter(Stage.FINALIZING)
        outcome = await self._file(container, cancelled=False, fault=None)
        await self._clean_up()
        return outcome

    async def _settle(
        self, *, cancelled: bool = False, fault: Fault | None = None, cause: str = ""
    ) -> JobOutcome:
        """End the attempt without results: kill, record (agent.md 9.9), clean up."""
        if await self._recorded():
            return await self._finish_recorded()
        engine, job_id = self._host.engine, self._definition.id
        container = await engine.inspect(job_id)
        if container is not None and not (self._owns(container) and container.started):
            container = None
        if container is not None and container.running:
            await engine.kill(container.id)
            container = await engine.wait(job_id)
        self._job.enter(Stage.FINALIZING)
        outcome = await self._file(container, cancelled=cancelled, fault=fault, cause=cause)
        await self._clean_up()
        return outcome

    async def _file(
        self,
        container: ContainerFacts | None,
        *,
        cancelled: bool,
        fault: Fault | None,
        cause: str = "",
    ) -> JobOutcome:
        definition, host = self._definition, self._host
        metrics = None
        if container is not None:
            await host.engine.logs(container.id, self._raw_log)
            folder = host.storage.log_dir(definition)
            metrics = await asyncio.to_thread(
                host.usage.conclude, definition.id, container.id, folder
            )
        outcome = await finalize(
            definition,
            host.storage,
            host.git,
            container=container,
            raw_log=self._raw_log if container is not None else None,
            cancelled=cancelled,
            killed=cancelled and host.notes.is_killed(self._key),
            fault=fault,
            cause=cause,
            metrics=metrics,
            stages=await self._stages(container),
        )
        self._job.enter(Stage.FINALIZED)
        return outcome

    async def _finish_recorded(self) -> JobOutcome:
        """The attempt was recorded before: make up for what was broken off after that."""
        outcome = await finalize(
            self._definition,
            self._host.storage,
            self._host.git,
            container=None,
            raw_log=None,
            stages={},
        )
        self._job.enter(Stage.FINALIZED)
        await self._clean_up()
        return outcome

    async def _clean_up(self) -> None:
        """Leave nothing of this attempt but its record and its outputs (agent.md 11.3)."""
        host, job_id = self._host, self._definition.id
        log.info("Cleaning up container and volume")
        container = await host.engine.inspect(job_id)
        if container is not None and self._owns(container):
            await host.engine.remove(container.id)
        owner = host.notes.owner(job_id)
        if owner is None or owner.task_id == self._definition.task_id:
            await asyncio.to_thread(remove_volume, host.storage, job_id)
            host.notes.leave(job_id)
            host.usage.forget(job_id)
            host.runs.forget(job_id)
        self._raw_log.unlink(missing_ok=True)
        host.notes.forget_stopped(self._key)

    async def _give_up(self, fault: JobFault) -> JobOutcome:
        try:
            return await self._settle(fault=fault.fault, cause=str(fault))
        except Exception:
            log.exception("a failed attempt could not be recorded")
            return self._unrecorded(Ending.FAILED, fault.fault)

    async def _patiently(self, step: Callable[[], Awaitable[JobOutcome]]) -> JobOutcome:
        """Take a step, and again after failures that may pass, until patience ends.

        Raises:
            JobFault: a permanent fault, or the last of too many transient ones.
        """
        failures, stage = 0, self._job.stage
        while True:
            try:
                outcome = await step()
            except PermanentFault:
                raise
            except TransientFault as error:
                fault = error
            except Exception as error:
                log.exception("an attempt met an unexpected error")
                fault = TransientFault(Fault.UNEXPECTED, type(error).__name__)
            else:
                self._job.in_trouble(None)
                return outcome
            if self._job.stage is not stage:
                failures, stage = 0, self._job.stage
            late = self._has_run and fault.fault is not Fault.UNEXPECTED
            delays = LATE_DELAYS if late else FIRST_DELAYS
            # Without the engine nothing can be known or done about a program that was started.
            for_ever = late and fault.fault is Fault.ENGINE_UNAVAILABLE
            if failures >= len(delays) and not for_ever:
                raise fault
            self._job.in_trouble(fault.fault)
            log.warning(f"{fault.fault}, trying again: {fault}")
            await asyncio.sleep(delays[min(failures, len(delays) - 1)])
            failures += 1

    async def _recorded(self) -> bool:
        outcome = await asyncio.to_thread(recorded_outcome, self._definition, self._host.storage)
        return outcome is not None

    async def _stages(self, container: ContainerFacts | None) -> dict[Stage, float]:
        """When each stage was entered, by what is there: right even after a restart."""
        definition, host = self._definition, self._host
        stages: dict[Stage, float] = {}
        owner = host.notes.owner(definition.id)
        if owner is not None and owner.task_id == definition.task_id:
            stages[Stage.PREPARING] = owner.preparing_at
            prepared = await asyncio.to_thread(prepared_at, host.storage, definition.id)
            if prepared is not None:
                stages[Stage.PREPARED] = prepared / 1e9
        if container is not None and container.started_at_ns is not None:
            stages[Stage.EXECUTING] = container.started_at_ns / 1e9
        if container is not None and container.finished_at_ns is not None:
            stages[Stage.EXECUTED] = container.finished_at_ns / 1e9
        stages[Stage.FINALIZING] = self._job.since
        return stages

    def _owns(self, container: ContainerFacts) -> bool:
        return belongs(container, self._definition.task_id)

    def _unrecorded(self, ending: Ending, fault: Fault | None) -> JobOutcome:
        return JobOutcome(
            task_id=self._definition.task_id,
            ending=ending,
            fault=fault,
            stages={Stage.FINALIZED: time.time()},
        )

    @property
    def _raw_log(self) -> Path:
        return self._host.storage.state_dir / f"{self._definition.id}.log"


def belongs(container: ContainerFacts, task_id: str) -> bool:
    """Whether a container is this attempt's; one that names none may be anybody's."""
    return container.task_id in ("", task_id)
