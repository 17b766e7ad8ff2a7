"""``rap agent check``: what this host needs, and what is wrong with it."""

import asyncio
from pathlib import Path

from rap.cli import agent_place, findings, show
from worker_agent.operations.checkup import check_up


def command(*, data: Path | None, as_json: bool) -> int:
    """Carry out ``rap agent check``; its exit code: 1 if there is a problem."""
    place = agent_place.enter(data)
    with show.patience(show.console(errors=True), "Asking Docker, Temporal and the registry …"):
        found = asyncio.run(check_up(place))
    return findings.tell(found, as_json=as_json)
