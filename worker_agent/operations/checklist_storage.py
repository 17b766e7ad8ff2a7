"""The checklist of the folders: who owns them, whether they can be written to, room on their disks.

Nothing is left behind: what is written has no name.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from rap.findings import Finding, ok, problem, warning
from rap.settings import AgentSettings
from worker_agent.operations.place import user
from worker_agent.workspace.storage import folders

GIB = 1024**3
TOO_LITTLE = 1 * GIB
LITTLE = 20 * GIB
LITTLE_SHARE = 0.1


def storage(settings: AgentSettings) -> Iterator[Finding]:
    """Whether the agent, as this user, can work in its folders."""
    for variable, folder in folders(settings).items():
        access = _access(variable, folder)
        yield access
        if folder.is_dir() and not access.remedy:
            yield _room(variable, folder)
    for below in (
        settings.high_privacy / "workspaces",
        settings.high_privacy / "logs",
        settings.medium_privacy / "workspaces",
    ):
        if below.exists() and (access := _access(str(below), below)).remedy:
            yield access


def user_mapping(settings: AgentSettings) -> Finding:
    """Whether the user that programs run as can write to the volumes that this user makes."""
    subject, ours = "container user", os.geteuid()
    named = f"{settings.docker_user_id}:{settings.docker_group_id}"
    if ours not in (0, settings.docker_user_id):
        return problem(
            subject,
            f"programs run as {named}, but volumes will belong to {user(ours)}: no program "
            "could write its outputs",
            f"Set DOCKER_USER_ID={ours}, or run the agent as {user(settings.docker_user_id)}.",
        )
    if settings.docker_user_id == 0:
        return warning(
            subject,
            "programs run as root (without any privilege, but owning root's files)",
            "Run the agent as a user of its own, or set DOCKER_USER_ID and DOCKER_GROUP_ID.",
        )
    return ok(subject, f"programs run as {named}")


def _access(subject: str, folder: Path) -> Finding:
    ours = os.geteuid()
    if not folder.is_dir():
        parent = next(each for each in folder.parents if each.exists())
        if os.access(parent, os.W_OK | os.X_OK):
            return ok(subject, f"{folder} is not there yet: the agent makes it")
        return problem(
            subject,
            f"{folder} is not there, and {user(ours)} may not make it",
            f"install -d -o {ours} -g {os.getegid()} -m 750 {folder}",
        )
    facts = folder.stat()
    owner = user(facts.st_uid)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as error:
        return problem(
            subject,
            f"{folder} cannot be written to by {user(ours)} ({error.strerror}); it belongs to "
            f"{owner}",
            f"Run this, and the agent, as {owner}; or: chown -R {ours} {folder}",
        )
    if facts.st_uid != ours:
        return warning(
            subject,
            f"{folder} belongs to {owner}, and this is {user(ours)}",
            f"Run this, and the agent, as {owner}.",
        )
    if facts.st_mode & 0o002:
        return warning(subject, f"everybody may write to {folder}", f"chmod o-w {folder}")
    return ok(subject, f"{folder} can be written to")


def _room(variable: str, folder: Path) -> Finding:
    disk = os.statvfs(folder)
    free, size = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    return judged_room(variable, free=free, size=size, files=(disk.f_favail, disk.f_files))


def judged_room(variable: str, *, free: int, size: int, files: tuple[int, int]) -> Finding:
    """What to think of the room on a folder's disk, in bytes that this user may use.

    ``files``: how many more fit, and how many in all; zeros if the disk does not count.
    """
    subject = f"disk of {variable}"
    text = f"{free / GIB:.1f} of {size / GIB:.1f} GiB free"
    clean = (
        "Archive or delete workspaces that are finished with, remove unused images "
        "(docker image prune), or enlarge the disk."
    )
    if free < TOO_LITTLE:
        return problem(subject, text, clean)
    if files[1] and files[0] < files[1] * 0.05:
        return warning(subject, f"{text}, but room for only {files[0]} more files", clean)
    if free < min(LITTLE, size * LITTLE_SHARE):
        return warning(subject, text, clean)
    return ok(subject, text)
