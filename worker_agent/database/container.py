"""How a database check becomes a container. Pure.

A check gets what a job gets and less: no volume, little memory, a root it cannot write to, and only
the database network (docs/spec/agent.md 12). Its secret travels in its environment alone.
"""

from collections.abc import Sequence
from typing import Any

from rap.ids import CheckKind
from rap.settings import AgentSettings
from worker_agent.engine.container import WITHOUT_PRIVILEGES, DatabaseHost, database_network

CHECK_LABEL = "rap-database-check"
"""Its value is the kind of the check."""
OWNER_LABEL = "rap-agent-state"
"""Its value differs between agents that share an engine."""
MEMORY_BYTES = 512 * 2**20
PROCESSES = 128
LOG_SIZE = "1m"


def labels_of(owner: str, kind: CheckKind | None) -> list[str]:
    """What the containers of an agent's checks are known by: of one kind, or of all."""
    return [f"{OWNER_LABEL}={owner}", CHECK_LABEL if kind is None else f"{CHECK_LABEL}={kind}"]


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

    The owner is the agent that may remove it as a left-over. The image is one that the engine
    already holds; it is never pulled. The URL goes into the environment, nowhere else.
    """
    host: dict[str, Any] = {
        **WITHOUT_PRIVILEGES,
        **database_network(settings, database_host),
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
