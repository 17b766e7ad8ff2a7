"""The address at which the Temporal SDK serves its metrics."""

import socket

import pytest

from rap.errors import ConfigurationError
from rap.temporal.client import runtime_with_metrics

pytestmark = pytest.mark.unit


def test_without_an_address_nothing_is_served() -> None:
    assert runtime_with_metrics("", setting="RAP_AGENT_METRICS_ADDRESS") is None


@pytest.mark.parametrize("address", ["localhost:9464", "9464", "127.0.0.1", "127.0.0.1:http"])
def test_an_address_that_is_none_is_refused_with_the_name_of_the_setting(address: str) -> None:
    with pytest.raises(ConfigurationError, match="RAP_AGENT_METRICS_ADDRESS must be an IP address"):
        runtime_with_metrics(address, setting="RAP_AGENT_METRICS_ADDRESS")


def test_an_address_in_use_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(ConfigurationError, match=address):
            runtime_with_metrics(address, setting="RAP_CONTROLLER_METRICS_ADDRESS")
