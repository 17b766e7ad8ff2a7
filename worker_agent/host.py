"""What one agent host is made of; built once, in :mod:`worker_agent.worker`."""

from dataclasses import dataclass

from rap.git import GitCache
from rap.settings import AgentSettings
from worker_agent.engine.docker import Engine
from worker_agent.jobs import Jobs
from worker_agent.notes import Notes
from worker_agent.run_book import RunBook
from worker_agent.usage import UsageBook
from worker_agent.workspace.storage import Storage


@dataclass(frozen=True, slots=True)
class Host:
    """The parts that the work on a job needs."""

    settings: AgentSettings
    storage: Storage
    git: GitCache
    engine: Engine
    notes: Notes
    usage: UsageBook
    runs: RunBook
    jobs: Jobs

    @classmethod
    def of(cls, settings: AgentSettings) -> "Host":
        """The host that the settings describe."""
        storage = Storage(settings)
        return cls(
            settings=settings,
            storage=storage,
            git=GitCache(
                settings.workdir / "repos",
                proxy_domain=settings.github_proxy_domain,
                token=settings.private_repo_access_token,
                user=f"jobrunner-{settings.backend}",
            ),
            engine=Engine(max_jobs=settings.agent_max_jobs, pull_limit=settings.image_pull_timeout),
            notes=Notes(storage.state_dir),
            usage=UsageBook(storage.state_dir / "usage"),
            runs=RunBook(storage.state_dir / "runs"),
            jobs=Jobs(),
        )
