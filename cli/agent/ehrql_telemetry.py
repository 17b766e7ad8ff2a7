"""``rap agent ehrql-telemetry``: the query timings of a finished job, as spans."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Annotated

import typer

from cli.agent import place as agent_place
from cli.agent.place import Data
from cli.console import patience, printable, say, stderr
from rap.errors import ConfigurationError

if TYPE_CHECKING:
    from worker_agent.ehrql.telemetry import Parser
    from worker_agent.operations.place import Place

    Record = Callable[[Parser, Callable[[str], None]], Coroutine[None, None, int]]

SEND_LIMIT = 150.0
"""Seconds for sending everything."""

Dataset = Annotated[
    str, typer.Argument(metavar="DATASET", help="Name under which the spans are sent.")
]


def ehrql_telemetry(
    *,
    dataset: Dataset,
    job: Annotated[
        str, typer.Argument(metavar="JOB", help="Id of a finished job, or its log folder.")
    ],
    data: Data = None,
) -> None:
    """Send the timings of a finished ehrQL job's queries as OpenTelemetry spans.

    Where to is said by OTEL_EXPORTER_OTLP_ENDPOINT and OTEL_EXPORTER_OTLP_HEADERS. The log is read
    by ehrQL's own image.

    Example: rap agent ehrql-telemetry ehrql-timings k3v7qhxwzq2m5a4t
    """
    from worker_agent.ehrql import telemetry

    place = agent_place.enter(data)
    folder = telemetry.job_folder(job, place.storage)
    send(dataset, place, lambda parser, warn: telemetry.record_job(folder, parser, warn))


def send(dataset: str, place: Place, record: Record) -> None:
    """Emit the spans of a log, and see that they arrive."""
    from rap.telemetry import export as exporting
    from worker_agent.ehrql.telemetry import Parser

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
    err = stderr()
    parser = Parser(place.engine, place.stdin, place.settings)
    try:
        with agent_place.explained(), patience(err, "Reading the log …"):
            count = asyncio.run(record(parser, lambda line: say(err, printable(line))))
    finally:
        lost = exporting.stop(export, SEND_LIMIT)
    if lost:
        say(err, f"{lost} of {count} spans could not be sent; the receiver did not take them.")
        raise typer.Exit(1)
    say(err, f"{count} spans sent as {dataset}.")
