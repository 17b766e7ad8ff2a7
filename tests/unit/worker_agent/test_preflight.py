"""Whether an agent can work with its settings, and who holds its work directory."""

import os
from pathlib import Path
from typing import Any

import pytest

from rap.errors import ConfigurationError
from rap.settings import AgentSettings
from worker_agent.agent_lock import Holder, sole_use
from worker_agent.preflight import check_settings, check_user

pytestmark = pytest.mark.unit


def settings(tmp_path: Path, **changes: Any) -> AgentSettings:
    return AgentSettings(backend="test", workdir=tmp_path, **changes)


@pytest.mark.spec("agent:88")
@pytest.mark.parametrize(
    ("euid", "rootless", "user"),
    [(10_000, False, 10_000), (0, False, 10_000), (0, False, 0), (10_000, True, 0)],
)
def test_jobs_run_as_a_user_that_can_work_in_their_volumes(
    tmp_path: Path, euid: int, rootless: bool, user: int
) -> None:
    check_user(settings(tmp_path, docker_user_id=user), euid=euid, rootless=rootless)


@pytest.mark.parametrize(
    ("rootless", "user", "needed"), [(False, 10_001, 10_000), (False, 0, 10_000), (True, 10_000, 0)]
)
def test_any_other_user_is_refused_with_the_one_that_would_do(
    tmp_path: Path, rootless: bool, user: int, needed: int
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_user(settings(tmp_path, docker_user_id=user), euid=10_000, rootless=rootless)
    assert str(caught.value).startswith(f"DOCKER_USER_ID: jobs would run as user {user}")
    assert str(caught.value).endswith(f"set it to {needed}")


def test_folders_are_made_and_looked_at_without_a_trace(tmp_path: Path) -> None:
    ours = settings(tmp_path / "new")
    check_settings(ours)
    folders = (ours.high_privacy, ours.medium_privacy, ours.volume_dir)
    assert all(folder.is_dir() for folder in folders)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


async def test_the_holder_of_the_lock_says_which_process_it_is(tmp_path: Path) -> None:
    with await sole_use(tmp_path):
        holder = Holder.model_validate_json((tmp_path / "agent.lock").read_bytes())
    assert holder == Holder.this()
    assert holder.pid == os.getpid()
    with await sole_use(tmp_path):
        assert Holder.model_validate_json((tmp_path / "agent.lock").read_bytes()) == holder
