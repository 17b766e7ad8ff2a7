"""The checks of a database, as containers of a real engine on a network of the test's own."""

import asyncio
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from docker import DockerClient
from docker.models.containers import Container

from activities.agent.database import Database
from rap.egress import DatabaseStatus, DataCheckStatus, Fault
from rap.ids import CheckKind
from rap.messages.checks import DatabaseStatusOrder, DataCheckOrder
from rap.settings import AgentSettings
from tests.docker.conftest import eventually
from worker_agent.database.checks import DatabaseChecks
from worker_agent.database.container import check_config
from worker_agent.egress_guard import AgentRestart
from worker_agent.host import Host

pytestmark = pytest.mark.docker

URL = "mssql://reader:secret@localhost/patients"
REGISTRY = "opensafely-rap-test"


@pytest.fixture(scope="module")
def network(docker_client: DockerClient) -> Iterator[str]:
    """A network that stands for the one to the database."""
    name = f"rap-test-{uuid4().hex[:8]}"
    made = docker_client.networks.create(name, driver="bridge")
    yield name
    made.remove()


@pytest.fixture
def agent_env(agent_env: dict[str, str], network: str) -> dict[str, str]:
    return {
        **agent_env,
        "DOCKER_REGISTRY": REGISTRY,
        "DATABASE_ACCESS_NETWORK": network,
        "DEFAULT_DATABASE_URL": URL,
    }


@pytest.fixture
def program(
    image: str, docker_client: DockerClient, tmp_path: Path
) -> Iterator[Callable[..., Any]]:
    """Makes images whose entrypoint is a script; the reference of each."""
    made: list[str] = []

    def make(script: str) -> str:
        folder = tmp_path / f"image-{len(made)}"
        folder.mkdir()
        (folder / "check").write_text(f"#!/bin/sh\n{script}\n")
        (folder / "Dockerfile").write_text(
            f'FROM {image}\nCOPY check /check\nENTRYPOINT ["/bin/busybox", "sh", "/check"]\n'
        )
        made.append(f"{REGISTRY}/database-utils:{uuid4().hex[:12]}")
        docker_client.images.build(path=str(folder), tag=made[-1], rm=True)
        return made[-1]

    yield make
    for reference in made:
        docker_client.images.remove(reference, force=True)


@pytest.fixture
def checks(host: Host) -> DatabaseChecks:
    return DatabaseChecks(host)


@pytest.fixture
def containers(host: Host, docker_client: DockerClient) -> Iterator[Callable[..., Any]]:
    """The containers of checks that this test's agent has now; removed with the test."""
    owned: dict[str, Any] = {"label": f"rap-agent-state={host.storage.state_dir}"}

    def now() -> list[Any]:
        return docker_client.containers.list(all=True, filters=owned, ignore_removed=True)

    yield now
    for container in now():
        container.remove(force=True)


def status_order(image: str, **changes: Any) -> DatabaseStatusOrder:
    return DatabaseStatusOrder(image=image, **changes)


def kept(host: Host, kind: CheckKind) -> Path:
    return host.storage.state_dir / "checks" / f"{kind}.log"


@pytest.mark.spec("agent:144", "agent:145")
@pytest.mark.parametrize(
    ("script", "status"),
    [
        ("echo connecting; echo 'db-maintenance;1  '", DatabaseStatus.MAINTENANCE),
        ("echo db-maintenance >&2; echo 'none;2'", DatabaseStatus.AVAILABLE),
        ("", DatabaseStatus.AVAILABLE),
    ],
)
async def test_the_last_line_that_the_program_prints_is_the_status(
    checks: DatabaseChecks,
    program: Callable[..., Any],
    containers: Callable[..., Any],
    script: str,
    status: DatabaseStatus,
) -> None:
    answer = await checks.status(status_order(program(script)))
    assert (answer.status, answer.fault) == (status, None)
    assert containers() == []


@pytest.mark.spec("agent:148")
async def test_the_data_check_passes_the_month_on(
    checks: DatabaseChecks, program: Callable[..., Any], containers: Callable[..., Any]
) -> None:
    image = program('[ "$*" = "hes_cutoff_date_check 202304" ] && echo OK || echo FAILED')
    for month, status in (("202304", DataCheckStatus.OK), ("202305", DataCheckStatus.FAILED)):
        order = DataCheckOrder(image=image, hes_expected_activity_month=month)
        assert (await checks.data_check(order)).status is status
    assert containers() == []


@pytest.mark.spec("agent:143")
async def test_the_container_gets_the_command_and_the_url_and_little_else(
    checks: DatabaseChecks,
    program: Callable[..., Any],
    containers: Callable[..., Any],
    settings: AgentSettings,
    network: str,
) -> None:
    check = asyncio.create_task(checks.status(status_order(program("sleep 1000"))))
    (container,) = await eventually(containers, "the container of the check")
    facts = container.attrs
    config, limits = facts["Config"], facts["HostConfig"]
    assert container.name.startswith("os-dbstatus-")
    assert container.labels["rap-database-check"] == "dbstatus"
    assert config["Cmd"] == ["in_maintenance_mode"]
    own = [line for line in config["Env"] if not line.startswith("PATH=")]
    assert sorted(own) == [f"DATABASE_URL={URL}", "HOME=/tmp"]
    assert config["User"] == f"{settings.docker_user_id}:{settings.docker_group_id}"
    assert (limits["NetworkMode"], limits["Dns"]) == (network, ["192.0.2.0"])
    assert limits["ExtraHosts"] == ["localhost:127.0.0.1"]
    assert facts["Mounts"] == []
    assert list(facts["NetworkSettings"]["Networks"]) == [network]
    config["Env"] = []
    assert "secret" not in str(facts)
    check.cancel()
    await asyncio.wait({check})
    assert containers() == []


@pytest.mark.spec("agent:143")
async def test_the_program_can_do_no_harm(
    checks: DatabaseChecks, program: Callable[..., Any], host: Host
) -> None:
    look = (
        "grep CapEff /proc/self/status; grep NoNewPrivs /proc/self/status; id -u; "
        "touch /here 2>&1; touch /tmp/there && echo written; "
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max "
        "/sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max 2>/dev/null; exit 1"
    )
    answer = await checks.status(status_order(program(look)))
    assert answer.fault is Fault.CHECK_FAILED
    seen = kept(host, CheckKind.STATUS).read_text()
    assert "CapEff:\t0000000000000000" in seen
    assert "NoNewPrivs:\t1" in seen
    assert "Read-only file system" in seen
    assert "written" in seen
    assert {"536870912", "128"} <= set(seen.split())


@pytest.mark.spec("agent:146")
async def test_an_answer_outside_the_list_is_kept_back(
    checks: DatabaseChecks, program: Callable[..., Any], containers: Callable[..., Any], host: Host
) -> None:
    answer = await checks.status(status_order(program("echo patient-4711")))
    assert (answer.status, answer.fault) == (None, Fault.CHECK_ANSWER_REFUSED)
    assert "4711" not in answer.model_dump_json()
    file = kept(host, CheckKind.STATUS)
    assert "patient-4711" in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert containers() == []


async def test_a_program_that_fails_says_nothing_whatever_it_printed(
    checks: DatabaseChecks, program: Callable[..., Any], containers: Callable[..., Any]
) -> None:
    answer = await checks.status(status_order(program("echo db-maintenance; exit 3")))
    assert (answer.status, answer.fault) == (None, Fault.CHECK_FAILED)
    assert containers() == []


async def test_a_program_that_takes_too_long_is_ended(
    host: Host, program: Callable[..., Any], containers: Callable[..., Any]
) -> None:
    checks = DatabaseChecks(host, limit=1)
    answer = await checks.status(status_order(program("echo db-maintenance; sleep 1000")))
    assert (answer.status, answer.fault) == (None, Fault.CHECK_OUT_OF_TIME)
    assert containers() == []


@pytest.mark.spec("agent:147")
async def test_a_database_that_is_not_configured_is_told(
    checks: DatabaseChecks, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = status_order(f"{REGISTRY}/any:v1", database_name="no_such_database")
    assert (await checks.status(order)).fault is Fault.DATABASE_NOT_CONFIGURED
    monkeypatch.delenv("DEFAULT_DATABASE_URL")
    month = DataCheckOrder(image=f"{REGISTRY}/any:v1", hes_expected_activity_month="202304")
    assert (await checks.data_check(month)).fault is Fault.DATABASE_NOT_CONFIGURED


async def test_without_the_database_network_there_is_no_check(
    settings: AgentSettings, program: Callable[..., Any], containers: Callable[..., Any]
) -> None:
    host = Host.of(settings.model_copy(update={"database_access_network": "not-there"}))
    answer = await DatabaseChecks(host).status(status_order(program("echo none")))
    assert answer.fault is Fault.DATABASE_NETWORK_MISSING
    assert containers() == []


async def test_an_image_of_another_registry_is_not_run(checks: DatabaseChecks) -> None:
    answer = await checks.status(status_order("elsewhere.example/database-utils:v1"))
    assert answer.fault is Fault.IMAGE_UNAVAILABLE


@pytest.mark.spec("agent:149")
async def test_a_check_that_came_to_nothing_does_not_hinder_the_next(
    checks: DatabaseChecks, program: Callable[..., Any]
) -> None:
    assert (await checks.status(status_order(program("exit 1")))).fault is Fault.CHECK_FAILED
    assert (await checks.status(status_order(program("echo 'none;0'")))).fault is None


async def test_a_cancelled_check_takes_its_container_with_it(
    host: Host,
    program: Callable[..., Any],
    containers: Callable[..., Any],
    activity_environment: Callable[..., Any],
) -> None:
    environment = activity_environment()
    check = asyncio.ensure_future(
        environment.run(Database(host).database_status, status_order(program("sleep 1000")))
    )
    await eventually(lambda: [c for c in containers() if c.status == "running"])
    environment.cancel()
    await asyncio.wait({check}, timeout=60)
    assert check.cancelled()
    assert containers() == []
    assert set(environment.heartbeats) == {()}


async def test_an_agent_that_stops_gives_its_check_back(
    host: Host,
    program: Callable[..., Any],
    containers: Callable[..., Any],
    activity_environment: Callable[..., Any],
) -> None:
    environment = activity_environment()
    check = asyncio.ensure_future(
        environment.run(Database(host).database_status, status_order(program("sleep 1000")))
    )
    await eventually(lambda: [c for c in containers() if c.status == "running"])
    environment.worker_shutdown()
    with pytest.raises(AgentRestart):
        await check
    assert containers() == []


async def test_what_a_killed_agent_left_is_removed_at_the_next_start_and_nothing_of_others(
    host: Host,
    program: Callable[..., Any],
    containers: Callable[..., Any],
    docker_client: DockerClient,
) -> None:
    image = program("sleep 1000")

    def leave(owner: str) -> Container:
        config = check_config(
            host.settings,
            kind=CheckKind.STATUS,
            owner=owner,
            image=image,
            args=["in_maintenance_mode"],
            database_url=URL,
            database_host=None,
        )
        name = f"os-dbstatus-{uuid4().hex[:8]}"
        api: Any = docker_client.api
        api.start(api.create_container_from_config(config, name)["Id"])
        return docker_client.containers.get(name)

    leave(str(host.storage.state_dir))
    other = leave("another agent")
    try:
        await DatabaseChecks(host).remove_left_overs()
        assert containers() == []
        other.reload()
        assert other.status == "running"
    finally:
        other.remove(force=True)


async def test_a_check_ends_what_was_left_of_the_one_before(
    host: Host, program: Callable[..., Any], containers: Callable[..., Any]
) -> None:
    first = asyncio.create_task(DatabaseChecks(host).status(status_order(program("sleep 1000"))))
    await eventually(lambda: [c for c in containers() if c.status == "running"])
    second = await DatabaseChecks(host).status(status_order(program("echo 'none;0'")))
    assert second.status is DatabaseStatus.AVAILABLE
    assert (await first).status is None
    assert containers() == []
