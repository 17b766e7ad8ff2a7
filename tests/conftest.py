"""Options of the test run, and the system that several groups share.

How hard the property tests look: a few hundred examples, or ``--hypothesis-profile nightly``.
"""

import asyncio
import signal
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.support.quick_system import QuickSystem

settings.register_profile("default", max_examples=300, deadline=None)
settings.register_profile("nightly", max_examples=5_000, deadline=None)
settings.register_profile("mutation", max_examples=50, deadline=None, derandomize=True)
settings.load_profile("default")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record-histories",
        metavar="FOLDER",
        help="keep the histories of all workflow tests, to be replayed by later versions",
    )


def pytest_configure() -> None:
    # A run in the background of a script ignores Ctrl-C, and so would all that it starts.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


_CLOCKS = ((asyncio, "sleep", asyncio.sleep), (time, "monotonic", time.monotonic))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """Servers in other threads of the process go by its clock: a test that patches it stops them,
    and has to patch a name of the tested module instead.
    """
    patched = [name for module, name, real in _CLOCKS if getattr(module, name) is not real]
    yield
    assert not patched, f"everybody's clock was patched: {', '.join(patched)}"


@pytest.fixture(scope="session")
def quick_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator["QuickSystem"]:
    """One without containers, for all tests that leave its processes alone."""
    # Here, because most runs do without all that it imports.
    from tests.support.quick_system import QuickSystem

    slots = {"TEST_MAX_WORKERS": "40"}
    with QuickSystem(tmp_path_factory.mktemp("quick"), overrides=slots) as system:
        yield system
