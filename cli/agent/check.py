"""``rap agent check``: what this host needs, and what is wrong with it."""

import asyncio

from cli.agent import place as agent_place
from cli.console import patience, stderr
from cli.options import Json


def check(*, data: agent_place.Data = None, as_json: Json = False) -> None:
    """Look at everything that jobs on this host need, and tell the remedy for what is wrong.

    Settings, agent, Docker, database network, Temporal, folders, disks, clock, secrets (by name
    only), images. Changes nothing. The exit code is 1 if there is a problem; warnings are none.

    Example: rap agent check --json
    """
    from cli import checklist
    from worker_agent.operations.checklist import check_host

    place = agent_place.enter(data)
    with patience(stderr(), "Asking Docker, Temporal and the registry …"):
        found = asyncio.run(check_host(place))
    checklist.tell(found, as_json=as_json)
