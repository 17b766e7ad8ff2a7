"""The periodic checks of a backend's database (docs/spec/agent.md 12)."""

from pydantic import Field

from rap.models import DEFAULT_DATABASE, Model


class DatabaseCheck(Model):
    """The argument of a check's workflow, as its schedule gives it."""

    backend: str
    image: str
    """Full name with its tag; the digest is looked up for each check."""
    pins_image: bool = True
    database_name: str = DEFAULT_DATABASE
    hes_expected_activity_month: str = ""
    """YYYYMM; only for the data check."""


class DatabaseStatusOrder(Model):
    """Ask a database whether it is in maintenance."""

    image: str
    image_sha: str | None = None
    database_name: str = DEFAULT_DATABASE


class DataCheckOrder(Model):
    """Ask the default database whether its hospital data reach the expected month."""

    image: str
    image_sha: str | None = None
    hes_expected_activity_month: str = Field(pattern=r"^[0-9]{6}$")
