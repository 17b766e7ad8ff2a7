"""One run of ``git``: never prompting, never reading the operator's configuration, never for ever.

Credentials travel in the environment of the child only. Git asks for them when the server does,
through a helper bound to the one origin they are for, so a redirect elsewhere never gets them.
"""

import asyncio
import os
import signal
import tempfile
from base64 import b64encode
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import structlog

from rap.deadlines import GIT_ASKS_S, GIT_S, WARM_S
from rap.errors import Unavailable
from rap.git.answers import Answer, answer_in, tracing
from rap.git.remote import Credentials, Remote

MASK = "********"

# What a child needs of our own environment. Everything else stays here: our process may hold
# database URLs and other secrets that git has no business with.
_INHERITED = (
    *("PATH", "TMPDIR", "GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    *("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"),
    *("no_proxy", "NO_PROXY"),
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


WITHIN_A_CREATE = TimeLimits(resolve=GIT_ASKS_S, fetch=GIT_S, local=GIT_S)
"""While a client waits for the answer to its create."""

WHAT_IS_HERE = TimeLimits(resolve=WARM_S, fetch=WARM_S, local=WARM_S)
"""For reading what was fetched already."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A run of git that came to an end."""

    code: int
    stdout: bytes
    stderr: bytes
    answer: Answer = Answer.NONE
    """If it failed: what the remote had to say."""

    @property
    def ok(self) -> bool:
        """Whether git says that it did what it was asked."""
        return self.code == 0


class Git:
    """Git with our configuration only, for the repositories below one folder."""

    def __init__(self, root: Path, limits: TimeLimits) -> None:
        self.root = root
        self.limits = limits

    async def run(
        self,
        *args: str | Path,
        repo: Path | None = None,
        limit: float | None = None,
        remote: Remote | None = None,
        lock: int | None = None,
        env: dict[str, str] | None = None,
        stdin: bytes = b"",
    ) -> Finished:
        """Run git once, in a repository if one is given.

        The credentials of ``remote`` are offered to their origin if it asks. A ``lock``, held by a
        descriptor, outlives us with the child. Without a ``limit`` in seconds there is that of
        local work, and reaching it is a failure like others.

        Raises:
            TimeoutError: ``limit`` was reached. Git and its children are gone.
            Unavailable: there is no git here.
        """
        # Named outright: git must not go looking for another repository when this one is damaged.
        words = ("git", *(() if repo is None else ("--git-dir", repo)), *args)
        credentials = remote.credentials if remote else None
        with ExitStack() as stack:
            trace = None
            if remote is not None:
                self.root.mkdir(parents=True, exist_ok=True)
                folder = tempfile.TemporaryDirectory(dir=self.root, prefix=".trace-")
                trace = Path(stack.enter_context(folder)) / "protocol"
                env = (env or {}) | tracing(trace)
            process = await self._start(words, credentials, env or {}, lock)
            try:
                async with asyncio.timeout(self.limits.local if limit is None else limit):
                    stdout, stderr = await process.communicate(stdin)
            except TimeoutError:
                if limit is not None:
                    raise
                stdout, stderr = b"", b"git reached its time limit"
            finally:
                await _end(process)
            code = process.returncode or 0
            answer = Answer.NONE if remote is None or trace is None else _answer(remote, trace)
        finished = Finished(code, stdout, stderr, answer)
        if not finished.ok:
            structlog.get_logger().debug(
                "git failed",
                command=redact(words, credentials),
                code=finished.code,
                stderr=redact(stderr, credentials),
            )
        return finished

    async def _start(
        self,
        words: Sequence[str | Path],
        credentials: Credentials | None,
        env: dict[str, str],
        lock: int | None,
    ) -> asyncio.subprocess.Process:
        configuration = self._configuration()
        starting = asyncio.create_task(
            asyncio.create_subprocess_exec(
                *words,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                env=_environment(configuration, credentials) | env,
                # Ours and below the ceiling: a repository around it, or its settings, play no part.
                cwd=configuration.parent,
                pass_fds=() if lock is None else (lock,),
                start_new_session=True,
            )
        )
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            # Git runs before we are told so: left to asyncio, it would die without its children.
            await _end(await starting)
            raise
        except FileNotFoundError as error:
            raise Unavailable(
                "The command `git` was not found. Install git on this host."
            ) from error

    def _configuration(self) -> Path:
        """The configuration file of our git, written if it is missing or outdated."""
        path = self.root / "gitconfig"
        if not path.exists() or path.read_text() != CONFIGURATION:
            self.root.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile("w", dir=self.root, delete=False) as file:
                file.write(CONFIGURATION)
            Path(file.name).rename(path)
        return path


def _answer(remote: Remote, trace: Path) -> Answer:
    answer = answer_in(trace.read_bytes()) if trace.exists() else Answer.NONE
    if answer is Answer.NONE and remote.url.startswith("/"):
        return Answer.NO_REPOSITORY  # a folder of this machine is there, or it is not
    return answer


async def _end(process: asyncio.subprocess.Process) -> None:
    """Make sure that a process and its children are gone."""
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def redact(text: str | bytes | Sequence[str | Path], credentials: Credentials | None) -> str:
    """``text`` with every form of the password masked, for the log (docs/spec/agent.md 5.4)."""
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
