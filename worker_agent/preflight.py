"""Whether the agent can work with its settings; known before anything else is loaded."""

from rap.errors import ConfigurationError
from rap.settings import AgentSettings
from worker_agent import secrets
from worker_agent.workspace.storage import folders


def check_settings(settings: AgentSettings) -> None:
    """Refuse to start with settings that cannot work: ConfigurationError names the remedy."""
    if not settings.backend:
        allowed = ", ".join(settings.backends)
        raise ConfigurationError(
            f"BACKEND is not set: set it to the backend that this agent serves, one of {allowed}"
        )
    secrets.check()
    for variable, folder in folders(settings).items():
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


def check_user(settings: AgentSettings, *, euid: int, rootless: bool) -> None:
    """Refuse, as above, jobs that could not work in their volumes (docs/spec/agent.md 7.3).

    Only root can give files to somebody else; a rootless engine maps the root of a container to the
    user that it runs as.
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
