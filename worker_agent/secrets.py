"""The secrets of jobs (docs/spec/agent.md 8.4): read at the moment of use, kept nowhere.

They come from this process's own environment and go into the environment of one container. They
are no part of a job's definition, of the settings, of any log, of metadata or of a report.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from rap.egress import Fault
from rap.errors import ConfigurationError, PermanentFault
from rap.models import DEFAULT_DATABASE, JobDefinition
from rap.settings import AgentSettings
from worker_agent.engine.container import uses_database

DATABASE_NAMES = (DEFAULT_DATABASE,)
"""The databases that a job may name; ``<NAME>_DATABASE_URL`` of any other is ignored."""

_STATA_IMAGES = "stata-mp"
_TLS = {"PRESTO_TLS_CERT": "PRESTO_TLS_CERT_PATH", "PRESTO_TLS_KEY": "PRESTO_TLS_KEY_PATH"}
_PASSED_ON = ("TEMP_DATABASE_NAME", "EMIS_ORGANISATION_HASH")


def check(env: Mapping[str, str] = os.environ) -> None:
    """Refuse a half-configured TLS pair before any job needs it: ConfigurationError."""
    paths = {name: env.get(name, "").strip() for name in _TLS.values()}
    if not any(paths.values()):
        return
    if not all(paths.values()):
        raise ConfigurationError(
            "Both PRESTO_TLS_KEY_PATH and PRESTO_TLS_CERT_PATH must be defined if either are"
        )
    for name, path in paths.items():
        if not Path(path).is_file():
            raise ConfigurationError(f"{name}={path}, but file does not exist")


def database_url(name: str | None, backend: str, env: Mapping[str, str] = os.environ) -> str:
    """The URL of a database, or DATABASE_NOT_CONFIGURED."""
    url = env.get(f"{name.upper()}_DATABASE_URL", "").strip() if name in DATABASE_NAMES else ""
    if not url:
        raise PermanentFault(
            Fault.DATABASE_NOT_CONFIGURED,
            f"Database name '{name}' is not currently defined for backend '{backend}'",
        )
    return url


def of_job(
    definition: JobDefinition, settings: AgentSettings, env: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """The secret variables of a job's container, or DATABASE_NOT_CONFIGURED."""
    secrets: dict[str, str] = {}
    licence = env.get("STATA_LICENSE", "")
    if licence and definition.image.rpartition("/")[2].startswith(_STATA_IMAGES):
        secrets["STATA_LICENSE"] = licence
    if not uses_database(definition, settings):
        return secrets
    secrets["DATABASE_URL"] = database_url(definition.database_name, settings.backend, env)
    secrets |= {name: env[name] for name in _PASSED_ON if env.get(name)}
    if all(env.get(path) for path in _TLS.values()):
        secrets |= {name: Path(env[path]).read_text() for name, path in _TLS.items()}
    return secrets
