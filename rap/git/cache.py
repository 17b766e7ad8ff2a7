"""Bare repositories on disk, one per study, which commits are fetched into and read from.

A commit counts as fetched only when its marker tag ``fetched/<sha>`` exists, which is written after
a complete fetch. So a fetch that was interrupted is repeated, a fetched commit costs no network
call, and reading it costs one git process. Processes may share the folder: what changes a
repository holds a file lock, which git inherits and so keeps even if we are killed meanwhile.
Reading takes no lock, since fetching only ever adds. A repository that turns out damaged is set
aside and made again, once.
"""

import asyncio
import fcntl
import hashlib
import re
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from rap.errors import (
    FileNotInRepository,
    GitError,
    GitNetworkError,
    RepositoryUnreachable,
    UnknownRef,
)
from rap.git.process import CONFIGURATION, Finished, TimeLimits, redact, run_git
from rap.git.remote import Remote, git_user, remote_of
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
        self._root = root.absolute()
        self._proxy_domain = proxy_domain
        self._token = token
        self._user = user
        self._fetch_waits = tuple(fetch_waits)
        self._limits = limits or TimeLimits()
        self._locks: defaultdict[Path, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._log = structlog.get_logger()

    # --- what the remote says ---

    async def resolve(self, repo_url: str, ref: str) -> str:
        """The commit that a ref, branch or tag of the remote stands for (controller.md 13.3).

        A full ref wins over a branch, a branch over a tag. Always asks the remote.

        Raises:
            UnknownRef: ``Could not find ref '<ref>' in <repo_url>``.
            RepositoryUnreachable: ``Could not read from <repo_url>``.
        """
        refs = await self._remote_refs(repo_url, ref)
        for name in (f"{ref}^{{}}", ref, f"refs/heads/{ref}", f"refs/tags/{ref}^{{}}"):
            if name in refs:
                return refs[name]
        if f"refs/tags/{ref}" in refs:
            return refs[f"refs/tags/{ref}"]
        raise UnknownRef(f"Could not find ref '{ref}' in {repo_url}")

    async def _remote_refs(self, repo_url: str, ref: str) -> dict[str, str]:
        """Refs that end in ``ref``, and the commits of annotated tags, by full name."""
        remote = self._remote(repo_url)
        try:
            finished = await self._git(
                *("ls-remote", "--quiet", "--", remote.url, ref, f"{ref}^{{}}"),
                remote=remote,
                limit=self._limits.resolve,
            )
        except TimeoutError:
            finished = None
        if finished is None or not finished.ok:
            self._log.warning("Error reading from remote repository", repo=repo_url)
            raise RepositoryUnreachable(f"Could not read from {repo_url}")
        lines = finished.stdout.decode("utf-8", "replace").splitlines()
        pairs = (line.split("\t", 1) for line in lines if "\t" in line)
        return {name: sha for sha, name in pairs}

    # --- fetching ---

    async def fetch(self, repo_url: str, commit: str) -> None:
        """Have a commit and its files on disk (controller.md 13.1, 13.2).

        Raises:
            GitNetworkError: failures that usually pass went on for five attempts, or time was up.
            RepositoryUnreachable: ``Error fetching commit …``; the remote cannot be read at all.
            GitError: ``Error fetching commit …``; the remote does not have the commit.
        """
        repo = self._repository(repo_url)
        if _is_fetched(repo, commit):
            return
        if not _SHA.fullmatch(commit):
            raise GitError(f"Error fetching commit {commit} from {repo_url}")
        async with self._exclusive(repo) as lock:
            if not _is_fetched(repo, commit):
                await self._fetch(repo, repo_url, commit, depth=1, lock=lock)

    async def _fetch(
        self, repo: Path, repo_url: str, commit: str, *, depth: int, lock: int
    ) -> None:
        """Fetch, and mark the commit. The lock of the repository is held."""
        failure = f"Error fetching commit {commit} from {repo_url}"
        passing = (
            f"Network error when fetching commit {commit} from {repo_url}\n"
            "(This may work if you try again later)"
        )
        remote = self._remote(repo_url)
        deadline = time.monotonic() + self._limits.fetch
        waits = iter(self._fetch_waits)
        attempt = 0
        renewed = False
        while True:
            attempt += 1
            await self._make_ready(repo, lock)
            try:
                finished = await self._git(
                    *("--git-dir", repo, "fetch", "--quiet", "--force", "--no-tags"),
                    *("--no-write-fetch-head", "--no-recurse-submodules", "--depth", str(depth)),
                    *("--", remote.url, commit),
                    remote=remote,
                    limit=max(deadline - time.monotonic(), 0.001),
                    lock=lock,
                )
                if finished.ok and await self._mark(repo, commit, lock):
                    return
            except TimeoutError:
                self._log.warning("Git reached its time limit", repo=repo_url, commit=commit)
                raise GitNetworkError(passing) from None
            self._log.warning(
                f"Error fetching commit (attempt {attempt}/{len(self._fetch_waits) + 1})",
                repo=repo_url,
                commit=commit,
                stderr=redact(finished.stderr, remote.credentials),
            )
            if not finished.ok and any(text in finished.stderr for text in _PASSING):
                wait = next(waits, None)
                if wait is None or time.monotonic() + wait >= deadline:
                    raise GitNetworkError(passing)
                await asyncio.sleep(wait)
            elif not renewed and not await self._is_sound(repo, lock):
                self._set_aside(repo)
                renewed = True
            elif finished.ok or await self._answers(remote):
                raise GitError(failure)
            else:
                raise RepositoryUnreachable(failure)

    async def _mark(self, repo: Path, commit: str, lock: int) -> bool:
        """Write the marker tag; false if the commit is not there after all."""
        finished = await self._git(
            *(
                "--git-dir",
                repo,
                "update-ref",
                f"refs/tags/fetched/{commit}",
                f"{commit}^{{commit}}",
            ),
            limit=self._limits.local,
            lock=lock,
        )
        return finished.ok

    async def _answers(self, remote: Remote) -> bool:
        try:
            finished = await self._git(
                *("ls-remote", "--quiet", "--", remote.url, "HEAD"),
                remote=remote,
                limit=self._limits.resolve,
            )
        except TimeoutError:
            return False
        return finished.ok

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
        repo = self._repository(repo_url)
        # Held throughout: a shallow fetch in between could cut off the history being tested.
        async with self._exclusive(repo) as lock:
            if _is_fetched(repo, head) and await self._is_ancestor(repo, commit, head, lock):
                return True
            for depth in (_SHALLOW_HISTORY, _WHOLE_HISTORY):
                await self._fetch(repo, repo_url, head, depth=depth, lock=lock)
                if await self._is_ancestor(repo, commit, head, lock):
                    return True
        return False

    async def _is_ancestor(self, repo: Path, commit: str, head: str, lock: int) -> bool:
        finished = await self._git(
            *("--git-dir", repo, "merge-base", "--is-ancestor", commit, head),
            limit=self._limits.local,
            lock=lock,
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
        if "\n" in path:
            raise FileNotInRepository(f"File '{path}' not found in repository")
        repo = self._repository(repo_url)
        for last in (False, True):
            await self.fetch(repo_url, commit)
            answer = await self._git(
                *("--git-dir", repo, "cat-file", "--batch"),
                limit=self._limits.local,
                stdin=f"{commit}:{path}\n".encode(),
            )
            if answer.ok and (content := _blob(answer.stdout)) is not None:
                return content
            # Git says "missing" for a file that is not there and for a damaged repository alike.
            folders = await self._git(
                *("--git-dir", repo, "ls-tree", "-r", "--name-only", commit),
                limit=self._limits.local,
            )
            if answer.ok and folders.ok:
                raise FileNotInRepository(f"File '{path}' not found in repository")
            if last or await self._was_sound(repo):
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
        repo = self._repository(repo_url)
        for last in (False, True):
            await self.fetch(repo_url, commit)
            with tempfile.TemporaryDirectory(dir=self._root, prefix=".index-") as folder:
                try:
                    # An index of its own: several checkouts of one repository run side by side.
                    finished = await self._git(
                        *("--git-dir", repo, "--work-tree", target),
                        *("-c", "core.bare=false", "read-tree", "--reset", "-u", commit),
                        limit=self._limits.local,
                        env={"GIT_INDEX_FILE": f"{folder}/index"},
                    )
                except TimeoutError:
                    raise GitError(failure) from None
            if finished.ok:
                return
            if last or await self._was_sound(repo):
                break
        self._log.error(failure, stderr=redact(finished.stderr, None))
        raise GitError(failure)

    # --- the repositories on disk ---

    def _repository(self, repo_url: str) -> Path:
        # The name is for people who look at the folder; the digest tells owners apart.
        name = repo_url.rstrip("/").rsplit("/", 1)[-1].removesuffix(".git")
        name = re.sub(r"[^\w.-]", "_", name)[:80] or "repository"
        digest = hashlib.sha256(repo_url.rstrip("/").encode()).hexdigest()[:12]
        return self._root / f"{name}-{digest}.git"

    def _remote(self, repo_url: str) -> Remote:
        return remote_of(
            repo_url, proxy_domain=self._proxy_domain, token=self._token, user=self._user
        )

    async def _make_ready(self, repo: Path, lock: int) -> None:
        """Create the repository, or clear what a killed git left behind. The lock is held."""
        if self._swept(repo):
            return
        with tempfile.TemporaryDirectory(dir=self._root, prefix=".new-") as folder:
            fresh = Path(folder) / "git"
            await self._git(
                *("init", "--quiet", "--bare", "--template=", "--", fresh),
                limit=self._limits.local,
                lock=lock,
            )
            fresh.rename(repo)

    def _swept(self, repo: Path) -> bool:
        """Whether there is a repository, now without what a killed git left behind."""
        if not (repo / "HEAD").exists():
            if repo.exists():
                self._set_aside(repo)
            return False
        for pattern in ("*.lock", "refs/**/*.lock", "objects/pack/tmp_*"):
            for leftover in repo.glob(pattern):
                leftover.unlink(missing_ok=True)
        return True

    async def _is_sound(self, repo: Path, lock: int) -> bool:
        finished = await self._git(
            *("--git-dir", repo, "fsck", "--no-dangling", "--no-progress"),
            limit=self._limits.local,
            lock=lock,
        )
        return finished.ok

    async def _was_sound(self, repo: Path) -> bool:
        """Check a repository that could not be read, and set it aside if it is damaged."""
        async with self._exclusive(repo) as lock:
            sound = await self._is_sound(repo, lock)
            if not sound:
                self._set_aside(repo)
        return sound

    def _set_aside(self, repo: Path) -> None:
        self._log.warning("Renewing a damaged git cache", path=str(repo))
        aside = Path(tempfile.mkdtemp(dir=self._root, prefix=".damaged-"))
        if repo.exists():
            repo.rename(aside / "git")
        shutil.rmtree(aside, ignore_errors=True)

    @asynccontextmanager
    async def _exclusive(self, repo: Path) -> AsyncIterator[int]:
        """Nobody else, in this process or another, changes the repository meanwhile."""
        self._make_root()
        async with self._locks[repo]:
            handle = repo.with_suffix(".lock").open("w")
            held = asyncio.ensure_future(_flock(handle.fileno()))
            try:
                await asyncio.shield(held)
                yield handle.fileno()
            finally:
                if held.done():
                    handle.close()
                else:
                    held.add_done_callback(lambda _: handle.close())

    def _make_root(self) -> None:
        if not self._root.exists():
            self._root.mkdir(parents=True, exist_ok=True)

    @property
    def _configuration(self) -> Path:
        """The configuration file of our git, written if it is missing or outdated."""
        path = self._root / "gitconfig"
        if not path.exists() or path.read_text() != CONFIGURATION:
            self._make_root()
            with tempfile.NamedTemporaryFile("w", dir=self._root, delete=False) as file:
                file.write(CONFIGURATION)
            Path(file.name).rename(path)
        return path

    async def _git(
        self,
        *args: str | Path,
        limit: float,
        remote: Remote | None = None,
        lock: int | None = None,
        env: dict[str, str] | None = None,
        stdin: bytes = b"",
    ) -> Finished:
        return await run_git(
            *args,
            configuration=self._configuration,
            limit=limit,
            credentials=remote.credentials if remote else None,
            env=env,
            stdin=stdin,
            keep_open=() if lock is None else (lock,),
        )


def git_cache(settings: CommonSettings, *, backend: str = "") -> GitCache:
    """The git access of a process with these settings; an agent names its backend."""
    return GitCache(
        settings.workdir / "repos",
        proxy_domain=settings.github_proxy_domain,
        token=settings.private_repo_access_token,
        user=git_user(backend),
    )


def _is_fetched(repo: Path, commit: str) -> bool:
    """Whether the marker tag exists; read from disk, since asking git costs a process."""
    marker = repo / "refs" / "tags" / "fetched" / commit
    try:
        if marker.read_text().strip() == commit:
            return True
    except OSError:
        pass
    try:
        packed = (repo / "packed-refs").read_text()
    except OSError:
        return False
    return f"{commit} refs/tags/fetched/{commit}\n" in packed


def _blob(answer: bytes) -> bytes | None:
    """The content in an answer of ``cat-file --batch``; ``None`` if it is about no file."""
    header, _, rest = answer.partition(b"\n")
    words = header.split(b" ")
    if len(words) != 3 or words[1] != b"blob":
        return None
    return rest[: int(words[2])]


async def _flock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        await asyncio.to_thread(fcntl.flock, descriptor, fcntl.LOCK_EX)
