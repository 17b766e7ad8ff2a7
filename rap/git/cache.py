"""What the product asks of git: which commit, is it on that branch, its files
(docs/spec/controller.md 13).

A commit counts as fetched only when its marker tag ``fetched/<sha>`` exists, which is written after
a complete fetch. So a fetch that was interrupted is repeated, a fetched commit costs no network
call, and reading it costs one git process.
"""

import re
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path

import structlog
from tenacity import retry, retry_if_exception_type, stop, wait

from rap.errors import (
    FileNotInRepository,
    GitError,
    NotFetched,
    RemoteAway,
    RepositoryRefused,
    Unavailable,
    UnknownRef,
)
from rap.git.answers import Answer
from rap.git.process import Finished, TimeLimits, redact
from rap.git.remote import git_user, remote_of
from rap.git.store import Store
from rap.settings import CommonSettings

FETCH_WAITS = (4.0, 8.0, 16.0, 32.0)
"""Seconds between the five attempts to fetch, after failures that usually pass (13.2)."""

_SHA = re.compile(r"[0-9a-f]{40}")
_SHALLOW_HISTORY = 10
_WHOLE_HISTORY = 2**31 - 1


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
        fetches: bool = True,
    ) -> None:
        """Nothing is created before the first use; processes of one host may share ``root``.

        ``proxy_domain`` is contacted instead of ``github.com``, as ``user`` with ``token`` if there
        is one. The ``fetch_waits`` are before the second, third … attempt to fetch. One that does
        not fetch raises ``NotFetched`` where it would have to.
        """
        self._fetches = fetches
        self._limits = limits or TimeLimits()
        self._store = Store(root, self._limits)
        self._remote = partial(remote_of, proxy_domain=proxy_domain, token=token, user=user)
        self._fetch_waits = tuple(fetch_waits)
        self._log = structlog.get_logger()

    def has(self, repo_url: str, commit: str) -> bool:
        """Whether a commit was fetched already."""
        return self._store.has(self._store.path(repo_url), commit)

    # --- what the remote says ---

    async def resolve(self, repo_url: str, ref: str) -> str:
        """The commit that a ref, branch or tag of the remote stands for
        (docs/spec/controller.md 13.3).

        A full ref wins over a branch, a branch over a tag. Always asks the remote.

        Raises:
            UnknownRef: ``Could not find ref '<ref>' in <repo_url>``.
            RepositoryRefused: ``Could not read from <repo_url>``.
            RemoteAway: it gives no answer.
        """
        peeled = f"{ref}^{{}}"
        remote = self._remote(repo_url)
        try:
            finished = await self._store.git(
                *("ls-remote", "--quiet", "--", remote.url, ref, peeled),
                remote=remote,
                limit=self._limits.resolve,
            )
        except TimeoutError:
            self._log.warning("Git reached its time limit", repo=repo_url)
            raise _away(repo_url) from None
        if not finished.ok:
            said = redact(finished.stderr, remote.credentials)
            self._log.warning("Error reading from remote repository", repo=repo_url, stderr=said)
            if finished.answer is Answer.NONE:
                raise _away(repo_url)
            raise RepositoryRefused(f"Could not read from {repo_url}")
        lines = finished.stdout.decode("utf-8", "replace").splitlines()
        # The remote also names refs that merely end like this one, so the full names decide.
        refs = {name: sha for sha, _, name in (line.partition("\t") for line in lines)}
        for name in (peeled, ref, f"refs/heads/{ref}", f"refs/tags/{peeled}", f"refs/tags/{ref}"):
            if name in refs:
                return refs[name]
        raise UnknownRef(f"Could not find ref '{ref}' in {repo_url}")

    # --- fetching ---

    async def fetch(self, repo_url: str, commit: str) -> None:
        """Have a commit and its files on disk (docs/spec/controller.md 13.1, 13.2).

        Raises:
            RepositoryRefused: ``Error fetching commit …``; there is no such repository for us.
            GitError: ``Error fetching commit …``; the remote does not have the commit.
            RemoteAway: it gave no answer, in five attempts or until time was up.
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
        if not self._fetches:
            raise NotFetched(f"{commit} of {repo_url} was not fetched.")
        remote = self._remote(repo_url)
        deadline = time.monotonic() + self._limits.fetch

        async def fetched() -> Finished:
            await self._store.make_ready(repo, lock)
            finished = await self._store.git(
                *("fetch", "--quiet", "--force", "--no-tags", "--no-write-fetch-head"),
                *("--no-recurse-submodules", "--depth", str(depth), "--", remote.url, commit),
                repo=repo,
                remote=remote,
                limit=max(deadline - time.monotonic(), 0.001),
                lock=lock,
            )
            if not finished.ok:
                said = redact(finished.stderr, remote.credentials)
                self._log.warning("Error fetching", repo=repo_url, commit=commit, stderr=said)
            return finished

        @retry(
            retry=retry_if_exception_type(RemoteAway),
            wait=wait.wait_chain(*map(wait.wait_fixed, self._fetch_waits)),
            stop=stop.stop_after_attempt(len(self._fetch_waits) + 1)
            | stop.stop_before_delay(self._limits.fetch),
            reraise=True,
        )
        async def fetch() -> None:
            for may_mend in (True, False):
                finished = await fetched()
                if finished.ok and await self._store.mark(repo, commit, lock):
                    return
                if not (may_mend and await self._store.mended(repo, lock)):
                    break
            text = f"Error fetching commit {commit} from {repo_url}"
            match finished.answer:
                case Answer.NONE:
                    raise _away(repo_url)
                case Answer.NO_REPOSITORY:
                    raise RepositoryRefused(text)
                case Answer.NO_COMMIT:
                    raise GitError(text)

        try:
            await fetch()
        except TimeoutError:
            self._log.warning("Git reached its time limit", repo=repo_url, commit=commit)
            raise _away(repo_url) from None

    # --- history ---

    async def commit_is_on_branch(self, repo_url: str, branch: str, commit: str) -> bool:
        """Whether a commit is the head of a branch or one of its ancestors
        (docs/spec/controller.md 13.4).

        This is what keeps out commits of forks and pull requests, which GitHub serves as if they
        belonged to the repository.

        Raises:
            UnknownRef: there is no such branch.
            GitError: the remote has no such repository for us.
            RemoteAway: it gives no answer.
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
            GitError: the remote does not have the commit.
            Unavailable: the commit has to be fetched, and the remote gives no answer; or
                ``Error reading from <repo_url> @ <commit>``, for reasons of our own.
        """
        if "\n" in path or not {".", ".."}.isdisjoint(path.split("/")):
            raise FileNotInRepository(f"File '{path}' not found in repository")
        async for repo in self._with(repo_url, commit):
            answer = await self._store.git(
                "cat-file", "--batch", repo=repo, stdin=f"{commit}:{path}\n".encode()
            )
            if answer.ok and (content := _blob(answer.stdout)) is not None:
                return content
            # Git says "missing" for a file that is not there and for a damaged repository alike.
            folders = await self._store.git("ls-tree", "-r", "--name-only", commit, repo=repo)
            if answer.ok and folders.ok:
                raise FileNotInRepository(f"File '{path}' not found in repository")
        self._log.error("Error reading a file", repo=repo_url, stderr=redact(answer.stderr, None))
        raise Unavailable(
            f"Error reading from {repo_url} @ {commit}. Look at the disk of the git cache of this "
            "host; the log has what git said."
        )

    async def checkout(self, repo_url: str, commit: str, target: Path) -> None:
        """Write the files of a commit into an empty folder (docs/spec/agent.md 7.4).

        Links stay links; there is no ``.git``; submodules stay empty folders. The target exists
        and is empty; after a failure it may hold some of the files.

        Raises:
            RemoteAway: the commit has to be fetched, and the remote gives no answer.
            GitError: the remote does not have the commit, or
                ``Could not checkout commit <commit> from <repo_url>``.
        """
        failure = f"Could not checkout commit {commit} from {repo_url}"
        if not _SHA.fullmatch(commit):
            raise GitError(failure)
        async for repo in self._with(repo_url, commit):
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
        self._log.error(failure, stderr=redact(finished.stderr, None))
        raise GitError(failure)

    async def _with(self, repo_url: str, commit: str) -> AsyncIterator[Path]:
        """The repository with a commit; once more, renewed, if it turns out to be damaged."""
        repo = self._store.path(repo_url)
        await self.fetch(repo_url, commit)
        yield repo
        async with self._store.exclusive(repo) as lock:
            damaged = await self._store.mended(repo, lock)
        if damaged:
            await self.fetch(repo_url, commit)
            yield repo


def git_cache(
    settings: CommonSettings,
    *,
    backend: str = "",
    limits: TimeLimits | None = None,
    fetches: bool = True,
) -> GitCache:
    """The git access of a process with these settings; an agent names its backend."""
    return GitCache(
        settings.workdir / "repos",
        proxy_domain=settings.github_proxy_domain,
        token=settings.private_repo_access_token,
        user=git_user(backend),
        limits=limits,
        fetches=fetches,
    )


def _away(repo_url: str) -> RemoteAway:
    return RemoteAway(
        f"No answer from the repository {repo_url}. If this goes on, look at the network of this "
        "host, at GITHUB_PROXY_DOMAIN, and at the log, which has what git said."
    )


def _blob(answer: bytes) -> bytes | None:
    """The content in an answer of ``cat-file --batch``; ``None`` if it is about no file."""
    header, _, rest = answer.partition(b"\n")
    words = header.split(b" ")
    if len(words) != 3 or words[1] != b"blob":
        return None
    return rest[: int(words[2])]
