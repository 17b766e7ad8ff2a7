"""Making sure that the image of a job is on the host (docs/spec/agent.md 7.2)."""

import asyncio
import os
from collections.abc import Iterable

import structlog

from rap.egress import Fault
from rap.errors import PermanentFault, TransientFault
from rap.settings import AgentSettings
from worker_agent.disk import require_space
from worker_agent.engine.docker import Engine
from worker_agent.engine.inspection import nanoseconds

log = structlog.get_logger()

ATTEMPTS = 3


async def ensure_image(
    engine: Engine, image: str, digest: str | None, settings: AgentSettings, *, pause: float
) -> str:
    """Make sure that an image is on this host; the reference to run.

    With a digest that very image is wanted: it is pulled through the registry proxy unless it is
    here. Without one the local image of the full name is taken as it is, and only if there is none
    it is pulled by its name. ``pause`` is the seconds between the tries to pull it.

    Raises:
        PermanentFault: IMAGE_UNAVAILABLE, not one of the allowed registry, or unknown to it.
        TransientFault: IMAGE_PULL_FAILED, DISK_FULL, ENGINE_UNAVAILABLE.
    """
    prefix = f"{settings.docker_registry}/"
    if not image.startswith(prefix):
        raise PermanentFault(
            Fault.IMAGE_UNAVAILABLE,
            f"image {image} does not belong to DOCKER_REGISTRY {settings.docker_registry}",
        )
    proxied = f"{settings.docker_proxy}/{image.removeprefix(prefix)}"
    if digest is None:
        if await engine.images.find(image) is None:
            await _require_space(engine, (proxied,), settings)
            await _pull(engine, proxied, pause)
            await engine.images.tag(proxied, *split_tag(image))
        return image
    pinned = f"{proxied}@{digest}"
    if await engine.images.find(pinned) is None:
        await _require_space(engine, (proxied, image), settings)
        await _pull(engine, pinned, pause)
    await _move_labels(engine, pinned, proxied, image)
    return pinned


def split_tag(reference: str) -> tuple[str, str]:
    """Repository and tag of a reference; the tag is ``latest`` if it names none."""
    repository, colon, tag = reference.rpartition(":")
    if not colon or "/" in tag:  # that colon was a port's
        return reference, "latest"
    return repository, tag


async def _require_space(engine: Engine, versions: Iterable[str], settings: AgentSettings) -> None:
    """DISK_FULL unless an image can be pulled, as far as that can be known.

    ``versions`` are names that another version of it may have here.
    """
    root = (await engine.system.state()).root_dir
    try:
        # Its disk may be asked about by those who may not look inside.
        folder = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return  # the agent lives in a container of its own, or the engine on another host
    try:
        require_space(
            folder,
            await _size(engine, versions, settings),
            reserve=settings.disk_reserve_mb * 2**20,
        )
    finally:
        os.close(folder)


async def _size(engine: Engine, versions: Iterable[str], settings: AgentSettings) -> int:
    for name in versions:
        if (version := await engine.images.find(name)) is not None:
            return int(version["Size"])
    return settings.new_image_mb * 2**20


async def _pull(engine: Engine, reference: str, pause: float) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            await engine.images.pull(reference)
        except TransientFault as fault:
            # Running out of time or of disk is not mended by asking again at once.
            passing = fault.fault is Fault.IMAGE_PULL_FAILED
            if attempt == ATTEMPTS or not passing or isinstance(fault.__cause__, TimeoutError):
                raise
            log.warning(
                f"docker pull failed (attempt {attempt}/{ATTEMPTS}), retrying in {pause:g}s"
            )
            await asyncio.sleep(pause)
        else:
            return


async def _move_labels(engine: Engine, pinned: str, proxied: str, image: str) -> None:
    """Let the names point at the newest image pulled: a convenience for people on the host."""
    new, old = await engine.images.find(pinned), await engine.images.find(proxied)
    if new is None:
        raise TransientFault(Fault.IMAGE_PULL_FAILED, f"{pinned} is gone just after it was pulled")
    made = [nanoseconds(str(each.get("Created", ""))) if each else None for each in (new, old)]
    if old is None or (made[0] or 0) > (made[1] or 0):
        for name in (proxied, image):
            await engine.images.tag(new["Id"], *split_tag(name))
