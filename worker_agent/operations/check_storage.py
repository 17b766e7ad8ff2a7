"""The check-up of the folders: who owns them, whether they can be written to, room on their disks.

Nothing is left behind: what is written has no name.
"""

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from rap.findings import Finding, ok, problem, warning
from rap.settings import AgentSettings
from worker_agent.operations.place import user

GIB = 1024**3
TOO_LITTLE = 1 * GIB
LITTLE = 20 * GIB
LITTLE_SHARE = 0.1


def folders(settings: AgentSettings) -> Mapping[str, Path]:
    """The agent's folders by the variable that names them."""
    return {
        "WORKDIR": settings.workdir,
        "HIGH_PRIVACY_STORAGE_BASE": settings.high_privacy,
        "HIGH_PRIVACY_VOLUME_DIR": settings.volume_dir,
        "MEDIUM_PRIVACY_STORAGE_BASE": settings.medium_privacy,
    }


def storage(settings: AgentSettings) -> list[Finding]:
    """Whether the agent, as this user, can work in its folders."""
    found: list[Finding] = []
    for variable, folder in folders(settings).items():
        found += _folder(variable, folder)
    for beneath in (
        settings.high_privacy / "workspaces",
        settings.high_privacy / "logs",
        settings.medium_privacy / "workspaces",
    ):
        if beneath.exists():
            found += [each for each in _access(str(beneath), beneath) if each.remedy]
    return found


def user_mapping(settings: AgentSettings) -> list[Finding]:
    """Whether the user that programs run as can write to the volumes that this user makes."""
    subject, ours = "container user", os.geteuid()
    named = f"{settings.docker_user_id}:{settings.docker_group_id}"
    if ours not in (0, settings.docker_user_id):
        return [
            problem(
                subject,
                f"programs run as {named}, but volumes will belong to {user(ours)}: no program "
                "could write its outputs",
                f"Set DOCKER_USER_ID={ours}, or run the agent as {user(settings.docker_user_id)}.",
            )
        ]
    if settings.docker_user_id == 0:
        return [
            warning(
                subject,
                "programs run as root (without any privilege, but owning root's files)",
                "Run the agent as a user of its own, or set DOCKER_USER_ID and DOCKER_GROUP_ID.",
            )
        ]
    return [ok(subject, f"programs run as {named}")]


def _folder(variable: str, folder: Path) -> list[Finding]:
    if not folder.is_dir():
        parent = next(each for each in folder.parents if each.exists())
        if os.access(parent, os.W_OK | os.X_OK):
            return [ok(variable, f"{folder} is not there yet: the agent makes it")]
        return [
            problem(
                variable,
                f"{folder} is not there, and {user(os.geteuid())} may not make it",
                f"install -d -o {os.geteuid()} -g {os.getegid()} -m 750 {folder}",
            )
        ]
    found = _access(variable, folder)
    if not any(each.remedy for each in found):
        return [*found, _room(variable, folder)]
    return found


def _access(subject: str, folder: Path) -> list[Finding]:
    facts = folder.stat()
    ours = os.geteuid()
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as error:
        return [
            problem(
                subject,
                f"{folder} cannot be written to by {user(ours)} ({error.strerror}); it belongs to "
                f"{user(facts.st_uid)}",
                f"Run this, and the agent, as {user(facts.st_uid)}; or: chown -R {ours} {folder}",
            )
        ]
    if facts.st_uid != ours:
        return [
            warning(
                subject,
                f"{folder} belongs to {user(facts.st_uid)}, and this is {user(ours)}",
                f"Run this, and the agent, as {user(facts.st_uid)}.",
            )
        ]
    if facts.st_mode & 0o002:
        return [
            warning(subject, f"everybody may write to {folder}", f"chmod o-w {folder}"),
        ]
    return [ok(subject, f"{folder} can be written to")]


def _room(variable: str, folder: Path) -> Finding:
    disk = os.statvfs(folder)
    free, size = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
    return judged_room(variable, free=free, size=size, files=(disk.f_favail, disk.f_files))


def judged_room(variable: str, *, free: int, size: int, files: tuple[int, int]) -> Finding:
    """What to think of the room on a folder's disk.

    Args:
        variable: that names the folder.
        free: bytes that this user may use.
        size: bytes of the disk.
        files: how many more files fit, and how many in all; zeros if the disk does not count.
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
