"""What one agent host is made of; built once, in :mod:`worker_agent.worker`."""

from dataclasses import dataclass

from rap.egress import Fault
from rap.git.cache import GitCache, git_cache
from rap.settings import AgentSettings
from worker_agent.closures import Closures, Door
from worker_agent.engine.connections import Connections
from worker_agent.engine.docker import Engine, docker_engine
from worker_agent.pauses import Pauses
from worker_agent.running_jobs import Jobs
from worker_agent.state.attempts import AttemptState
from worker_agent.state.runs import RunState
from worker_agent.state.usage import UsageState
from worker_agent.workspace.storage import Storage


@dataclass(frozen=True, slots=True)
class Host:
    """The parts that the work on a job needs."""

    settings: AgentSettings
    storage: Storage
    git: GitCache
    engine: Engine
    attempts: AttemptState
    usage: UsageState
    runs: RunState
    jobs: Jobs
    pauses: Pauses
    closures: Closures

    @classmethod
    def of(cls, settings: AgentSettings, pauses: Pauses | None = None) -> "Host":
        """The host that the settings describe."""
        storage, closures = Storage(settings), Closures()
        return cls(
            settings=settings,
            storage=storage,
            git=git_cache(settings, backend=settings.backend),
            engine=docker_engine(
                Connections(
                    max_jobs=settings.agent_max_jobs,
                    pull_limit=settings.image_pull_timeout,
                    on_away=lambda: closures.close(Door(Fault.ENGINE_UNAVAILABLE)),
                )
            ),
            attempts=AttemptState(storage.state_dir),
            usage=UsageState(storage.state_dir / "usage"),
            runs=RunState(storage.state_dir / "runs"),
            jobs=Jobs(),
            pauses=pauses or Pauses(),
            closures=closures,
        )
