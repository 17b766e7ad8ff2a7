"""``rap agent ehrql-telemetry`` and ``ehrql-log-telemetry``: past query timings, as spans."""

import asyncio
import os
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path

from rap import exporting
from rap.cli import agent_place, show
from rap.errors import ConfigurationError
from worker_agent import ehrql_telemetry
from worker_agent.ehrql_telemetry import Parser
from worker_agent.engine.feeding import FeedingEngine
from worker_agent.operations.place import Place

SEND_LIMIT = 150.0
"""Seconds for sending everything."""

Story = Callable[[Parser, Callable[[str], None]], Coroutine[None, None, int]]


def of_job(dataset: str, job: str, *, data: Path | None) -> int:
    """Carry out ``rap agent ehrql-telemetry``; its exit code."""
    place = agent_place.enter(data)
    folder = ehrql_telemetry.job_folder(job, place.storage)
    return _run(
        dataset,
        place,
        lambda parser, complain: ehrql_telemetry.tell_job(folder, parser, complain),
    )


def of_log(
    dataset: str,
    log: Path,
    operation: str,
    *,
    workspace: str | None,
    commit: str | None,
    action: str | None,
    attrs: Sequence[str],
    data: Path | None,
) -> int:
    """Carry out ``rap agent ehrql-log-telemetry``; its exit code."""
    place = agent_place.enter(data)
    given = {"workspace": workspace, "commit": commit, "action": action}
    attributes = {name: value for name, value in given.items() if value is not None}
    attributes |= ehrql_telemetry.pairs(attrs)
    return _run(
        dataset,
        place,
        lambda parser, complain: ehrql_telemetry.tell_log(
            log, operation, attributes, parser, complain
        ),
    )


def _run(dataset: str, place: Place, story: Story) -> int:
    """Emit what a story tells, and see that it arrives."""
    os.environ |= {
        "OTEL_SERVICE_NAME": dataset,
        # A run may have more queries than a service has spans in a while.
        "OTEL_BSP_MAX_QUEUE_SIZE": "102400",
        "OTEL_BSP_EXPORT_TIMEOUT": "120000",
    }
    export = exporting.start(exporting.Service.MANAGE, version=place.settings.version)
    if export is None:
        raise ConfigurationError(
            "There is nowhere to send spans to. Set OTEL_EXPORTER_OTLP_ENDPOINT (and "
            "OTEL_EXPORTER_OTLP_HEADERS where the receiver wants a key), or "
            "OTEL_EXPORTER_CONSOLE=1 to see them here."
        )
    err = show.console(errors=True)
    parser = Parser(FeedingEngine(max_jobs=1), place.settings)
    lost = 0
    try:
        with agent_place.explained(), show.patience(err, "Reading the log …"):
            count = asyncio.run(
                story(parser, lambda line: show.say(err, agent_place.printable(line)))
            )
    finally:
        lost = exporting.stop(export, SEND_LIMIT)
    if lost:
        show.say(err, f"{lost} of {count} spans could not be sent; the receiver did not take them.")
        return 1
    show.say(err, f"{count} spans sent as {dataset}.")
    return 0
