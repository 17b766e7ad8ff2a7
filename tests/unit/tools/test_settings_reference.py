"""The page about settings says what the settings are."""

from typing import Any

import pytest

from rap.settings import AgentSettings, ApiSettings, ControllerSettings, RecordsSettings
from tools import settings_reference

pytestmark = pytest.mark.unit


def test_the_page_is_what_the_code_says() -> None:
    assert settings_reference.PAGE.read_text() == settings_reference.page(), "run `just fix`"


@pytest.mark.parametrize("kind", [AgentSettings, ApiSettings, ControllerSettings, RecordsSettings])
def test_every_setting_says_what_it_is_for(kind: type[Any]) -> None:
    assert [name for name, field in kind.model_fields.items() if not field.description] == []
