"""Who waits for whom, and for how long."""

import pytest

from rap import deadlines
from rap.errors import ConfigurationError
from rap.git import WITHIN_A_CREATE
from rap.settings import ApiSettings, load

pytestmark = pytest.mark.unit


def test_whoever_waits_for_another_gives_up_later_than_the_other() -> None:
    chain = [
        deadlines.GIT_ASKS_S,
        deadlines.GIT_S,
        deadlines.WORKSPACE_S,
        ApiSettings().rap_api_timeout,
        deadlines.CLIENT_S,
    ]
    assert chain == sorted(set(chain))
    assert deadlines.CLIENT_S == 25, "what docs/spec/rap-api.md A6.4 promises"


def test_git_works_within_the_time_of_the_workspace_that_waits_for_it() -> None:
    limits = (WITHIN_A_CREATE.resolve, WITHIN_A_CREATE.fetch, WITHIN_A_CREATE.local)
    assert max(limits) < deadlines.WORKSPACE_S


def test_a_project_that_is_here_and_one_that_is_fetched_are_both_read_in_time() -> None:
    assert deadlines.WARM_S + deadlines.GIT_ASKS_S < deadlines.WORKSPACE_S
    assert deadlines.SILENCE.total_seconds() * deadlines.TRIES < deadlines.WORKSPACE_S


def test_a_create_is_offered_again_only_when_nobody_waits_for_its_first_answer() -> None:
    assert deadlines.OFFERED_AFTER_S > deadlines.CLIENT_S
    assert deadlines.OFFERED_EVERY_S < deadlines.OFFERED_FOR_S


@pytest.mark.parametrize("seconds", ["0", "22", "25", "600", "nan", "inf"])
def test_the_setting_of_the_api_cannot_leave_the_chain(
    seconds: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAP_API_TIMEOUT", seconds)
    with pytest.raises(ConfigurationError, match="RAP_API_TIMEOUT: must be more than 22 and less"):
        load(ApiSettings)


@pytest.mark.parametrize("seconds", [22.5, 24.9])
def test_within_the_chain_the_setting_of_the_api_is_free(
    seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAP_API_TIMEOUT", str(seconds))
    assert load(ApiSettings).rap_api_timeout == seconds
