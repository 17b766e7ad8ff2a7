"""The checklist of a backend host: everything that its jobs need (``rap agent check``)."""

import asyncio

from rap.findings import Finding
from worker_agent.operations import checklist_engine, checklist_services, checklist_storage
from worker_agent.operations.place import Place


async def check_host(place: Place) -> list[Finding]:
    """Look at everything at once; in the order in which one would mend it. Changes nothing."""
    settings, engine = place.settings, place.engine
    docker, network, images, temporal = await asyncio.gather(
        checklist_engine.engine(engine.system),
        checklist_engine.network(engine.system, settings),
        checklist_engine.images(place.observer, settings),
        checklist_services.temporal(settings),
    )
    return [
        checklist_services.backend(settings),
        checklist_services.agents(place),
        *docker,
        network,
        *temporal,
        *checklist_storage.storage(settings),
        checklist_storage.user_mapping(settings),
        *checklist_services.clock(),
        checklist_services.present_secrets(settings),
        *images,
    ]
