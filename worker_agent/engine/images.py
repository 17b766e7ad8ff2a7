"""Making sure that the image of a job is on the host (agent.md 7.2)."""

import asyncio
from typing import Protocol

import structlog

from rap.egress import Fault
from rap.errors import PermanentFault, TransientFault
from rap.settings import AgentSettings
from worker_agent.engine.docker import Engine
from worker_agent.engine.image_room import check_room_for_image
from worker_agent.engine.inspection import nanoseconds

log = structlog.get_logger()

ATTEMPTS = 3
RETRY_PAUSE = 1.0


class Pinned(Protocol):
    """Whatever names an image, such as the definition of a job or the order of a check."""

    @property
    def image(self) -> str:
        """Full name with its tag."""
        ...

    @property
    def image_sha(self) -> str | None:
        """The digest that is wanted; ``None`` for whatever the tag stands for."""
        ...


async def ensure_image(engine: Engine, wanted: Pinned, settings: AgentSettings) -> str:
    """Make sure that an image is on this host.

    A pinned image is wanted by its digest: it is pulled through the registry proxy unless it is
    here. Without a digest the local image of that name is taken as it is, and only if there is none
    it is pulled by its name.

    Returns:
        The reference to run: nothing else needs to know where the image came from.

    Raises:
        PermanentFault: IMAGE_UNAVAILABLE, not one of the allowed registry, or unknown to it.
        TransientFault: IMAGE_PULL_FAILED, DISK_FULL, ENGINE_UNAVAILABLE.
    """
    image, digest = wanted.image, wanted.image_sha
    prefix = f"{settings.docker_registry}/"
    if not image.startswith(prefix):
        raise PermanentFault(
            Fault.IMAGE_UNAVAILABLE,
            f"image {image} does not belong to DOCKER_REGISTRY {settings.docker_registry}",
        )
    proxied = f"{settings.docker_proxy}/{image.removeprefix(prefix)}"
    if digest is None:
        if await engine.find_image(image) is None:
            await check_room_for_image(engine, (proxied,), settings)
            await _pull(engine, proxied)
            await engine.tag(proxied, *split_tag(image))
        return image
    pinned = f"{proxied}@{digest}"
    if await engine.find_image(pinned) is None:
        await check_room_for_image(engine, (proxied, image), settings)
        await _pull(engine, pinned)
    await _move_labels(engine, pinned, proxied, image)
    return pinned


def split_tag(reference: str) -> tuple[str, str]:
    """Repository and tag of a reference; the tag is ``latest`` if it names none."""
    repository, colon, tag = reference.rpartition(":")
    if not colon or "/" in tag:  # that colon was a port's
        return reference, "latest"
    return repository, tag


async def _pull(engine: Engine, reference: str) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            await engine.pull(reference)
        except TransientFault as fault:
            # Running out of time or of disk is not mended by asking again at once.
            passing = fault.fault is Fault.IMAGE_PULL_FAILED
            if attempt == ATTEMPTS or not passing or isinstance(fault.__cause__, TimeoutError):
                raise
            log.warning(
                f"docker pull failed (attempt {attempt}/{ATTEMPTS}), retrying in {RETRY_PAUSE:g}s"
            )
            await asyncio.sleep(RETRY_PAUSE)
        else:
            return


async def _move_labels(engine: Engine, pinned: str, proxied: str, image: str) -> None:
    """Let the names point at the newest image pulled: a convenience for people on the host."""
    new, old = await engine.find_image(pinned), await engine.find_image(proxied)
    if new is None:
        raise TransientFault(Fault.IMAGE_PULL_FAILED, f"{pinned} is gone just after it was pulled")
    made = [nanoseconds(str(each.get("Created", ""))) if each else None for each in (new, old)]
    if old is None or (made[0] or 0) > (made[1] or 0):
        for name in (proxied, image):
            await engine.tag(new["Id"], *split_tag(name))
