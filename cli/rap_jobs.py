"""Jobs of RAPs as the commands show them, from the read model alone, as the API reads them."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cli import environment
from cli.console import COLOURS, live, messages, plain_table, say
from rap.durations import clock
from rap.errors import RapError, Unavailable
from rap.records import Records, StoredJob
from rap.rows import IntentState
from rap.status import State
from rap.status_answers import BackendView, present

Job = dict[str, Any]
"""A job as on the wire (docs/spec/rap-api.md A8.2), and its ``workspace``."""

_LOOK_EVERY = 0.25
"""Seconds. The read model has no events to wait for."""
_DAY = len("2026-01-31 ")


def as_shown(records: Records, stored: Sequence[StoredJob]) -> Iterator[Job]:
    """Jobs of the read model as readers see them now."""
    rows = records.backends({job.backend for job in stored})
    views = {slug: BackendView(row) for slug, row in rows.items()}
    now = time.time()
    for job in stored:
        yield {**present(job, views.get(job.backend), now), "workspace": job.workspace}


def jobs_of(records: Records, rap_ids: Iterable[str]) -> list[Job]:
    """The jobs of these RAPs, RAP by RAP, dependencies first."""
    stored = [job for rap_id in dict.fromkeys(rap_ids) for job in records.rap(rap_id)]
    return list(as_shown(records, stored))


def unknown_of(records: Records, rap_ids: Sequence[str]) -> dict[str, str]:
    """Those of the RAPs that have no jobs, and a sentence about each."""
    missing = [rap_id for rap_id in dict.fromkeys(rap_ids) if not records.rap(rap_id)]
    intents = records.intents(missing)
    return {
        rap_id: (
            f"The request for RAP {rap_id} is being decided; ask again in a moment."
            if rap_id in intents and intents[rap_id].state is IntentState.PENDING
            else f"There is no RAP {rap_id}; `rap status` lists the latest ones."
        )
        for rap_id in missing
    }


def known_jobs_of(records: Records, rap_id: str) -> list[Job]:
    """The jobs of a RAP; RapError if it has none."""
    jobs = jobs_of(records, [rap_id])
    if not jobs:
        raise RapError(unknown_of(records, [rap_id])[rap_id])
    return jobs


def moment(text: str | None) -> float | None:
    """A time of the wire in seconds since the epoch."""
    return None if text is None else datetime.fromisoformat(text).timestamp()


def has_ended(job: Job) -> bool:
    """Whether a job will not change any more."""
    return not State(job["status"]).is_active


def exit_code(jobs: Iterable[Job]) -> int:
    """1 if a job has failed, else 0."""
    return int(any(job["status"] == State.FAILED for job in jobs))


# --- following ---


def follow(
    records: Records, rap_ids: Sequence[str], show: Callable[[list[Job]], None]
) -> list[Job]:
    """Show the jobs of RAPs again and again, until all have ended; the jobs as they ended."""
    while True:
        jobs = jobs_of(records, rap_ids)
        show(jobs)
        if all(has_ended(job) for job in jobs):
            return jobs
        time.sleep(_LOOK_EVERY)


def follow_on_terminal(
    records: Records, rap_ids: Sequence[str], *, data: Path | None, as_json: bool
) -> list[Job]:
    """Follow RAPs on the terminal until their jobs have ended; the jobs as they ended.

    In a terminal a table changes; elsewhere there is a line for every change. Who presses Ctrl-C is
    told how to go on: the jobs go on by themselves.
    """
    out = messages(as_json=as_json)
    where = environment.option(data)
    again = f"rap status {' '.join(rap_ids)} --watch{where}"
    begin = time.monotonic()
    told: dict[str, str] = {}

    def tell_changes(jobs: Sequence[Job]) -> None:
        seconds = time.monotonic() - begin
        for job in jobs:
            code = job["status_code"]
            if told.get(job["identifier"]) != code:
                told[job["identifier"]] = code
                message = f"  {job['status_message']}" if has_ended(job) else ""
                say(out, f"{seconds:7.1f} s  {job['action']:<20} {code}{message}")

    try:
        with live(out) as update:
            show = (lambda jobs: update(tables(jobs))) if update else tell_changes
            jobs = follow(records, rap_ids, show)
    except KeyboardInterrupt:
        cancel = "\n".join(f"  cancel:       rap cancel {rap_id}{where}" for rap_id in rap_ids)
        say(out, f"\nNo longer watching; the jobs go on.\n  watch again:  {again}\n{cancel}")
        raise
    except RapError as error:
        raise Unavailable(f"{error}\nThe jobs go on. To watch them again: {again}") from error
    if not out.is_terminal:
        for rap_id in rap_ids:
            say(out, _headline([job for job in jobs if job["rap_id"] == rap_id]))
    return jobs


# --- as tables ---


def tables(jobs: Sequence[Job]) -> RenderableType:
    """A table for each RAP, with a line about it above."""
    parts: list[RenderableType] = []
    for _, group in groupby(jobs, key=lambda job: str(job["rap_id"])):
        of_rap = list(group)
        parts += ["", _headline(of_rap), _table(of_rap)]
    return Group(*parts[1:])


def _headline(jobs: Sequence[Job]) -> str:
    """A line about the jobs of one RAP: where, since when, how many have ended how."""
    first = jobs[0]
    ended = sum(has_ended(job) for job in jobs)
    failed = sum(job["status"] == State.FAILED for job in jobs)
    count = f"{ended} of {len(jobs)} jobs ended" + (f", {failed} failed" if failed else "")
    where = f"{first['workspace']} on {first['backend']}"
    return f"RAP {first['rap_id']}  {where}, created {clock(moment(first['created_at']))}: {count}"


def _table(jobs: Sequence[Job]) -> Table:
    table = plain_table(
        "action", "status", "code", "message", "started", "completed", folded=["message"]
    )
    day = clock(moment(jobs[0]["created_at"]))[:_DAY]
    for job in jobs:
        table.add_row(
            job["action"],
            Text(job["status"], COLOURS[State(job["status"])]),
            job["status_code"],
            job["status_message"],
            # The day of the line above is not repeated.
            clock(moment(job["started_at"])).removeprefix(day),
            clock(moment(job["completed_at"])).removeprefix(day),
        )
    return table
