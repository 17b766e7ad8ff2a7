"""The page about limits of time says what the code does."""

import pytest

from tools import timeouts_reference
from tools.timeouts import limits, limits_of

pytestmark = pytest.mark.unit

FOUND = list(limits())


def test_the_page_is_what_the_code_says() -> None:
    assert timeouts_reference.PAGE.read_text() == timeouts_reference.page(FOUND), "run `just fix`"


def test_every_limit_has_a_reason() -> None:
    missing = timeouts_reference.without_reason(FOUND)
    assert missing == [], "give it a docstring that says why, then run `just fix`"


def test_no_reason_is_left_of_what_is_gone() -> None:
    assert timeouts_reference.stale(FOUND) == []


@pytest.mark.parametrize(
    ("source", "name", "value"),
    [
        ("WAIT_S = 90", "WAIT_S", "90 s"),
        ("PAUSE = timedelta(hours=1, minutes=30)", "PAUSE", "90 minutes"),
        ("KEEP = 7 * 24 * 3600\n'''Seconds.'''", "KEEP", "7 days"),
        ("STATEMENT_MILLISECONDS = 20_000", "STATEMENT_MILLISECONDS", "20 s"),
        ("ATTEMPTS = 1", "ATTEMPTS", "once"),
        ("PAUSES = (1.0,) + (60.0,) * 60", "PAUSES", "1 s, 60 times 1 minute"),
        ("LEFT_S = API_S - WAY_S", "LEFT_S", "`API_S - WAY_S`"),
        ("class Of:\n    '''Seconds.'''\n    fetch: float = 600.0", "Of.fetch", "10 minutes"),
        ("class Of(Settings):\n    a_timeout: float = Field(default=5)", "Of.a_timeout", "5 s"),
        ("async def f(limit_s: float = 2): ...", "f limit_s", "2 s"),
        ("async def f():\n    await asyncio.sleep(0.5)", "f sleep", "0.5 s"),
        ("def f():\n    with asyncio.timeout(3):\n        pass", "f timeout", "3 s"),
        ("def f():\n    call(rpc_timeout=timedelta(seconds=4))", "f rpc_timeout", "4 s"),
        ("POLICY = Retry(maximum_attempts=0)", "POLICY maximum_attempts", "without end"),
    ],
)
def test_a_limit_is_found_however_it_is_written(source: str, name: str, value: str) -> None:
    assert [(one.name, one.value) for one in limits_of(source, "m.py")] == [(name, value)]


@pytest.mark.parametrize("source", ["MOST = 5", "f(limit_s=LIMIT_S)", "sleep(pause)", "WAIT = {}"])
def test_what_is_no_number_of_its_own_is_left_alone(source: str) -> None:
    assert list(limits_of(source, "m.py")) == []
