"""An input that is filed anew while a job is being prepared, with real programs and filings."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from activities.agent.run_job import RunJob
from rap.egress import Ending, JobOutcome
from rap.models import JobDefinition, PrivacyLevel
from worker_agent.host import Host
from worker_agent.workspace import copying

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("image")]

BIG = "head -c 3000000 /dev/zero | tr '\\0'"
FILES = {"output/*.txt": PrivacyLevel.HIGHLY_SENSITIVE}


async def test_one_whole_version_is_read_of_inputs_that_are_filed_anew_while_they_are_copied(
    job: Callable[..., Any],
    host: Host,
    activity_environment: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def run(definition: JobDefinition) -> JobOutcome:
        outcome: JobOutcome = await activity_environment().run(RunJob(host).run_job, definition)
        return outcome

    def make(text: str) -> JobDefinition:
        script = f"mkdir -p output; {BIG} {text} > output/big.txt; echo {text} > output/small.txt"
        definition: JobDefinition = job(script, action="make", output_spec=FILES)
        return definition

    first = make("1")
    assert (await run(first)).exit_code == 0
    opened, go_on = threading.Event(), threading.Event()
    real = copying.copy_version

    def copy(*args: Any) -> Any:
        opened.set()  # the first file is open, and what has its name is about to change
        assert go_on.wait(60)
        return real(*args)

    monkeypatch.setattr("worker_agent.workspace.inputs._AT_ONCE", 1)
    monkeypatch.setattr("worker_agent.workspace.inputs.copy_version", copy)
    script = "head -c 1 output/big.txt > output/read.csv; cat output/small.txt >> output/read.csv"
    reading = asyncio.create_task(
        run(
            job(
                script,
                input_job_ids=(first.id,),
                needs=("make",),
            )
        )
    )
    await asyncio.to_thread(opened.wait, 60)
    monkeypatch.setattr("worker_agent.workspace.inputs.copy_version", real)
    assert (await run(make("2"))).exit_code == 0
    go_on.set()
    outcome = await reading
    assert (outcome.ending, outcome.exit_code) == (Ending.COMPLETED, 0)
    assert (host.storage.high("wksp") / "output/read.csv").read_text() == "22\n"
