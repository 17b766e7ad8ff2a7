"""Two hosts that share one storage, and a job that goes from one to the other."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from activities.agent.control import Control
from activities.agent.run_job import RunJob
from rap.egress import Ending
from rap.messages.jobs import DiscardOrder
from rap.models import JobDefinition
from rap.settings import AgentSettings
from tests.docker.conftest import IMPATIENT
from worker_agent.host import Host
from worker_agent.workspace.prepare import prepare

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("image")]

WRITES = "mkdir -p output; echo a,b >> output/one.csv; echo said"


@pytest.fixture
def other(settings: AgentSettings, tmp_path: Path) -> Host:
    """A second host on the same storage, with a work directory of its own."""
    return Host.of(settings.model_copy(update={"workdir": tmp_path / "other"}), IMPATIENT)


async def lost(host: Host, definition: JobDefinition) -> None:
    """What a host leaves that died while a job ran: a used volume, and notes."""
    host.attempts.take(definition)
    await prepare(definition, host.storage, host.git, host.settings)
    host.attempts.prepared(definition)
    output = host.storage.volume(definition.attempt_name) / "output"
    output.mkdir()
    (output / "one.csv").write_text("a,b\n")
    host.attempts.keep_token(definition.task_id, b"token")


def following(definition: JobDefinition) -> JobDefinition:
    return definition.model_copy(update={"task_id": f"{definition.id}-002"})


async def test_a_job_of_a_lost_host_runs_elsewhere_in_a_volume_of_its_own(
    job: Callable[..., Any],
    host: Host,
    other: Host,
    activity_environment: Callable[..., Any],
) -> None:
    first = job(WRITES)
    await lost(host, first)
    second = following(first)
    outcome = await activity_environment().run(RunJob(other).run_job, second)
    assert (outcome.ending, outcome.exit_code) == (Ending.COMPLETED, 0)
    assert (host.storage.high("wksp") / "output/one.csv").read_text() == "a,b\n"
    assert not other.storage.volume(second.attempt_name).exists()
    assert (host.storage.volume(first.id) / "output/one.csv").read_text() == "a,b\n"


async def test_a_lost_host_that_is_back_clears_its_own_left_overs_away_and_no_more(
    job: Callable[..., Any],
    host: Host,
    other: Host,
    activity_environment: Callable[..., Any],
) -> None:
    first = job(WRITES)
    await lost(host, first)
    second = following(first)
    await activity_environment().run(RunJob(other).run_job, second)
    record = (host.storage.log_dir(second) / "metadata.json").read_bytes()
    order = DiscardOrder(definition=first)
    await activity_environment().run(Control(host).discard_job, order)
    assert not host.storage.volume(first.id).exists()
    left = [path for path in host.storage.state_dir.rglob(f"*{first.id}*") if path.is_file()]
    assert left == []
    assert (host.storage.log_dir(second) / "metadata.json").read_bytes() == record
    assert (host.storage.high("wksp") / "output/one.csv").read_text() == "a,b\n"


async def test_an_attempt_that_was_given_up_keeps_nothing_once_a_later_one_is_on_record(
    job: Callable[..., Any],
    host: Host,
    other: Host,
    activity_environment: Callable[..., Any],
) -> None:
    first = job(f"{WRITES}; echo late > output/one.csv")
    second = following(job(WRITES)).model_copy(
        update={"id": first.id, "task_id": f"{first.id}-002"}
    )
    await activity_environment().run(RunJob(other).run_job, second)
    outcome = await activity_environment().run(RunJob(host).run_job, first)
    assert outcome.ending is Ending.CANCELLED
    record = json.loads((host.storage.log_dir(second) / "metadata.json").read_text())
    assert record["task_id"] == second.task_id
    assert (host.storage.high("wksp") / "output/one.csv").read_text() == "a,b\n"
    assert not host.storage.volume(first.id).exists()


async def test_the_log_and_the_record_of_an_earlier_attempt_are_kept_beside_those_of_the_last(
    job: Callable[..., Any], host: Host, activity_environment: Callable[..., Any]
) -> None:
    first = job(f"{WRITES}; echo of the first; exit 3")
    await activity_environment().run(RunJob(host).run_job, first)
    second = following(first).model_copy(
        update={"args": (*first.args[:-1], f"{WRITES}; echo of the second")}
    )
    await activity_environment().run(RunJob(host).run_job, second)
    folder = host.storage.log_dir(first)
    assert json.loads((folder / "metadata.001.json").read_text())["task_id"] == first.task_id
    assert "of the first" in (folder / "logs.001.txt").read_text()
    assert json.loads((folder / "metadata.json").read_text())["task_id"] == second.task_id
    assert "of the second" in (folder / "logs.txt").read_text()
    assert "of the first" not in (folder / "logs.txt").read_text()
