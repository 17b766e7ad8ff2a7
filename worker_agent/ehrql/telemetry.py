"""Past query timings of ehrQL, sent as spans (docs/spec/agent.md 15.2, 15.3)."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rap.egress import Fault
from rap.errors import JobFault, RapError
from rap.settings import AgentSettings
from worker_agent.ehrql import queries as ehrql_queries
from worker_agent.ehrql.queries import Query, to_microseconds
from worker_agent.engine.docker import Engine
from worker_agent.engine.images import ensure_image
from worker_agent.engine.stdin import StdinContainers
from worker_agent.pauses import Pauses
from worker_agent.workspace import metadata
from worker_agent.workspace.storage import LOG_FILE, METADATA_FILE, Storage

SCRIPT = "/app/scripts/parse_logs.py"
REFUSAL = "Cowardly refusing to emit telemetry for non-ehrql job"
FIGURES = ("cpu_peak", "cpu_mean", "mem_mb_peak", "mem_mb_mean")

Complain = Callable[[str], None]


class Parser(NamedTuple):
    """Reads logs with the script in ehrQL's image."""

    engine: Engine
    stdin: StdinContainers
    settings: AgentSettings

    async def queries(self, log: Path, complain: Complain) -> list[Query]:
        """The queries of a log; RapError if it, or the script, cannot be read or run."""
        try:
            text = await asyncio.to_thread(log.read_bytes)
        except OSError as error:
            raise RapError(f"The log {log} cannot be read: {error.strerror}") from None
        wanted = f"{self.settings.docker_registry}/ehrql:v1"
        try:
            image = await ensure_image(
                self.engine, wanted, None, self.settings, pause=Pauses().pull
            )
            answer = await self.stdin.answer(image, [SCRIPT], text)
        except JobFault as fault:
            if fault.fault is Fault.ENGINE_UNAVAILABLE:
                raise
            raise RapError(f"{SCRIPT} of {wanted} could not read the log: {fault}") from fault
        return ehrql_queries.parse(answer.decode(errors="replace").splitlines(), complain)


def job_folder(job: str, storage: Storage) -> Path:
    """The log folder of a job, by its id or by the folder itself; RapError if there is none."""
    if Path(job).is_dir():
        return Path(job)
    path = storage.find_metadata(job) if "/" not in job else None
    if path is None:
        raise RapError(
            f"{job} is neither the id of a finished job of this host nor a folder. Finished jobs "
            f"have theirs in {storage.logs}."
        )
    return path.parent


async def record_job(folder: Path, parser: Parser, complain: Complain) -> int:
    """Record the queries of a finished job, by the folder of its log; how many spans there were.

    RapError if the job is not one of ehrQL, or its files cannot be read.
    """
    try:
        record = metadata.read(folder / METADATA_FILE)
    except OSError as error:
        raise RapError(
            f"The record {folder / METADATA_FILE} cannot be read: {error.strerror}"
        ) from None
    except ValueError:
        raise RapError(f"The record {folder / METADATA_FILE} is damaged.") from None
    document = record.container_metadata
    config, state = document.get("Config") or {}, document.get("State") or {}
    if "ehrql" not in str(config.get("Image", "")):
        raise RapError(REFUSAL)
    try:
        start, end = (to_microseconds(state.get(name)) for name in ("StartedAt", "FinishedAt"))
    except ValueError:
        raise RapError("The job's container never ran to an end, so there is no time.") from None
    args = [str(arg) for arg in document.get("Args") or config.get("Cmd") or ()]
    labels = config.get("Labels") or {}
    attributes: dict[str, object] = {
        "job.id": record.job_definition_id,
        "task.id": record.task_id or "",
        "job.exit_code": record.exit_code,
        "job.oom_killed": bool(record.oom_killed),
        "job.cancelled": record.cancelled,
        "job.workspace": str(labels.get("workspace", "")),
        "job.action": record.action or str(labels.get("action", "")),
        "job.run_command": " ".join(args),
        **{f"job.{name}": record.job_metrics.get(name, 0) for name in FIGURES},
    }
    queries = await parser.queries(folder / LOG_FILE, complain)
    operation = args[0] if args else "unknown"
    return ehrql_queries.record_spans(operation, queries, attributes, start_ns=start, end_ns=end)


async def record_log(
    log: Path, operation: str, attributes: Mapping[str, str], parser: Parser, complain: Complain
) -> int:
    """Record the queries of a log, with these attributes alone; as :func:`record_job`."""
    queries = await parser.queries(log, complain)
    if not queries:
        raise RapError(f"The log {log} tells of no query.")
    start = min(query.start for query in queries)
    end = max(query.end or query.start for query in queries)
    return ehrql_queries.record_spans(operation, queries, attributes, start_ns=start, end_ns=end)


def pairs(texts: Sequence[str]) -> dict[str, str]:
    """Attributes given as ``name=value``; RapError if one is not."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise RapError(f"An attribute is given as NAME=VALUE, not as {text!r}.")
        found[name] = value
    return found
