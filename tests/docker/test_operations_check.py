"""``rap agent check`` on a real engine: its networks, its images, and a registry behind it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import docker
import pytest
from docker import DockerClient

from cli.main import run_app
from rap.settings import AgentSettings
from tests.docker.registry import Registry

pytestmark = pytest.mark.docker


@pytest.fixture
def registry() -> Iterator[Registry]:
    server = Registry()
    yield server
    server.close()


@pytest.fixture
def check(
    settings: AgentSettings,
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., Any]:
    """The findings of a check of this test's own host, by subject; nothing may be made by it."""
    monkeypatch.setattr("rap.telemetry.logs.configure", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    monkeypatch.setenv("DOCKER_PROXY", registry.prefix)
    monkeypatch.setenv("DEFAULT_DATABASE_URL", "mssql://u:canary@192.0.2.1/db")

    def run() -> dict[str, list[dict[str, str]]]:
        code = run_app(["agent", "check", "--json"])
        text = capsys.readouterr().out
        shown = json.loads(text)
        assert "canary" not in text
        assert code == (0 if shown["ok"] else 1)
        assert all(each["remedy"] for each in shown["checks"] if each["level"] != "ok")
        found: dict[str, list[Any]] = {}
        for each in shown["checks"]:
            found.setdefault(each["subject"], []).append(each)
        return found

    return run


@pytest.fixture
def network(
    docker_client: DockerClient, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Any]]:
    """Makes networks and lets the settings name them."""
    made = []

    def make(*, bridge: bool) -> None:
        name = f"rapt{uuid4().hex[:8]}"
        options = {"com.docker.network.bridge.name": name} if bridge else {}
        made.append(docker_client.networks.create(name, driver="bridge", options=options))
        monkeypatch.setenv("DATABASE_ACCESS_NETWORK", name)

    yield make
    for each in made:
        each.remove()


def test_the_engine_its_images_and_the_registry_are_told(
    check: Callable[..., Any], image: str, registry: Registry, tmp_path: Path
) -> None:
    digest = registry.put(b"layer", "2026-01-01T00:00:00Z", "v1")
    before = sorted(tmp_path.rglob("*"))
    found = check()
    version = docker.from_env().version()["Version"]
    assert found["docker"][0]["text"] == f"version {version}"
    assert found["docker"][0]["level"] == "ok"
    assert any(each["text"].startswith("busybox:v1") for each in found["image"])
    (proxy,) = found["registry proxy"]
    assert (proxy["level"], digest[:19] in proxy["text"]) == ("ok", True)
    assert found["temporal"][0]["level"] == "problem"
    assert sorted(tmp_path.rglob("*")) == before


def test_a_registry_without_the_image_or_broken_is_a_warning(
    check: Callable[..., Any], registry: Registry
) -> None:
    assert check()["registry proxy"][0]["text"].startswith("it answers, but gives no")
    registry.failures = 50
    assert check()["registry proxy"][0]["level"] == "warning"


def test_the_database_network_must_be_a_bridge_of_its_name(
    check: Callable[..., Any], network: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_ACCESS_NETWORK", f"rapt{uuid4().hex[:8]}")
    (absent,) = check()["database network"]
    assert (absent["level"], "has no network" in absent["text"]) == ("problem", True)
    network(bridge=False)
    (unnamed,) = check()["database network"]
    assert (unnamed["level"], "bridge is not called" in unnamed["text"]) == ("problem", True)
    network(bridge=True)
    assert check()["database network"][0]["level"] == "ok"
    monkeypatch.setenv("USING_DUMMY_DATA_BACKEND", "yes")
    assert check()["database network"][0]["text"].startswith("not needed")
