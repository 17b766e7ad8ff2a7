"""Which hosts of a backend are given jobs, by whose files they have."""

import pytest

from rap.egress import SILENT_AFTER_S, AgentReport, Fault
from workflows.backend.agents import Agents
from workflows.backend.hosts import Hosts

pytestmark = pytest.mark.unit

ONE, TWO = "1" * 32, "2" * 32


def report(host: str, storage: str | None, *closed: Fault) -> AgentReport:
    return AgentReport(backend="b", host=host, at=0, room=5, storage=storage, closed=closed)


def refused(agents: Agents, now: float) -> list[str]:
    return [each.host for each in agents.living(now).values() if Fault.OTHER_STORAGE in each.closed]


def test_a_second_host_with_other_files_is_refused_and_gets_no_jobs() -> None:
    agents = Agents((), None)
    for now in (1.0, 2.0):
        agents.take(report("first", ONE), now)
        agents.take(report("second", TWO, Fault.DISK_FULL), now)
        assert refused(agents, now) == ["second"]
    hosts = Hosts(agents.room({}, 2.0), agents.living(2.0))
    assert set(hosts._free) == {"first"}


@pytest.mark.parametrize("other", [ONE, None])
def test_hosts_with_the_same_files_or_of_an_earlier_version_are_both_taken(
    other: str | None,
) -> None:
    agents = Agents((), None)
    agents.take(report("first", ONE), 1.0)
    agents.take(report("second", other), 1.0)
    assert refused(agents, 1.0) == []


def test_a_refused_host_takes_the_place_of_one_that_is_gone_and_keeps_it() -> None:
    agents = Agents((), None)
    agents.take(report("first", ONE), 1.0)
    agents.take(report("second", TWO), 1.0)
    agents.forget("first")
    agents.take(report("second", TWO), 2.0)
    assert refused(agents, 2.0) == []
    agents.take(report("first", ONE), 3.0)
    assert refused(agents, 3.0) == ["first"]


def test_a_host_that_was_silent_while_another_took_its_place_is_refused() -> None:
    agents = Agents((), None)
    agents.take(report("first", ONE), 1.0)
    late = 2.0 + SILENT_AFTER_S
    agents.take(report("second", TWO), late)
    agents.take(report("first", ONE), late + 1)
    assert refused(agents, late + 1) == ["first"]


def test_a_host_cannot_say_of_itself_that_it_is_refused() -> None:
    agents = Agents((), None)
    agents.take(report("first", ONE, Fault.OTHER_STORAGE), 1.0)
    assert refused(agents, 1.0) == []


def test_who_is_refused_is_known_to_the_next_run_of_the_backend() -> None:
    agents = Agents((), None)
    agents.take(report("first", ONE), 1.0)
    agents.take(report("second", TWO), 1.0)
    after = Agents(agents.known(1.0), 1.0)
    after.take(report("second", TWO), 2.0)
    after.take(report("first", ONE), 2.0)
    assert refused(after, 2.0) == ["second"]
