"""Complete systems of real processes, on free ports and in folders of their own."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from infra.images.build import EHRQL, PYTHON, REGISTRY, JobImages, connect
from infra.temporal.dev_server import free_port
from tests.docker.registry import Registry
from tests.support.live_system import LiveSystem, Study, make_study
from tests.support.spans import Receiver, receiver


@pytest.fixture(scope="session")
def images() -> None:
    """The images that the studies of these tests run in."""
    ours = JobImages(connect())
    for name in (PYTHON, EHRQL):
        ours.ensure(name)


@pytest.fixture(scope="session")
def database_image(images: None) -> Iterator[str]:
    """An image whose jobs read the database, and that runs whatever it is told to."""
    client = docker.from_env()
    version = f"v{random.randrange(10**6, 10**7)}"
    repository = f"{REGISTRY}/sqlrunner"
    client.images.get(PYTHON).tag(repository, version)
    yield f"sqlrunner:{version}"
    client.images.remove(f"{repository}:{version}")
    client.close()


@pytest.fixture(scope="session")
def collector() -> Iterator[Receiver]:
    """Where the processes of the common system send their spans."""
    with receiver() as server:
        yield server


@pytest.fixture(scope="session")
def system(
    tmp_path_factory: pytest.TempPathFactory, images: None, collector: Receiver
) -> Iterator[LiveSystem]:
    """One system for all tests that leave its processes alone."""
    registry = Registry()
    system = LiveSystem(
        tmp_path_factory.mktemp("system"),
        overrides={
            # A registry that answers, but has no image.
            "DOCKER_PROXY": registry.prefix,
            "STATS_POLL_INTERVAL": "0.2",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            "RAP_CONTROLLER_METRICS_ADDRESS": f"127.0.0.1:{free_port()}",
            "RAP_AGENT_METRICS_ADDRESS": f"127.0.0.1:{free_port()}",
            "TEST_JOB_MEMORY_LIMIT": "128m",
            # Never given to a job here, since the data are dummies.
            "DEFAULT_DATABASE_URL": "mssql://reader:secret@192.0.2.1/patients",
        },
    )
    try:
        system.start()
        yield system
    finally:
        system.end()
        registry.close()


@pytest.fixture
def new_system(tmp_path: Path, images: None) -> Iterator[Callable[..., LiveSystem]]:
    """Makes systems for tests that need processes of their own; the test starts them."""
    made: list[LiveSystem] = []

    def make(**overrides: str) -> LiveSystem:
        made.append(LiveSystem(tmp_path / f"system-{len(made)}", overrides=overrides))
        return made[-1]

    yield make
    for system in made:
        system.end()


@pytest.fixture
def study(tmp_path: Path) -> Callable[..., Study]:
    """Makes study repositories."""
    made: list[Study] = []

    def make(actions: dict[str, object] | None, files: dict[str, str] | None = None) -> Study:
        made.append(make_study(tmp_path / f"study-{len(made)}", actions, files))
        return made[-1]

    return make
