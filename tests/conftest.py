"""Options of the test run.

How hard the property tests look: a few hundred examples, or ``--hypothesis-profile nightly``.
"""

import pytest
from hypothesis import settings

settings.register_profile("default", max_examples=300, deadline=None)
settings.register_profile("nightly", max_examples=20_000, deadline=None)
settings.load_profile("default")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record-histories",
        metavar="FOLDER",
        help="keep the histories of all workflow tests, to be replayed by later versions",
    )
