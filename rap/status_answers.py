"""What a reader sees of a job and of a backend (docs/spec/rap-api.md A5, A8.2, A8.3). Pure.

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

from rap.egress import SILENT_AFTER_S, closed_by
from rap.rows import BackendRow, HoldUp
from rap.sentences import CODE_SENTENCES, WAITING_HEAVY, closed_sentence
from rap.status import FINAL_CODES, RUNNING_CODES, State, StatusCode
from rap.stored_jobs import AwaitedJob, StatusRow, StoredJob
from rap.windows import WindowKind

OUT_OF_CONTACT_AFTER = 180
"""Seconds without a report after which the messages of jobs say so: six missed reports."""

_AFTER_A_RESET = frozenset({StatusCode.WAITING_ON_REBOOT, StatusCode.WAITING_DB_MAINTENANCE})
_QUEUED = frozenset({StatusCode.WAITING_ON_WORKERS, StatusCode.WAITING_ON_DB_WORKERS})
# The sentence itself says "executing", and of a job just handed over no more is known.
_TOLD_STAGES = RUNNING_CODES - {StatusCode.INITIATED, StatusCode.EXECUTING}
_MOST_NAMES = 3
# Looked up, because asking an enumeration a thousand times takes its time.
_STATES = {code: code.state.value for code in StatusCode}
_TEXTS = {code: code.value for code in StatusCode}

Shown = StoredJob | StatusRow
NONE_AWAITED: Mapping[str, AwaitedJob] = {}


class BackendView:
    """A backend's row, made ready to be asked about many jobs."""

    def __init__(self, row: BackendRow) -> None:
        self.row = row
        places: Counter[bool] = Counter()
        self.places: dict[str, int] = {}
        """The place of each waiting job among those of its kind, from 1."""
        for entry in row.queue:
            places[entry.requires_db] += 1
            self.places[entry.job_id] = places[entry.requires_db]
        self.running = Counter(entry.requires_db for entry in row.slots)
        """How many database jobs hold a slot, and how many others."""
        self._hosts = {entry.job_id: entry.host for entry in row.slots}
        self._seen = {report.host: report.at for report in row.agents}

    def no_agent(self, now: float) -> str:
        """That no agent is in contact, and since when; empty if one is."""
        seen = self.row.last_seen
        # The row may be as old as the silence, where the controller is away as well.
        silent = seen is not None and now - seen > OUT_OF_CONTACT_AFTER
        if self.row.hold_up is not HoldUp.NO_AGENT and not silent:
            return ""
        return f"no agent of the backend is connected {_since(seen)}".rstrip()

    def cannot_start(self, now: float, *, requires_db: bool) -> str:
        """That no host of the backend can start such a job, and why; empty if one can.

        Or if none is in contact, which is another thing.
        """
        moment = min(now, self.row.updated_at)
        living = [each for each in self.row.agents if each.at > moment - SILENT_AFTER_S]
        return closed_sentence(closed_by(living, requires_db=requires_db))

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
    """The 15 members of a job on the wire; structured ones in the form that ``job`` has them."""
    code, message, updated_at = job.status_code, job.status_message, job.updated_at
    if code not in FINAL_CODES:
        code, message = shown_status(job, backend, now, awaited)
        if backend:
            updated_at = max(updated_at, int(backend.row.updated_at))
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
    sentence = job.status_message if code is stored else CODE_SENTENCES[code]
    if code is StatusCode.WAITING_ON_WORKERS:
        sentence = WAITING_HEAVY if job.weight > 1 else CODE_SENTENCES[code]
    detail = _what_holds(job, code, backend, now, awaited)
    return code, f"{sentence} ({detail})" if detail else sentence


def _pending_code(job: Shown, backend: BackendView) -> StatusCode:
    stored = job.status_code
    if backend.row.paused:
        # A job that was stopped for a reboot keeps saying so (docs/spec/controller.md 12.1).
        return stored if stored is StatusCode.WAITING_ON_REBOOT else StatusCode.WAITING_PAUSED
    if backend.row.maintenance and job.requires_db:
        return StatusCode.WAITING_DB_MAINTENANCE
    queued = stored is StatusCode.CREATED and job.id in backend.places
    if stored in _AFTER_A_RESET or queued:
        needs_db = job.requires_db
        return StatusCode.WAITING_ON_DB_WORKERS if needs_db else StatusCode.WAITING_ON_WORKERS
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
        held = _held_since(backend.row, backend.row.paused_since, WindowKind.PAUSE)
    elif code is StatusCode.WAITING_DB_MAINTENANCE:
        held = _held_since(backend.row, backend.row.maintenance_since, WindowKind.MAINTENANCE)
    elif code not in _QUEUED and code is not StatusCode.WAITING_ON_NEW_TASK:
        return ""
    elif not backend.no_agent(now):
        closed = backend.cannot_start(now, requires_db=job.requires_db)
        return closed or _place_in_the_queue(job, backend)
    return "; ".join(part for part in (held, backend.no_agent(now)) if part)


def _held_since(row: BackendRow, since: float | None, switch: WindowKind) -> str:
    """Since when a backend holds jobs back, and until when if that is a window left alone."""
    told = [_since(since)]
    if switch in row.held_by_window:
        told += [
            f"the workflow of maintenance window {name} is missing: it ends at "
            f"{whole_seconds(int(window.until))}, or now with {switch.ended_by(row.slug)}"
            for name, window in row.windows.items()
            if window.missing and window.until is not None and window.kind.switch is switch
        ]
    return "; ".join(part for part in told if part)


def _unfinished_among(job: Shown, awaited: Mapping[str, AwaitedJob]) -> str:
    if not awaited or not isinstance(job, StatusRow):
        return ""
    known = [awaited[id_] for id_ in orjson.loads(job.wait_for) if id_ in awaited]
    names = [
        each.action for each in known if each.status_code is None or not each.status_code.is_final
    ]
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _place_in_the_queue(job: Shown, backend: BackendView) -> str:
    place = backend.places.get(job.id)
    if place is None:
        return ""
    if job.weight > (backend.row.max_db_workers if job.requires_db else backend.row.max_workers):
        return "needs more workers than the backend has"
    running = backend.running[job.requires_db]
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
    return [
        _present_backend(rows.get(slug) or BackendRow(slug=slug, version=0, updated_at=0))
        for slug in slugs
    ]


def _present_backend(row: BackendRow) -> dict[str, Any]:
    kind = row.maintenance_type if row.maintenance else None
    return {
        "slug": row.slug,
        "last_seen": microseconds(row.last_seen),
        "paused": _switch(row.paused_since, on=row.paused),
        "db_maintenance": {
            **_switch(row.maintenance_since, on=row.maintenance),
            "type": kind.value if kind else None,
        },
    }


def _switch(since: float | None, *, on: bool) -> dict[str, str | None]:
    return {"status": "on" if on else "off", "since": microseconds(since)}


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
