"""Which histories are replayed after each test."""

from datetime import timedelta

import pytest

from rap.contracts.workflows import BACKEND
from rap.messages.backends import BackendLimits, BackendStart
from tests.support.histories import histories_of
from tests.support.rap_system import RapSystem
from workflows.backend.start import backend_options

pytestmark = pytest.mark.workflows


async def test_a_run_that_has_just_begun_is_left_out(system: RapSystem) -> None:
    limits = BackendLimits(max_workers=1, max_db_workers=1)
    begun = await system.client.start_workflow(
        BACKEND.name,
        BackendStart(slug=system.slug, limits=limits),
        start_delay=timedelta(days=1),
        **backend_options(system.slug),
    )
    assert len((await begun.fetch_history()).events) == 1
    assert await histories_of(system.client, system.slug) == []
