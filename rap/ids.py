"""The only place that builds an identifier: jobs, workflows, task queues, containers.

Pure. Where a form is an interface fact, the spec section stands beside it.
"""

import base64
import hashlib
import re
import secrets
from enum import StrEnum

from rap.safe_names import safe_name

CONTROLLER_QUEUE = "rap-controller"
CONTAINER_PREFIX = "os-job-"
_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"

# What the library makes of ten bits in base 32; it takes ten times as long, and a backend with a
# long queue asks for every job's id when it continues as new.
_PAIRS = [one + other for one in _LETTERS for other in _LETTERS]
_SHIFTS = range(70, -10, -10)


class CheckKind(StrEnum):
    """The periodic checks of a database (docs/spec/agent.md 12)."""

    STATUS = "dbstatus"
    DATA = "dbdatacheck"


def job_id(rap_id: str, action: str) -> str:
    """The id of the job of an action in a RAP: 16 characters of ``a-z2-7``
    (docs/spec/controller.md 1.1).
    """
    # Not a security measure: the id must be the same for ever, and short.
    digest = hashlib.sha1(f"{rap_id}\n{action}".encode(), usedforsecurity=False).digest()
    number = int.from_bytes(digest[:10], "big")
    return "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])


def random_rap_id() -> str:
    """A fresh RAP id of 16 characters, for RAPs that do not come from job-server."""
    return base64.b32encode(secrets.token_bytes(10)).decode("ascii").lower()


def task_id(job: str, attempt: int) -> str:
    """The id of one attempt at a job: ``<job id>-001``, ``-002`` …
    (docs/spec/controller.md 1.2).
    """
    return f"{job}-{attempt:03d}"


def attempt_of(task: str) -> int:
    """The number of the attempt in a task id such as ``<job id>-002``; 1 if it names none."""
    number = task.rpartition("-")[2]
    return int(number) if number.isascii() and number.isdigit() else 1


def attempt_name(job: str, task: str) -> str:
    """What an attempt's own folders and notes are called, on whichever host it runs.

    The job's id alone for the first, whose folders others know (docs/spec/agent.md 10.1); from the
    second on with its number, so that no attempt meets what another has left.
    """
    attempt = attempt_of(task)
    return job if attempt == 1 else task_id(job, attempt)


def workspace_workflow_id(backend: str, workspace: str) -> str:
    """The workflow that serialises the creation of RAPs in one workspace of one backend.

    Names in the ids of workflows are safe ones (:func:`rap.safe_names.safe_name`), so that they are
    short enough for Temporal and their parts can be told apart. A safe name may be given in place
    of the name.
    """
    return f"workspace/{backend}/{safe_name(workspace)}"


def rap_workflow_id(workspace: str, rap_id: str) -> str:
    """The workflow of one job request."""
    return f"rap/{safe_name(workspace)}/{rap_id}"


def rap_of_workflow(workflow_id: str) -> str:
    """The RAP whose workflow has this id."""
    return workflow_id.rpartition("/")[2]


def job_workflow_id(workspace: str, action: str, job: str) -> str:
    """The workflow of one attempt at a job; the attempts of a job share it, one after another."""
    return f"job/{safe_name(workspace)}/{safe_name(action)}/{job}"


def clean_up_workflow_id(workspace: str, action: str, task: str) -> str:
    """The workflow that waits for a lost host, to have it clear away an attempt at a job."""
    return f"clean-up/{safe_name(workspace)}/{safe_name(action)}/{task}"


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


def image_key(image: str, digest: str | None) -> str:
    """A short name for an image, known to those alone who know the image."""
    return hashlib.sha256(f"{image}@{digest or ''}".encode()).hexdigest()[:12]


def container_name(job: str) -> str:
    """The name of the container of a job (docs/spec/agent.md 8.1)."""
    return f"{CONTAINER_PREFIX}{job}"


def job_of_container(name: str) -> str | None:
    """The job whose container has this name; ``None`` for a container that is not a job's."""
    return name.removeprefix(CONTAINER_PREFIX) if name.startswith(CONTAINER_PREFIX) else None


def slugify(text: str) -> str:
    """A form of ``text`` fit for a command line or a URL (docs/spec/controller.md 1.2)."""
    plain = text.encode("ascii", "ignore").decode("ascii").lower()
    plain = re.sub(r"[^\w\s-]", "", plain)
    return re.sub(r"[_\s-]+", "-", plain).strip("-")


def job_slug(workspace: str, action: str, job: str) -> str:
    """The human readable name of a job in logs and on the command line
    (docs/spec/controller.md 1.2).
    """
    return slugify(f"{workspace}-{action}-{job}")
