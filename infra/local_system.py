"""The whole system on this machine: Temporal, controller, agent and API for the backend ``test``.

Everything it writes is beneath one folder. The demo, ``rap dev`` and the end-to-end tests use it.
"""

import secrets
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import httpx

from infra.processes import Echo, Service, Stack
from infra.temporal.dev_server import DevServer, free_port, without_temporal_settings
from rap.addresses import HOST
from rap.errors import Unavailable
from rap.records import Records, migrations

BACKEND = "test"
READY_LIMIT = 60.0
CONTROLLER, AGENT, API = "controller", "agent", "api"


@dataclass
class LocalSystem:
    """One system with its own ports, folder and token; ends with its ``with`` block."""

    folder: Path
    ui: bool = False
    """Whether Temporal's Web UI is wanted."""
    echo: Echo | None = None
    """Takes every line of the processes' output, beside their log files."""
    overrides: Mapping[str, str] = field(default_factory=dict)
    """Settings that differ from what :attr:`env` says."""
    temporal_address: str | None = None
    """A Temporal server that runs already; ``None``: one of the system's own is started."""
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    temporal_port: int = field(default_factory=free_port)
    ui_port: int = field(default_factory=free_port)
    api_port: int = field(default_factory=free_port)

    def __post_init__(self) -> None:
        self.folder = self.folder.absolute()
        self.logs = self.folder / "logs"
        self.high_privacy = self.folder / "high_privacy"
        self.medium_privacy = self.folder / "medium_privacy"
        self.api_url = f"http://{HOST}:{self.api_port}"
        self.server = DevServer(
            db=self.folder / "temporal.sqlite",
            port=self.temporal_port,
            ui_port=self.ui_port if self.ui else None,
            log_path=self.logs / "temporal.log",
        )
        self.stack = Stack(
            [] if self.temporal_address else [self.server], pids=self.folder / "pids"
        )
        packages = {CONTROLLER: "worker_controller", AGENT: "worker_agent", API: "api"}
        strangers = {} if self.temporal_address else without_temporal_settings()
        env = {**strangers, **self.env, "PYTHONUNBUFFERED": "1"}
        for name, package in packages.items():
            argv = (sys.executable, "-m", package)
            log = self.logs / f"{name}.log"
            self.stack.add(Service(name, argv, env, log_path=log, echo=self.echo))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stack.stop()

    @property
    def env(self) -> dict[str, str]:
        """The settings of every process, and of the ``rap`` command that is to talk to them."""
        return {
            "BACKENDS": BACKEND,
            "BACKEND": BACKEND,
            "WORKDIR": str(self.folder),
            "RAP_DATABASE_URL": self.database_url,
            "HIGH_PRIVACY_STORAGE_BASE": str(self.high_privacy),
            "MEDIUM_PRIVACY_STORAGE_BASE": str(self.medium_privacy),
            "HIGH_PRIVACY_ARCHIVE_DIR": "",
            "HIGH_PRIVACY_VOLUME_DIR": "",
            "ALLOW_LOCAL_GIT_REPOS": "true",
            "DOCKER_REGISTRY_API": "none",
            "USING_DUMMY_DATA_BACKEND": "true",
            "TEST_CLIENT_TOKENS": self.token,
            "TEST_MAX_WORKERS": "4",
            "TEMPORAL_ADDRESS": self.temporal_address or self.server.address,
            "TEMPORAL_NAMESPACE": "default",
            "RAP_API_HOST": HOST,
            "RAP_API_PORT": str(self.api_port),
            **self.overrides,
        }

    @property
    def database_url(self) -> str:
        """Where the read model is."""
        own = f"sqlite:///{self.folder / 'records.sqlite'}"
        return self.overrides.get("RAP_DATABASE_URL", own)

    def start(self) -> None:
        """Bring the read model's tables up to date, start all processes, wait until all work.

        Raises:
            ProcessEnded: a process ended at once.
            Unavailable: they are not ready within a minute.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        migrations.upgrade(self.database_url)
        self.stack.start()
        try:
            self.wait_until_ready()
        except BaseException:
            self.stack.stop()
            raise

    def client(self) -> httpx.Client:
        """An HTTP client of the API, as job-server is one."""
        headers = {"Authorization": self.token}
        return httpx.Client(base_url=self.api_url, headers=headers, timeout=30)

    def wait_until_ready(self) -> None:
        """Wait until the agent's sign of life has come through to readers, and the API answers."""
        since = time.time() - 1
        deadline = time.monotonic() + READY_LIMIT
        records = Records.connect(self.database_url)
        try:
            while time.monotonic() < deadline:
                self.stack.raise_if_ended()
                if self._agent_seen(records, since) and self._api_answers():
                    return
                time.sleep(0.05)
        finally:
            records.close()
        raise Unavailable(
            f"The system was not ready within {READY_LIMIT:.0f} s. Its logs are in {self.logs}"
        )

    def _agent_seen(self, records: Records, since: float) -> bool:
        # Asked of the read model: the log of the API is for what others ask.
        row = records.backend_flags([self.env["BACKEND"]]).get(self.env["BACKEND"])
        return row is not None and row.last_seen is not None and row.last_seen >= since

    def _api_answers(self) -> bool:
        try:
            return httpx.get(self.api_url).is_success
        except httpx.TransportError:
            return False
