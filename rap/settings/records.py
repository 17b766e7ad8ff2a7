"""Settings of the read model."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class RecordsSettings(BaseSettings):
    """Where the read model is."""

    model_config = SettingsConfigDict(
        env_ignore_empty=True, extra="ignore", frozen=True, use_attribute_docstrings=True
    )

    workdir: Path = Path("workdir")
    """As for all processes."""
    rap_database_url: str = Field(default="", repr=False)
    """SQLAlchemy URL; empty: ``records.sqlite`` in the work directory."""
    backups_path: Path | None = None
    """Where snapshots of an SQLite file are kept; not set: ``backups`` in the work directory."""

    @property
    def url(self) -> str:
        """The URL to connect to."""
        return self.rap_database_url or f"sqlite:///{self.workdir.absolute() / 'records.sqlite'}"

    @property
    def backups(self) -> Path:
        """The folder of the snapshots; it need not exist."""
        return (self.backups_path or self.workdir / "backups").absolute()
