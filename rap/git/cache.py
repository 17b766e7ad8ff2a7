"""What the product asks of git: which commit, is it on that branch, its files (controller.md 13).

A commit counts as fetched only when its marker tag ``fetched/<sha>`` exists, which is written after
a complete fetch. So a fetch that was interrupted is repeated, a fetched commit costs no network
call, and reading it costs one git process.
"""

import asyncio
import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import structlog

from rap.errors import (
    FileNotInRepository,
    GitError,
    GitNetworkError,
    RepositoryUnreachable,
    UnknownRef,
)
from rap.git.process import TimeLimits, redact
from rap.git.remote import Remote, git_user, remote_of
from rap.git.store import Store
from rap.settings import CommonSettings

FETCH_WAITS = (4.0, 8.0, 16.0, 32.0)
"""Seconds between the five attempts to fetch, after failures that usually pass (13.2)."""

_SHA = re.compile(r"[0-9a-f]{40}")
_SHALLOW_HISTORY = 10
_WHOLE_HISTORY = 2**31 - 1
# Git has no exit code of its own for these; the texts are those of its TLS libraries.
_PASSING = (b"GnuTLS recv error", b"SSL_read: Connection was reset")


class GitCache:
    """The git access of one process.

    Every method names repositories by the URL that the client gave; errors show that URL. Local
    paths (``/…``) are repositories too; whether they are allowed is not decided here.
    """

    def __init__(
        self,
        root: Path,
        *,
        proxy_domain: str,
        token: str,
        user: str,
        fetch_waits: Sequence[float] = FETCH_WAITS,
        limits: TimeLimits | None = None,
    ) -> None:
        """Nothing is created before the first use.

        Args:
            root: folder of the repositories; may be shared by processes of one host.
            proxy_domain: contacted instead of ``github.com``.
            token: for the proxy; empty: none.
            user: the name that goes with the token.
            fetch_waits: seconds before the second, third … attempt to fetch.
            limits: time limits, if not the usual ones.
        """
        self._limits = limits or TimeLimits()
        self._store = Store(root, self._limits)
        self._proxy_domain = proxy_domain
        self._token = token
        self._user = user
        self._fetch_waits = tuple(fetch_waits)
        self._log = structlog.get_logger()

    # --- what the remote says ---

    async def resolve(self, repo_url: str, ref: str) -> str:
        """The commit that a ref, branch or tag of the remote stands for (controller.md 13.3).

        A full ref wins over a branch, a branch over a tag. Always asks the remote.

        Raises:
            UnknownRef: ``Could not find ref '<ref>' in <repo_url>``.
            RepositoryUnreachable: ``Could not read from <repo_url>``.
        """
        peeled = f"{ref}^{{}}"
        lines = await self._ask(self._remote(repo_url), ref, peeled)
        if lines is None:
            self._log.warning("Error reading from remote repository", repo=repo_url)
            raise RepositoryUnreachable(f"Could not read from {repo_url}")
        # The remote also names refs that merely end like this one, so the full names decide.
        refs = {name: sha for sha, _, name in (line.partition("\t") for line in lines)}
        for name in (peeled, ref, f"refs/heads/{ref}", f"refs/tags/{peeled}", f"refs/tags/{ref}"):
            if name in refs:
                return refs[name]
        raise UnknownRef(f"Could not find ref '{ref}' in {repo_url}")

    async def _ask(self, remote: Remote, *patterns: str) -> list[str] | None:
        """The lines of ``ls-remote``; ``None`` if the remote does not give any answer."""
        try:
            finished = await self._store.git(
                *("ls-remote", "--quiet", "--", remote.url, *patterns),
                remote=remote,
                limit=self._limits.resolve,
            )
        except TimeoutError:
            return None
        return finished.stdout.decode("utf-8", "replace").splitlines() if finished.ok else None

    # --- fetching ---

    async def fetch(self, repo_url: str, commit: str) -> None:
        """Have a commit and its files on disk (controller.md 13.1, 13.2).

        Raises:
            GitNetworkError: failures that usually pass went on for five attempts, or time was up.
            RepositoryUnreachable: ``Error fetching commit …``; the remote cannot be read at all.
            GitError: ``Error fetching commit …``; the remote does not have the commit.
        """
        repo = self._store.path(repo_url)
        if self._store.has(repo, commit):
            return
        if not _SHA.fullmatch(commit):
            raise GitError(f"Error fetching commit {commit} from {repo_url}")
        async with self._store.exclusive(repo) as lock:
            if not self._store.has(repo, commit):
                await self._fetch(repo, repo_url, commit, depth=1, lock=lock)

    async def _fetch(
        self, repo: Path, repo_url: str, commit: str, *, depth: int, lock: int
    ) -> None:
        """Fetch and mark a commit, however often that takes. The lock is held."""
        passing = GitNetworkError(
            f"Network error when fetching commit {commit} from {repo_url}\n"
            "(This may work if you try again later)"
        )
        remote = self._remote(repo_url)
        deadline = time.monotonic() + self._limits.fetch
        waits = iter(self._fetch_waits)
        attempt, was_mended = 0, False
        while True:
            attempt += 1
            await self._store.make_ready(repo, lock)
            try:
                finished = await self._store.git(
                    *("fetch", "--quiet", "--force", "--no-tags", "--no-write-fetch-head"),
                    *("--no-recurse-submodules", "--depth", str(depth), "--", remote.url, commit),
                    repo=repo,
                    remote=remote,
                    limit=max(deadline - time.monotonic(), 0.001),
                    lock=lock,
                )
            except TimeoutError:
                self._log.warning("Git reached its time limit", repo=repo_url, commit=commit)
                raise passing from None
            if finished.ok and await self._store.mark(repo, commit, lock):
                return
            self._log.warning(
                f"Error fetching commit (attempt {attempt}/{len(self._fetch_waits) + 1})",
                repo=repo_url,
                commit=commit,
                stderr=redact(finished.stderr, remote.credentials),
            )
            if any(text in finished.stderr for text in _PASSING):
                wait = next(waits, None)
                if wait is None or time.monotonic() + wait >= deadline:
                    raise passing
                await asyncio.sleep(wait)
            elif was_mended or not await self._store.mended(repo, lock):
                raise await self._fetch_error(repo_url, commit, remote)
            else:
                was_mended = True

    async def _fetch_error(self, repo_url: str, commit: str, remote: Remote) -> GitError:
        """One text for the client; whether waiting may help is told by the class."""
        text = f"Error fetching commit {commit} from {repo_url}"
        answers = await self._ask(remote, "HEAD") is not None
        return GitError(text) if answers else RepositoryUnreachable(text)

    # --- history ---

    async def commit_is_on_branch(self, repo_url: str, branch: str, commit: str) -> bool:
        """Whether a commit is the head of a branch or one of its ancestors (controller.md 13.4).

        This is what keeps out commits of forks and pull requests, which GitHub serves as if they
        belonged to the repository.

        Raises:
            UnknownRef: there is no such branch.
            GitError: the remote cannot be read, or its head cannot be fetched.
        """
        head = await self.resolve(repo_url, f"refs/heads/{branch}")
        if head == commit:
            return True
        if not _SHA.fullmatch(commit):
            return False
        repo = self._store.path(repo_url)
        # Held throughout: a shallow fetch in between could cut off the history being tested.
        async with self._store.exclusive(repo) as lock:
            if self._store.has(repo, head) and await self._is_ancestor(repo, commit, head, lock):
                return True
            for depth in (_SHALLOW_HISTORY, _WHOLE_HISTORY):
                await self._fetch(repo, repo_url, head, depth=depth, lock=lock)
                if await self._is_ancestor(repo, commit, head, lock):
                    return True
        return False

    async def _is_ancestor(self, repo: Path, commit: str, head: str, lock: int) -> bool:
        finished = await self._store.git(
            *("merge-base", "--is-ancestor", commit, head), repo=repo, lock=lock
        )
        return finished.ok

    # --- reading ---

    async def read_file(self, repo_url: str, commit: str, path: str) -> bytes:
        """The content of a file at a commit, which is fetched first if needed (13.5).

        Raises:
            FileNotInRepository: ``File '<path>' not found in repository``.
            GitError: the commit cannot be fetched, or
                ``Error reading from <repo_url> @ <commit>``.
        """
        if "\n" in path or not {".", ".."}.isdisjoint(path.split("/")):
            raise FileNotInRepository(f"File '{path}' not found in repository")
        repo = self._store.path(repo_url)
        for last in (False, True):
            await self.fetch(repo_url, commit)
            answer = await self._store.git(
                "cat-file", "--batch", repo=repo, stdin=f"{commit}:{path}\n".encode()
            )
            if answer.ok and (content := _blob(answer.stdout)) is not None:
                return content
            # Git says "missing" for a file that is not there and for a damaged repository alike.
            folders = await self._store.git("ls-tree", "-r", "--name-only", commit, repo=repo)
            if answer.ok and folders.ok:
                raise FileNotInRepository(f"File '{path}' not found in repository")
            if last or not await self._mended(repo):
                break
        self._log.error("Error reading a file", repo=repo_url, stderr=redact(answer.stderr, None))
        raise GitError(f"Error reading from {repo_url} @ {commit}")

    async def checkout(self, repo_url: str, commit: str, target: Path) -> None:
        """Write the files of a commit into an empty folder (agent.md 7.4).

        Links stay links; there is no ``.git``; submodules stay empty folders. The target exists
        and is empty; after a failure it may hold some of the files.

        Raises:
            GitError: the commit cannot be fetched, or
                ``Could not checkout commit <commit> from <repo_url>``.
        """
        failure = f"Could not checkout commit {commit} from {repo_url}"
        if not _SHA.fullmatch(commit):
            raise GitError(failure)
        repo = self._store.path(repo_url)
        for last in (False, True):
            await self.fetch(repo_url, commit)
            # An index of its own: several checkouts of one repository run side by side.
            with tempfile.TemporaryDirectory(dir=self._store.root, prefix=".index-") as folder:
                finished = await self._store.git(
                    *("--work-tree", target, "-c", "core.bare=false"),
                    *("read-tree", "--reset", "-u", commit),
                    repo=repo,
                    env={"GIT_INDEX_FILE": f"{folder}/index"},
                )
            if finished.ok:
                return
            if last or not await self._mended(repo):
                break
        self._log.error(failure, stderr=redact(finished.stderr, None))
        raise GitError(failure)

    async def _mended(self, repo: Path) -> bool:
        async with self._store.exclusive(repo) as lock:
            return await self._store.mended(repo, lock)

    def _remote(self, repo_url: str) -> Remote:
        return remote_of(
            repo_url, proxy_domain=self._proxy_domain, token=self._token, user=self._user
        )


def git_cache(
    settings: CommonSettings, *, backend: str = "", limits: TimeLimits | None = None
) -> GitCache:
    """The git access of a process with these settings; an agent names its backend."""
    return GitCache(
        settings.workdir / "repos",
        proxy_domain=settings.github_proxy_domain,
        token=settings.private_repo_access_token,
        user=git_user(backend),
        limits=limits,
    )


def _blob(answer: bytes) -> bytes | None:
    """The content in an answer of ``cat-file --batch``; ``None`` if it is about no file."""
    header, _, rest = answer.partition(b"\n")
    words = header.split(b" ")
    if len(words) != 3 or words[1] != b"blob":
        return None
    return rest[: int(words[2])]
