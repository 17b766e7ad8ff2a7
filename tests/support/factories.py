"""Models as most tests want them; a test names only what it is about."""

from typing import Any

from rap.models import CreateRequest, JobDefinition, JobSpec, Study
from rap.rows import QueueEntry, SlotEntry

REPO = "https://github.com/opensafely/study"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
REGISTRY = "ghcr.io/opensafely-core"


def study(**changes: Any) -> Study:
    return Study(**({"git_repo_url": REPO, "commit": COMMIT, "branch": "main"} | changes))


def job_spec(action: str = "analyse", **changes: Any) -> JobSpec:
    """A planned job."""
    fields: dict[str, Any] = {
        "id": "jobjobjobjobjobj",
        "rap_id": "raprapraprapraps",
        "backend": "test",
        "workspace": "workspace",
        "study": study(),
        "run_command": "python:v2 analysis.py",
        "requires_db": False,
        "outputs": {},
        "created_at": 1,
    }
    return JobSpec(action=action, **(fields | changes))


def job_definition(**changes: Any) -> JobDefinition:
    """One attempt at a job, as the agent gets it."""
    fields: dict[str, Any] = {
        "id": "job1",
        "rap_id": "rap1",
        "task_id": "job1-001",
        "repo_url": REPO,
        "commit": COMMIT,
        "study": study(),
        "workspace": "workspace",
        "action": "analyse",
        "created_at": 1,
        "image": f"{REGISTRY}/python:v2",
    }
    return JobDefinition(**(fields | changes))


def create_request(*actions: str, **changes: Any) -> CreateRequest:
    """A request of job-server for these actions."""
    fields: dict[str, Any] = {
        "rap_id": "r" * 16,
        "backend": "test",
        "workspace": "workspace",
        "repo_url": REPO,
        "branch": "main",
        "commit": COMMIT,
        "requested_actions": actions,
    }
    return CreateRequest(**(fields | changes))


def slot(job_id: str, **changes: Any) -> SlotEntry:
    """A job that holds a slot of a backend."""
    return SlotEntry(job_id=job_id, **({"host": "h1"} | _ENTRY | changes))


def queued(job_id: str, **changes: Any) -> QueueEntry:
    """A job that waits for one."""
    return QueueEntry(job_id=job_id, **(_ENTRY | changes))


_ENTRY: dict[str, Any] = {
    "rap_id": "raprapraprapraps",
    "workspace": "w",
    "requires_db": False,
    "since": 0.0,
}
