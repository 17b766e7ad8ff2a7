"""Settings that all processes have, and how settings are read."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BeforeValidator, Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from rap.errors import ConfigurationError
from rap.models import IMAGE_REGISTRY


def _names(value: object) -> object:
    if isinstance(value, str):
        return tuple(item.strip() for item in value.split(",") if item.strip())
    return value


def _names_or_none(value: object) -> object:
    # A blank value counts as unset, so that "nowhere" needs a word of its own.
    names = _names(value)
    return () if names == ("none",) else names


CommaList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)]
CommaListOrNone = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names_or_none)]
"""The word ``none`` stands for an empty list."""
Settings = TypeVar("Settings", bound=BaseSettings)


class CommonSettings(BaseSettings):
    """What every process needs."""

    model_config = SettingsConfigDict(
        env_ignore_empty=True, extra="ignore", frozen=True, use_attribute_docstrings=True
    )

    backends: CommaList = ("test", "tpp", "emis", "ted")
    """All backends there are, by their slugs."""
    workdir: Path = Path("workdir")
    """Where a process keeps what it needs to remember."""
    docker_registry: str = IMAGE_REGISTRY
    """Where images come from; also the beginning of their names."""
    github_proxy_domain: str = "github-proxy.opensafely.org"
    """Asked instead of ``github.com``."""
    private_repo_access_token: str = Field(default="", repr=False)
    """For repositories that are not public; git hears it from a helper, never on a command line."""
    allowed_github_orgs: CommaList = ("opensafely", "opensafely-actions")
    """Organisations whose repositories may hold studies and actions."""
    allow_local_git_repos: bool = False
    """``true``: a study may be a folder of this machine; for development."""
    loglevel: str = "INFO"
    """``DEBUG``, ``INFO``, ``WARNING`` or ``ERROR``."""
    debug_log_file: str = ""
    """A second log, with everything; a new file each day."""
    jobrunner_version_file_path: Path = Path("/app/metadata/version.txt")
    """Where a deployment writes down which version it is."""
    version: str = Field(
        default_factory=lambda given: _version_in(given.get("jobrunner_version_file_path"))
    )
    """Of the product, as traces and reports tell it; by default that in the file."""

    @field_validator("workdir", mode="after")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.absolute()

    @field_validator("allow_local_git_repos", mode="before")
    @classmethod
    def _only_true(cls, value: object) -> object:
        # Only "true" in any capitals switches this on (docs/spec/controller.md 14.1).
        return value.strip().lower() == "true" if isinstance(value, str) else value


def load(kind: type[Settings]) -> Settings:
    """Read settings from the environment.

    Raises:
        ConfigurationError: naming the variable and what is wrong with it, never its value.
    """
    try:
        return kind()
    except ValidationError as error:
        lines = []
        for problem in error.errors(include_input=False, include_url=False):
            name = "_".join(str(part) for part in problem["loc"]).upper()
            text = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{name}: {text}" if name else text)
        raise ConfigurationError("\n".join(lines)) from None


def number(env: Mapping[str, str], name: str, default: float) -> float:
    """A number from the environment.

    Raises:
        ConfigurationError: it is none.
    """
    text = env.get(name, "").strip()
    if not text:
        return default
    try:
        return float(text)
    except ValueError:
        raise ConfigurationError(f"{name} must be a number, not {text!r}") from None


def _version_in(path: Path | None) -> str:
    try:
        text = path.read_text().strip() if path is not None else ""
    except (OSError, UnicodeDecodeError):
        # A development system has no such file.
        text = ""
    return text or "unknown"
