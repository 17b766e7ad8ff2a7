"""job-server as a client of the API: its calls, and what it makes of the answers (part B).

Only as much of it as the API can notice or harm. Names of members, statuses and texts are its own.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any
from urllib.parse import urljoin

import httpx

from rap.ids import random_rap_id

UNKNOWN_ERROR = "unknown_error_creating_jobs"
ACTIVE = frozenset({"pending", "running", "unknown", UNKNOWN_ERROR})
FINAL = frozenset({"succeeded", "failed", "nothing_to_do"})
FAILED_BY_A_JOB = "Failed due to job failure"
CREATE_FAILED = "Unknown error creating jobs"

DROPPED = frozenset({"rap_id", "backend", "requires_db"})
TEXTS = frozenset(
    {"identifier", "action", "run_command", "status", "status_code", "status_message"}
)
MOMENTS = frozenset({"created_at", "updated_at", "started_at", "completed_at"})
OPAQUE = frozenset({"trace_context", "metrics"})


class ApiError(Exception):
    """The API answered with an error."""

    def __init__(self, body: Any, *, is_json: bool) -> None:
        super().__init__(str(body))
        self.body, self.is_json = body, is_json


class TransportError(Exception):
    """No answer came."""


@dataclass
class JobRequest:
    """A row of job-server: one request of a user."""

    workspace: str
    repo_url: str
    commit: str
    actions: list[str]
    branch: str = "main"
    backend: str = "test"
    codelists_ok: bool = True
    force_run_dependencies: bool = False
    scope: dict[str, list[str]] = field(default_factory=dict)
    identifier: str = field(default_factory=random_rap_id)
    status: str = "pending"
    status_message: str = ""
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Rows by identifier, in the order of first sight."""
    cancelled_actions: set[str] = field(default_factory=set)
    seen: list[str] = field(default_factory=list)
    """Every status that a round left it with, repeats left out."""

    def job(self, action: str) -> dict[str, Any]:
        (found,) = (row for row in self.jobs.values() if row["action"] == action)
        return found

    def derive_status(self) -> None:
        """Work the status out of the jobs (B5.4); final ones are never worked out again."""
        statuses = {row["status"].lower() for row in self.jobs.values()}
        if statuses and self.status not in FINAL:
            self.status = _derived(statuses)
            if self.status == "failed":
                self.status_message = FAILED_BY_A_JOB
        if not self.seen or self.seen[-1] != self.status:
            self.seen.append(self.status)


def _derived(statuses: set[str]) -> str:
    if len(statuses) == 1:
        (only,) = statuses
        return only if only in {"pending", "running", "succeeded", "failed"} else "unknown"
    if statuses & {"running", "pending"}:
        return "running"
    return "failed" if "failed" in statuses else "unknown"


@dataclass
class JobServer:
    """All of its processes that call the API."""

    base_url: str
    """Ends in ``/controller/v1/``."""
    token: str
    requests: list[JobRequest] = field(default_factory=list)
    known_backends: tuple[str, ...] = ("test",)
    backends: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The objects as received, by slug."""
    log: list[str] = field(default_factory=list)
    """Its warnings and errors."""
    mails: list[tuple[str, str]] = field(default_factory=list)
    """Request and action of each mail about a completed job."""

    # --- what users and its processes do ---

    def submit(self, request: JobRequest) -> JobRequest:
        """A user sends the form: create (B3)."""
        if request not in self.requests:
            self.requests.append(request)
        try:
            answer = self._call("POST", "rap/create/", {200, 201}, body_of(request))
            count = answer["count"]
            if count == 0:
                request.status, request.status_message = "nothing_to_do", answer["details"]
            else:
                request.status = "pending"
        except TransportError:
            request.status = UNKNOWN_ERROR
        except ApiError as error:
            if error.is_json:
                known = error.body.get("details") if isinstance(error.body, dict) else None
                request.status, request.status_message = "failed", known or CREATE_FAILED
            else:
                request.status = UNKNOWN_ERROR
        except Exception as error:  # noqa: BLE001 - shown to the user as this
            self.log.append(f"create: {error!r}")
            request.status, request.status_message = "failed", CREATE_FAILED
        request.seen.append(request.status)
        return request

    def cancel(self, request: JobRequest, *chosen: str) -> str:
        """A user cancels a request, or one job of it (B4); the message shown."""
        actions = chosen or tuple(
            row["action"]
            for row in request.jobs.values()
            if row["status"] in {"pending", "running"}
        )
        if not actions:
            return "not started yet" if request.status in ACTIVE else "nothing to cancel"
        body = {"rap_id": request.identifier, "actions": list(actions)}
        try:
            self._call("POST", "rap/cancel/", {200}, body)
        except (ApiError, TransportError) as error:
            if isinstance(error, ApiError) and error.is_json and "details" not in error.body:
                self.log.append(f"cancel: a page of its own fault for the user, from {error.body}")
            return "could not be cancelled"
        request.cancelled_actions.update(actions)
        return "cancelled"

    def round(self) -> None:
        """One turn of the status service (B5)."""
        try:
            self._round()
        except Exception as error:  # noqa: BLE001 - it goes on with the next turn
            self.log.append(f"round: {error!r}")

    def update_backends(self) -> None:
        """The command that cron runs each minute (B6)."""
        try:
            for backend in self._call("GET", "backend/status/", {200})["backends"]:
                slug = backend["slug"]
                assert slug in self.known_backends, slug
                if backend["last_seen"] is not None:
                    datetime.fromisoformat(backend["last_seen"])
                since = backend["db_maintenance"]["since"]
                if since is not None:
                    datetime.fromisoformat(since)
                assert backend["db_maintenance"]["status"] in {"on", "off"}
                self.backends[slug] = backend
        except Exception as error:  # noqa: BLE001 - cron calls it again
            self.log.append(f"backends: {error!r}")

    # --- how it does that ---

    def _round(self) -> None:
        asked = {each.identifier: each for each in self.requests if _is_active(each)}
        answer = self._call("POST", "rap/status/", {200}, {"rap_ids": list(asked)})
        found: dict[str, list[dict[str, Any]]] = {}
        for job in answer["jobs"]:
            found.setdefault(job["rap_id"], []).append(job)
        for identifier, request in asked.items():
            if identifier in answer["unrecognised_rap_ids"]:
                if request.status == UNKNOWN_ERROR:
                    request.status, request.status_message = "failed", CREATE_FAILED
                else:
                    self.log.append(f"{identifier} is not recognised")
            self._update(request, found.get(identifier, []))
            request.derive_status()

    def _update(self, request: JobRequest, jobs: Iterable[dict[str, Any]]) -> None:
        given = set()
        for job in jobs:
            identifier = job["identifier"]
            given.add(identifier)
            columns = {name: value for name, value in job.items() if name not in DROPPED}
            _check_columns(columns)
            before = request.jobs.get(identifier, {}).get("status")
            request.jobs[identifier] = {**request.jobs.get(identifier, {}), **columns}
            if columns["status"] in {"succeeded", "failed"} and before not in FINAL:
                self._mail(request, request.jobs[identifier])
        for identifier in request.jobs.keys() - given:
            self.log.append(f"{request.identifier} lacks its job {identifier}")

    def _mail(self, request: JobRequest, job: dict[str, Any]) -> None:
        if job["started_at"] and job["completed_at"]:
            run_time = _moment(job["completed_at"]) - _moment(job["started_at"])
            if run_time < timedelta(0):
                raise ValueError("hours should be positive")
        self.mails.append((request.identifier, job["action"]))

    def _call(self, method: str, path: str, expected: set[int], body: Any = None) -> Any:
        """One call on a connection of its own, without a limit of time (B2)."""
        try:
            with httpx.Client(timeout=None, follow_redirects=True) as client:
                answer = client.request(
                    method,
                    urljoin(self.base_url, path),
                    headers={
                        "Authorization": self.token,
                        "Content-Type": "application/json",
                        "Accept": "*/*",
                    },
                    content=None if body is None else json.dumps(body),
                )
        except httpx.TransportError as error:
            raise TransportError(str(error)) from error
        if answer.status_code in expected:
            return answer.json()
        try:
            raise ApiError(answer.json(), is_json=True)
        except ValueError:
            raise ApiError(f"{HTTPStatus(answer.status_code)!r}", is_json=False) from None


def body_of(request: JobRequest) -> dict[str, Any]:
    """All 14 members that it sends."""
    return {
        "rap_id": request.identifier,
        "backend": request.backend,
        "workspace": request.workspace,
        "repo_url": request.repo_url,
        "branch": request.branch,
        "commit": request.commit,
        "database_name": "default",
        "requested_actions": request.actions,
        "codelists_ok": request.codelists_ok,
        "force_run_dependencies": request.force_run_dependencies,
        "created_by": "researcher",
        "project": "a-project",
        "orgs": ["an-org"],
        "analysis_scope": request.scope,
    }


def _is_active(request: JobRequest) -> bool:
    unfinished = any(row["status"] in {"pending", "running"} for row in request.jobs.values())
    return request.status in ACTIVE or unfinished


def _check_columns(columns: dict[str, Any]) -> None:
    """What its database would refuse (B5.3)."""
    assert columns.keys() == TEXTS | MOMENTS | OPAQUE, sorted(columns)
    for name in TEXTS:
        assert isinstance(columns[name], str), name
    for name in MOMENTS:
        if columns[name] is not None or name == "created_at":
            assert _moment(columns[name]).tzinfo is not None, name


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
