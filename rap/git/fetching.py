"""How a repository gets what it lacks: all attempts at one fetch, and how deep it has to be
(docs/spec/controller.md 13.2, 13.4).

Everything here is done under the repository's lock, which its caller holds and git inherits.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import structlog
from tenacity import retry, retry_if_exception_type, stop, wait

from rap.errors import GitError, NotFetched, RemoteAway, RepositoryRefused
from rap.git.answers import Answer
from rap.git.process import Finished, redact
from rap.git.progress import Progress
from rap.git.remote import Remote
from rap.git.store import Store, marker_of

_SHALLOW_HISTORY = 10
_WHOLE_HISTORY = 2**31 - 1


class Fetching:
    """Fetches into the repositories of a store."""

    def __init__(
        self, store: Store, remote: Callable[[str], Remote], waits: Sequence[float], *, never: bool
    ) -> None:
        """Take where a repository really is, and the seconds before the second, third … attempt.

        One that is ``never`` to fetch raises ``NotFetched`` where it would have to.
        """
        self._store, self._remote, self._never = store, remote, never
        self._limits, self._waits = store.limits, tuple(waits)
        self.silent: set[Path] = set()
        """The repositories whose remote gave no answer to the last attempt of a fetch that goes on.
        """
        self._log = structlog.get_logger()

    async def fetch(self, repo: Path, repo_url: str, commit: str, *, depth: int, lock: int) -> None:
        """Fetch and mark a commit, however often that takes.

        Raises:
            RepositoryRefused: ``Error fetching commit …``; there is no such repository for us.
            GitError: ``Error fetching commit …``; the remote does not have the commit.
            RemoteAway: it gave no answer, in five attempts or until time was up.
        """
        if self._never:
            raise NotFetched(f"{commit} of {repo_url} was not fetched.")
        remote = self._remote(repo_url)
        began = time.monotonic()

        def tell(progress: Progress | None) -> None:
            more = {} if progress is None else asdict(progress)
            if progress is not None:
                self.silent.discard(repo)
            seconds = round(time.monotonic() - began)
            self._log.info("Still fetching", repo=repo_url, commit=commit, seconds=seconds, **more)

        async def fetched() -> Finished:
            await self._store.make_ready(repo, lock)
            finished = await self._store.git(
                *("fetch", "--progress", "--force", "--no-tags", "--no-write-fetch-head"),
                *("--no-recurse-submodules", "--depth", str(depth)),
                # The mark is git's own last step: a git that outlives us has not worked in vain.
                *("--", remote.url, f"{commit}:{marker_of(commit)}"),
                repo=repo,
                remote=remote,
                limit=max(began + self._limits.fetch - time.monotonic(), 0.001),
                lock=lock,
                tell=tell,
            )
            if not finished.ok:
                said = redact(finished.stderr, remote.credentials)
                self._log.warning("Error fetching", repo=repo_url, commit=commit, stderr=said)
                if finished.answer is Answer.NONE:
                    self.silent.add(repo)
            return finished

        @retry(
            retry=retry_if_exception_type(RemoteAway),
            wait=wait.wait_chain(*map(wait.wait_fixed, self._waits)),
            stop=stop.stop_after_attempt(len(self._waits) + 1)
            | stop.stop_before_delay(self._limits.fetch),
            reraise=True,
        )
        async def attempt() -> None:
            for may_mend in (True, False):
                finished = await fetched()
                if finished.ok and await self._store.mark(repo, commit, lock):
                    return
                if not (may_mend and await self._store.mended(repo, lock)):
                    break
            text = f"Error fetching commit {commit} from {repo_url}"
            match finished.answer:
                case Answer.NONE:
                    raise away(repo_url)
                case Answer.NO_REPOSITORY:
                    raise RepositoryRefused(text)
                case Answer.NO_COMMIT:
                    raise GitError(text)

        try:
            await attempt()
        except TimeoutError:
            self._log.warning("Git reached its time limit", repo=repo_url, commit=commit)
            raise away(repo_url) from None
        finally:
            self.silent.discard(repo)
            self._store.sweep(repo)

    async def is_in_history(
        self, repo: Path, repo_url: str, commit: str, head: str, lock: int
    ) -> bool:
        """Whether a commit is a head or an ancestor of it; fetches as much as it takes to tell.

        Raises:
            GitError: as :meth:`fetch`.
            RemoteAway: also if git does not find out in time.
        """
        try:
            for depth in (0, _SHALLOW_HISTORY, _WHOLE_HISTORY):
                if depth:
                    await self.fetch(repo, repo_url, head, depth=depth, lock=lock)
                elif not self._store.has(repo, head):
                    continue
                if await self._is_ancestor(repo, commit, head, lock):
                    # It came with the head; fetched by itself, its own history would be cut off.
                    await self._store.mark(repo, commit, lock)
                    return True
                if await self._is_whole(repo, head, lock):
                    return False
        except TimeoutError:
            raise away(repo_url) from None
        return False

    async def _is_ancestor(self, repo: Path, commit: str, head: str, lock: int) -> bool:
        finished = await self._store.git(
            *("merge-base", "--is-ancestor", commit, head),
            repo=repo,
            lock=lock,
            limit=self._limits.fetch,
        )
        return finished.ok

    async def _is_whole(self, repo: Path, head: str, lock: int) -> bool:
        """Whether the history of a head ends where it began, and not where a fetch stopped."""
        roots = await self._store.git(
            *("rev-list", "--max-parents=0", head), repo=repo, lock=lock, limit=self._limits.fetch
        )
        cut_off = repo / "shallow"
        ends = cut_off.read_bytes().split() if cut_off.exists() else []
        return roots.ok and set(ends).isdisjoint(roots.stdout.split())


def away(repo_url: str) -> RemoteAway:
    """The remote of a repository gives no answer."""
    return RemoteAway(
        f"No answer from the repository {repo_url}. If this goes on, look at the network of this "
        "host, at GITHUB_PROXY_DOMAIN, and at the log, which has what git said."
    )
