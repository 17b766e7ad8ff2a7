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

from rap.git.process import Git, TimeLimits

LOOK_EVERY_S = 0.05
"""Whether another process still holds the lock of a repository: a look costs microseconds."""


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
        marker = f"refs/tags/fetched/{commit}"
        finished = await self.git(
            "update-ref", marker, f"{commit}^{{commit}}", repo=repo, lock=lock
        )
        return finished.ok

    # --- changing a repository ---

    @asynccontextmanager
    async def exclusive(self, repo: Path) -> AsyncIterator[int]:
        """Nobody else, in this process or another, changes the repository meanwhile.

        Yields a descriptor that holds the lock, for git to inherit.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        async with self._locks[repo]:
            with repo.with_suffix(".lock").open("w") as handle:
                await _flock(handle.fileno())
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
        for pattern in ("*.lock", "refs/**/*.lock", "objects/pack/tmp_*"):
            for leftover in repo.glob(pattern):
                leftover.unlink(missing_ok=True)
        return True

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


async def _flock(descriptor: int) -> None:
    """Wait for a lock; not in a thread, which nothing could end while another process has it."""
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            await asyncio.sleep(LOOK_EVERY_S)
        else:
            return
