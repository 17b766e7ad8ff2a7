"""Every order of what workspaces, RAPs, jobs and their backend say to each other ends well.

A seed is an order: of what clients and operators do, and of each step of each workflow. A failure
names its seed and tells what happened; the world is in :mod:`tests.support.world`.
"""

from pathlib import Path

import pytest

from tests.support.world.checks import complaints
from tests.support.world.story import Story

pytestmark = pytest.mark.unit


async def tell(seed: int, folder: Path, *, disturbed: bool = False) -> None:
    story = Story(seed, folder, disturbed=disturbed)
    try:
        await story.play(lambda story: not complaints(story))
        wrong = complaints(story)
    except Exception as error:
        error.add_note(f"seed {seed}:\n" + "\n".join(story.server.log))
        raise
    finally:
        log = "\n".join(story.server.log)
        story.close()
    assert not wrong, f"seed {seed}:\n{log}\n\n" + "\n".join(wrong)


@pytest.mark.parametrize("seed", range(100))
async def test_everyone_who_waits_is_woken(seed: int, tmp_path: Path) -> None:
    await tell(seed, tmp_path)


@pytest.mark.parametrize("seed", range(100))
async def test_everyone_is_woken_although_workflows_are_terminated(
    seed: int, tmp_path: Path
) -> None:
    await tell(seed, tmp_path, disturbed=True)


@pytest.mark.nightly
@pytest.mark.parametrize("disturbed", [False, True])
@pytest.mark.parametrize("seed", range(100, 1100))
async def test_everyone_is_woken_in_any_of_a_thousand_orders(
    seed: int, disturbed: bool, tmp_path: Path
) -> None:
    await tell(seed, tmp_path, disturbed=disturbed)
