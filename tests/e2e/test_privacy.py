"""Nothing that a job wrote, and no secret, leaves the backend
(docs/explanation/architecture.md).
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import Client

from infra.local_system import AGENT
from tests.support.live_system import LiveSystem, Study, action

pytestmark = pytest.mark.e2e

LEAK = """\
import os, pathlib, sys
name, content, line = pathlib.Path("analysis/marks.txt").read_text().split()
secret = os.environ["DATABASE_URL"]
folder = pathlib.Path("output")
folder.mkdir()
(folder / f"{name}.csv").write_text(f"{content}\\n{secret}\\n")
(folder / f"{name}.txt").write_text(content)
(folder / f"{name}-patients.csv").write_text(f"patient_id\\n{content}\\n")
print(line)
print(line, file=sys.stderr)
sys.exit(int(sys.argv[1]))
"""


@pytest.mark.spec("agent:34", "agent:54", "agent:60")
async def test_no_trace_of_a_jobs_files_log_or_secrets_leaves_the_backend(
    new_system: Callable[..., LiveSystem], study: Callable[..., Study], database_image: str
) -> None:
    marks = {what: f"{what}{uuid4().hex}" for what in ("name", "content", "line", "secret")}
    url = f"mssql://reader:{marks['secret']}@192.0.2.1/patients"
    system = new_system(
        USING_DUMMY_DATA_BACKEND="false",
        # A network that every engine has, and that leads nowhere.
        DATABASE_ACCESS_NETWORK="none",
        DEFAULT_DATABASE_URL=url,
    )

    def leak(code: int, **outputs: Any) -> Any:
        command = ("python", "analysis/leak.py", str(code), *outputs)
        return action(*command, image=database_image, level="moderately_sensitive", **outputs)

    actions = {
        "unmatched": leak(0, found="output/*.csv", lost="output/*.html"),
        "failing": leak(1, text="output/*.txt"),
        "excluded": leak(0, patients="output/*-patients.csv"),
    }
    files = {
        "analysis/leak.py": LEAK,
        "analysis/marks.txt": f"{marks['name']} {marks['content']} {marks['line']}",
    }
    system.start()
    rap = system.run(study(actions, files))
    jobs = rap.wait_until_over()
    assert {name: job["status_code"] for name, job in jobs.items()} == {
        "unmatched": "unmatched_patterns",
        "failing": "nonzero_exit",
        "excluded": "succeeded",
    }
    assert "were excluded" in jobs["excluded"]["status_message"]

    outside = {
        "the API": str([system.status(rap.rap_id), jobs]).encode(),
        "the histories": await _histories(system.server.address),
    }
    system.stack.stop()
    for name in ("temporal.sqlite", "records.sqlite"):
        # With the log beside the file, where the latest writes are.
        parts = system.folder.glob(f"{name}*")
        outside[name] = b"".join(path.read_bytes() for path in parts)
    for path in system.logs.iterdir():
        if path.stem != AGENT:
            outside[path.name] = path.read_bytes()
    # What is looked through does hold what may leave.
    for place in ("the API", "the histories", "temporal.sqlite", "records.sqlite"):
        assert rap.job_id("unmatched").encode() in outside[place]
    found = {
        (place, what)
        for place, content in outside.items()
        for what, mark in marks.items()
        if mark.encode() in content
    }
    assert found == set()

    # The jobs did write all of it, and the backend has it.
    kept = system.high_privacy / "workspaces" / rap.workspace / "output" / f"{marks['name']}.csv"
    assert kept.read_text() == f"{marks['content']}\n{url}\n"
    assert marks["line"] in (system.job_folder(rap.job_id("unmatched")) / "logs.txt").read_text()
    # Only the job itself was given the secret: the agent writes it down nowhere.
    assert _holding(marks["secret"], system.folder) == {kept.name}


async def _histories(address: str) -> bytes:
    """All that the server has to tell about all workflows; payloads are in it as they are."""
    client = await Client.connect(address)
    parts = []
    async for found in client.list_workflows():
        handle = client.get_workflow_handle(found.id, run_id=found.run_id)
        description = await handle.describe()
        parts.append(description.raw_description.SerializeToString())
        parts += [event.SerializeToString() for event in (await handle.fetch_history()).events]
    return b"\n".join(parts)


def _holding(mark: str, folder: Path) -> set[str]:
    return {
        path.name
        for path in folder.rglob("*")
        if path.is_file() and mark.encode() in path.read_bytes()
    }
