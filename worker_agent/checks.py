"""Whether the agent can work with its settings; known before anything else is loaded."""

from pathlib import Path

from rap.errors import ConfigurationError
from rap.settings import AgentSettings
from worker_agent import secrets


def check_settings(settings: AgentSettings) -> None:
    """Refuse to start with settings that cannot work.

    Raises:
        ConfigurationError: naming the variable and the remedy.
    """
    if not settings.backend:
        allowed = ", ".join(settings.backends)
        raise ConfigurationError(
            f"BACKEND is not set: set it to the backend that this agent serves, one of {allowed}"
        )
    secrets.check()
    for variable, folder in {
        "WORKDIR": settings.workdir,
        "HIGH_PRIVACY_STORAGE_BASE": settings.high_privacy,
        "MEDIUM_PRIVACY_STORAGE_BASE": settings.medium_privacy,
        "HIGH_PRIVACY_VOLUME_DIR": settings.volume_dir,
    }.items():
        _make(variable, folder)


def check_user(settings: AgentSettings, *, euid: int, rootless: bool) -> None:
    """Refuse to start jobs that could not work in their volumes (agent.md 7.3).

    Args:
        settings: who the jobs run as.
        euid: who the agent is; only root can give files to somebody else.
        rootless: whether the engine maps the root of a container to the user that it runs as.

    Raises:
        ConfigurationError: naming the variable and the remedy.
    """
    needed = 0 if rootless else euid
    if euid == 0 or settings.docker_user_id == needed:
        return
    why = (
        "the engine is rootless: its root is this user"
        if rootless
        else "only root gives files away"
    )
    raise ConfigurationError(
        f"DOCKER_USER_ID: jobs would run as user {settings.docker_user_id} and could not work in "
        f"the folders of this agent, which is user {euid} ({why}); set it to {needed}"
    )


def _make(variable: str, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".writable"
        probe.touch()
        probe.unlink(missing_ok=True)  # two processes may be starting
    except OSError as error:
        raise ConfigurationError(
            f"{variable}: {folder} cannot be made or written to ({error.strerror}); "
            "make it, give it to this user, or set another path"
        ) from None
