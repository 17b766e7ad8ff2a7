"""One attempt at a job, from wherever it stands to its end (docs/explanation/architecture.md).

Its steps are those of :meth:`Attempt._carry_on`: prepare, execute, finalize, clean up. It is a
state machine over what is really there, so it may be broken off anywhere and begun again, by this
process or by the next: the container, the volume's marker and the metadata say what is left to do
(docs/spec/agent.md 4.2). Nothing in here knows Temporal.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog

from rap.egress import Ending, Fault, Interruption, JobOutcome, Stage
from rap.errors import JobFault, PermanentFault, TransientFault
from rap.sentences import FAULT_SENTENCES
from worker_agent import disk_failures, execution, gatekeeper, interruptions, program_log
from worker_agent.disk import DISK_FAULTS
from worker_agent.engine.facts import ContainerFacts
from worker_agent.engine.images import ensure_image
from worker_agent.host import Host
from worker_agent.running_jobs import Job
from worker_agent.stage_times import stage_times
from worker_agent.state.attempts import key_of
from worker_agent.workspace import metadata
from worker_agent.workspace.attempt_end import AttemptEnd
from worker_agent.workspace.cleanup import remove_volume
from worker_agent.workspace.finalize import finalize, finish_recorded
from worker_agent.workspace.prepare import prepare

log = structlog.get_logger()

_CANCELLED = AttemptEnd(cancelled=True)


class Attempt:
    """The work of one host on one attempt at a job, which shows how far the work has come."""

    def __init__(self, host: Host, job: Job) -> None:
        self._host = host
        self._job = job
        self._definition = job.definition
        self._key = key_of(job.definition.id, job.definition.task_id)
        self._raw_log = host.storage.state_dir / f"{job.definition.attempt_name}.log"
        # Whoever started a program must not be given up while the engine is away.
        self._has_run = host.runs.latest(self._key) is not None
        self.publishing = asyncio.Lock()
        """Held while results are published: whoever wants to stop the attempt waits for it."""

    async def run(self) -> JobOutcome:
        """Carry the attempt on to its end. Expected failures are outcomes, never exceptions."""
        try:
            return await self._patiently(self._carry_on)
        except JobFault as fault:
            if (closed := self._closed()) and isinstance(fault, TransientFault):
                return await self._hand_back(closed)
            log.error(f"the attempt is given up: {fault.fault}", exc_info=fault)  # noqa: TRY400
            return await self._give_up(fault)

    async def stop(self) -> JobOutcome:
        """Kill what runs, record the attempt as cancelled and clean up; or find how it had ended.

        Waits for an engine that is away: afterwards nothing of the attempt runs, for certain.
        """
        self._has_run = True
        try:
            return await self._patiently(lambda: self._settle(_CANCELLED))
        except JobFault as fault:
            log.error(f"a stop could not be recorded: {fault.fault}", exc_info=fault)  # noqa: TRY400
            return self._unrecorded(Ending.CANCELLED, None)

    async def clear_away(self) -> None:
        """Leave nothing of the attempt, not even a record: the job has gone on without it."""
        await self._clean_up()

    async def _carry_on(self) -> JobOutcome:
        """Go on from what is there."""
        if (outcome := await self._finish_recorded()) is not None:
            return outcome
        if self._host.attempts.is_stopped(self._key):
            return await self._settle(_CANCELLED)
        try:
            container = await self._run_program()
        except interruptions.Interrupted as interrupted:
            log.warning(f"the attempt was interrupted: {interrupted}")
            return await self._settle(AttemptEnd(interruption=interrupted.by))
        if container is None:
            return await self._settle(_CANCELLED)
        async with self.publishing:
            return await self._conclude_run(container)

    async def _run_program(self) -> ContainerFacts | None:
        """See to it that the program runs to its end, once; ``None``: an order came instead.

        Raises:
            Interrupted: something took it away.
        """
        container = await self._own_container()
        if container is None:
            await interruptions.make_sure_that_none_ran(self._host, self._definition)
            image = await self._prepare()
            if self._host.attempts.is_stopped(self._key):
                # By an administrator of this host: an order would have ended the preparing.
                return None
            await self._start(image)
            container = await self._host.engine.containers.inspect(self._definition.id)
            if container is not None and not container.started:
                # What a killed predecessor had asked for came about just now; it goes, and again.
                raise TransientFault(Fault.CONTAINER_REFUSED, "the container was never started")
        elif container.running:
            await interruptions.adopt(self._host, self._definition, container)
        ended = await self._wait(container)
        if self._host.attempts.is_stopped(self._key):
            return None
        if ended is None:
            await interruptions.make_sure_that_none_ran(self._host, self._definition)
            raise interruptions.Interrupted(Interruption.CONTAINER_REMOVED)
        await interruptions.make_sure_of_end(self._host, self._definition, ended)
        return await execution.explained(self._host, self._definition, ended)

    async def _own_container(self) -> ContainerFacts | None:
        """The container of this attempt, after removing what an earlier attempt has left."""
        job_id, engine, attempts = self._definition.id, self._host.engine, self._host.attempts
        container = await engine.containers.inspect(job_id)
        if container is not None and not (self._owns(container) and container.started):
            # Created but never started (docs/spec/agent.md 8.5), or another attempt's.
            if self._owns(container):
                await interruptions.forget_start(self._host, self._definition)
            await engine.containers.remove(container.id)
            container = None
        self._has_run = self._host.runs.latest(self._key) is not None or container is not None
        for name in attempts.earlier(self._definition):
            log.warning("removing the volume of an earlier attempt", other=name)
            await self._remove_volume(name)
        return container

    async def _remove_volume(self, name: str) -> None:
        await asyncio.to_thread(remove_volume, self._host.storage, name)
        self._host.attempts.leave(name)
        self._host.usage.forget(name)

    async def _prepare(self) -> str:
        """Fill the volume unless that is done, and make sure of the image; its reference."""
        definition, host = self._definition, self._host
        host.attempts.take(definition)
        self._job.enter(Stage.PREPARING)
        if (closed := gatekeeper.concerning(host, definition)) is not None:
            raise TransientFault(closed, "the host is closed to this job")
        await prepare(definition, host.storage, host.git, host.settings)
        host.attempts.prepared(definition)
        try:
            image = await ensure_image(
                host.engine,
                definition.image,
                definition.image_sha,
                host.settings,
                pause=host.pauses.pull,
            )
        except TransientFault as fault:
            gatekeeper.close_image(host, definition, fault)
            raise
        self._job.enter(Stage.PREPARED)
        return image

    async def _start(self, image: str) -> None:
        """Ask for the container; whether it came about, only an engine that answers can tell."""
        self._has_run = True
        try:
            await execution.start(self._host, self._definition, image)
        except JobFault as fault:
            self._has_run = fault.fault is Fault.ENGINE_UNAVAILABLE
            raise

    async def _wait(self, container: ContainerFacts | None) -> ContainerFacts | None:
        """Watch the program to its end; ``None``: its container is gone."""
        self._has_run = True
        started = container.started_at_ns if container else None
        self._job.enter(Stage.EXECUTING, since=started / 1e9 if started else None)
        if container is not None and container.running:
            self._job.container = container
            try:
                container = await execution.run_to_end(self._host, self._definition, container)
            finally:
                self._job.container = None
        return container

    async def _settle(self, end: AttemptEnd) -> JobOutcome:
        """End the attempt without results: kill, record (docs/spec/agent.md 9.9), clean up."""
        if (outcome := await self._finish_recorded()) is not None:
            return outcome
        containers, job_id = self._host.engine.containers, self._definition.id
        container = await containers.inspect(job_id)
        if container is not None and not (self._owns(container) and container.started):
            container = None
        if container is not None and container.running:
            await containers.kill(container.id)
            container = await containers.wait(job_id)
        killed = end.cancelled and self._host.attempts.is_killed(self._key)
        return await self._conclude(replace(end, container=container, killed=killed))

    async def _conclude(self, end: AttemptEnd) -> JobOutcome:
        """Finalize, with what is known of the container, and clean up."""
        definition, host, container = self._definition, self._host, end.container
        self._job.enter(Stage.FINALIZING)
        if container is not None:
            await program_log.fetch(host, container, self._raw_log)
            await asyncio.to_thread(metadata.keep_earlier, host.storage, definition)
            folder = host.storage.log_dir(definition)
            metrics = await asyncio.to_thread(
                host.usage.conclude, definition.attempt_name, container.id, folder
            )
            end = replace(end, raw_log=self._raw_log, metrics=metrics)
        stages = stage_times(host, definition, container, finalizing_at=self._job.since)
        end = replace(end, stages=stages)
        return await self._ended(await finalize(definition, host.storage, host.git, end))

    async def _conclude_run(self, container: ContainerFacts) -> JobOutcome:
        """The same for a program that ran to its end; it may have failed with a disk under it."""
        end = AttemptEnd(container=container)
        fault = await disk_failures.failed_on(self._host, self._definition, container)
        if fault is None:
            return await self._conclude(end)
        try:
            return await self._conclude(replace(end, fault=fault, detail=FAULT_SENTENCES[fault]))
        except TransientFault as error:
            if error.fault not in DISK_FAULTS:
                raise
            log.error("there is no room for the record either", exc_info=error)  # noqa: TRY400
            return await self._ended(self._unrecorded(Ending.FAILED, fault))

    async def _finish_recorded(self) -> JobOutcome | None:
        """If the attempt was recorded before: make up for what was broken off after that."""
        outcome = await asyncio.to_thread(finish_recorded, self._definition, self._host.storage)
        return outcome and await self._ended(outcome)

    async def _ended(self, outcome: JobOutcome) -> JobOutcome:
        self._job.enter(Stage.FINALIZED)
        await self._clean_up()
        return outcome

    async def _clean_up(self) -> None:
        """Leave nothing but the record and the outputs (docs/spec/agent.md 11.3)."""
        host, job_id = self._host, self._definition.id
        log.info("Cleaning up container and volume")
        container = await host.engine.containers.inspect(job_id)
        if container is not None and self._owns(container):
            await host.engine.containers.remove(container.id)
        await self._remove_volume(self._definition.attempt_name)
        host.runs.forget(self._key)
        program_log.forget(self._raw_log)
        host.attempts.forget_stopped(self._key)

    async def _give_up(self, fault: JobFault) -> JobOutcome:
        try:
            return await self._settle(AttemptEnd(fault=fault.fault, cause=str(fault)))
        except Exception:
            log.exception("a failed attempt could not be recorded")
            return self._unrecorded(Ending.FAILED, fault.fault)

    def _closed(self) -> Fault | None:
        """Why the host cannot run the job now, if it is certain that no program was started."""
        if self._has_run:
            return None
        return gatekeeper.concerning(self._host, self._definition)

    async def _hand_back(self, closed: Fault) -> JobOutcome:
        """Leave nothing, so that another attempt begins anew; no engine is needed for it."""
        log.warning(f"the attempt is given back, the host is closed: {closed}")
        await self._remove_volume(self._definition.attempt_name)
        return self._unrecorded(Ending.RETURNED, closed)

    async def _patiently(self, step: Callable[[], Awaitable[JobOutcome]]) -> JobOutcome:
        """Take a step, and again after failures that may pass, until patience ends: a JobFault."""
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
            await gatekeeper.close_for(self._host, self._definition, fault)
            late = self._has_run and fault.fault is not Fault.UNEXPECTED
            pauses = self._host.pauses
            delays = pauses.late_tries if late else pauses.early_tries
            # Without the engine nothing can be known or done about a program that was started.
            for_ever = late and fault.fault is Fault.ENGINE_UNAVAILABLE
            if failures >= len(delays) and not for_ever:
                raise fault
            self._job.in_trouble(fault.fault)
            log.warning(f"{fault.fault}, trying again: {fault}")
            delay = delays[min(failures, len(delays) - 1)]
            await self._host.closures.until_open(fault.fault, delay)
            failures += 1

    def _owns(self, container: ContainerFacts) -> bool:
        return belongs(container, self._definition.task_id)

    def _unrecorded(self, ending: Ending, fault: Fault | None) -> JobOutcome:
        return JobOutcome(
            task_id=self._definition.task_id,
            ending=ending,
            fault=fault,
            stages={Stage.FINALIZED: time.time()},
        )


def belongs(container: ContainerFacts, task_id: str) -> bool:
    """Whether a container is this attempt's; one that names none may be anybody's."""
    return container.task_id in ("", task_id)
