"""Runs the tests in the order of their cost, and says how many of each group were run.

Every test belongs to one group, by its marker. With ``--complete`` a run fails if a test is
skipped or belongs to no group, or a group has no tests: then a part was silently left out.
"""

from collections import Counter

import pytest

GROUPS = ("unit", "workflows", "docker", "e2e")
OUTCOMES = ("passed", "failed", "error", "skipped", "xfailed", "xpassed")

_group_of: dict[str, str] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--complete", action="store_true", help="fail if any test or group is left out"
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    strays = []
    for item in items:
        # A test that needs more than its group says belongs to the dearer one.
        groups = [group for group in GROUPS if item.get_closest_marker(group)]
        if groups:
            _group_of[item.nodeid] = groups[-1]
        else:
            strays.append(item.nodeid)
    if strays and config.getoption("--complete"):
        listed = "\n  ".join(strays)
        raise pytest.UsageError(f"Mark these tests with one of {', '.join(GROUPS)}:\n  {listed}")
    items.sort(key=lambda item: GROUPS.index(_group_of.get(item.nodeid, GROUPS[0])))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if exitstatus == pytest.ExitCode.OK and _left_out(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    terminalreporter.section("groups")
    counts = _counts(config)
    for group in GROUPS:
        found = [f"{count} {name}" for name, count in counts[group].items() if count]
        if found or config.getoption("--complete"):
            terminalreporter.line(f"{group:<10} {', '.join(found) or 'none run'}")
    for problem in _left_out(config):
        terminalreporter.line(f"not complete: {problem}", red=True)


def _counts(config: pytest.Config) -> dict[str, Counter[str]]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    counts: dict[str, Counter[str]] = {group: Counter() for group in GROUPS}
    for outcome in OUTCOMES:
        for report in reporter.stats.get(outcome, []) if reporter else ():
            group = _group_of.get(getattr(report, "nodeid", ""))
            if group:
                counts[group][outcome] += 1
    return counts


def _left_out(config: pytest.Config) -> list[str]:
    if not config.getoption("--complete"):
        return []
    problems = []
    for group, outcomes in _counts(config).items():
        if outcomes["skipped"]:
            problems.append(f"{outcomes['skipped']} skipped in {group}")
        if not outcomes["passed"]:
            problems.append(f"no test of {group} passed")
    return problems
