"""Fetches that take longer than an answer may: a real server that sends slowly until it is told."""

import asyncio
import random
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from structlog.testing import capture_logs

from rap.errors import GitError, NotFetched, RemoteAway, StillFetching, Unavailable
from rap.git import GitCache, TimeLimits
from tests.support.git_server import Fault, GitServer, StudyRepo, serve_git

pytestmark = pytest.mark.unit

BIG = random.Random(1).randbytes(1_500_000)
"""Does not compress."""
SOON = TimeLimits(answer=0.3)
Answer = TypeVar("Answer")


@pytest.fixture
def study(tmp_path: Path) -> StudyRepo:
    return StudyRepo(tmp_path / "served" / "org" / "repo")


@pytest.fixture
def server(tmp_path: Path, study: StudyRepo) -> Iterator[GitServer]:
    with serve_git(tmp_path / "served") as server:
        server.slowly.set()
        yield server


@pytest.fixture
async def new_cache(tmp_path: Path) -> Any:
    """Caches of one folder, as of several processes."""
    made = []

    def new(limits: TimeLimits = SOON, **options: Any) -> GitCache:
        made.append(
            GitCache(
                tmp_path / "repos",
                proxy_domain="x.invalid",
                token="",
                user="u",
                limits=limits,
                **options,
            )
        )
        return made[-1]

    yield new
    for cache in made:
        await cache.close()


def packs(server: GitServer) -> int:
    """How often a pack was asked for; asking for refs is a request of the same kind."""
    return sum(path.endswith("/git-upload-pack") for path, _ in server.requests)


async def until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.02)


async def patiently(
    cache: GitCache, url: str, ask: Callable[[], Awaitable[Answer]]
) -> tuple[Answer, int]:
    """Ask again for as long as it is still being fetched; the answer, and how often it was."""
    again = 0
    async with asyncio.timeout(60):
        while True:
            try:
                async with cache.answering(url):
                    return await ask(), again
            except Unavailable:
                again += 1


async def gives_up(cache: GitCache, url: str, ask: Callable[[], Awaitable[Any]]) -> None:
    with pytest.raises(StillFetching, match=f"The repository {url} is still being fetched"):
        async with cache.answering(url):
            await ask()


async def test_an_answer_is_given_up_and_the_next_one_joins_the_fetch(
    study: StudyRepo, server: GitServer, new_cache: Callable[..., GitCache]
) -> None:
    commit, url, cache = study.commit({"big": BIG}), f"{server.url}/org/repo", new_cache()
    for _ in range(3):
        await gives_up(cache, url, lambda: cache.read_file(url, commit, "big"))
    server.slowly.clear()
    content, _ = await patiently(cache, url, lambda: cache.read_file(url, commit, "big"))
    assert content == BIG
    assert packs(server) == 1
    assert server.gone_away == 0


async def test_a_caller_that_is_cancelled_leaves_the_fetch_to_the_others(
    study: StudyRepo, server: GitServer, new_cache: Callable[..., GitCache]
) -> None:
    commit, url = study.commit({"big": BIG}), f"{server.url}/org/repo"
    cache = new_cache(TimeLimits())
    first, second = (asyncio.create_task(cache.fetch(url, commit)) for _ in range(2))
    await until(lambda: packs(server))
    first.cancel()
    await asyncio.wait({first})
    assert first.cancelled()
    server.slowly.clear()
    await second
    assert packs(server) == 1
    assert server.gone_away == 0


async def test_another_process_waits_for_the_fetch_and_does_not_begin_its_own(
    study: StudyRepo, server: GitServer, new_cache: Callable[..., GitCache]
) -> None:
    commit, url = study.commit({"big": BIG}), f"{server.url}/org/repo"
    first, second = new_cache(), new_cache()
    await gives_up(first, url, lambda: first.fetch(url, commit))
    await gives_up(second, url, lambda: second.fetch(url, commit))
    server.slowly.clear()
    await patiently(second, url, lambda: second.fetch(url, commit))
    assert packs(server) == 1


async def test_a_long_history_is_fetched_once_however_often_it_is_asked_for(
    study: StudyRepo, server: GitServer, new_cache: Callable[..., GitCache]
) -> None:
    old = study.commit({"big": BIG})
    for number in range(12):
        study.commit({"big": str(number)})
    study.git("switch", "--quiet", "--orphan", "fork")
    stray = study.commit({"b": "1"})
    url, cache = f"{server.url}/org/repo", new_cache()
    await gives_up(cache, url, lambda: cache.commit_is_on_branch(url, "main", old))
    await gives_up(cache, url, lambda: cache.commit_is_on_branch(url, "main", old))
    server.slowly.clear()
    found, _ = await patiently(cache, url, lambda: cache.commit_is_on_branch(url, "main", old))
    assert found
    server.slowly.set()
    # Whose answer is no takes no second fetch either: all of the history is here.
    cache = new_cache(TimeLimits())
    fetched = packs(server)
    for commit, expected in {stray: False, old: True, "1" * 40: False}.items():
        assert await cache.commit_is_on_branch(url, "main", commit) is expected
    assert await cache.read_file(url, old, "big") == BIG
    asked_for_refs = 3
    assert packs(server) == fetched + asked_for_refs


async def test_a_commit_that_came_with_its_history_cuts_nothing_off(
    study: StudyRepo, server: GitServer, new_cache: Callable[..., GitCache]
) -> None:
    server.slowly.clear()
    commits = study.commits(20)
    url, cache = f"{server.url}/org/repo", new_cache(TimeLimits())
    assert await cache.commit_is_on_branch(url, "main", commits[5])
    await cache.fetch(url, commits[5])
    before = packs(server)
    assert await cache.commit_is_on_branch(url, "main", commits[0])
    assert packs(server) == before + 1, "it was asked where the branch is, and no more"


async def test_the_log_says_how_far_a_fetch_is(
    study: StudyRepo,
    server: GitServer,
    new_cache: Callable[..., GitCache],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rap.git.process.TOLD_EVERY_S", 0.05)
    commit, url, cache = study.commit({"big": BIG}), f"{server.url}/org/repo", new_cache()
    with capture_logs() as logs:
        task = asyncio.create_task(cache.fetch(url, commit))
        await until(lambda: any(entry.get("received") for entry in logs))
        server.slowly.clear()
        await task
    said = next(entry for entry in logs if entry.get("received"))
    assert (said["event"], said["repo"], said["commit"]) == ("Still fetching", url, commit)
    assert 0 <= said["percent"] <= 100
    assert said["received"].split()[1] in ("bytes", "KiB", "MiB")


async def test_a_remote_that_does_not_answer_is_not_said_to_be_fetched_from(
    study: StudyRepo, server: GitServer, new_cache: Callable[..., GitCache]
) -> None:
    commit, url = study.commit(), f"{server.url}/org/repo"
    server.fault = Fault.RESET
    cache = new_cache(TimeLimits(answer=5), fetch_waits=(3600,))
    with pytest.raises(RemoteAway):
        async with cache.answering(url):
            await cache.fetch(url, commit)


async def test_what_a_remote_refuses_after_the_answer_was_given_up_is_told_to_the_next(
    study: StudyRepo, server: GitServer, new_cache: Callable[..., GitCache]
) -> None:
    study.commit()
    url, cache = f"{server.url}/org/repo", new_cache(fetch_waits=(0.1,))
    server.hangs.set()
    await gives_up(cache, url, lambda: cache.fetch(url, "1" * 40))
    server.hangs.clear()
    server.released.set()
    with pytest.raises(GitError, match="Error fetching commit"):
        await patiently(cache, url, lambda: cache.fetch(url, "1" * 40))


async def test_what_is_here_is_looked_at_without_waiting_for_a_fetch(
    study: StudyRepo, server: GitServer, new_cache: Callable[..., GitCache]
) -> None:
    server.slowly.clear()
    old = study.commit({"a": "1"})
    url, cache = f"{server.url}/org/repo", new_cache()
    await cache.fetch(url, old)
    server.slowly.set()
    new = study.commit({"big": BIG})
    await gives_up(cache, url, lambda: cache.fetch(url, new))
    for other in (new_cache(TimeLimits(), fetches=False), new_cache(TimeLimits(), fetches=False)):
        with pytest.raises(NotFetched):
            await other.commit_is_on_branch(url, "main", old)
        assert await other.read_file(url, old, "a") == b"1"


PROGRAM = """
import asyncio, sys
from pathlib import Path
from rap.git import GitCache

cache = GitCache(Path(sys.argv[1]), proxy_domain="x.invalid", token="", user="u")
asyncio.run(cache.fetch(sys.argv[2], sys.argv[3]))
"""


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
async def test_a_process_that_ends_while_it_fetches_leaves_nothing_half_done(
    tmp_path: Path,
    study: StudyRepo,
    server: GitServer,
    new_cache: Callable[..., GitCache],
    end: signal.Signals,
) -> None:
    """One that is killed leaves its git at work, which is not in vain; one that stops does not."""
    commit, url, root = study.commit({"big": BIG}), f"{server.url}/org/repo", tmp_path / "repos"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PROGRAM, str(root), url, commit),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    await until(lambda: packs(server))
    process.send_signal(end)
    await process.wait()
    cache = new_cache()
    if end is signal.SIGINT:
        assert not list(root.glob("*.git/objects/pack/tmp_*"))
        await until(lambda: server.gone_away)
    else:
        await gives_up(cache, url, lambda: cache.fetch(url, commit))
    server.slowly.clear()
    content, _ = await patiently(cache, url, lambda: cache.read_file(url, commit, "big"))
    assert content == BIG
    assert packs(server) == (2 if end is signal.SIGINT else 1)
