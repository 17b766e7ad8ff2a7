"""Whether an image that is about to be pulled fits on the engine's disk.

A registry does not say what an image takes once it is unpacked. Another version of it on this host
is a good guess; without one, the setting ``NEW_IMAGE_MB`` is.
"""

import os
from collections.abc import Iterable

from rap.settings import AgentSettings
from worker_agent.engine.docker import Engine
from worker_agent.workspace.copying import check_space

MIB = 2**20


async def check_room_for_image(
    engine: Engine, versions: Iterable[str], settings: AgentSettings
) -> None:
    """Make sure that an image can be pulled, as far as that can be known.

    Args:
        engine: where to.
        versions: names that another version of it may have here.
        settings: how much must stay free, and how much an unknown image takes.

    Raises:
        TransientFault: DISK_FULL, or ENGINE_UNAVAILABLE.
    """
    root = (await engine.facts()).root_dir
    try:
        # Its disk may be asked about by those who may not look inside.
        folder = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return  # the agent lives in a container of its own, or the engine on another host
    try:
        check_space(
            folder, await _size(engine, versions, settings), reserve=settings.disk_reserve_mb * MIB
        )
    finally:
        os.close(folder)


async def _size(engine: Engine, versions: Iterable[str], settings: AgentSettings) -> int:
    for name in versions:
        if (version := await engine.find_image(name)) is not None:
            return int(version["Size"])
    return settings.new_image_mb * MIB
