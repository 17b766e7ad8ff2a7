"""Runs the tests in the order of their cost, and says how many of each group were run.

Every test belongs to one group, by its marker. ``--groups`` chooses some of them; what is marked
``nightly`` takes minutes, and is run with ``--nightly`` only. With ``--complete`` a run fails if a
test of the chosen groups is skipped or belongs to no group, or a group has no tests: then a part
was silently left out.
"""

from collections import Counter

import pytest

GROUPS = ("unit", "workflows", "docker", "e2e")
OUTCOMES = ("passed", "failed", "error", "skipped", "xfailed", "xpassed")
NO_GROUP = "no group"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--groups", metavar="NAMES", type=_groups, default=GROUPS, help="run these groups only"
    )
    parser.addoption(
        "--nightly", action="store_true", help="run what takes minutes, and nothing else"
    )
    parser.addoption(
        "--complete", action="store_true", help="fail if any test or group is left out"
    )


def _groups(names: str) -> tuple[str, ...]:
    chosen = tuple(names.split(","))
    if unknown := set(chosen) - set(GROUPS):
        raise pytest.UsageError(f"--groups: {', '.join(unknown)} is none of {', '.join(GROUPS)}")
    return chosen


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    chosen: list[tuple[int, pytest.Item]] = []
    others = []
    for item in items:
        # A test that needs more than its group says belongs to the dearer one.
        marked = [group for group in GROUPS if item.get_closest_marker(group)]
        group = marked[-1] if marked else NO_GROUP
        item.user_properties.append(("group", group))
        is_nightly = item.get_closest_marker("nightly") is not None
        if is_nightly == config.getoption("--nightly") and (
            group == NO_GROUP or group in config.getoption("--groups")
        ):
            chosen.append((GROUPS.index(group) if marked else 0, item))
        else:
            others.append(item)
    items[:] = [item for _, item in sorted(chosen, key=lambda one: one[0])]
    config.hook.pytest_deselected(items=others)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if exitstatus == pytest.ExitCode.OK and _left_out(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    terminalreporter.section("groups")
    for group, outcomes in _counts(config).items():
        found = [f"{count} {name}" for name, count in outcomes.items() if count]
        if found or (config.getoption("--complete") and group in config.getoption("--groups")):
            terminalreporter.line(f"{group:<10} {', '.join(found) or 'none run'}")
    for problem in _left_out(config):
        terminalreporter.line(f"not complete: {problem}", red=True)


def _counts(config: pytest.Config) -> dict[str, Counter[str]]:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    counts: dict[str, Counter[str]] = {group: Counter() for group in (*GROUPS, NO_GROUP)}
    for outcome in OUTCOMES:
        for report in reporter.stats.get(outcome, []) if reporter else ():
            if isinstance(report, pytest.TestReport):
                counts[str(dict(report.user_properties)["group"])][outcome] += 1
    return counts


def _left_out(config: pytest.Config) -> list[str]:
    # A process that runs a part of the tests for another one does not know the rest.
    if not config.getoption("--complete") or hasattr(config, "workerinput"):
        return []
    counts = _counts(config)
    problems = []
    if strays := counts[NO_GROUP].total():
        problems.append(f"{strays} tests marked with none of {', '.join(GROUPS)}")
    for group in config.getoption("--groups"):
        if skipped := counts[group]["skipped"]:
            problems.append(f"{skipped} skipped in {group}")
        if not counts[group]["passed"]:
            problems.append(f"no test of {group} passed")
    return problems
