"""Settings of each process, read from the environment at its start (controller.md 14, agent.md 16).

The names are those that operators know. A blank value counts as unset. A process makes its
settings once, in its ``__main__``, and passes them on; nothing reads the environment later, except
the secrets of database jobs, which :mod:`worker_agent` reads at the moment of use.
"""

import os
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AliasChoices, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from rap.errors import ConfigurationError
from rap.messages import BackendLimits
from rap.models import JobLimits

CommaList = Annotated[tuple[str, ...], NoDecode]
Settings = TypeVar("Settings", bound=BaseSettings)


class CommonSettings(BaseSettings):
    """What every process needs."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True)

    backends: CommaList = ("test", "tpp", "emis", "ted")
    workdir: Path = Path("workdir")
    docker_registry: str = "ghcr.io/opensafely-core"
    github_proxy_domain: str = "github-proxy.opensafely.org"
    private_repo_access_token: str = Field(default="", repr=False)
    allowed_github_orgs: CommaList = ("opensafely", "opensafely-actions")
    allow_local_git_repos: bool = False
    loglevel: str = "INFO"
    debug_log_file: str = ""
    """A second log, with everything; a new file each day."""
    jobrunner_version_file_path: Path = Path("/app/metadata/version.txt")
    """Where a deployment writes down which version it is."""
    version: str = Field(
        default_factory=lambda given: _version_in(given.get("jobrunner_version_file_path"))
    )
    """Of the product, as traces and reports tell it; by default that in the file."""

    @field_validator("backends", "allowed_github_orgs", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(item.strip() for item in value.split(",") if item.strip())
        return value

    @field_validator("workdir", mode="after")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.absolute()

    @field_validator("allow_local_git_repos", mode="before")
    @classmethod
    def _only_true(cls, value: object) -> object:
        # Only "true" in any capitals switches this on (controller.md 14.1).
        return value.strip().lower() == "true" if isinstance(value, str) else value


class RecordsSettings(BaseSettings):
    """Where the read model is."""

    model_config = SettingsConfigDict(env_ignore_empty=True, extra="ignore", frozen=True)

    workdir: Path = Path("workdir")
    rap_database_url: str = Field(default="", repr=False)
    """SQLAlchemy URL; empty: ``records.sqlite`` in the work directory."""
    backups_path: Path | None = None
    """Where snapshots of an SQLite file are kept; not set: ``backups`` in the work directory."""

    @property
    def url(self) -> str:
        """The URL to connect to."""
        return self.rap_database_url or f"sqlite:///{self.workdir.absolute() / 'records.sqlite'}"

    @property
    def backups(self) -> Path:
        """The folder of the snapshots; it need not exist."""
        return (self.backups_path or self.workdir / "backups").absolute()


class ControllerSettings(CommonSettings):
    """The controller worker."""

    default_job_cpu_count: float = 2.0
    default_job_memory_limit: str = "4G"
    level4_max_filesize: int = 16 * 1024 * 1024
    level4_max_csv_rows: int = 5000
    workspace_ehrql_max_join_count: dict[str, Any] = Field(default_factory=dict)
    maintenance_enabled_backends: CommaList = ("tpp",)
    """Backends whose database is asked every so often whether it is in maintenance; ``none``."""
    maintenance_poll_interval: float = Field(default=300, ge=1)
    """Seconds between these checks."""
    data_check_enabled_backends: CommaList = ("tpp",)
    """Backends whose database is asked every so often how far its data reach; ``none``."""
    data_check_poll_interval: float = Field(default=86400, ge=1)
    data_check_hes_expected_activity_month: str = "202304"
    """The month, YYYYMM, that the hospital data are expected to reach."""
    docker_registry_api: str = ""
    """Where image digests are asked for; empty: ``https://`` and the host of ``DOCKER_REGISTRY``;
    ``none``: nowhere, each agent runs what its own engine calls by the tag."""

    @field_validator("maintenance_enabled_backends", "data_check_enabled_backends", mode="before")
    @classmethod
    def _split_or_none(cls, value: object) -> object:
        return _names_or_none(value)

    @field_validator("data_check_hes_expected_activity_month", mode="after")
    @classmethod
    def _month(cls, value: str) -> str:
        if re.fullmatch(r"[0-9]{4}(0[1-9]|1[0-2])", value) is None:
            raise ValueError("must be a month, YYYYMM")
        return value

    @model_validator(mode="after")
    def _checks_known_backends(self) -> "ControllerSettings":
        for name in ("maintenance_enabled_backends", "data_check_enabled_backends"):
            unknown = sorted(set(getattr(self, name)) - set(self.backends))
            # The default names a backend that a development system need not have.
            if unknown and name in self.model_fields_set:
                raise ValueError(
                    f"{name.upper()} names {', '.join(unknown)}, but BACKENDS only has "
                    f"{', '.join(self.backends)}; list backends of BACKENDS, or set it to none"
                )
        return self

    @property
    def database_check_image(self) -> str:
        """The image of the database checks (controller.md 12.3)."""
        return f"{self.docker_registry}/tpp-database-utils:latest"

    tick_poll_interval: float = 30.0
    """Seconds between the ``TICK`` spans; 0: none."""
    rap_controller_metrics_address: str = ""
    """Where the Temporal SDK serves its figures to Prometheus, as ``127.0.0.1:9464``."""

    @property
    def registry_api(self) -> str | None:
        """The address of the registry's API; ``None`` where no registry is to be asked."""
        if self.docker_registry_api.strip().lower() == "none":
            return None
        return self.docker_registry_api or f"https://{self.docker_registry.partition('/')[0]}"

    def limits_of(self, backend: str, env: Mapping[str, str] = os.environ) -> BackendLimits:
        """The worker limits of a backend, from ``<BACKEND>_MAX_WORKERS`` (controller.md 14.2)."""
        prefix = backend.upper()
        workers = _number(env, f"{prefix}_MAX_WORKERS", 2 if backend == "test" else 10)
        return BackendLimits(
            max_workers=workers,
            max_db_workers=_number(env, f"{prefix}_MAX_DB_WORKERS", workers),
        )

    def job_limits_of(self, backend: str, env: Mapping[str, str] = os.environ) -> JobLimits:
        """What one job of a backend may use: ``<BACKEND>_…``, then ``DEFAULT_…``, then 2 and 4G."""
        prefix = backend.upper()
        return JobLimits(
            cpu_count=_number(env, f"{prefix}_JOB_CPU_COUNT", self.default_job_cpu_count),
            memory_limit=env.get(f"{prefix}_JOB_MEMORY_LIMIT") or self.default_job_memory_limit,
            level4_max_filesize=self.level4_max_filesize,
            level4_max_csv_rows=self.level4_max_csv_rows,
        )


class AgentSettings(CommonSettings):
    """The agent worker (agent.md 16). Secrets of database jobs are read only when used."""

    backend: str = ""
    agent_host: str = "main"
    """Name of this host within its backend; stable over restarts, part of its queues' names."""
    agent_max_jobs: int = 50
    high_privacy_storage_base: Path | None = None
    medium_privacy_storage_base: Path | None = None
    high_privacy_archive_dir: Path | None = None
    high_privacy_volume_dir: Path | None = None
    docker_host_volume_dir: Path | None = None
    docker_proxy: str = "docker-proxy.opensafely.org/opensafely-core"
    docker_user_id: int = Field(default_factory=os.geteuid)
    docker_group_id: int = Field(default_factory=os.getegid)
    image_pull_timeout: int = 1200
    disk_reserve_mb: int = Field(default=1024, ge=0)
    """MiB that stay free when a job is prepared, so that those that run can file their outputs."""
    new_image_mb: int = Field(default=3072, ge=0)
    """MiB that an image is taken to need of which no other version is here."""
    database_access_network: str = "jobrunner-db"
    using_dummy_data_backend: bool = False
    container_pids_limit: int = Field(default=2048, ge=16)
    """Processes and threads that one job may have at a time."""
    read_only_images: CommaList = ("ehrql", "sqlrunner")
    """Images whose jobs cannot write to the image's own file system; ``*``: all, ``-name``: not
    this one, ``none``. Their ``/tmp`` is memory of the job."""
    job_run_time_limit: float = Field(default=0, ge=0)
    """Seconds that a job's program may run; 0: as long as it likes."""
    cgroup_root: Path = Path("/sys/fs/cgroup")
    """Where the host's cgroups are to be seen, for an agent that is itself in a container."""
    stats_poll_interval: float = 10.0
    rap_agent_metrics_address: str = ""
    """Where the Temporal SDK serves its figures to Prometheus, as ``127.0.0.1:9465``."""
    report_interval: float = 30.0

    @field_validator("read_only_images", mode="before")
    @classmethod
    def _split_images(cls, value: object) -> object:
        return _names_or_none(value)

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


class ApiSettings(CommonSettings):
    """The HTTP facade."""

    rap_api_host: str = "127.0.0.1"
    rap_api_port: int = 8000
    rap_api_workers: int = Field(default=1, ge=1)
    """Processes that serve requests."""
    rap_api_timeout: float = Field(default=24.0, gt=0)
    """Seconds after which a request whose outcome is unknown is answered 503; clients are promised
    an answer within 25."""
    rap_api_allowed_hosts: CommaList = Field(
        default=("localhost", "127.0.0.1", "[::1]"),
        validation_alias=AliasChoices(
            "rap_api_allowed_hosts", "RAP_API_ALLOWED_HOSTS", "DJANGO_CONTROLLER_ALLOWED_HOSTS"
        ),
    )
    """Values of the ``Host`` header that are served; ``.name`` also its subdomains, ``*`` any."""
    rap_api_metrics_address: str = ""
    """Where the API serves its figures to Prometheus, as ``127.0.0.1:9466``; empty: nowhere."""

    @field_validator("rap_api_allowed_hosts", mode="before")
    @classmethod
    def _hosts(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(item.strip().lower() for item in value.split(",") if item.strip())
        return value

    @property
    def metrics_address(self) -> tuple[str, int] | None:
        """Host and port of the figures.

        Raises:
            ConfigurationError: that is not what the setting holds.
        """
        if not self.rap_api_metrics_address:
            return None
        host, _, port = self.rap_api_metrics_address.rpartition(":")
        if not host or not port.isdecimal() or int(port) > 65535:
            raise ConfigurationError(
                "RAP_API_METRICS_ADDRESS must be a host and a port, such as 127.0.0.1:9466, not "
                f"{self.rap_api_metrics_address!r}"
            )
        return host.strip("[]"), int(port)

    def client_tokens(self, env: Mapping[str, str] = os.environ) -> dict[str, tuple[str, ...]]:
        """Token to allowed backends in the order of ``BACKENDS`` (rap-api.md A3)."""
        allowed: dict[str, list[str]] = {}
        for backend in self.backends:
            listed = env.get(f"{backend.upper()}_CLIENT_TOKENS", "")
            for token in dict.fromkeys(listed.split(",")):
                if token:
                    allowed.setdefault(token, []).append(backend)
        return {token: tuple(backends) for token, backends in allowed.items()}


def load(kind: type[Settings]) -> Settings:
    """Read settings from the environment.

    Raises:
        ConfigurationError: naming the variable and what is wrong with it, never its value.
    """
    try:
        return kind()
    except ValidationError as error:
        lines = []
        for problem in error.errors(include_input=False, include_url=False):
            name = "_".join(str(part) for part in problem["loc"]).upper()
            text = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{name}: {text}" if name else text)
        raise ConfigurationError("\n".join(lines)) from None


def _version_in(path: Path | None) -> str:
    try:
        text = path.read_text().strip() if path is not None else ""
    except (OSError, UnicodeDecodeError):
        # A development system has no such file.
        text = ""
    return text or "unknown"


def _names_or_none(value: object) -> object:
    # A blank value counts as unset, so that "nowhere" needs a word of its own.
    if isinstance(value, str):
        names = tuple(item.strip() for item in value.split(",") if item.strip())
        return () if names == ("none",) else names
    return value


def _number(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name, "").strip()
    if not text:
        return default
    try:
        return float(text)
    except ValueError:
        raise ConfigurationError(f"{name} must be a number, not {text!r}") from None
