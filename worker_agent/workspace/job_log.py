"""The log of a job: what its program said, then a summary of how it went (docs/spec/agent.md 10.2).

It is written for the author of the study, and read at level 4; the release tool finds the summary
by its heading and never cuts what follows it.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from rap.models import JobDefinition
from rap.safe_names import safe_name, what_misleads
from worker_agent.atomic_files import write_file
from worker_agent.workspace.limits import LIMITS, Limits
from worker_agent.workspace.metadata import JobRecord
from worker_agent.workspace.safe_paths import UnsafeName, parts_of
from worker_agent.workspace.storage import LOG_FILE, Storage

CHUNK = 1024 * 1024
HEADING = "=============JOB SUMMARY============="
FILES_BENEATH_METADATA = (".log", ".json")
"""Endings of files that lie there; a folder of such a name would be in the way of one."""
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
    storage: Storage,
    definition: JobDefinition,
    record: JobRecord,
    raw_log: Path | None,
    limits: Limits = LIMITS,
) -> None:
    """Write ``logs.txt``: the container's lines, if any, and the summary; or raise DISK_FULL."""
    path = storage.log_dir(definition) / LOG_FILE
    ending = summary(record).encode("utf-8", "backslashreplace")
    if raw_log is None:
        write_file(path, ending)
        return
    with raw_log.open("rb") as lines:
        write_file(path, _with_ending(lines, ending, limits))


def copy_to_workspaces(storage: Storage, definition: JobDefinition, *, again: bool) -> None:
    """Show the log in both workspaces as ``metadata/<action>.log``, or DISK_FULL.

    ``again``: the job was finished before, who knows when. Then a copy that is newer than its log
    belongs to a later run of the action and is left alone. Otherwise this is the latest run,
    whatever a clock that was set back says.
    """
    source = storage.log_dir(definition) / LOG_FILE
    name = log_name(definition.action)
    made = source.stat().st_mtime_ns
    workspaces = (storage.high(definition.workspace), storage.medium(definition.workspace))
    for workspace, staging in zip(
        workspaces, storage.staging(definition.attempt_name), strict=True
    ):
        target = workspace / "metadata" / name
        if again and target.exists() and target.stat().st_mtime_ns >= made:
            continue
        with source.open("rb") as lines:
            pieces = iter(lambda: lines.read(CHUNK), b"")
            write_file(target, pieces, staging=staging, durable=False)


def log_name(action: str) -> str:
    """Where the log of an action lies beneath ``metadata/``.

    As its name says, also in a folder, if that is a path that people can read and that meets no
    other file of ours: ``models/fit.log``. Else by the safe form of the name.
    """
    name = f"{action}.log"
    try:
        *folders, _ = parts_of(name)
    except UnsafeName:
        return f"{safe_name(action)}.log"
    meets_a_file = any(folder.endswith(FILES_BENEATH_METADATA) for folder in folders)
    if meets_a_file or what_misleads(action):
        return f"{safe_name(action)}.log"
    return name


def _with_ending(lines: BinaryIO, ending: bytes, limits: Limits) -> Iterator[bytes]:
    start = start_of_last_lines(lines, limits.log_lines)
    surplus = lines.seek(0, os.SEEK_END) - start - limits.log_bytes
    if surplus > 0:
        start += surplus
        yield f"[the log is too long: {surplus} bytes were left out here]\n".encode()
    lines.seek(start)
    last = b"\n"
    while chunk := lines.read(CHUNK):
        yield chunk
        last = chunk[-1:]
    if last != b"\n":
        yield b"\n"  # the heading must stand on a line of its own
    yield ending


def start_of_last_lines(file: BinaryIO, count: int, chunk: int = CHUNK) -> int:
    """Where the last ``count`` lines begin, or 0 if there are no more; read from the end."""
    end = position = file.seek(0, 2)
    left = count
    while position > 0:
        size = min(chunk, position)
        position -= size
        file.seek(position)
        content = file.read(size)
        newline = size
        while (newline := content.rfind(b"\n", 0, newline)) >= 0:
            if position + newline == end - 1:
                continue  # the one that ends the last line
            left -= 1
            if left == 0:
                return position + newline + 1
    return 0
