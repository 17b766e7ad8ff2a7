import asyncio
import fcntl
import os
import shutil
import stat
from asyncio.subprocess import Process
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rap.errors import (
    FileNotInRepository,
    GitError,
    RepositoryRefused,
    Unavailable,
    UnknownRef,
)
from rap.git import GitCache
from tests.support.git_server import StudyRepo

pytestmark = pytest.mark.unit

NOBODY = "0" * 39 + "1"


@pytest.fixture
def study(tmp_path: Path) -> StudyRepo:
    return StudyRepo(tmp_path / "studies" / "my.study")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "repos"


@pytest.fixture
def cache(root: Path) -> GitCache:
    return new_cache(root)


def new_cache(root: Path, **options: Any) -> GitCache:
    options.setdefault("fetch_waits", (0, 0, 0, 0))
    return GitCache(root, proxy_domain="proxy.invalid", token="", user="u", **options)


@pytest.fixture
def git_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Every run of git by the cache, as a list of its arguments; the real git does the work."""
    journal = tmp_path / "journal"
    fake_git(tmp_path, monkeypatch, f'[ -z "$GIT_CEILING_DIRECTORIES" ] || echo "$*" >> {journal}')
    return lambda: [
        line.split() for line in (journal.read_text().splitlines() if journal.exists() else [])
    ]


def fake_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Put a script before the real git, which runs unless the script exits."""
    folder = tmp_path / "bin"
    folder.mkdir(exist_ok=True)
    real = shutil.which("git")
    program = folder / "git"
    program.write_text(f'#!/bin/sh\n{script}\nexec {real} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def remote_runs(runs: list[list[str]]) -> list[list[str]]:
    return [words for words in runs if "fetch" in words or "ls-remote" in words]


# --- resolving ---


@pytest.mark.spec("controller:192", "agent:73")
async def test_refs_branches_and_both_kinds_of_tags_resolve_to_commits(
    cache: GitCache, study: StudyRepo
) -> None:
    first, second = study.commit(), study.commit()
    study.git("tag", "light", first)
    study.git("tag", "--annotate", "--message=x", "noted", first)
    study.git("branch", "dev", first)
    for ref, commit in {
        "main": second,
        "HEAD": second,
        "dev": first,
        "light": first,
        "noted": first,
        "refs/heads/dev": first,
        "refs/tags/noted": first,
        "refs/tags/light": first,
    }.items():
        assert await cache.resolve(study.url, ref) == commit, ref


async def test_a_branch_beats_a_tag_of_the_same_name(cache: GitCache, study: StudyRepo) -> None:
    first, second = study.commit(), study.commit()
    study.git("tag", "v1", first)
    study.git("branch", "v1", second)
    assert await cache.resolve(study.url, "v1") == second


@pytest.mark.spec("controller:192")
@pytest.mark.parametrize("ref", ["nope", "ain", "ma*", "heads/main", "--upload-pack=touch /tmp/x"])
async def test_only_a_ref_of_exactly_that_name_is_found(
    cache: GitCache, study: StudyRepo, ref: str
) -> None:
    study.commit()
    with pytest.raises(UnknownRef) as caught:
        await cache.resolve(study.url, ref)
    assert str(caught.value) == f"Could not find ref '{ref}' in {study.url}"


@pytest.mark.spec("controller:192")
async def test_a_repository_that_does_not_exist_cannot_be_read(
    cache: GitCache, tmp_path: Path
) -> None:
    with pytest.raises(RepositoryRefused) as caught:
        await cache.resolve(f"{tmp_path}/nope", "main")
    assert str(caught.value) == f"Could not read from {tmp_path}/nope"


# --- fetching ---


@pytest.mark.spec("controller:193", "agent:70")
async def test_a_fetched_commit_costs_no_network_call_and_one_run_of_git(
    cache: GitCache, study: StudyRepo, git_runs: Callable[..., Any]
) -> None:
    commit = study.commit({"a": "1"})
    await cache.fetch(study.url, commit)
    before = git_runs()
    assert len(remote_runs(before)) == 1
    await cache.fetch(study.url, commit)
    assert git_runs() == before
    await cache.read_file(study.url, commit, "a")
    assert len(git_runs()) == len(before) + 1


@pytest.mark.spec("controller:193")
async def test_a_commit_without_its_marker_is_fetched_again(
    cache: GitCache, study: StudyRepo, root: Path, git_runs: Callable[..., Any]
) -> None:
    commit = study.commit({"a": "1"})
    await cache.fetch(study.url, commit)
    (marker,) = root.glob(f"*/refs/tags/fetched/{commit}")
    marker.unlink()
    await cache.fetch(study.url, commit)
    assert len(remote_runs(git_runs())) == 2
    assert marker.exists()


async def test_a_packed_marker_counts(
    cache: GitCache, study: StudyRepo, root: Path, git_runs: Callable[..., Any]
) -> None:
    commit = study.commit()
    await cache.fetch(study.url, commit)
    (repo,) = root.glob("*.git")
    study.git("--git-dir", str(repo), "pack-refs", "--all", "--prune")
    assert not list(root.glob(f"*/refs/tags/fetched/{commit}"))
    await cache.fetch(study.url, commit)
    assert len(remote_runs(git_runs())) == 1


async def test_an_interrupted_fetch_leaves_nothing_that_hinders_the_next(
    cache: GitCache, study: StudyRepo, root: Path
) -> None:
    await cache.fetch(study.url, study.commit({"a": "1"}))
    (repo,) = root.glob("*.git")
    (repo / "shallow.lock").touch()
    (repo / "objects" / "pack").mkdir(exist_ok=True)
    (repo / "objects" / "pack" / "tmp_pack_x").write_bytes(b"x" * 10)
    commit = study.commit({"a": "2"})
    await cache.fetch(study.url, commit)
    assert await cache.read_file(study.url, commit, "a") == b"2"
    assert not list(repo.glob("objects/pack/tmp_*"))


@pytest.mark.spec("controller:195", "agent:72")
async def test_an_unknown_commit_is_an_error_at_once(
    cache: GitCache, study: StudyRepo, git_runs: Callable[..., Any]
) -> None:
    study.commit()
    with pytest.raises(GitError) as caught:
        await cache.fetch(study.url, NOBODY)
    assert str(caught.value) == f"Error fetching commit {NOBODY} from {study.url}"
    assert not isinstance(caught.value, RepositoryRefused)
    assert len([words for words in git_runs() if "fetch" in words]) == 1


async def test_fetching_from_a_place_that_is_not_there_is_told_apart(
    cache: GitCache, tmp_path: Path
) -> None:
    url = f"{tmp_path}/nope"
    with pytest.raises(RepositoryRefused) as caught:
        await cache.fetch(url, NOBODY)
    assert str(caught.value) == f"Error fetching commit {NOBODY} from {url}"


@pytest.mark.parametrize("commit", ["main", "", "--all", "abc123", "A" * 40, "refs/heads/main"])
async def test_what_is_not_a_commit_id_is_never_given_to_git(
    cache: GitCache, study: StudyRepo, commit: str, git_runs: Callable[..., Any]
) -> None:
    study.commit()
    with pytest.raises(GitError) as caught:
        await cache.fetch(study.url, commit)
    assert str(caught.value) == f"Error fetching commit {commit} from {study.url}"
    assert git_runs() == []


async def test_repositories_of_the_same_name_do_not_share_a_folder(
    cache: GitCache, tmp_path: Path, root: Path
) -> None:
    one, other = StudyRepo(tmp_path / "x" / "my.study"), StudyRepo(tmp_path / "y" / "my.study")
    await cache.fetch(one.url, one.commit())
    await cache.fetch(other.url, other.commit())
    names = sorted(path.name for path in root.glob("*.git"))
    assert len(names) == 2
    assert all(name.startswith("my.study-") for name in names)


async def test_calls_at_the_same_time_fetch_once_and_do_not_clash(
    root: Path, study: StudyRepo, git_runs: Callable[..., Any]
) -> None:
    commits = study.commits(4)
    first, second = new_cache(root), new_cache(root)  # as two processes would
    await asyncio.gather(
        *(cache.read_file(study.url, c, "counter") for cache in (first, second) for c in commits)
    )
    fetched = [words[-1] for words in git_runs() if "fetch" in words]
    assert sorted(fetched) == sorted(commits)


async def test_reading_what_is_there_does_not_wait_for_a_fetch(
    cache: GitCache, study: StudyRepo, root: Path
) -> None:
    commit = study.commit({"a": "1"})
    await cache.fetch(study.url, commit)
    (lock,) = root.glob("*.lock")
    with lock.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        async with asyncio.timeout(20):
            assert await cache.read_file(study.url, commit, "a") == b"1"


async def test_a_local_repository_may_belong_to_another_user(
    cache: GitCache, study: StudyRepo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = study.commit({"a": "1"})
    # Git's own switch for its tests; to change the owner would take root.
    fake_git(tmp_path, monkeypatch, "export GIT_TEST_ASSUME_DIFFERENT_OWNER=1")
    assert await cache.resolve(study.url, "main") == commit
    assert await cache.read_file(study.url, commit, "a") == b"1"


async def test_a_cancelled_fetch_stops_git_and_gives_the_repository_back(
    root: Path, study: StudyRepo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = study.commit({"a": "1"})
    started, child = tmp_path / "started", tmp_path / "child"
    hang = (
        f'case " $* " in *" fetch "*) if [ ! -e {started} ]; then sleep 300 & echo $! > {child}; '
        f"touch {started}; wait; fi;; esac"
    )
    fake_git(tmp_path, monkeypatch, hang)
    cache = new_cache(root)
    task = asyncio.create_task(cache.fetch(study.url, commit))
    async with asyncio.timeout(20):
        while not started.exists():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        while is_running(int(child.read_text())):
            await asyncio.sleep(0.01)
        assert await cache.read_file(study.url, commit, "a") == b"1"


async def test_a_fetch_cancelled_while_git_starts_leaves_no_child_behind(
    root: Path, study: StudyRepo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = study.commit({"a": "1"})
    child, started = tmp_path / "child", asyncio.Event()
    fake_git(
        tmp_path,
        monkeypatch,
        f'case " $* " in *" fetch "*) sleep 300 & echo $! > {child}.new; '
        f"mv {child}.new {child}; wait;; esac",
    )
    start = asyncio.create_subprocess_exec

    async def start_slowly(*args: Any, **options: Any) -> Process:
        process = await start(*args, **options)
        if "fetch" in args:
            async with asyncio.timeout(20):
                while not child.exists():
                    await asyncio.sleep(0.01)
            started.set()
            await asyncio.sleep(0)
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start_slowly)
    task = asyncio.create_task(new_cache(root).fetch(study.url, commit))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(20):
        while is_running(int(child.read_text())):
            await asyncio.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


# --- history ---


@pytest.mark.spec("controller:19", "agent:66")
@pytest.mark.parametrize("age", [0, 1, 14])
async def test_the_head_and_its_ancestors_are_on_the_branch(
    cache: GitCache, study: StudyRepo, age: int
) -> None:
    commits = study.commits(15)
    assert await cache.commit_is_on_branch(study.url, "main", commits[-1 - age])


@pytest.mark.spec("controller:18", "agent:66")
async def test_a_commit_of_another_branch_is_not_on_this_one(
    cache: GitCache, study: StudyRepo
) -> None:
    study.commits(3)
    study.git("switch", "--quiet", "--create", "fork", "HEAD~1")
    stray = study.commit({"b": "1"})
    assert not await cache.commit_is_on_branch(study.url, "main", stray)
    await cache.fetch(study.url, stray)
    assert not await cache.commit_is_on_branch(study.url, "main", stray)
    assert await cache.commit_is_on_branch(study.url, "fork", stray)


@pytest.mark.parametrize("commit", [NOBODY, "main", "HEAD", ""])
async def test_what_does_not_exist_is_on_no_branch(
    cache: GitCache, study: StudyRepo, commit: str
) -> None:
    study.commits(2)
    assert not await cache.commit_is_on_branch(study.url, "main", commit)


async def test_an_earlier_shallow_fetch_does_not_hide_older_commits(
    cache: GitCache, study: StudyRepo
) -> None:
    commits = study.commits(20)
    assert await cache.commit_is_on_branch(study.url, "main", commits[0])
    study.commit()
    await cache.fetch(study.url, commits[10])
    assert await cache.commit_is_on_branch(study.url, "main", commits[3])


async def test_an_unknown_branch_is_told(cache: GitCache, study: StudyRepo) -> None:
    study.commit()
    with pytest.raises(UnknownRef):
        await cache.commit_is_on_branch(study.url, "nope", NOBODY)


# --- reading ---


@pytest.mark.spec("controller:198", "agent:74")
async def test_a_file_is_read_as_it_is_and_a_missing_one_is_told(
    cache: GitCache, study: StudyRepo
) -> None:
    commit = study.commit({"data/a.bin": b"\x00\xff\r\n", "empty": b""})
    assert await cache.read_file(study.url, commit, "data/a.bin") == b"\x00\xff\r\n"
    assert await cache.read_file(study.url, commit, "empty") == b""
    for path in ("nope", "data", "data/nope", "../x", "x\ny"):
        with pytest.raises(FileNotInRepository) as caught:
            await cache.read_file(study.url, commit, path)
        assert str(caught.value) == f"File '{path}' not found in repository"


async def test_a_file_of_an_older_commit_is_read(cache: GitCache, study: StudyRepo) -> None:
    old = study.commit({"a": "old"})
    new = study.commit({"a": "new"})
    assert await cache.read_file(study.url, old, "a") == b"old"
    assert await cache.read_file(study.url, new, "a") == b"new"


@pytest.mark.spec("agent:85")
async def test_a_checkout_holds_exactly_the_files(
    cache: GitCache, study: StudyRepo, tmp_path: Path
) -> None:
    (study.path / "link").symlink_to("analysis/run.sh")
    commit = study.commit(
        {"analysis/run.sh": "#!/bin/sh\n", "analysis/ö ü.txt": "x", "skip.txt": "x"}
    )
    (study.path / "analysis/run.sh").chmod(0o755)
    (study.path / ".gitattributes").write_text("skip.txt export-ignore\n")
    commit = study.commit()
    target = tmp_path / "target"
    target.mkdir()
    await cache.checkout(study.url, commit, target)
    found = {str(path.relative_to(target)) for path in target.rglob("*") if not path.is_dir()}
    assert found == {
        ".gitattributes",
        "analysis/run.sh",
        "analysis/ö ü.txt",
        "link",
        "skip.txt",
    }
    assert (target / "link").readlink() == Path("analysis/run.sh")
    assert (target / "analysis/run.sh").stat().st_mode & stat.S_IXUSR


async def test_checkouts_of_different_commits_at_the_same_time_do_not_mix(
    cache: GitCache, study: StudyRepo, tmp_path: Path
) -> None:
    commits = study.commits(6)
    targets = [tmp_path / f"target{number}" for number in range(6)]
    for target in targets:
        target.mkdir()
    await asyncio.gather(
        *(cache.checkout(study.url, c, t) for c, t in zip(commits, targets, strict=True))
    )
    assert [(target / "counter").read_text() for target in targets] == list("012345")


async def test_an_empty_commit_can_be_checked_out(
    cache: GitCache, study: StudyRepo, tmp_path: Path
) -> None:
    commit = study.commit()
    target = tmp_path / "target"
    target.mkdir()
    await cache.checkout(study.url, commit, target)
    assert list(target.iterdir()) == []


@pytest.mark.spec("agent:78")
async def test_a_bad_commit_names_commit_and_repository(
    cache: GitCache, study: StudyRepo, tmp_path: Path
) -> None:
    study.commit()
    with pytest.raises(GitError) as caught:
        await cache.checkout(study.url, "nonsense", tmp_path)
    assert str(caught.value) == f"Could not checkout commit nonsense from {study.url}"
    with pytest.raises(GitError) as caught:
        await cache.checkout(study.url, NOBODY, tmp_path)
    assert str(caught.value) == f"Error fetching commit {NOBODY} from {study.url}"


# --- a cache that is damaged ---


def damage_nothing_left(repo: Path) -> None:
    (repo / "HEAD").unlink()


def damage_objects_gone(repo: Path) -> None:
    for pattern in ("objects/??/*", "objects/pack/*"):
        for path in repo.glob(pattern):
            path.unlink()


def damage_objects_garbled(repo: Path) -> None:
    for path in [*repo.glob("objects/??/*"), *repo.glob("objects/pack/*.pack")]:
        path.chmod(0o644)
        path.write_bytes(b"garbage")


def damage_configuration(repo: Path) -> None:
    (repo / "config").write_text("[core\n")


@pytest.mark.parametrize(
    "damage",
    [damage_nothing_left, damage_objects_gone, damage_objects_garbled, damage_configuration],
)
@pytest.mark.parametrize("action", ["read", "checkout", "fetch"])
async def test_a_damaged_cache_is_made_again(
    cache: GitCache,
    study: StudyRepo,
    root: Path,
    tmp_path: Path,
    damage: Callable[..., Any],
    action: str,
) -> None:
    commit = study.commit({"a": "1"})
    await cache.fetch(study.url, commit)
    (repo,) = root.glob("*.git")
    damage(repo)
    if action == "read":
        assert await cache.read_file(study.url, commit, "a") == b"1"
    elif action == "checkout":
        target = tmp_path / "target"
        target.mkdir()
        await cache.checkout(study.url, commit, target)
        assert (target / "a").read_text() == "1"
    else:
        commit = study.commit({"a": "2"})
        await cache.fetch(study.url, commit)
        assert await cache.read_file(study.url, commit, "a") == b"2"


async def test_a_missing_git_is_told_with_the_remedy(
    cache: GitCache, study: StudyRepo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = study.commit()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="Install git"):
        await cache.fetch(study.url, commit)


async def test_the_settings_of_the_operators_git_play_no_part(
    cache: GitCache, study: StudyRepo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    """A work directory inside another repository, an own configuration, hooks: all ignored."""
    commit = study.commit({"a": "1"})
    root.mkdir()
    StudyRepo(root / "..hidden")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "config").write_text("[broken\n")
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text("[broken\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(home / ".gitconfig"))
    assert await cache.read_file(study.url, commit, "a") == b"1"
