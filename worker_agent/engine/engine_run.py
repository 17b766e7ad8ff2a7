"""Which run of the engine it is that takes calls, so that its going is noticed afterwards."""

import socket
import struct
from pathlib import Path

import docker
import docker.errors

from worker_agent.engine.facts import EngineRun

ENGINE_PROGRAM = "dockerd"
DEFAULT_NETWORK = "bridge"
_PEER = struct.Struct("3i")


def run_of_engine(client: docker.APIClient) -> EngineRun:
    """The run at the other end of a new client, as far as it can be told apart from others."""
    path = getattr(client.get_adapter(client.base_url), "socket_path", None)
    return EngineRun(
        process=None if path is None else _process_behind(str(path)), network=_network(client)
    )


def _network(client: docker.APIClient) -> str | None:
    try:
        return str(client.inspect_network(DEFAULT_NETWORK)["Id"])
    except docker.errors.NotFound:
        return None


def _process_behind(path: str) -> str | None:
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(5)
        line.connect(path)
        credentials = line.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    pid, _, _ = _PEER.unpack(credentials)
    try:
        # ``4711 (dockerd) S …``; the name in brackets may hold anything.
        name, _, rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    except OSError:
        return None  # of another namespace of process numbers: the number is 0, or a stranger's
    if name.partition("(")[2] != ENGINE_PROGRAM:
        return None
    started = rest.split()[19]
    return f"{pid}:{started}"
