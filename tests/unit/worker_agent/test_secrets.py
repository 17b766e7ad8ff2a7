from pathlib import Path
from typing import Any

import pytest

from rap.egress import Fault
from rap.errors import ConfigurationError, PermanentFault
from rap.models import JobDefinition
from rap.settings import AgentSettings
from tests.support.factories import REGISTRY, job_definition
from worker_agent import secrets

pytestmark = pytest.mark.unit

URL = "mssql://user:secret@db.example/data"


def definition(**changes: Any) -> JobDefinition:
    facts = {"image": f"{REGISTRY}/ehrql:v1", "allow_database_access": True}
    return job_definition(**(facts | {"database_name": "default"} | changes))


def of_job(
    env: dict[str, Any], job: JobDefinition | None = None, **settings: Any
) -> dict[str, Any]:
    return secrets.of_job(job or definition(), AgentSettings(backend="test", **settings), env)


@pytest.mark.spec("agent:34")
def test_a_database_job_gets_the_url_of_its_database() -> None:
    assert of_job({"DEFAULT_DATABASE_URL": URL}) == {"DATABASE_URL": URL}


def test_a_job_without_database_access_gets_no_secret() -> None:
    job = definition(allow_database_access=False)
    assert of_job({"DEFAULT_DATABASE_URL": URL, "TEMP_DATABASE_NAME": "t"}, job) == {}


@pytest.mark.spec("agent:92")
def test_a_dummy_data_backend_hands_out_no_database_secrets() -> None:
    assert of_job({"DEFAULT_DATABASE_URL": URL}, using_dummy_data_backend=True) == {}


@pytest.mark.spec("agent:93")
def test_each_optional_secret_is_handed_out_only_when_configured(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert", tmp_path / "key"
    cert.write_text("the certificate")
    key.write_text("the key")
    optional = {
        "TEMP_DATABASE_NAME": ("temp", {"TEMP_DATABASE_NAME": "temp"}),
        "EMIS_ORGANISATION_HASH": ("hash", {"EMIS_ORGANISATION_HASH": "hash"}),
    }
    for name, (value, expected) in optional.items():
        found = of_job({"DEFAULT_DATABASE_URL": URL, name: value})
        assert found == {"DATABASE_URL": URL, **expected}
    tls = {"PRESTO_TLS_CERT_PATH": str(cert), "PRESTO_TLS_KEY_PATH": str(key)}
    assert of_job({"DEFAULT_DATABASE_URL": URL, **tls}) == {
        "DATABASE_URL": URL,
        "PRESTO_TLS_CERT": "the certificate",
        "PRESTO_TLS_KEY": "the key",
    }


@pytest.mark.spec("agent:94")
def test_an_unknown_database_is_named_with_its_backend() -> None:
    with pytest.raises(PermanentFault) as caught:
        of_job({"DEFAULT_DATABASE_URL": URL}, definition(database_name="other"))
    assert str(caught.value) == (
        "Database name 'other' is not currently defined for backend 'test'"
    )
    assert caught.value.fault is Fault.DATABASE_NOT_CONFIGURED


@pytest.mark.spec("agent:165")
def test_the_url_of_a_database_of_another_name_is_ignored() -> None:
    with pytest.raises(PermanentFault):
        of_job({"OTHER_DATABASE_URL": URL}, definition(database_name="other"))


def test_an_unset_url_is_a_database_that_is_not_defined() -> None:
    with pytest.raises(PermanentFault, match="Database name 'default' is not currently defined"):
        of_job({"DEFAULT_DATABASE_URL": "  "})


def test_only_stata_images_get_the_stata_licence() -> None:
    env = {"STATA_LICENSE": "licence"}
    stata = definition(allow_database_access=False, image="ghcr.io/opensafely-core/stata-mp:latest")
    assert of_job(env, stata) == {"STATA_LICENSE": "licence"}
    assert of_job({}, stata) == {}
    assert of_job(env, definition(allow_database_access=False)) == {}


def test_half_a_tls_pair_is_refused_at_the_start(tmp_path: Path) -> None:
    cert = tmp_path / "cert"
    cert.touch()
    with pytest.raises(ConfigurationError, match="Both PRESTO_TLS_KEY_PATH and"):
        secrets.check({"PRESTO_TLS_CERT_PATH": str(cert)})
    missing = str(tmp_path / "none")
    with pytest.raises(ConfigurationError) as caught:
        secrets.check({"PRESTO_TLS_CERT_PATH": str(cert), "PRESTO_TLS_KEY_PATH": missing})
    assert str(caught.value) == f"PRESTO_TLS_KEY_PATH={missing}, but file does not exist"
    secrets.check({})
    secrets.check({"PRESTO_TLS_CERT_PATH": str(cert), "PRESTO_TLS_KEY_PATH": str(cert)})
