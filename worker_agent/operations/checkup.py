"""The check-up of a backend host: everything that its jobs need (``rap agent check``)."""

import asyncio
from itertools import chain

from rap.findings import Finding
from worker_agent.operations import check_engine, check_services, check_storage
from worker_agent.operations.place import Place


async def check_up(place: Place) -> list[Finding]:
    """Look at everything at once; in the order in which one would mend it. Changes nothing."""
    settings, engine = place.settings, place.engine
    found = await asyncio.gather(
        check_engine.engine(engine),
        check_engine.network(engine, settings),
        check_engine.images(engine, settings),
        check_services.temporal(settings),
    )
    docker, network, images, temporal = found
    return list(
        chain(
            check_services.backend(settings),
            check_services.agents(place),
            docker,
            network,
            temporal,
            check_storage.storage(settings),
            check_storage.user_mapping(settings),
            check_services.clock(),
            check_services.present_secrets(settings),
            images,
        )
    )
