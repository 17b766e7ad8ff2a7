from pathlib import Path
from typing import Any

import pytest

from rap.egress import Fault
from rap.errors import PermanentFault
from rap.models import JobDefinition
from rap.settings import AgentSettings
from tests.support.factories import job_definition
from worker_agent.engine.container import (
    DatabaseHost,
    container_config,
    database_hostname,
    memory_bytes,
)

pytestmark = pytest.mark.unit

IMAGE = "ghcr.io/opensafely-core/python:v2"


def config(
    job: JobDefinition,
    secrets: dict[str, str] | None = None,
    database_host: DatabaseHost | None = None,
    **settings: Any,
) -> dict[str, Any]:
    return container_config(
        job,
        AgentSettings(backend="test", docker_user_id=10000, docker_group_id=10001, **settings),
        image=IMAGE,
        mount_source=Path("/srv/high_privacy/volumes/job1"),
        secrets=secrets or {},
        database_host=database_host,
    )


@pytest.mark.spec("agent:90")
def test_a_job_without_database_access_has_no_network() -> None:
    assert config(job_definition())["HostConfig"]["NetworkMode"] == "none"


@pytest.mark.spec("agent:91")
def test_a_database_job_gets_the_restricted_network_without_name_resolution() -> None:
    job = job_definition(allow_database_access=True, database_name="default")
    host = config(job, database_access_network="db-net")["HostConfig"]
    assert host["NetworkMode"] == "db-net"
    assert host["Dns"] == ["192.0.2.0"]
    assert "ExtraHosts" not in host
    named = config(job, database_host=DatabaseHost(name="db.example", address="10.1.2.3"))
    assert named["HostConfig"]["ExtraHosts"] == ["db.example:10.1.2.3"]


def test_on_a_dummy_data_backend_a_database_job_has_no_network_either() -> None:
    job = job_definition(allow_database_access=True, database_name="default")
    host = config(job, using_dummy_data_backend=True)["HostConfig"]
    assert host["NetworkMode"] == "none"


@pytest.mark.spec("agent:89")
def test_a_job_has_no_capabilities_and_cannot_gain_any() -> None:
    host = config(job_definition())["HostConfig"]
    assert host["CapDrop"] == ["ALL"]
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert not {"CapAdd", "Privileged", "Binds", "Devices", "PidMode", "IpcMode"} & set(host)


@pytest.mark.spec("agent:87")
def test_limits_of_processor_and_memory_are_exact() -> None:
    host = config(job_definition(cpu_count=1.5, memory_limit="1G"))["HostConfig"]
    assert (host["NanoCpus"], host["Memory"]) == (1_500_000_000, 2**30)
    assert not {"NanoCpus", "Memory", "MemorySwap"} & set(config(job_definition())["HostConfig"])


def test_a_job_has_no_swap_beside_its_memory() -> None:
    host = config(job_definition(memory_limit="1G"))["HostConfig"]
    assert host["MemorySwap"] == host["Memory"]


def test_the_processes_of_a_job_are_limited() -> None:
    assert config(job_definition())["HostConfig"]["PidsLimit"] == 2048
    assert config(job_definition(), container_pids_limit=99)["HostConfig"]["PidsLimit"] == 99


@pytest.mark.parametrize(
    ("image", "listed", "read_only"),
    [
        ("ghcr.io/opensafely-core/ehrql:v1", ("ehrql", "sqlrunner"), True),
        ("ghcr.io/opensafely-core/python:v2", ("ehrql", "sqlrunner"), False),
        ("localhost:5000/ehrql@sha256:" + "0" * 64, ("ehrql",), True),
        ("ghcr.io/opensafely-core/ehrql-more:v1", ("ehrql",), False),
        (IMAGE, ("*",), True),
        (IMAGE, ("*", "-python"), False),
        (IMAGE, ("python", "-python"), False),
        (IMAGE, (), False),
    ],
)
def test_which_images_have_a_root_that_cannot_be_written_to(
    image: str, listed: tuple[Any, ...], read_only: bool
) -> None:
    host = config(job_definition(image=image), read_only_images=listed)["HostConfig"]
    assert host.get("ReadonlyRootfs", False) is read_only
    assert ("Tmpfs" in host) is read_only


@pytest.mark.parametrize(
    ("memory", "large", "small"),
    [("4G", 2 * 2**30, 64 * 2**20), ("32M", 16 * 2**20, 16 * 2**20), (None, 2**30, 64 * 2**20)],
)
def test_temporary_files_in_memory_leave_half_of_it_to_the_program(
    memory: str | None, large: int, small: int
) -> None:
    made = config(job_definition(memory_limit=memory), read_only_images=("python",))
    assert made["HostConfig"]["Tmpfs"] == {
        "/tmp": f"rw,exec,nosuid,nodev,mode=1777,size={large}",
        "/var/tmp": f"rw,exec,nosuid,nodev,mode=1777,size={small}",
        "/run": f"rw,exec,nosuid,nodev,mode=1777,size={small}",
    }


@pytest.mark.parametrize(
    ("action", "label"),
    [
        ("a_b", "a_b"),
        ("a/b", "a_b-c14cddc0"),
        ("a" * 210, "a" * 100 + "-b2ca6395"),
    ],
)
def test_a_label_has_the_safe_form_of_the_actions_name(action: str, label: str) -> None:
    assert config(job_definition(action=action))["Labels"]["action"] == label


def test_the_container_is_the_job_and_nothing_more() -> None:
    made = config(job_definition(args=("analysis.py", "--x y"), env={"OPENSAFELY_BACKEND": "test"}))
    assert made["Cmd"] == ["analysis.py", "--x y"]
    assert made["User"] == "10000:10001"
    assert made["Env"] == ["HOME=/tmp", "OPENSAFELY_BACKEND=test"]
    assert made["Labels"] == {
        "job-runner": "",
        "jobrunner-local": "",
        "workspace": "workspace",
        "action": "analyse",
        "task": "job1-001",
    }
    assert made["HostConfig"]["Init"] is True
    assert made["HostConfig"]["Mounts"] == [
        {
            "Type": "bind",
            "Source": "/srv/high_privacy/volumes/job1",
            "Target": "/workspace",
        }
    ]
    assert not {"Entrypoint", "WorkingDir", "Hostname"} & set(made)


@pytest.mark.spec("agent:97")
def test_the_log_is_kept_by_the_local_driver_in_segments() -> None:
    assert config(job_definition())["HostConfig"]["LogConfig"] == {
        "Type": "local",
        "Config": {"max-file": "200", "max-size": "20m", "compress": "true"},
    }


def test_a_secret_wins_over_a_variable_of_the_definition() -> None:
    job = job_definition(env={"DATABASE_URL": "from the definition", "HOME": "/elsewhere"})
    environment = config(job, secrets={"DATABASE_URL": "from the agent"})["Env"]
    assert environment == ["HOME=/elsewhere", "DATABASE_URL=from the agent"]


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("mssql://user:pass@db.example:1433/data", "db.example"),
        ("mssql://user:pass@10.1.2.3:1433/data", None),
        ("trino://[fd00::1]:8080/data", None),
        ("sqlite:///file", None),
    ],
)
def test_only_a_database_host_that_is_a_name_needs_an_address(url: str, host: str | None) -> None:
    assert database_hostname(url) == host


@pytest.mark.parametrize(
    ("text", "number"),
    [("4G", 4 * 2**30), ("512m", 512 * 2**20), ("1.5g", 3 * 2**29), ("6MB", 6 * 2**20), ("77", 77)],
)
def test_memory_limits_are_powers_of_1024(text: str, number: int) -> None:
    assert memory_bytes(text) == number


@pytest.mark.parametrize("text", ["", "G", "-1G", "4 bananas"])
def test_a_memory_limit_that_is_none_names_the_field(text: str) -> None:
    with pytest.raises(PermanentFault, match="memory_limit must be a size such as 4G") as caught:
        memory_bytes(text)
    assert caught.value.fault is Fault.CONTAINER_REFUSED
