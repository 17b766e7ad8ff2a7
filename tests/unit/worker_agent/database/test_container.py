"""What the container of a database check may do, and who knows it: docs/spec/agent.md 12."""

import pytest

from rap.ids import CheckKind
from rap.settings import AgentSettings
from tests.support.factories import REGISTRY
from worker_agent.database.container import check_config, labels_of

pytestmark = pytest.mark.unit

URL = "mssql://reader:secret@192.0.2.1/patients"
KIND = next(iter(CheckKind))


def test_a_check_gets_its_secret_in_its_environment_alone_and_nothing_to_write_to() -> None:
    config = check_config(
        AgentSettings(backend="tpp", docker_user_id=10000, docker_group_id=10001),
        kind=KIND,
        owner="/state",
        image=f"{REGISTRY}/tpp-database-utils:v1",
        args=["in_maintenance_mode"],
        database_url=URL,
        database_host=None,
    )
    assert config.pop("Env") == [f"DATABASE_URL={URL}", "HOME=/tmp"]
    assert URL not in str(config)
    assert config["User"] == "10000:10001"
    assert config["Cmd"] == ["in_maintenance_mode"]
    host = config["HostConfig"]
    assert host["ReadonlyRootfs"] is True
    assert host["NetworkMode"] == "jobrunner-db"
    assert not {"Binds", "Mounts"} & set(host)


@pytest.mark.parametrize("kind", [KIND, None])
def test_an_agent_knows_its_checks_by_labels_that_they_have(kind: CheckKind | None) -> None:
    config = check_config(
        AgentSettings(backend="tpp"),
        kind=KIND,
        owner="/state",
        image="image",
        args=(),
        database_url=URL,
        database_host=None,
    )
    labels = {f"{name}={value}" for name, value in config["Labels"].items()}
    assert set(labels_of("/state", kind)) <= labels | set(config["Labels"])
