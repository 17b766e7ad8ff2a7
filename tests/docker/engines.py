"""Engines for tests: what a test is not about is as an agent has it by default."""

from typing import Any

from rap.settings import AgentSettings
from worker_agent.engine.connections import Connections
from worker_agent.engine.docker import Engine, docker_engine

SETTINGS = AgentSettings(backend="test")


def engine_with(**changes: Any) -> Engine:
    limits = {
        "max_jobs": SETTINGS.agent_max_jobs,
        "pull_limit": SETTINGS.image_pull_timeout,
    }
    return docker_engine(Connections(**(limits | changes)))
