"""Settings of the API."""

import os
from collections.abc import Mapping

from pydantic import AliasChoices, Field, field_validator

from rap.addresses import API_PORT, HOST
from rap.deadlines import API_S, CLIENT_S, WORKSPACE_S
from rap.errors import ConfigurationError
from rap.settings.common import CommaList, CommonSettings


class ApiSettings(CommonSettings):
    """The HTTP facade."""

    rap_api_host: str = HOST
    """Where requests are taken."""
    rap_api_port: int = API_PORT
    """Its port."""
    rap_api_workers: int = Field(default=1, ge=1)
    """Processes that serve requests."""
    rap_api_timeout: float = API_S
    """Seconds after which a request whose outcome is unknown is answered 503; clients are promised
    an answer within 25, and the workspace may take up to 22."""
    rap_api_allowed_hosts: CommaList = Field(
        default=("localhost", "127.0.0.1", "[::1]"),
        validation_alias=AliasChoices(
            "rap_api_allowed_hosts", "RAP_API_ALLOWED_HOSTS", "DJANGO_CONTROLLER_ALLOWED_HOSTS"
        ),
    )
    """Values of the ``Host`` header that are served; ``.name`` also its subdomains, ``*`` any."""
    rap_api_metrics_address: str = ""
    """Where the API serves its metrics to Prometheus, as ``127.0.0.1:9466``; empty: nowhere."""

    @field_validator("rap_api_allowed_hosts", mode="after")
    @classmethod
    def _in_small_letters(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(host.lower() for host in value)

    @field_validator("rap_api_timeout", mode="after")
    @classmethod
    def _between_workspace_and_client(cls, value: float) -> float:
        if not WORKSPACE_S < value < CLIENT_S:
            raise ValueError(
                f"must be more than {WORKSPACE_S:g} and less than {CLIENT_S:g} seconds: "
                "longer than a workspace takes to answer, shorter than a client waits"
            )
        return value

    @property
    def metrics_address(self) -> tuple[str, int] | None:
        """Host and port of the metrics.

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
        """Token to allowed backends in the order of ``BACKENDS`` (docs/spec/rap-api.md A3)."""
        allowed: dict[str, list[str]] = {}
        for backend in self.backends:
            listed = env.get(f"{backend.upper()}_CLIENT_TOKENS", "")
            for token in dict.fromkeys(listed.split(",")):
                if token:
                    allowed.setdefault(token, []).append(backend)
        return {token: tuple(backends) for token, backends in allowed.items()}
