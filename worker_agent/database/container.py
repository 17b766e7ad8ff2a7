"""How a database check becomes a container. Pure.

A check gets what a job gets and less: no volume, little memory, a root it cannot write to, and only
the database network (agent.md 12). Its secret travels in its environment alone.
"""

from collections.abc import Sequence
from typing import Any

from rap.settings import AgentSettings
from worker_agent.engine.container import BLOCKED_DNS, DatabaseHost

CHECK_LABEL = "rap-database-check"
"""Its value is the kind of the check."""
OWNER_LABEL = "rap-agent-state"
"""Its value tells the agents apart that share an engine."""
MEMORY_BYTES = 512 * 2**20
PROCESSES = 128
LOG_SIZE = "1m"


def check_config(
    settings: AgentSettings,
    *,
    kind: str,
    owner: str,
    image: str,
    args: Sequence[str],
    database_url: str,
    database_host: DatabaseHost | None,
) -> dict[str, Any]:
    """The engine's document for the container of a check.

    Args:
        settings: network, user and group.
        kind: of the check; a label for those who look at the host.
        owner: which agent may remove it as a left-over.
        image: reference of an image that the engine already holds; it is never pulled.
        args: of the image's own entrypoint.
        database_url: goes into the environment, nowhere else.
        database_host: what the container must resolve by itself.
    """
    host: dict[str, Any] = {
        "Init": True,
        "NetworkMode": settings.database_access_network,
        "Dns": [BLOCKED_DNS],
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "ReadonlyRootfs": True,
        "Tmpfs": {"/tmp": "rw,nosuid,nodev,size=64m"},  # noqa: S108  inside the container
        "Memory": MEMORY_BYTES,
        "MemorySwap": MEMORY_BYTES,
        "NanoCpus": 1_000_000_000,
        "PidsLimit": PROCESSES,
        "LogConfig": {
            "Type": "local",
            "Config": {"max-file": "1", "max-size": LOG_SIZE, "compress": "false"},
        },
    }
    if database_host is not None:
        host["ExtraHosts"] = [f"{database_host.name}:{database_host.address}"]
    return {
        "Image": image,
        "Cmd": list(args),
        "User": f"{settings.docker_user_id}:{settings.docker_group_id}",
        "Env": [f"DATABASE_URL={database_url}", "HOME=/tmp"],
        "Labels": {
            CHECK_LABEL: kind,
            OWNER_LABEL: owner,
            "jobrunner-local": "",
            "backend": settings.backend,
        },
        "HostConfig": host,
    }
