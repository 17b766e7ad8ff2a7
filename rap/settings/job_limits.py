"""What one job of a backend may use of its host, and how much of it may reach level 4."""

import os
from collections.abc import Mapping

from rap.models import JobLimits
from rap.settings.common import number
from rap.settings.controller import ControllerSettings


def job_limits(
    settings: ControllerSettings, backend: str, env: Mapping[str, str] = os.environ
) -> JobLimits:
    """``<BACKEND>_…``, then ``DEFAULT_…``, then 2 CPUs and 4G (docs/spec/controller.md 14.2)."""
    prefix = backend.upper()
    return JobLimits(
        cpu_count=number(env, f"{prefix}_JOB_CPU_COUNT", settings.default_job_cpu_count),
        memory_limit=env.get(f"{prefix}_JOB_MEMORY_LIMIT") or settings.default_job_memory_limit,
        level4_max_filesize=settings.level4_max_filesize,
        level4_max_csv_rows=settings.level4_max_csv_rows,
    )
