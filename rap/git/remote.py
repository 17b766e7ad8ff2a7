"""Where a repository really is, and with which credentials it may be read
(docs/spec/controller.md 13.6).
"""

from dataclasses import dataclass, field
from urllib.parse import SplitResult, unquote, urlsplit

GITHUB = "github.com"


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and a password for one origin, such as ``https://proxy.example``."""

    origin: str
    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Remote:
    """What git is told: an address without credentials, and the credentials apart from it."""

    url: str
    credentials: Credentials | None = None


def remote_of(repo_url: str, *, proxy_domain: str, token: str, user: str) -> Remote:
    """Turn the URL of a repository into what git is to contact.

    ``github.com`` is replaced by the proxy. Our token is offered to the proxy alone, over https
    alone, and not to a URL that brings credentials of its own. A local path stays as it is.
    """
    if repo_url.startswith("/"):
        return Remote(repo_url)
    try:
        parts = urlsplit(repo_url)
        port = parts.port
    except ValueError:
        # Git will refuse it too, and the caller tells so in the words of its own task.
        return Remote(repo_url)
    _, _, netloc = parts.netloc.rpartition("@")
    if parts.hostname == GITHUB:
        netloc = proxy_domain if port is None else f"{proxy_domain}:{port}"
    origin = f"{parts.scheme}://{netloc}"
    # Not rebuilt from the parts when there is nothing to change: git sees what was asked for.
    if netloc == parts.netloc:
        url = repo_url
    else:
        url = SplitResult(parts.scheme, netloc, parts.path, parts.query, parts.fragment).geturl()
    if parts.username is not None:
        own = Credentials(origin, unquote(parts.username), unquote(parts.password or ""))
        return Remote(url, own)
    if token and parts.scheme == "https" and netloc == proxy_domain:
        return Remote(url, Credentials(origin, user, token))
    return Remote(url)


def git_user(backend: str) -> str:
    """The name under which the proxy sees us: the agent of a backend, or the controller."""
    return f"jobrunner-{backend}" if backend else "jobrunner-ctrl"
