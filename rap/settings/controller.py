"""Settings of the controller worker."""

import os
import re
from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator, model_validator

from rap.messages import BackendLimits
from rap.models import JobLimits
from rap.settings.common import CommaList, CommonSettings, names_or_none, number


class ControllerSettings(CommonSettings):
    """The controller worker."""

    default_job_cpu_count: float = 2.0
    """Cores of a job; ``<BACKEND>_JOB_CPU_COUNT`` for one backend."""
    default_job_memory_limit: str = "4G"
    """Memory of a job; ``<BACKEND>_JOB_MEMORY_LIMIT`` for one backend."""
    level4_max_filesize: int = 16 * 1024 * 1024
    """Bytes of a file that output checkers may be shown."""
    level4_max_csv_rows: int = 5000
    """Rows of a table that output checkers may be shown."""
    workspace_ehrql_max_join_count: dict[str, Any] = Field(default_factory=dict)
    """JSON: workspace to the value of ``EHRQL_MAX_JOIN_COUNT`` for its database jobs."""
    maintenance_enabled_backends: CommaList = ("tpp",)
    """Backends whose database is asked every so often whether it is in maintenance; ``none``."""
    maintenance_poll_interval: float = Field(default=300, ge=1)
    """Seconds between these checks."""
    data_check_enabled_backends: CommaList = ("tpp",)
    """Backends whose database is asked every so often how far its data reach; ``none``."""
    data_check_poll_interval: float = Field(default=86400, ge=1)
    """Seconds between these checks."""
    data_check_hes_expected_activity_month: str = "202304"
    """The month, YYYYMM, that the hospital data are expected to reach."""
    docker_registry_api: str = ""
    """Where image digests are asked for; empty: ``https://`` and the host of ``DOCKER_REGISTRY``;
    ``none``: nowhere, each agent runs what its own engine calls by the tag."""

    @field_validator("maintenance_enabled_backends", "data_check_enabled_backends", mode="before")
    @classmethod
    def _split_or_none(cls, value: object) -> object:
        return names_or_none(value)

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
        workers = number(env, f"{prefix}_MAX_WORKERS", 2 if backend == "test" else 10)
        return BackendLimits(
            max_workers=workers,
            max_db_workers=number(env, f"{prefix}_MAX_DB_WORKERS", workers),
        )

    def job_limits_of(self, backend: str, env: Mapping[str, str] = os.environ) -> JobLimits:
        """What one job of a backend may use: ``<BACKEND>_…``, then ``DEFAULT_…``, then 2 and 4G."""
        prefix = backend.upper()
        return JobLimits(
            cpu_count=number(env, f"{prefix}_JOB_CPU_COUNT", self.default_job_cpu_count),
            memory_limit=env.get(f"{prefix}_JOB_MEMORY_LIMIT") or self.default_job_memory_limit,
            level4_max_filesize=self.level4_max_filesize,
            level4_max_csv_rows=self.level4_max_csv_rows,
        )
