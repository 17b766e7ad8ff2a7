"""The only place that builds an identifier: jobs, workflows, task queues, containers.

Pure. Where a form is an interface fact, the spec section stands beside it.
"""

import base64
import hashlib
import re
import secrets
from enum import StrEnum

CONTROLLER_QUEUE = "rap-controller"
CONTAINER_PREFIX = "os-job-"


class CheckKind(StrEnum):
    """The periodic checks of a database (agent.md 12)."""

    STATUS = "dbstatus"
    DATA = "dbdatacheck"


def job_id(rap_id: str, action: str) -> str:
    """The id of the job of an action in a RAP: 16 characters of ``a-z2-7`` (controller.md 1.1)."""
    # Not a security measure: the id must be the same for ever, and short.
    digest = hashlib.sha1(f"{rap_id}\n{action}".encode(), usedforsecurity=False).digest()
    return base64.b32encode(digest[:10]).decode("ascii").lower()


def random_rap_id() -> str:
    """A fresh RAP id of 16 characters, for RAPs that do not come from job-server."""
    return base64.b32encode(secrets.token_bytes(10)).decode("ascii").lower()


def task_id(job: str, attempt: int) -> str:
    """The id of one attempt at a job: ``<job id>-001``, ``-002`` … (controller.md 1.2)."""
    return f"{job}-{attempt:03d}"


def workspace_workflow_id(backend: str, workspace: str) -> str:
    """The workflow that serialises the creation of RAPs in one workspace of one backend."""
    return f"workspace/{backend}/{workspace}"


def rap_workflow_id(rap_id: str) -> str:
    """The workflow of one job request."""
    return f"rap/{rap_id}"


def job_workflow_id(job: str) -> str:
    """The workflow of one attempt at a job; the attempts of a job share it, one after another."""
    return f"job/{job}"


def clean_up_workflow_id(task: str) -> str:
    """The workflow that waits for a lost host, to have it clear away an attempt at a job."""
    return f"clean-up/{task}"


def backend_workflow_id(backend: str) -> str:
    """The workflow that owns the worker slots of a backend."""
    return f"backend/{backend}"


def check_id(kind: CheckKind, backend: str) -> str:
    """The schedule of a periodic check; its workflows have this id and the time of each."""
    return f"{kind}/{backend}"


def window_id(backend: str, name: str) -> str:
    """The schedule of a maintenance window; its workflows have this id and the time of each."""
    return f"window/{backend}/{name}"


def agent_queue(backend: str) -> str:
    """The queue for short work that any agent host of the backend can do."""
    return f"rap-agent-{backend}"


def host_queue(backend: str, host: str) -> str:
    """The queue of one agent host, for the jobs placed there; stable over restarts."""
    return f"rap-agent-{backend}-{host}"


def control_queue(backend: str, host: str) -> str:
    """The queue of one agent host for orders that must not wait behind its jobs."""
    return f"rap-agent-{backend}-{host}-control"


def container_name(job: str) -> str:
    """The name of the container of a job (agent.md 8.1)."""
    return f"{CONTAINER_PREFIX}{job}"


def job_of_container(name: str) -> str | None:
    """The job whose container has this name; ``None`` for a container that is not a job's."""
    return name.removeprefix(CONTAINER_PREFIX) if name.startswith(CONTAINER_PREFIX) else None


def slugify(text: str) -> str:
    """A form of ``text`` fit for a command line or a URL (controller.md 1.2)."""
    plain = text.encode("ascii", "ignore").decode("ascii").lower()
    plain = re.sub(r"[^\w\s-]", "", plain)
    return re.sub(r"[_\s-]+", "-", plain).strip("-")


def job_slug(workspace: str, action: str, job: str) -> str:
    """The human readable name of a job in logs and on the command line (controller.md 1.2)."""
    return slugify(f"{workspace}-{action}-{job}")
