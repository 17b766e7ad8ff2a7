"""The system against servers of its own kind of production: Temporal in a container, PostgreSQL.

``RAP_TEST_TEMPORAL_IMAGE`` and ``RAP_TEST_POSTGRES_IMAGE`` name other images. Where the image of
PostgreSQL cannot be had, this machine's own programs serve.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from testcontainers.community.postgres import PostgresContainer
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from infra.images.build import TEMPORAL, JobImages, connect
from infra.temporal.dev_server import DevServer, free_port
from rap.errors import RapError
from rap.records import Records
from tests.support.live_system import LiveSystem, make_study, write
from tests.support.postgres import cluster

pytestmark = pytest.mark.e2e

POSTGRES = "postgres:15"


@pytest.fixture(scope="module")
def ryuk() -> None:
    """Containers are ended by their ``with`` block; the reaper is used where it can be had."""
    try:
        JobImages(connect()).ensure(testcontainers_config.ryuk_image)
    except RapError:
        testcontainers_config.ryuk_disabled = True


@pytest.fixture(scope="module")
def temporal_address(ryuk: None) -> Iterator[str]:
    """A Temporal server in a container."""
    image = os.environ.get("RAP_TEST_TEMPORAL_IMAGE") or TEMPORAL
    JobImages(connect()).ensure(image)
    port = free_port()
    # On the host's network, since an engine without a bridge cannot publish ports.
    container = DockerContainer(image).with_kwargs(network_mode="host")
    container.with_command(DevServer(port=port).command(Path("temporal"))[1:])
    print(f"Temporal: {image}")
    with container:
        yield f"127.0.0.1:{port}"


@contextmanager
def _postgres() -> Iterator[str]:
    image = os.environ.get("RAP_TEST_POSTGRES_IMAGE") or POSTGRES
    try:
        JobImages(connect()).ensure(image)
    except RapError:
        print("PostgreSQL: this machine's own programs")
        with cluster() as running:
            yield running.new_database()
        return
    print(f"PostgreSQL: {image}")
    with PostgresContainer(image, driver=None) as container:
        yield container.get_connection_url()


@pytest.fixture(scope="module")
def database_url(ryuk: None) -> Iterator[str]:
    with _postgres() as url:
        yield url


def test_a_rap_runs_with_temporal_in_a_container_and_records_in_postgresql(
    tmp_path: Path, images: None, temporal_address: str, database_url: str
) -> None:
    system = LiveSystem(
        tmp_path / "system",
        temporal_address=temporal_address,
        overrides={"RAP_DATABASE_URL": database_url},
    )
    actions = {"a": write("a"), "b": write("b", needs=["a"]), "c": write("c", needs=["a"])}
    try:
        system.start()
        rap = system.run(make_study(tmp_path / "study", actions))
        jobs = rap.wait_until_over()
        assert {name: job["status_code"] for name, job in jobs.items()} == dict.fromkeys(
            actions, "succeeded"
        )
        assert not (system.folder / "temporal.sqlite").exists()
        records = Records.connect(database_url)
        assert {job.id for job in records.rap(rap.rap_id)} == {
            job["identifier"] for job in jobs.values()
        }
        records.close()
        assert system.left_over([job["identifier"] for job in jobs.values()]) == []
    finally:
        system.end()
