"""Settings of the agent worker."""

import os
from functools import cached_property
from pathlib import Path

from pydantic import Field, field_validator, model_validator

from rap.settings.common import CommaListOrNone, CommonSettings


class AgentSettings(CommonSettings):
    """The agent worker (docs/spec/agent.md 16). Secrets of database jobs are
    read only when used.
    """

    backend: str = ""
    """The backend to be an agent of."""
    agent_host: str = "main"
    """Name of this host within its backend; stable over restarts, part of its queues' names."""
    agent_max_jobs: int = 50
    """Jobs that this host runs at a time, whatever the backend's limits."""
    high_privacy_storage_base: Path | None = None
    """The area that holds everything; by default below the work directory."""
    medium_privacy_storage_base: Path | None = None
    """The area that output checkers read ("level 4"); by default below the work directory."""
    high_privacy_archive_dir: Path | None = None
    """Where archived workspaces are; by default ``archives`` in the high privacy area."""
    high_privacy_volume_dir: Path | None = None
    """Where jobs have their volumes; by default ``volumes`` in the high privacy area."""
    docker_host_volume_dir: Path | None = None
    """The folder of the volumes as the Docker host sees it, for an agent in a container."""
    docker_proxy: str = "docker-proxy.opensafely.org/opensafely-core"
    """Where images are pulled from, by their digests."""
    docker_user_id: int = Field(default_factory=os.geteuid)
    """The user of a job's processes; by default the agent's own."""
    docker_group_id: int = Field(default_factory=os.getegid)
    """The group of a job's processes; by default the agent's own."""
    image_pull_timeout: int = 1200
    """Seconds that one pull may take."""
    disk_reserve_mb: int = Field(default=1024, ge=0)
    """MiB that stay free when a job is prepared, so that those that run can file their outputs."""
    new_image_mb: int = Field(default=3072, ge=0)
    """MiB that an image is taken to need of which no other version is here."""
    database_access_network: str = "jobrunner-db"
    """The network of database jobs; it is made by hand, never by the agent."""
    using_dummy_data_backend: bool = False
    """``true``, ``1`` or ``yes``: jobs get neither a network nor secrets."""
    container_pids_limit: int = Field(default=2048, ge=16)
    """Processes and threads that one job may have at a time."""
    read_only_images: CommaListOrNone = ("ehrql", "sqlrunner")
    """Images whose jobs cannot write to the image's own file system; ``*``: all, ``-name``: not
    this one, ``none``. Their ``/tmp`` is memory of the job."""
    job_run_time_limit: float = Field(default=0, ge=0)
    """Seconds that a job's program may run; 0: as long as it likes."""
    boot_id_file: Path = Path("/proc/sys/kernel/random/boot_id")
    """Where the host tells one start of itself from another."""
    cgroup_root: Path = Path("/sys/fs/cgroup")
    """Where the host's cgroups are to be seen, for an agent that is itself in a container."""
    stats_poll_interval: float = 10.0
    """Seconds between measurements of jobs."""
    rap_agent_metrics_address: str = ""
    """Where the Temporal SDK serves its metrics to Prometheus, as ``127.0.0.1:9465``."""
    report_interval: float = 30.0
    """Seconds between the agent's signs of life."""

    @field_validator("using_dummy_data_backend", mode="before")
    @classmethod
    def _truthy(cls, value: object) -> object:
        return value.strip().lower() in ("true", "1", "yes") if isinstance(value, str) else value

    @model_validator(mode="after")
    def _known_backend(self) -> "AgentSettings":
        if self.backend and self.backend not in self.backends:
            allowed = ", ".join(self.backends)
            raise ValueError(
                f"BACKEND {self.backend} is not valid, allowed backends are: {allowed}"
            )
        for name in ("high_privacy_storage_base", "medium_privacy_storage_base"):
            path: Path | None = getattr(self, name)
            if path is not None and not path.is_absolute():
                raise ValueError(f"{name.upper()} must be an absolute path, not {path}")
        return self

    @cached_property
    def high_privacy(self) -> Path:
        """The area that holds everything."""
        return self.high_privacy_storage_base or self.workdir / "high_privacy"

    @cached_property
    def medium_privacy(self) -> Path:
        """The area that output checkers read ("level 4")."""
        return self.medium_privacy_storage_base or self.workdir / "medium_privacy"

    @cached_property
    def archive_dir(self) -> Path:
        """Where archived workspaces are looked for."""
        return self.high_privacy_archive_dir or self.high_privacy / "archives"

    @cached_property
    def volume_dir(self) -> Path:
        """Where the jobs' ephemeral volumes are."""
        return self.high_privacy_volume_dir or self.high_privacy / "volumes"
