"""The log of a job: what its program said, then a summary of how it went (agent.md 10.2).

It is written for the author of the study, and read at level 4; the release tool finds the summary
by its heading and never cuts what follows it.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from rap.models import JobDefinition
from worker_agent.workspace.copying import write_file
from worker_agent.workspace.metadata import JobRecord
from worker_agent.workspace.storage import LOG_FILE, Storage, component

HEADING = "=============JOB SUMMARY============="
MOST_LINES = 100_000
MOST_BYTES = 256 * 1024 * 1024
"""Of the program's lines; a line may have any length, and the log is kept three times."""
_CHUNK = 1024 * 1024
_KEYS = (
    "job_definition_id",
    "job_definition_rap_id",
    "commit",
    "docker_image_id",
    "exit_code",
    "created_at",
    "completed_at",
    "database_name",
    "status_message",
    "hint",
)


def summary(record: JobRecord) -> str:
    """The block below the program's own lines, from its heading to its last newline."""
    lines = ["", HEADING]
    for key in _KEYS:
        value = getattr(record, key)
        if value:
            lines.append(f"{key}: {value}")
    lines += ["", "outputs:", *(_columns(record.outputs) or ["  (no outputs)"])]
    if record.level4_excluded_files:
        lines += ["", "Invalid moderately_sensitive outputs:"]
        lines += _columns(record.level4_excluded_files)
    if record.refused_outputs:
        lines += ["", "Refused outputs:", *_columns(record.refused_outputs)]
    return "\n".join(lines) + "\n"


def _columns(pairs: dict[str, str]) -> list[str]:
    """Two columns, both padded to their longest entry; sorted by the first."""
    if not pairs:
        return []
    left = max(map(len, pairs))
    right = max(map(len, pairs.values()))
    return [f"  {name:{left}}  - {pairs[name]:{right}}" for name in sorted(pairs)]


def write(
    storage: Storage, definition: JobDefinition, record: JobRecord, raw_log: Path | None
) -> None:
    """Write ``logs.txt`` in the job's log folder.

    Args:
        storage: where.
        definition: the job.
        record: what the summary is made of.
        raw_log: the container's lines, of which the last 100000 are kept, and of these what fits
            into 256 MiB; ``None``: there are none.

    Raises:
        TransientFault: DISK_FULL.
    """
    path = storage.log_dir(definition) / LOG_FILE
    ending = summary(record).encode("utf-8", "backslashreplace")
    if raw_log is None:
        write_file(path, ending)
        return
    with raw_log.open("rb") as lines:
        write_file(path, _with_ending(lines, ending))


def copy_to_workspaces(storage: Storage, definition: JobDefinition, *, again: bool) -> None:
    """Show the log in both workspaces as ``metadata/<action>.log``: first high, then medium.

    Args:
        storage: where.
        definition: the job.
        again: the job was finished before, who knows when: a copy that is newer than its log
            belongs to a later run of the action and is left alone. Otherwise this is the latest
            run, whatever a clock that was set back says.

    Raises:
        TransientFault: DISK_FULL.
    """
    source = storage.log_dir(definition) / LOG_FILE
    name = f"{component('action', definition.action)}.log"
    made = source.stat().st_mtime_ns
    workspaces = (storage.high(definition.workspace), storage.medium(definition.workspace))
    for workspace, staging in zip(workspaces, storage.staging(definition.id), strict=True):
        target = workspace / "metadata" / name
        if again and target.exists() and target.stat().st_mtime_ns >= made:
            continue
        with source.open("rb") as lines:
            pieces = iter(lambda: lines.read(_CHUNK), b"")
            write_file(target, pieces, staging=staging, durable=False)


def _with_ending(lines: BinaryIO, ending: bytes) -> Iterator[bytes]:
    start = _start_of_last_lines(lines, MOST_LINES)
    surplus = lines.seek(0, os.SEEK_END) - start - MOST_BYTES
    if surplus > 0:
        start += surplus
        yield f"[the log is too long: {surplus} bytes were left out here]\n".encode()
    lines.seek(start)
    last = b"\n"
    while chunk := lines.read(_CHUNK):
        yield chunk
        last = chunk[-1:]
    if last != b"\n":
        yield b"\n"  # the heading must stand on a line of its own
    yield ending


def _start_of_last_lines(lines: BinaryIO, most: int) -> int:
    """The offset of the first of the last ``most`` lines."""
    total, last = 0, b"\n"
    while chunk := lines.read(_CHUNK):
        total += chunk.count(b"\n")
        last = chunk[-1:]
    surplus = total + (last != b"\n") - most
    if surplus <= 0:
        return 0
    lines.seek(0)
    offset = 0
    while chunk := lines.read(_CHUNK):
        found = chunk.count(b"\n")
        if found >= surplus:
            break
        surplus -= found
        offset += len(chunk)
    end = -1
    for _ in range(surplus):
        end = chunk.index(b"\n", end + 1)
    return offset + end + 1
