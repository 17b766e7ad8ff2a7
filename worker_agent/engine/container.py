"""How a job becomes a container: the one place that says what job code may and may not do.

Pure: a job definition and settings in, the engine's own "create container" document out
(docs/spec/agent.md 8). What is not set here is left to the image: entrypoint and working directory.
Why each limit is what it is, is told in docs/explanation/containers.md.
"""

import ipaddress
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rap.egress import Fault
from rap.errors import PermanentFault
from rap.models import JobDefinition
from rap.safe_names import safe_name
from rap.settings import AgentSettings

TASK_LABEL = "task"
JOB_LABEL = "job-runner"
BLOCKED_DNS = "192.0.2.0"
"""An address reserved for documentation: name resolution in a database job leads nowhere."""
WITHOUT_PRIVILEGES: dict[str, Any] = {
    "Init": True,
    "CapDrop": ["ALL"],
    "SecurityOpt": ["no-new-privileges"],
}

_SMALL_TMPFS = 64 * 2**20
_TMPFS_WITHOUT_LIMIT = 2**30
_LOG_OPTIONS = {"max-file": "200", "max-size": "20m", "compress": "true"}
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*([bkmgt]?)b?", re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


@dataclass(frozen=True, slots=True)
class DatabaseHost:
    """The name that a database URL uses, and the address that the agent found for it."""

    name: str
    address: str


def uses_database(definition: JobDefinition, settings: AgentSettings) -> bool:
    """Whether the job gets the database network and its secrets.

    Never on a backend with dummy data: there such a job has no network at all, like any other.
    """
    return definition.allow_database_access and not settings.using_dummy_data_backend


def database_hostname(url: str) -> str | None:
    """The host of a database URL if it is a name; ``None`` for an address or no host."""
    host = urlsplit(url).hostname
    if host is None:
        return None
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return host
    return None


def memory_bytes(text: str) -> int:
    """Bytes of a limit such as ``4G`` or ``512m``, powers of 1024; CONTAINER_REFUSED for others."""
    match = _MEMORY.fullmatch(text.strip())
    if match is None:
        raise PermanentFault(
            Fault.CONTAINER_REFUSED, f"memory_limit must be a size such as 4G, not {text!r}"
        )
    return int(float(match[1]) * _UNITS[match[2].lower()])


def image_name(image: str) -> str:
    """What users call an image: ``ehrql`` for ``ghcr.io/opensafely-core/ehrql:v1``."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]


def has_read_only_root(image: str, listed: Collection[str]) -> bool:
    """Whether the programs of an image can do without writing to its own file system.

    Of the listed names of images, ``*`` stands for all, and ``-name`` takes one out.
    """
    name = image_name(image)
    return f"-{name}" not in listed and (name in listed or "*" in listed)


def container_config(
    definition: JobDefinition,
    settings: AgentSettings,
    *,
    image: str,
    mount_source: Path,
    secrets: Mapping[str, str],
    database_host: DatabaseHost | None = None,
) -> dict[str, Any]:
    """The engine's document for the container of a job (docs/spec/agent.md 8.1 to 8.3).

    The image is one that the engine already holds: it is never pulled. ``mount_source`` is the
    job's volume as the engine's host sees it; the secrets win over variables of the definition.
    """
    environment = {"HOME": "/tmp", **definition.env, **secrets}  # noqa: S108
    host: dict[str, Any] = {
        **WITHOUT_PRIVILEGES,
        "NetworkMode": "none",
        "PidsLimit": settings.container_pids_limit,
        "LogConfig": {"Type": "local", "Config": dict(_LOG_OPTIONS)},
        "Mounts": [{"Type": "bind", "Source": str(mount_source), "Target": "/workspace"}],
    }
    if definition.cpu_count is not None:
        host["NanoCpus"] = round(definition.cpu_count * 1_000_000_000)
    if definition.memory_limit is not None:
        host["Memory"] = memory_bytes(definition.memory_limit)
        # The engine would add as much swap again: a job would slow the host down before it ends.
        host["MemorySwap"] = host["Memory"]
    if has_read_only_root(definition.image, settings.read_only_images):
        host["ReadonlyRootfs"] = True
        host["Tmpfs"] = _tmpfs(host.get("Memory"))
    if uses_database(definition, settings):
        host |= database_network(settings, database_host)
    return {
        "Image": image,
        "Cmd": list(definition.args),
        "User": f"{settings.docker_user_id}:{settings.docker_group_id}",
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "Labels": {
            JOB_LABEL: "",
            "jobrunner-local": "",
            "workspace": definition.workspace,
            "action": safe_name(definition.action),
            TASK_LABEL: definition.task_id,
        },
        "HostConfig": host,
    }


def database_network(settings: AgentSettings, host: DatabaseHost | None) -> dict[str, Any]:
    """The part of the document about the network: the database by its name, and nothing else."""
    network = {"NetworkMode": settings.database_access_network, "Dns": [BLOCKED_DNS]}
    return network | ({"ExtraHosts": [f"{host.name}:{host.address}"]} if host else {})


def _tmpfs(memory: int | None) -> dict[str, str]:
    """Where a program may write beside ``/workspace`` when the rest is read-only.

    What lies there is memory of the container: so that a full ``/tmp`` is an error which the
    program sees and not its end, it gets half of the job's memory at most. Programs may be run from
    there, since R compiles and loads code in its temporary folder.
    """
    large = memory // 2 if memory else _TMPFS_WITHOUT_LIMIT
    sizes = {"/tmp": large, "/var/tmp": min(large, _SMALL_TMPFS), "/run": min(large, _SMALL_TMPFS)}  # noqa: S108
    return {path: f"rw,exec,nosuid,nodev,mode=1777,size={size}" for path, size in sizes.items()}
