"""``rap doctor``: find what is inconsistent in a system, and mend it."""

import asyncio
from pathlib import Path

from rap.cli import environment, findings, orders, show
from rap.findings import Finding
from rap.settings import ControllerSettings, load
from worker_controller.doctor import Doctor


def command(*, dry_run: bool, data: Path | None, as_json: bool) -> int:
    """Carry out ``rap doctor``; its exit code: 1 if a problem is left."""
    environment.enter(data)
    with show.patience(show.console(errors=True), "Comparing Temporal with the read model …"):
        found = asyncio.run(_examine(mend=not dry_run))
    return findings.tell(found, as_json=as_json)


async def _examine(*, mend: bool) -> list[Finding]:
    records = environment.open_records()
    doctor = Doctor(await orders.connected(), records, load(ControllerSettings), mend=mend)
    return [finding async for finding in doctor.examine()]
