"""The Docker engine, behind one class: what the rest of the agent knows of it.

How calls are kept apart is told in :mod:`~worker_agent.engine.lanes`; what can be asked, in the
modules of containers, images and networks.
"""

from pathlib import Path

from worker_agent.engine.check_calls import CheckCalls
from worker_agent.engine.facts import EngineFacts
from worker_agent.engine.image_calls import ImageCalls
from worker_agent.engine.lanes import INSPECT_LIMIT, Lanes, call
from worker_agent.engine.network_calls import NetworkCalls


class Engine(CheckCalls, ImageCalls, NetworkCalls):
    """What the agent asks of Docker. Every error is a :class:`~rap.errors.JobFault`.

    Args:
        base_url: address of the engine; by default the one that the environment names
            (``DOCKER_HOST``), else the local socket.
        max_jobs: how many containers may be waited for, and images pulled, at once.
        pull_limit: seconds that one pull may take.
        inspect_limit: seconds that a question about a container may take.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        max_jobs: int = 50,
        pull_limit: float = 1200.0,
        inspect_limit: float = INSPECT_LIMIT,
    ) -> None:
        super().__init__(
            Lanes(
                base_url=base_url,
                max_jobs=max_jobs,
                pull_limit=pull_limit,
                inspect_limit=inspect_limit,
            )
        )

    async def version(self) -> str:
        """The engine's version, such as ``28.2.2``."""
        answer = await call(
            self._lanes.quick, lambda client: client.version(), "asking its version"
        )
        return str(answer["Version"])

    async def facts(self) -> EngineFacts:
        """How the engine runs, and where it keeps its images."""
        answer = await call(self._lanes.quick, lambda client: client.info(), "asking how it runs")
        return EngineFacts(
            version=str(answer["ServerVersion"]),
            rootless="name=rootless" in (answer.get("SecurityOptions") or ()),
            root_dir=Path(answer["DockerRootDir"]),
        )
