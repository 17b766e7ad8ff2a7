"""The bare repositories on disk: where they are, who may change them, how they are mended.

Processes may share the folder: whoever changes a repository holds its file lock, which git inherits
and so keeps even if we are killed meanwhile. Reading takes no lock, since fetching only ever adds.
A repository that turns out damaged is set aside, and made again by the next fetch.
"""

import asyncio
import fcntl
import hashlib
import re
import shutil
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import structlog

from rap.errors import NotFetched
from rap.git.process import Git, TimeLimits

LOOK_EVERY_S = 0.05
"""Whether another process still holds the lock of a repository: a look costs microseconds."""

_UNFINISHED = ("*.lock", "refs/**/*.lock", "objects/pack/tmp_*", "objects/??/tmp_obj_*")


def marker_of(commit: str) -> str:
    """The tag that says that a commit was fetched completely."""
    return f"refs/tags/fetched/{commit}"


class Store:
    """All repositories below one folder, and git as it is run here."""

    def __init__(self, root: Path, limits: TimeLimits) -> None:
        self.root = root.absolute()
        self.limits = limits
        self.git = Git(self.root, limits).run
        self._locks: defaultdict[Path, asyncio.Lock] = defaultdict(asyncio.Lock)

    def path(self, repo_url: str) -> Path:
        """The repository for a URL. It may not exist yet."""
        # The name is for people who look at the folder; the digest tells owners apart.
        url = repo_url.rstrip("/")
        name = re.sub(r"[^\w.-]", "_", url.rsplit("/", 1)[-1].removesuffix(".git"))[:80]
        digest = hashlib.sha256(url.encode()).hexdigest()[:12]
        return self.root / f"{name or 'repository'}-{digest}.git"

    # --- what has been fetched ---

    @staticmethod
    def has(repo: Path, commit: str) -> bool:
        """Whether the marker tag of a commit exists; read from disk, without a process."""
        marker = repo / "refs" / "tags" / "fetched" / commit
        try:
            return marker.read_text().strip() == commit
        except OSError:
            pass
        try:
            packed = (repo / "packed-refs").read_text()
        except OSError:
            return False
        return f"{commit} refs/tags/fetched/{commit}\n" in packed

    async def mark(self, repo: Path, commit: str, lock: int) -> bool:
        """Write the marker tag of a commit; false if the commit is not there after all."""
        marker = marker_of(commit)
        finished = await self.git(
            "update-ref", marker, f"{commit}^{{commit}}", repo=repo, lock=lock
        )
        if not finished.ok:
            await self.git("update-ref", "-d", marker, repo=repo, lock=lock)
        return finished.ok

    # --- changing a repository ---

    @asynccontextmanager
    async def exclusive(self, repo: Path, *, waits: bool = True) -> AsyncIterator[int]:
        """Nobody else, in this process or another, changes the repository meanwhile.

        Yields a descriptor that holds the lock, for git to inherit.

        Raises:
            NotFetched: somebody changes it, and this is not to wait for that.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        if not waits and self._locks[repo].locked():
            raise NotFetched(f"{repo} is being changed.")
        async with self._locks[repo]:
            with repo.with_suffix(".lock").open("w") as handle:
                await _flock(handle.fileno(), waits=waits)
                yield handle.fileno()

    async def make_ready(self, repo: Path, lock: int) -> None:
        """Create the repository, or clear what a killed git left behind. The lock is held."""
        if self._swept(repo):
            return
        with tempfile.TemporaryDirectory(dir=self.root, prefix=".new-") as folder:
            fresh = Path(folder) / "git"
            await self.git("init", "--quiet", "--bare", "--template=", "--", fresh, lock=lock)
            fresh.rename(repo)

    def _swept(self, repo: Path) -> bool:
        """Whether there is a repository, now without what a killed git left behind."""
        if not (repo / "HEAD").exists():
            if repo.exists():
                self._set_aside(repo)
            return False
        self.sweep(repo)
        return True

    @staticmethod
    def sweep(repo: Path) -> None:
        """Remove what a git that was ended left of its work. The lock is held."""
        for pattern in _UNFINISHED:
            for leftover in repo.glob(pattern):
                leftover.unlink(missing_ok=True)

    async def mended(self, repo: Path, lock: int) -> bool:
        """Whether the repository was damaged, and has now been set aside. The lock is held."""
        fsck = ("fsck", "--no-dangling", "--no-progress")
        try:
            if (await self.git(*fsck, repo=repo, lock=lock, limit=self.limits.local)).ok:
                return False
        except TimeoutError:
            return False
        self._set_aside(repo)
        return True

    def _set_aside(self, repo: Path) -> None:
        structlog.get_logger().warning("Renewing a damaged git cache", path=str(repo))
        aside = Path(tempfile.mkdtemp(dir=self.root, prefix=".damaged-"))
        if repo.exists():
            repo.rename(aside / "git")
        shutil.rmtree(aside, ignore_errors=True)


async def _flock(descriptor: int, *, waits: bool) -> None:
    """Take a lock; not in a thread, which nothing could end while another process has it."""
    told = False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not waits:
                raise NotFetched("Another process changes the repository.") from None
            if not told:
                told = True
                structlog.get_logger().info("Another process works on a repository; waiting for it")
            await asyncio.sleep(LOOK_EVERY_S)
        else:
            return
