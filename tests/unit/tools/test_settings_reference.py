"""The page about settings says what the settings are."""

import pytest

from infra import settings_reference
from rap.settings import AgentSettings, ApiSettings, ControllerSettings, RecordsSettings

pytestmark = pytest.mark.unit


def test_the_page_is_what_the_code_says():
    assert settings_reference.PAGE.read_text() == settings_reference.page(), "run `just fix`"


@pytest.mark.parametrize("kind", [AgentSettings, ApiSettings, ControllerSettings, RecordsSettings])
def test_every_setting_says_what_it_is_for(kind):
    assert [name for name, field in kind.model_fields.items() if not field.description] == []
