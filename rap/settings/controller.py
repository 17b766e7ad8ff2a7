"""Settings of the controller worker."""

import os
import re
from collections.abc import Mapping
from typing import Any

from pydantic import Field, field_validator, model_validator

from rap.messages.backends import BackendLimits
from rap.models import (
    INTERRUPTIONS_A_DAY,
    JOB_CPUS,
    JOB_MEMORY,
    LEVEL4_MAX_CSV_ROWS,
    LEVEL4_MAX_FILESIZE,
)
from rap.settings.common import CommaListOrNone, CommonSettings, number


class ControllerSettings(CommonSettings):
    """The controller worker."""

    default_job_cpu_count: float = JOB_CPUS
    """Cores of a job; ``<BACKEND>_JOB_CPU_COUNT`` for one backend."""
    default_job_memory_limit: str = JOB_MEMORY
    """Memory of a job; ``<BACKEND>_JOB_MEMORY_LIMIT`` for one backend."""
    level4_max_filesize: int = LEVEL4_MAX_FILESIZE
    """Bytes of a file that output checkers may be shown."""
    level4_max_csv_rows: int = LEVEL4_MAX_CSV_ROWS
    """Rows of a table that output checkers may be shown."""
    workspace_ehrql_max_join_count: dict[str, Any] = Field(default_factory=dict)
    """JSON: workspace to the value of ``EHRQL_MAX_JOIN_COUNT`` for its database jobs."""
    maintenance_enabled_backends: CommaListOrNone = ("tpp",)
    """Backends whose database is asked every so often whether it is in maintenance; ``none``."""
    maintenance_poll_interval: float = Field(default=300, ge=1)
    """Seconds between these checks."""
    data_check_enabled_backends: CommaListOrNone = ("tpp",)
    """Backends whose database is asked every so often how far its data reach; ``none``."""
    data_check_poll_interval: float = Field(default=86400, ge=1)
    """Seconds between these checks."""
    data_check_hes_expected_activity_month: str = "202304"
    """The month, YYYYMM, that the hospital data are expected to reach."""
    job_interruptions_a_day: int = Field(default=INTERRUPTIONS_A_DAY, ge=0)
    """How often within 24 hours a job starts afresh after its server or container engine was
    restarted, its container removed or its files deleted; the next time ends it."""
    docker_registry_api: str = ""
    """Where image digests are asked for; empty: ``https://`` and the host of ``DOCKER_REGISTRY``;
    ``none``: nowhere, each agent runs what its own engine calls by the tag."""

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
        """The image of the database checks (docs/spec/controller.md 12.3)."""
        return f"{self.docker_registry}/tpp-database-utils:latest"

    tick_poll_interval: float = 30.0
    """Seconds between the ``TICK`` spans; 0: none."""
    rap_controller_metrics_address: str = ""
    """Where the Temporal SDK serves its metrics to Prometheus, as ``127.0.0.1:9464``."""

    @property
    def registry_api(self) -> str | None:
        """The address of the registry's API; ``None`` where no registry is to be asked."""
        if self.docker_registry_api.strip().lower() == "none":
            return None
        return self.docker_registry_api or f"https://{self.docker_registry.partition('/')[0]}"

    def limits_of(self, backend: str, env: Mapping[str, str] = os.environ) -> BackendLimits:
        """The worker limits of a backend, from ``<BACKEND>_MAX_WORKERS``
        (docs/spec/controller.md 14.2).
        """
        prefix = backend.upper()
        workers = number(env, f"{prefix}_MAX_WORKERS", 2 if backend == "test" else 10)
        return BackendLimits(
            max_workers=workers, max_db_workers=number(env, f"{prefix}_MAX_DB_WORKERS", workers)
        )
