"""One run of ``git``: never prompting, never reading the operator's configuration, never for ever.

Credentials travel in the environment of the child only. Git asks for them when the server does,
through a helper bound to the one origin they are for, so a redirect elsewhere never gets them.
"""

import asyncio
import os
import signal
from base64 import b64encode
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import structlog

from rap.errors import Unavailable
from rap.git.remote import Credentials

MASK = "********"

# What a child needs of our own environment. Everything else stays here: our process may hold
# database URLs and other secrets that git has no business with.
_INHERITED = (
    "PATH",
    "TMPDIR",
    "GIT_SSL_CAINFO",
    "GIT_SSL_CAPATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "http_proxy",
    "https_proxy",
    "HTTPS_PROXY",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
)
_FIXED = {
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "false",
    "GCM_INTERACTIVE": "never",
    "GIT_ALLOW_PROTOCOL": "file:http:https",
    "GIT_OPTIONAL_LOCKS": "0",
}
_HELPER = (
    '!f() { test "$1" = get && '
    'printf \'username=%s\\npassword=%s\\n\' "$RAP_GIT_USER" "$RAP_GIT_PASSWORD"; }; f'
)

CONFIGURATION = """\
[safe]
	directory = *
[gc]
	auto = 0
[maintenance]
	auto = false
[credential]
	helper =
[http]
	lowSpeedLimit = 100
	lowSpeedTime = 60
[uploadpack]
	allowAnySHA1InWant = true
"""
"""Git's only configuration. Local repositories may belong to another user than the service."""


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Seconds after which git is stopped."""

    resolve: float = 10.0
    """Asking a remote for its refs."""
    fetch: float = 600.0
    """Fetching, all attempts and waits together."""
    local: float = 300.0
    """Work on our own disk."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A run of git that came to an end."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def ok(self) -> bool:
        """Whether git says that it did what it was asked."""
        return self.code == 0


async def run_git(
    *args: str | Path,
    configuration: Path,
    limit: float,
    credentials: Credentials | None = None,
    env: dict[str, str] | None = None,
    stdin: bytes = b"",
    keep_open: Iterable[int] = (),
) -> Finished:
    """Run git once.

    Args:
        args: the command line after ``git``.
        configuration: the file that holds :data:`CONFIGURATION`.
        limit: seconds.
        credentials: offered to their origin if it asks.
        env: further variables.
        stdin: what git reads.
        keep_open: file descriptors the child keeps; a lock held by one outlives us with the child.

    Raises:
        TimeoutError: the limit was reached. Git and its children are gone.
        Unavailable: there is no git here.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            "git",
            *args,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_environment(configuration, credentials) | (env or {}),
            # Ours and below the ceiling: a repository around it, or its settings, play no part.
            cwd=configuration.parent,
            pass_fds=tuple(keep_open),
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise Unavailable("The command `git` was not found. Install git on this host.") from error
    try:
        async with asyncio.timeout(limit):
            stdout, stderr = await process.communicate(stdin)
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    finished = Finished(process.returncode or 0, stdout, stderr)
    if not finished.ok:
        structlog.get_logger().debug(
            "git failed",
            command=redact(["git", *args], credentials),
            code=finished.code,
            stderr=redact(stderr, credentials),
        )
    return finished


def redact(text: str | bytes | Sequence[str | Path], credentials: Credentials | None) -> str:
    """``text`` with every form of the password masked, for the log (agent.md 5.4)."""
    if isinstance(text, bytes):
        plain = text.decode("utf-8", "replace")
    elif isinstance(text, str):
        plain = text
    else:
        plain = " ".join(str(part) for part in text)
    if credentials is None or not credentials.password:
        return plain
    pair = f"{credentials.user}:{credentials.password}"
    forms = (
        b64encode(pair.encode()).decode("ascii"),
        credentials.password,
        quote(credentials.password, safe=""),
    )
    for form in forms:
        plain = plain.replace(form, MASK)
    return plain


def _environment(configuration: Path, credentials: Credentials | None) -> dict[str, str]:
    env = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    env |= _FIXED
    env["GIT_CONFIG_GLOBAL"] = str(configuration)
    env["GIT_CEILING_DIRECTORIES"] = str(configuration.parent.parent)
    if credentials is not None:
        env |= {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"credential.{credentials.origin}.helper",
            "GIT_CONFIG_VALUE_0": _HELPER,
            "RAP_GIT_USER": credentials.user,
            "RAP_GIT_PASSWORD": credentials.password,
        }
    return env
