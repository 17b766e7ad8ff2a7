"""The settings of the controller and the start of its process (docs/spec/controller.md 14)."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rap.errors import ConfigurationError
from rap.settings import AgentSettings, ApiSettings, ControllerSettings, RecordsSettings, load
from rap.settings.job_limits import job_limits
from tests.support import command_line

pytestmark = pytest.mark.unit

NOBODY = "127.0.0.1:1"


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with command_line.alone(tmp_path, monkeypatch):
        yield


@pytest.mark.spec("controller:185")
def test_every_process_has_settings_in_an_empty_environment(tmp_path: Path) -> None:
    os.environ.clear()
    for kind in (ControllerSettings, ApiSettings, AgentSettings, RecordsSettings):
        load(kind)
    settings = load(ControllerSettings)
    assert settings.backends == ("test", "tpp", "emis", "ted")
    assert settings.workdir == tmp_path / "workdir"
    assert (settings.maintenance_poll_interval, settings.data_check_poll_interval) == (300, 86400)
    assert load(RecordsSettings).backups == tmp_path / "workdir" / "backups"


@pytest.mark.spec("controller:186")
def test_worker_limits_are_those_of_the_backend_and_database_jobs_share_them_unless_told() -> None:
    os.environ.update(BACKENDS="foo,bar,test", FOO_MAX_DB_WORKERS="3", BAR_MAX_WORKERS="7")
    settings = load(ControllerSettings)
    limits = {slug: settings.limits_of(slug) for slug in settings.backends}
    assert {slug: one.max_workers for slug, one in limits.items()} == {
        "foo": 10,
        "bar": 7,
        "test": 2,
    }
    assert {slug: one.max_db_workers for slug, one in limits.items()} == {
        "foo": 3,
        "bar": 7,
        "test": 2,
    }


@pytest.mark.spec("controller:188")
@pytest.mark.parametrize(("name", "field"), [("CPU_COUNT", float), ("MEMORY_LIMIT", str)])
def test_limits_of_jobs_are_those_of_the_backend_then_the_default_ones(
    name: str, field: type[Any]
) -> None:
    for prefix, value in (("DEFAULT", "4"), ("TPP", "10"), ("TEST", "1"), ("EMIS", "")):
        os.environ[f"{prefix}_JOB_{name}"] = value
    settings = load(ControllerSettings)
    found = [getattr(job_limits(settings, slug), name.lower()) for slug in ("tpp", "test", "emis")]
    assert found == [field(10) if field is float else "10", field(1), field(4)]


@pytest.mark.parametrize("name", ["TPP_MAX_WORKERS", "TPP_MAX_DB_WORKERS", "TPP_JOB_CPU_COUNT"])
def test_a_number_that_is_none_names_its_variable(name: str) -> None:
    os.environ[name] = "many"
    settings = load(ControllerSettings)
    with pytest.raises(ConfigurationError, match=f"{name} must be a number, not 'many'"):
        job_limits(settings, "tpp") if "JOB" in name else settings.limits_of("tpp")


@pytest.mark.spec("controller:189")
def test_the_version_is_that_of_the_environment_else_of_the_file_else_unknown(
    tmp_path: Path,
) -> None:
    assert load(ControllerSettings).version == "unknown"
    os.environ["JOBRUNNER_VERSION_FILE_PATH"] = str(tmp_path / "version.txt")
    assert load(ControllerSettings).version == "unknown"
    (tmp_path / "version.txt").write_text("v1.2\n")
    assert load(ControllerSettings).version == "v1.2"
    (tmp_path / "version.txt").write_text("\n")
    assert load(ControllerSettings).version == "unknown"
    os.environ["VERSION"] = "v2"
    assert load(ControllerSettings).version == "v2"


@pytest.mark.spec("controller:185", "controller:191")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda one: one.name)
def test_the_controller_starts_with_nothing_set_and_ends_well_when_told_to(
    tmp_path: Path, number: signal.Signals
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "worker_controller"],
        # Nothing but where Temporal is not: a test must not work for a server that it finds.
        env={"TEMPORAL_ADDRESS": NOBODY},
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr
    assert f"Temporal does not answer at {NOBODY}" in process.stderr.readline()
    process.send_signal(number)
    _, rest = process.communicate(timeout=60)
    assert (process.returncode, "Traceback" in rest) == (0, False)
    assert (tmp_path / "workdir" / "records.sqlite").exists()
