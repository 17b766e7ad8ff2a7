"""The Docker engine: its parts put together, and what it says of itself.

How calls are kept apart is in :mod:`~worker_agent.engine.connections`; what else Docker is asked,
in ``*_calls.py``. Every error is a :class:`~rap.errors.JobFault`; any call may raise the transient
ones ENGINE_UNAVAILABLE and DISK_FULL.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker_agent.engine.check_calls import CheckContainers
from worker_agent.engine.connections import Connections
from worker_agent.engine.container_calls import Containers
from worker_agent.engine.engine_run import run_of_engine
from worker_agent.engine.facts import EngineRun, EngineState
from worker_agent.engine.image_calls import Images
from worker_agent.engine.inspection import nanoseconds


class System:
    """The engine itself, and its networks, made by the backend (docs/spec/agent.md 8.3)."""

    def __init__(self, connections: Connections) -> None:
        self._quick = connections.quick

    async def version(self) -> str:
        """Such as ``28.2.2``."""
        answer = await self._quick.call(lambda client: client.version(), "asking its version")
        return str(answer["Version"])

    async def state(self) -> EngineState:
        """How it is set up, and where it keeps its images."""
        found = await self._quick.call(lambda client: client.info(), "asking how it runs")
        at = nanoseconds(str(found.get("SystemTime", "")))
        security = [str(option) for option in found.get("SecurityOptions") or ()]
        return EngineState(
            version=str(found.get("ServerVersion", "")),
            rootless="name=rootless" in security,
            root_dir=Path(found["DockerRootDir"]),
            storage_driver=str(found.get("Driver", "")),
            # Engines before 20.10 do not say: there was only one.
            cgroup_version=str(found.get("CgroupVersion", "1")),
            cgroup_driver=str(found.get("CgroupDriver", "")),
            live_restore=bool(found.get("LiveRestoreEnabled")),
            swap_limit=bool(found.get("SwapLimit")),
            memory_limit=bool(found.get("MemoryLimit")),
            user_namespaces=any("name=userns" in option for option in security),
            at=None if at is None else at / 1e9,
        )

    async def run(self) -> EngineRun:
        """Which run of the engine takes calls now.

        An engine that is told to stop goes on answering on open sockets while it stops the
        containers, and their ends look like any other's; but it takes no new ones. So this is asked
        on a new one.
        """
        return await self._quick.call(run_of_engine, "asking which run of it answers", fresh=True)

    async def network(self, name: str) -> dict[str, Any] | None:
        """Docker's document about a network; ``None`` if there is none of this name."""
        return await self._quick.find(
            lambda client: client.inspect_network(name), f"inspecting network {name}"
        )


@dataclass(frozen=True, slots=True)
class Engine:
    """A container engine, by its parts: a test has one fail with :func:`dataclasses.replace`."""

    system: System
    containers: Containers
    checks: CheckContainers
    images: Images


def docker_engine(connections: Connections) -> Engine:
    """The engine at the other end of these connections."""
    containers = Containers(connections)
    return Engine(
        system=System(connections),
        containers=containers,
        checks=CheckContainers(connections, containers),
        images=Images(connections),
    )
