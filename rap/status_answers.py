"""What a reader sees of a job and of a backend (rap-api.md A5, A8.2, A8.3). Pure.

The record of a waiting job says what the job itself waits for; what its backend makes of that
(paused, in maintenance, a queue) is worked out here from the backend's row, so that switching a
backend writes one row and not one for each waiting job.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import orjson

from rap.records.seen import AwaitedJob, SeenJob
from rap.records.tables import StoredJob
from rap.rows import BackendRow, HoldUp
from rap.status import FINAL_CODES, WAITING_HEAVY, State, StatusCode

OUT_OF_CONTACT_AFTER = 180
"""Seconds without a report after which the messages of jobs say so: six missed reports."""

WRITTEN_WITHIN = 10
"""Seconds from what happens to a job until its record says so: what is shown of an unfinished job
must not be later than what is shown of it once it has ended."""

_AFTER_A_RESET = frozenset({StatusCode.WAITING_ON_REBOOT, StatusCode.WAITING_DB_MAINTENANCE})
_QUEUED = frozenset({StatusCode.WAITING_ON_WORKERS, StatusCode.WAITING_ON_DB_WORKERS})
# The sentence itself says "executing", and of a job just handed over no more is known.
_TOLD_STAGES = frozenset(
    {
        StatusCode.PREPARING,
        StatusCode.PREPARED,
        StatusCode.EXECUTED,
        StatusCode.FINALIZING,
        StatusCode.FINALIZED,
    }
)
_MOST_NAMES = 3
# Looked up, because asking an enumeration a thousand times takes its time.
_STATES = {code: code.state.value for code in StatusCode}
_TEXTS = {code: code.value for code in StatusCode}

Shown = StoredJob | SeenJob
NONE_AWAITED: Mapping[str, AwaitedJob] = {}


class BackendView:
    """A backend's row, made ready to be asked about many jobs."""

    def __init__(self, row: BackendRow) -> None:
        self.row = row
        places: Counter[bool] = Counter()
        self._places: dict[str, int] = {}
        for entry in row.queue:
            places[entry.requires_db] += 1
            self._places[entry.job_id] = places[entry.requires_db]
        self._running = Counter(entry.requires_db for entry in row.slots)
        self._hosts = {entry.job_id: entry.host for entry in row.slots}
        self._seen = {report.host: report.at for report in row.agents}

    def place(self, job_id: str) -> int | None:
        """The place of a waiting job among those of its kind, from 1; ``None`` if not queued."""
        return self._places.get(job_id)

    def running(self, *, requires_db: bool) -> int:
        """How many jobs of a kind hold a slot."""
        return self._running[requires_db]

    def limit(self, *, requires_db: bool) -> float:
        """The workers for a kind of job."""
        return self.row.max_db_workers if requires_db else self.row.max_workers

    def no_agent(self, now: float) -> str:
        """That no agent is in contact, and since when; empty if one is."""
        seen = self.row.last_seen
        # The row may be as old as the silence, where the controller is away as well.
        silent = seen is not None and now - seen > OUT_OF_CONTACT_AFTER
        if self.row.hold_up is not HoldUp.NO_AGENT and not silent:
            return ""
        return f"no agent of the backend is connected {_since(seen)}".rstrip()

    def silent_since(self, job_id: str, now: float) -> float | None:
        """The last report of the host that runs a job, if that is too long ago."""
        seen = self._seen.get(self._hosts.get(job_id, ""), self.row.last_seen)
        return seen if seen is not None and now - seen > OUT_OF_CONTACT_AFTER else None


def present(
    job: Shown,
    backend: BackendView | None,
    now: float,
    awaited: Mapping[str, AwaitedJob] = NONE_AWAITED,
) -> dict[str, Any]:
    """The 15 members of a job on the wire; structured ones in the form that ``job`` has them.

    Args:
        job: its record.
        backend: its backend; ``None`` if that has no row yet.
        now: seconds since the epoch.
        awaited: what is known of the jobs it may wait for.
    """
    code, message, updated_at = job.status_code, job.status_message, job.updated_at
    if code not in FINAL_CODES:
        code, message = shown_status(job, backend, now, awaited)
        if backend:
            updated_at = max(updated_at, int(backend.row.updated_at - WRITTEN_WITHIN))
    return {
        "identifier": job.id,
        "rap_id": job.rap_id,
        "backend": job.backend,
        "action": job.action,
        "run_command": job.run_command,
        "status": _STATES[code],
        "status_code": _TEXTS[code],
        "status_message": message,
        "created_at": whole_seconds(job.created_at),
        "updated_at": whole_seconds(updated_at),
        "started_at": None if job.started_at is None else whole_seconds(job.started_at),
        "completed_at": None if job.completed_at is None else whole_seconds(job.completed_at),
        "trace_context": job.trace_context,
        "metrics": job.metrics,
        "requires_db": job.requires_db,
    }


def shown_status(
    job: Shown,
    backend: BackendView | None,
    now: float,
    awaited: Mapping[str, AwaitedJob] = NONE_AWAITED,
) -> tuple[StatusCode, str]:
    """The code and message that a reader sees for a job.

    A message starts with the sentence of its code, so that programs can rely on it; what holds the
    job up follows in brackets, for people.
    """
    stored = job.status_code
    if stored.is_final:
        return stored, job.status_message
    if stored.state is State.RUNNING:
        return stored, _running_message(job, backend, now)
    code = stored if backend is None else _pending_code(job, backend)
    sentence = job.status_message if code is stored else code.message
    if code is StatusCode.WAITING_ON_WORKERS:
        sentence = WAITING_HEAVY if job.weight > 1 else code.message
    detail = _what_holds(job, code, backend, now, awaited)
    return code, f"{sentence} ({detail})" if detail else sentence


def _pending_code(job: Shown, backend: BackendView) -> StatusCode:
    stored = job.status_code
    if backend.row.paused:
        # A job that was stopped for a reboot keeps saying so (controller.md 12.1).
        return stored if stored is StatusCode.WAITING_ON_REBOOT else StatusCode.WAITING_PAUSED
    if backend.row.maintenance and job.requires_db:
        return StatusCode.WAITING_DB_MAINTENANCE
    queued = stored is StatusCode.CREATED and backend.place(job.id) is not None
    if stored in _AFTER_A_RESET or queued:
        if job.requires_db:
            return StatusCode.WAITING_ON_DB_WORKERS
        return StatusCode.WAITING_ON_WORKERS
    return stored


def _what_holds(
    job: Shown,
    code: StatusCode,
    backend: BackendView | None,
    now: float,
    awaited: Mapping[str, AwaitedJob],
) -> str:
    """What a waiting job waits for, as far as it is known; else empty."""
    if code is StatusCode.WAITING_ON_DEPENDENCIES:
        return _unfinished_among(job, awaited)
    if backend is None:
        return ""
    held = ""
    if code in (StatusCode.WAITING_PAUSED, StatusCode.WAITING_ON_REBOOT):
        held = _since(backend.row.paused_since)
    elif code is StatusCode.WAITING_DB_MAINTENANCE:
        held = _since(backend.row.maintenance_since)
    elif code not in _QUEUED and code is not StatusCode.WAITING_ON_NEW_TASK:
        return ""
    elif not backend.no_agent(now):
        return _place_in_the_queue(job, backend)
    return "; ".join(part for part in (held, backend.no_agent(now)) if part)


def _unfinished_among(job: Shown, awaited: Mapping[str, AwaitedJob]) -> str:
    if not awaited or not isinstance(job, SeenJob):
        return ""
    known = [awaited[id_] for id_ in orjson.loads(job.wait_for) if id_ in awaited]
    names = [
        each.action for each in known if each.status_code is None or not each.status_code.is_final
    ]
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _place_in_the_queue(job: Shown, backend: BackendView) -> str:
    place = backend.place(job.id)
    if place is None:
        return ""
    if job.weight > backend.limit(requires_db=job.requires_db):
        return "needs more workers than the backend has"
    running = backend.running(requires_db=job.requires_db)
    kind = "database job" if job.requires_db else "job"
    counted = f"{running or 'no'} {kind}{'' if running == 1 else 's'}"
    return f"{ordinal(place)} in the queue, {counted} running"


def _running_message(job: Shown, backend: BackendView | None, now: float) -> str:
    told = [job.status_code.value] if job.status_code in _TOLD_STAGES else []
    silent = backend.silent_since(job.id, now) if backend else None
    if silent is not None:
        told.append(f"backend out of contact since {whole_seconds(int(silent))}")
    return f"{job.status_message} ({', '.join(told)})" if told else job.status_message


def _since(moment: float | None) -> str:
    return "" if moment is None else f"since {whole_seconds(int(moment))}"


def present_backends(slugs: Sequence[str], rows: dict[str, BackendRow]) -> list[dict[str, Any]]:
    """The flags of backends on the wire, in the order of ``slugs``; never seen ones are empty."""
    return [_present_backend(slug, rows.get(slug)) for slug in slugs]


def _present_backend(slug: str, row: BackendRow | None) -> dict[str, Any]:
    row = row or BackendRow(slug=slug, version=0, updated_at=0)
    kind = row.maintenance_type if row.maintenance else None
    return {
        "slug": slug,
        "last_seen": microseconds(row.last_seen),
        "paused": {
            "status": "on" if row.paused else "off",
            "since": microseconds(row.paused_since),
        },
        "db_maintenance": {
            "status": "on" if row.maintenance else "off",
            "since": microseconds(row.maintenance_since),
            "type": kind.value if kind else None,
        },
    }


@lru_cache(maxsize=100_000)
def whole_seconds(moment: int) -> str:
    """A time as jobs show it: ``YYYY-MM-DDTHH:MM:SSZ``."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def microseconds(moment: float | None) -> str | None:
    """A time as backends show it: six fractional digits, none if they are all zero."""
    if moment is None:
        return None
    return datetime.fromtimestamp(moment, UTC).isoformat().removesuffix("+00:00") + "Z"


def ordinal(number: int) -> str:
    """``1st``, ``2nd``, ``3rd``, ``4th`` …"""
    teens = 10 <= number % 100 <= 20
    suffix = "th" if teens else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{suffix}"
