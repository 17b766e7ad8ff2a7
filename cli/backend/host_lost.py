"""``rap backend host-lost``: give up a host (docs/spec/controller.md 12)."""

import time
from typing import Annotated

import typer

from cli import prompts
from cli.backend.orders import Operator, by_operator
from cli.console import counted
from cli.options import Yes
from rap.durations import ago
from rap.errors import RapError


@by_operator
def host_lost(
    *,
    operator: Operator,
    host: Annotated[str, typer.Argument(metavar="HOST", help="As `rap backend show` names it.")],
    yes: Yes = False,
) -> None:
    """Give up a host that will not come back: its jobs start again elsewhere.

    Make sure that its containers do not run any more.

    Example: rap backend host-lost tpp h2 --why 'dead disk'
    """
    from rap.contracts.workflows import HOST_LOST
    from rap.messages.orders import LostHost
    from rap.rows import BackendRow, OrderKind

    before = operator.state()
    known = {agent.host: agent.at for agent in before.agents}
    held = sum(slot.host == host for slot in before.slots)
    if host not in known and not held:
        hosts = ", ".join(sorted(known)) or "none"
        raise RapError(f"Backend '{operator.backend}' has no host {host!r}; its hosts are: {hosts}")
    jobs = counted(held, "job")
    if not yes:
        _ask(operator, host, known.get(host), jobs)

    def shows(row: BackendRow) -> bool:
        return any((one.kind, one.detail) == (OrderKind.HOST_LOST, host) for one in row.orders)

    message = LostHost(host=host, by=operator.by, why=operator.why)
    row = operator.order(HOST_LOST, message, shows)
    operator.tell(row, f"[{operator.backend}] host {host} is given up; {jobs} will start again.")


def _ask(operator: Operator, host: str, seen: float | None, jobs: str) -> None:
    """Ask whether the host is really to be given up; RapError if it is not."""
    from rap.egress import SILENT_AFTER_S

    now = time.time()
    operator.say(f"Host {host} of backend '{operator.backend}' last reported {ago(seen, now)}.")
    if seen is not None and now - seen < SILENT_AFTER_S:
        operator.say("It seems to be ALIVE: its containers would go on running.")
    operator.say(
        f"{jobs} will be given up there and start again elsewhere. Make sure that the host is "
        "down, or that its containers are."
    )
    if not prompts.agrees(operator.out):
        raise RapError("Nothing was changed.")
