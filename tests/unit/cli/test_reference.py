"""The page about the commands says what the commands are."""

import pytest

from cli import reference

pytestmark = pytest.mark.unit


def test_the_page_is_what_the_code_says() -> None:
    assert reference.PAGE.read_text() == reference.page(), "run `just fix`"
