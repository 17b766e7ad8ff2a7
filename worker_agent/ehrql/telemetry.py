"""Past query timings of ehrQL, told as spans (agent.md 15.2, 15.3)."""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from rap.egress import Fault
from rap.errors import JobFault, RapError
from rap.models import ImageRequest
from rap.settings import AgentSettings
from worker_agent import ehrql_queries
from worker_agent.ehrql_queries import Query, to_microseconds
from worker_agent.engine.feeding import FeedingEngine
from worker_agent.engine.images import ensure_image
from worker_agent.workspace.metadata import JobRecord
from worker_agent.workspace.storage import LOG_FILE, METADATA_FILE, Storage

SCRIPT = "/app/scripts/parse_logs.py"
REFUSAL = "Cowardly refusing to emit telemetry for non-ehrql job"
FIGURES = ("cpu_peak", "cpu_mean", "mem_mb_peak", "mem_mb_mean")

Complain = Callable[[str], None]


class Parser(NamedTuple):
    """Reads logs with the script in ehrQL's image."""

    engine: FeedingEngine
    settings: AgentSettings

    async def queries(self, log: Path, complain: Complain) -> list[Query]:
        """The queries of a log.

        Raises:
            RapError: the log cannot be read, or the script cannot be run on it.
        """
        try:
            text = await asyncio.to_thread(log.read_bytes)
        except OSError as error:
            raise RapError(f"The log {log} cannot be read: {error.strerror}") from None
        wanted = _Image(image=f"{self.settings.docker_registry}/ehrql:v1")
        try:
            image = await ensure_image(self.engine, wanted, self.settings)
            answer = await self.engine.answer(image, [SCRIPT], text)
        except JobFault as fault:
            if fault.fault is Fault.ENGINE_UNAVAILABLE:
                raise
            raise RapError(f"{SCRIPT} of {wanted.image} could not read the log: {fault}") from fault
        return ehrql_queries.parse(answer.decode(errors="replace").splitlines(), complain)


class _Image(ImageRequest):
    image_sha: str | None = None


def job_folder(job: str, storage: Storage) -> Path:
    """The log folder of a job.

    Args:
        job: the id of the job, or the folder itself.
        storage: of the backend.

    Raises:
        RapError: there is none.
    """
    if Path(job).is_dir():
        return Path(job)
    path = storage.find_metadata(job) if "/" not in job else None
    if path is None:
        raise RapError(
            f"{job} is neither the id of a finished job of this host nor a folder. Finished jobs "
            f"have theirs in {storage.logs}."
        )
    return path.parent


async def tell_job(folder: Path, parser: Parser, complain: Complain) -> int:
    """Tell the queries of a finished job.

    Args:
        folder: of the job's log.
        parser: reads the log.
        complain: is told of each line that cannot be understood.

    Returns:
        How many spans there were.

    Raises:
        RapError: the job is not one of ehrQL, or its files cannot be read.
    """
    try:
        record = JobRecord.model_validate(json.loads((folder / METADATA_FILE).read_bytes()))
    except OSError as error:
        raise RapError(
            f"The record {folder / METADATA_FILE} cannot be read: {error.strerror}"
        ) from None
    except (ValueError, ValidationError):
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
        "job.action": str(labels.get("action", "")),
        "job.run_command": " ".join(args),
        **{f"job.{name}": record.job_metrics.get(name, 0) for name in FIGURES},
    }
    queries = await parser.queries(folder / LOG_FILE, complain)
    operation = args[0] if args else "unknown"
    return ehrql_queries.tell(operation, queries, attributes, start_ns=start, end_ns=end)


async def tell_log(
    log: Path, operation: str, attributes: Mapping[str, str], parser: Parser, complain: Complain
) -> int:
    """Tell the queries of a free-standing log.

    Args:
        log: the file.
        operation: what ran.
        attributes: of all spans; nothing is added to them.
        parser: reads the log.
        complain: is told of each line that cannot be understood.

    Returns:
        How many spans there were.

    Raises:
        RapError: the file cannot be read, or tells of no query.
    """
    queries = await parser.queries(log, complain)
    if not queries:
        raise RapError(f"The log {log} tells of no query.")
    start = min(query.start for query in queries)
    end = max(_last_moment(query) for query in queries)
    return ehrql_queries.tell(operation, queries, attributes, start_ns=start, end_ns=end)


def _last_moment(query: Query) -> int:
    return query.start if query.end is None else query.end


def pairs(texts: Sequence[str]) -> dict[str, str]:
    """Attributes given as ``name=value``.

    Raises:
        RapError: one is not.
    """
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise RapError(f"An attribute is given as NAME=VALUE, not as {text!r}.")
        found[name] = value
    return found
