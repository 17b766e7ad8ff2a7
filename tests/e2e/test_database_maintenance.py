"""Database maintenance that is found out: a real check program in a real container says so."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import docker
import pytest

from infra.images.build import DATABASE_UTILS, JobImages, connect
from infra.local_system import AGENT
from tests.support.live_system import LiveSystem, Study, container_of, eventually, gated
from tests.support.stand_in_database import StandInDatabase, stand_in_database

pytestmark = pytest.mark.e2e


@pytest.fixture
def secret() -> str:
    return f"secret{uuid4().hex}"


@pytest.fixture
def database(secret: str) -> Iterator[StandInDatabase]:
    JobImages(connect()).ensure(DATABASE_UTILS)
    with stand_in_database(secret) as database:
        yield database


def check_containers(system: Any) -> Any:
    state = next(path for path in system.folder.rglob("state") if path.is_dir())
    client = docker.from_env()
    try:
        owned: dict[str, Any] = {"label": f"rap-agent-state={state}"}
        return {
            found.name
            for found in client.containers.list(all=True, filters=owned, ignore_removed=True)
        }
    finally:
        client.close()


def maintenance(system: Any) -> Any:
    (backend,) = system.request("GET", "backend/status/").json()["backends"]
    return backend["db_maintenance"]


def checked_again(database: Any, times: Any = 2) -> None:
    """Wait until checks have begun and ended since now."""
    before = len(database.asked)
    eventually(lambda: len(database.asked) >= before + times, "further checks")


@pytest.mark.spec("controller:157", "controller:160", "controller:162", "controller:164")
@pytest.mark.spec("agent:143", "agent:148", "agent:149", "rap-api:57", "rap-api:58", "rap-api:109")
def test_a_database_job_makes_way_for_maintenance_and_runs_again_afterwards(
    new_system: Callable[..., LiveSystem],
    study: Callable[..., Study],
    database: StandInDatabase,
    database_image: str,
    secret: str,
) -> None:
    system = new_system(
        DEFAULT_DATABASE_URL=database.url,
        DATABASE_ACCESS_NETWORK=database.network,
        MAINTENANCE_ENABLED_BACKENDS="test",
        MAINTENANCE_POLL_INTERVAL="1",
        DATA_CHECK_ENABLED_BACKENDS="test",
    )
    system.start()
    actions = {"data": gated("data", image=database_image), "plain": gated("plain")}
    rap = system.run(study(actions))
    first = rap.running_container("data")
    rap.running_container("plain")

    # The data check was made at once, and is nothing to the jobs.
    assert "OK" in system.logged(AGENT, "DBDATACHECK task done")
    assert database.asked.count("hes_cutoff_date_check 202304") == 1

    # A check that comes to nothing does not begin maintenance.
    database.answer = "patient-4711"
    checked_again(database)
    assert maintenance(system)["status"] == "off"

    database.answer = "connected\ndb-maintenance;1"
    waiting = rap.wait_for("data", "waiting_db_maintenance")
    assert (waiting["status"], waiting["started_at"]) == ("pending", None)
    eventually(lambda: container_of(rap.job_id("data")) is None, "the database job is gone")
    assert (maintenance(system)["status"], maintenance(system)["type"]) == ("on", "scheduled")
    # Other jobs go on.
    rap.open_gate("plain")
    assert rap.wait_for("plain", "succeeded")

    # Nor does one that comes to nothing end it.
    database.answer = "none;7"
    checked_again(database)
    assert maintenance(system)["status"] == "on"
    assert rap.jobs()["data"]["status_code"] == "waiting_db_maintenance"

    # The agent is killed during a check: its container is found and removed.
    database.free.clear()
    checked_again(database, times=1)
    (left,) = check_containers(system)
    system.stack[AGENT].kill()
    system.stack.restart(AGENT)
    system.logged(AGENT, "removed the container of a database check that was left over")
    assert left not in check_containers(system)
    assert "task=dbstatus" in system.logged(AGENT, "handed back what the agent was doing")

    database.answer = "none;0"
    database.free.set()
    second = rap.running_container("data")
    assert second.id != first.id
    rap.open_gate("data")
    assert rap.wait_until_over()["data"]["status_code"] == "succeeded"
    ended = maintenance(system)
    assert (ended["status"], ended["type"]) == ("off", None)
    assert system.metadata(rap.job_id("data"))["task_id"] == f"{rap.job_id('data')}-002"
    assert set(database.asked) == {"in_maintenance_mode", "hes_cutoff_date_check 202304"}

    system.stack.stop()
    assert check_containers(system) == set()
    for path in system.folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert secret.encode() not in content, path
            # Only the agent's own note of a failed check may repeat what the program printed.
            assert b"patient-4711" not in content or path.name == "dbstatus.log", path
