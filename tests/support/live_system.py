"""The whole system as real processes, a client that talks to it as job-server does, and studies.

Tests wait for what happens, never for an amount of time: :func:`eventually` asks again until the
answer is there, and its limit is only for the case that it never comes.
"""

import json
import shlex
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import docker
import httpx

from infra.local_system import AGENT, BACKEND, LocalSystem
from rap import ids
from rap.records import migrations
from tests.support.git_server import StudyRepo

LIMIT = 120.0
"""Seconds; far more than anything here takes on a busy machine."""
A_MOMENT = 5.0
BASE = "/controller/v1"
FINAL = ("succeeded", "failed")

Job = dict[str, Any]
Answer = TypeVar("Answer")


def eventually(ask: Callable[[], Answer], what: str, *, limit: float = LIMIT) -> Answer:
    """Ask until the answer is true, and return it."""
    deadline = time.monotonic() + limit
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"{what}: not within {limit:.0f} s"
        time.sleep(0.05)
    return answer


# --- studies ---


def action(
    *command: str,
    image: str = "python:v2",
    needs: Collection[str] = (),
    level: str = "highly_sensitive",
    **outputs: str,
) -> dict[str, Any]:
    """An action of a project file; ``outputs`` are names and patterns, ``out.txt`` by default."""
    return {
        "run": f"{image} {shlex.join(command)}",
        "needs": list(needs),
        "outputs": {level: outputs or {"out": "output/out.txt"}},
    }


def shell(script: str, **options: Any) -> dict[str, Any]:
    """An action that runs a line of shell."""
    return action("sh", "-c", script, **options)


def write(name: str, **options: Any) -> dict[str, Any]:
    """An action that writes a file ``output/<name>.txt`` and succeeds."""
    return shell(
        f"mkdir -p output && echo {name} > output/{name}.txt",
        **{name: f"output/{name}.txt"},
        **options,
    )


def gated(name: str, **options: Any) -> dict[str, Any]:
    """An action that says ``waiting`` and runs until :meth:`LiveSystem.open_gate`."""
    wait = "echo waiting; until [ -e gate ]; do sleep 0.05; done"
    return shell(
        f"{wait}; mkdir -p output && echo {name} > output/{name}.txt",
        **{name: f"output/{name}.txt"},
        **options,
    )


@dataclass(frozen=True)
class Study:
    """One commit of a study repository."""

    url: str
    commit: str


def make_study(
    folder: Path,
    actions: Mapping[str, Any] | None,
    files: Mapping[str, str] | None = None,
) -> Study:
    """A repository with these actions (``None``: no project file) and these files."""
    repo = StudyRepo(folder)
    content = dict(files or {})
    if actions is not None:
        content["project.yaml"] = json.dumps({"version": "4.0", "actions": actions})
    return Study(repo.url, repo.commit(content))


# --- the system ---


@dataclass
class LiveSystem(LocalSystem):
    """One system, as job-server and as its machine's owner see it."""

    workspaces: set[str] = field(default_factory=set)
    """Those of the RAPs it was asked for."""

    def end(self) -> None:
        """End the processes, and remove the containers that a failed test left."""
        self.stack.stop()
        remove_containers(self.workspaces)

    def start_some(self, *names: str) -> None:
        """Start a part of the processes; they are not waited for."""
        self.folder.mkdir(parents=True, exist_ok=True)
        migrations.upgrade(self.database_url)
        for name in names:
            self.stack.restart(name)

    def restart_the_dead(self) -> None:
        """Start again what does not run."""
        for member in self.stack:
            if member.process is None or member.process.poll() is not None:
                self.stack.restart(member.name)

    def api_answers(self) -> None:
        """Wait until the API serves."""

        def answers() -> bool:
            try:
                return httpx.get(self.api_url).is_success
            except httpx.TransportError:
                return False

        eventually(answers, "the API answers")

    def request(
        self, method: str, path: str, *, token: str | None = None, **options: Any
    ) -> httpx.Response:
        """One request on a connection of its own, as job-server makes it."""
        headers = {"Authorization": self.token if token is None else token}
        return httpx.request(
            method, f"{self.api_url}{BASE}/{path}", headers=headers, timeout=40, **options
        )

    def post(self, path: str, body: object) -> httpx.Response:
        """Post JSON."""
        return self.request("POST", path, json=body)

    def create(self, study: Study, *actions: str, **changes: Any) -> httpx.Response:
        """Ask for actions of a study; ``changes`` to the members of the body."""
        body = {
            "backend": BACKEND,
            "rap_id": ids.random_rap_id(),
            "workspace": f"ws-{uuid4().hex[:12]}",
            "repo_url": study.url,
            "branch": "main",
            "commit": study.commit,
            "database_name": "default",
            "requested_actions": list(actions) or ["run_all"],
            "codelists_ok": True,
            "force_run_dependencies": False,
            "created_by": "tester",
            "project": "test-project",
            "orgs": ["test-org"],
            **changes,
        }
        self.workspaces.add(body["workspace"])
        return self.post("rap/create/", body)

    def run(self, study: Study, *actions: str, **changes: Any) -> "Rap":
        """Create a RAP; it must be accepted."""
        workspace = changes.setdefault("workspace", f"ws-{uuid4().hex[:12]}")
        answer = self.create(study, *actions, **changes)
        assert answer.status_code == 201, answer.text
        body = answer.json()
        rap = Rap(self, body["rap_id"], workspace, body["count"])
        assert body == {
            "result": "Success",
            "details": f"Jobs created for rap_id '{rap.rap_id}'",
            "rap_id": rap.rap_id,
            "count": len(rap.jobs()),
        }
        return rap

    def status(self, *rap_ids: str) -> dict[str, Any]:
        """The answer of ``rap/status/``."""
        answer = self.post("rap/status/", {"rap_ids": rap_ids})
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def log(self, name: str) -> str:
        """What a process has logged."""
        path = self.logs / f"{name}.log"
        return path.read_text() if path.exists() else ""

    def logged(self, name: str, text: str) -> str:
        """Wait until a process has logged this; the line. It must not end meanwhile."""

        def line() -> str:
            self.stack.raise_if_ended()
            return next((line for line in self.log(name).splitlines() if text in line), "")

        return eventually(line, f"{name} logs {text!r}")

    def agent_ends(self) -> int:
        """Ask the agent to stop, as a service manager does; its exit status."""
        process = self.stack[AGENT].process
        assert process is not None
        process.terminate()
        return process.wait(LIMIT)

    def open_gate(self, job_id: str) -> None:
        """Let a :func:`gated` job go on."""
        for volume in (self.high_privacy / "volumes").glob(f"{job_id}*"):  # of any attempt
            (volume / "gate").touch()

    def metadata(self, job_id: str) -> dict[str, Any]:
        """What the backend has on record about a finished job."""
        document: dict[str, Any] = json.loads(
            (self.job_folder(job_id) / "metadata.json").read_text()
        )
        return document

    def job_folder(self, job_id: str) -> Path:
        """The folder of a job's log and metadata."""
        (found,) = (self.high_privacy / "logs").glob(f"*/{ids.container_name(job_id)}")
        return found

    def left_over(self, job_ids: Collection[str]) -> list[str]:
        """What there still is of jobs that are over, beside their records and outputs.

        The agent hears a moment after everybody else that its answer has arrived, so it is given
        that moment.
        """
        deadline = time.monotonic() + A_MOMENT
        while (found := self._left_over(job_ids)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    def _left_over(self, job_ids: Collection[str]) -> list[str]:
        containers = [found.name for found in map(container_of, job_ids) if found]
        places = [self.high_privacy / "volumes", *(self.folder / "state").glob("*/")]
        files = [str(path) for place in places if place.is_dir() for path in place.iterdir()]
        return containers + [path for path in files if any(job in path for job in job_ids)]


@dataclass(frozen=True)
class Rap:
    """One RAP of a live system."""

    system: LiveSystem
    rap_id: str
    workspace: str
    count: int

    def jobs(self) -> dict[str, Job]:
        """The jobs as job-server sees them now, by action."""
        return {job["action"]: job for job in self.system.status(self.rap_id)["jobs"]}

    def job_id(self, action: str) -> str:
        """The identifier of the job of an action."""
        return ids.job_id(self.rap_id, action)

    @property
    def workflow_id(self) -> str:
        """The id of its workflow."""
        return ids.rap_workflow_id(self.workspace, self.rap_id)

    def job_workflow_id(self, action: str) -> str:
        """The id of the workflow of the job of an action."""
        return ids.job_workflow_id(self.workspace, action, self.job_id(action))

    def wait(
        self, until: Callable[[dict[str, Job]], object], what: str, *, limit: float = LIMIT
    ) -> dict[str, Job]:
        """Follow the RAP until something is true of its jobs."""
        jobs: dict[str, Job] = {}
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline:
            jobs = self.jobs()
            if jobs and until(jobs):
                return jobs
            self.system.stack.raise_if_ended()
            time.sleep(0.05)
        shown = {name: (job["status_code"], job["status_message"]) for name, job in jobs.items()}
        raise AssertionError(f"{what}: not within {limit:.0f} s; the jobs are {shown}")

    def wait_for(self, action: str, code: str) -> Job:
        """Follow the RAP until a job has this status code."""
        found = self.wait(lambda jobs: jobs[action]["status_code"] == code, f"{action} {code}")
        return found[action]

    def wait_until_over(self, *, limit: float = LIMIT) -> dict[str, Job]:
        """Follow the RAP until all jobs are final."""
        return self.wait(
            lambda jobs: all(job["status"] in FINAL for job in jobs.values()),
            f"all jobs of {self.rap_id} over",
            limit=limit,
        )

    def cancel(self, *actions: str) -> httpx.Response:
        """Ask to cancel actions."""
        return self.system.post("rap/cancel/", {"rap_id": self.rap_id, "actions": actions})

    def running_container(self, action: str) -> Any:
        """Wait for the container of a :func:`gated` job to be at its gate."""

        def at_the_gate() -> Any:
            found = container_of(self.job_id(action))
            return found if found and b"waiting" in found.logs() else None

        return eventually(at_the_gate, f"the container of {action} runs")

    def open_gate(self, action: str) -> None:
        """Let a :func:`gated` job go on."""
        self.system.open_gate(self.job_id(action))


# --- the container engine ---


@cache
def _engine() -> docker.DockerClient:
    return docker.from_env()


def container_of(job_id: str) -> Any:
    """The container of a job, running or not; ``None`` if there is none."""
    try:
        return _engine().containers.get(ids.container_name(job_id))
    except docker.errors.NotFound:
        return None


@dataclass
class Starts:
    """How often the containers of a workspace were started, told by the engine itself."""

    counts: Counter[str] = field(default_factory=Counter)
    removed: set[str] = field(default_factory=set)

    def once_removed(self, job_ids: Collection[str]) -> dict[str, int]:
        """The number of starts by job, once the engine has told the removal of all these."""
        eventually(lambda: self.removed >= set(job_ids), "the containers are removed")
        return dict(self.counts)


@contextmanager
def watching(workspace: str) -> Iterator[Starts]:
    """Watch the containers of a workspace."""
    starts = Starts()
    client = docker.from_env()
    labels = {"label": [f"workspace={workspace}"], "event": ["start", "destroy"]}
    stream = client.events(decode=True, filters=labels, since=int(time.time()))

    def follow() -> None:
        for event in stream:
            job = ids.job_of_container(event["Actor"]["Attributes"]["name"]) or ""
            if event["Action"] == "start":
                starts.counts[job] += 1
            else:
                starts.removed.add(job)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield starts
    finally:
        stream.close()
        thread.join(10)
        client.close()


def remove_containers(workspaces: Collection[str]) -> None:
    """Remove what a failed test left on the engine."""
    for workspace in workspaces:
        found = _engine().containers.list(
            all=True, filters={"label": ["jobrunner-local", f"workspace={workspace}"]}
        )
        for container in found:
            container.remove(force=True)
