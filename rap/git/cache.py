"""What the product asks of git: which commit, is it on that branch, its files
(docs/spec/controller.md 13).

A commit counts as fetched only when its marker tag ``fetched/<sha>`` exists, which git writes when
a fetch is complete. So a fetch that was interrupted is repeated, a fetched commit costs no
network call, and reading it costs one git process. A fetch goes on when nobody waits for it any
more: whoever asks again joins it.
"""

import asyncio
import re
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import structlog

from rap.errors import (
    FileNotInRepository,
    GitError,
    RepositoryRefused,
    StillFetching,
    Unavailable,
    UnknownRef,
)
from rap.git.answers import Answer
from rap.git.fetching import Fetching, away
from rap.git.process import TimeLimits, redact
from rap.git.remote import git_user, remote_of
from rap.git.store import Store
from rap.git.under_way import UnderWay, Wanted
from rap.settings import CommonSettings

FETCH_WAITS = (4.0, 8.0, 16.0, 32.0)
"""Seconds between the five attempts to fetch, after failures that usually pass (13.2)."""

_SHA = re.compile(r"[0-9a-f]{40}")


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
        self._fetching = Fetching(self._store, self._remote, fetch_waits, never=not fetches)
        self._under_way = UnderWay()
        self._log = structlog.get_logger()

    async def close(self) -> None:
        """End what is being fetched: its git is gone and its repositories are free afterwards."""
        await self._under_way.end()

    def has(self, repo_url: str, commit: str) -> bool:
        """Whether a commit was fetched already."""
        return self._store.has(self._store.path(repo_url), commit)

    @asynccontextmanager
    async def answering(self, repo_url: str) -> AsyncIterator[None]:
        """Have what is asked of a repository here be answered in time, or given up.

        A fetch that it waits for goes on; the next request joins it.

        Raises:
            StillFetching: there was not time enough for a fetch.
            RemoteAway: nor did the remote answer it.
            Unavailable: there was not time enough for something else.
        """
        waiting = asyncio.timeout(self._limits.answer)
        try:
            async with waiting:
                yield
        except TimeoutError:
            if not waiting.expired():
                raise
            repo = self._store.path(repo_url)
            if not self._under_way.includes(repo):
                raise Unavailable(f"{repo_url} could not be read in time.") from None
            if repo in self._fetching.silent:
                raise away(repo_url) from None
            raise StillFetching(f"The repository {repo_url} is still being fetched.") from None

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
            raise away(repo_url) from None
        if not finished.ok:
            said = redact(finished.stderr, remote.credentials)
            self._log.warning("Error reading from remote repository", repo=repo_url, stderr=said)
            if finished.answer is Answer.NONE:
                raise away(repo_url)
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

        async def fetch() -> None:
            async with self._store.exclusive(repo, waits=self._fetches) as lock:
                if not self._store.has(repo, commit):
                    await self._fetching.fetch(repo, repo_url, commit, depth=1, lock=lock)

        await self._under_way.join(Wanted(repo, repo_url, commit), fetch)

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

        async def look() -> bool:
            # Held throughout: a shallow fetch in between could cut off the history being tested.
            async with self._store.exclusive(repo, waits=self._fetches) as lock:
                return await self._fetching.is_in_history(repo, repo_url, commit, head, lock)

        return await self._under_way.join(Wanted(repo, repo_url, commit, head), look)

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

    async def differing_files(self, repo_url: str, old: str, new: str) -> tuple[str, ...] | None:
        """The files that differ between two commits; ``None``: they cannot be compared.

        Both are fetched first if needed. Raises as :meth:`fetch`.
        """
        await self.fetch(repo_url, old)
        async for repo in self._with(repo_url, new):
            answer = await self._store.git(
                *("diff-tree", "-r", "-z", "--name-only", "--no-renames", old, new), repo=repo
            )
            if answer.ok:
                return tuple(answer.stdout.decode("utf-8", "replace").split("\0")[:-1])
        return None

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


def _blob(answer: bytes) -> bytes | None:
    """The content in an answer of ``cat-file --batch``; ``None`` if it is about no file."""
    header, _, rest = answer.partition(b"\n")
    words = header.split(b" ")
    if len(words) != 3 or words[1] != b"blob":
        return None
    return rest[: int(words[2])]
