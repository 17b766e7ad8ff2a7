"""Settings of each process, read from the environment at its start (docs/spec/controller.md 14,
docs/spec/agent.md 16).

The names are those that operators know. A blank value counts as unset. A process makes its
settings once, in its ``__main__``, and passes them on; nothing reads the environment later, except
the secrets of database jobs, which :mod:`worker_agent` reads at the moment of use.
"""

from rap.settings.agent import AgentSettings
from rap.settings.api import ApiSettings
from rap.settings.common import CommonSettings, load
from rap.settings.controller import ControllerSettings
from rap.settings.records import RecordsSettings

__all__ = [
    "AgentSettings",
    "ApiSettings",
    "CommonSettings",
    "ControllerSettings",
    "RecordsSettings",
    "load",
]
