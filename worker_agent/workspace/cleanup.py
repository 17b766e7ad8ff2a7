"""Removing what a job left behind (agent.md 11.3), and files from a workspace."""

import os
from collections.abc import Iterable

import structlog

from rap.errors import JobFault
from worker_agent.workspace import beneath
from worker_agent.workspace.filing import discard_staged
from worker_agent.workspace.outputs import MARKER, shown
from worker_agent.workspace.removing import remove_tree
from worker_agent.workspace.storage import Storage
from worker_agent.workspace.turns import turn_of_job

log = structlog.get_logger()


def remove_volume(storage: Storage, job_id: str) -> None:
    """Delete the volume of a job, and all that was being made for it; never raises.

    Nothing there is fine. The marker goes first, so that a volume of which only a part could be
    removed never looks prepared. What remains is said in the log.
    """
    try:
        with turn_of_job(job_id):
            remove_tree(storage.volume(job_id) / MARKER)
            for path in (storage.volume(job_id), storage.unfinished(job_id)):
                failed = remove_tree(path)
                if failed:
                    listed = ", ".join(map(shown, failed))
                    log.error(f"could not remove {len(failed)} files from {path}: {listed}")
            discard_staged(storage, job_id)
    except (OSError, JobFault):
        log.exception(f"Failed to cleanup job volume {job_id}")


def delete_files(
    storage: Storage, workspace: str, privacy: str, names: Iterable[str]
) -> tuple[str, ...]:
    """Delete named files from one area of a workspace; those that are absent are fine.

    Args:
        storage: the backend's folders.
        workspace: its name.
        privacy: ``high`` or ``medium``; the other area is left alone.
        names: relative to the workspace.

    Returns:
        The names that could not be deleted.

    Raises:
        ValueError: there is no such area.
    """
    if privacy not in ("high", "medium"):
        raise ValueError(f"unknown privacy of {privacy}")
    root = storage.high(workspace) if privacy == "high" else storage.medium(workspace)
    failed: list[str] = []
    for name in names:
        try:
            with beneath.directory(root) as area, beneath.parent_of(area, name) as (folder, last):
                os.unlink(last, dir_fd=folder)
        except FileNotFoundError:
            continue
        except (OSError, beneath.UnsafeName):
            failed.append(name)
    return tuple(failed)
