"""``rap agent ehrql-log-telemetry``: the query timings in any log, as spans."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from cli.agent import place as agent_place
from cli.agent.ehrql_telemetry import Dataset, send
from cli.agent.place import Data

Attribute = Annotated[str | None, typer.Option(help="Attribute of the spans.")]


class EhrqlOperation(StrEnum):
    """What ehrQL may have been asked to do."""

    GENERATE_DATASET = "generate-dataset"
    GENERATE_MEASURES = "generate-measures"


def ehrql_log_telemetry(
    *,
    dataset: Dataset,
    log: Annotated[Path, typer.Argument(metavar="LOGFILE", help="A log of ehrQL.")],
    operation: Annotated[EhrqlOperation, typer.Argument(metavar="OPERATION", help="What ran.")],
    workspace: Attribute = None,
    commit: Attribute = None,
    action: Attribute = None,
    attrs: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="More attributes; repeatable.")
    ] = None,
    data: Data = None,
) -> None:
    """Send the timings of the queries in any ehrQL log as OpenTelemetry spans.

    Example: rap agent ehrql-log-telemetry ehrql-timings run.log generate-dataset
    """
    from worker_agent.ehrql import telemetry

    place = agent_place.enter(data)
    given = {"workspace": workspace, "commit": commit, "action": action}
    attributes = {name: value for name, value in given.items() if value is not None}
    attributes |= telemetry.pairs(attrs or [])
    send(
        dataset,
        place,
        lambda parser, warn: telemetry.record_log(log, operation.value, attributes, parser, warn),
    )
