"""What the agent asks of Docker about networks."""

import docker
import docker.errors

from worker_agent.engine.lanes import Lanes, call


class NetworkCalls:
    """Networks: only looked at. Whoever runs the backend makes them (agent.md 8.3)."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes

    async def has_network(self, name: str) -> bool:
        """Whether the engine has a network of this name."""

        def inspect(client: docker.APIClient) -> bool:
            try:
                client.inspect_network(name)
            except docker.errors.NotFound:
                return False
            return True

        return await call(self._lanes.quick, inspect, f"inspecting network {name}")
