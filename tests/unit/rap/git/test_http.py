"""Git over HTTP: a real server on the loopback, with and without TLS."""

import base64
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from rap.errors import GitError, RemoteAway, RepositoryRefused, UnknownRef
from rap.git import GitCache, TimeLimits
from tests.support.git_server import Fault, GitServer, StudyRepo, serve_git

pytestmark = pytest.mark.unit

TOKEN = "s3cret/token"


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "served"


@pytest.fixture
def study(folder: Path) -> StudyRepo:
    return StudyRepo(folder / "org" / "repo")


@pytest.fixture
def server(folder: Path, study: StudyRepo) -> Iterator[GitServer]:
    with serve_git(folder) as server:
        yield server


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(path), "-out", f"{path}.crt"),
        ],
        check=True,
        capture_output=True,
    )
    path.write_bytes(path.read_bytes() + path.with_suffix(".pem.crt").read_bytes())
    return path


@pytest.fixture
def proxy(
    folder: Path, study: StudyRepo, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[GitServer]:
    """A proxy for GitHub that wants the right token."""
    monkeypatch.setenv("GIT_SSL_CAINFO", str(certificate))
    with serve_git(folder, certificate) as server:
        server.required_authorization = basic("jobrunner-test", TOKEN)
        yield server


def new_cache(
    tmp_path: Path, *, domain: str = "proxy.invalid", token: str = "", **options: Any
) -> GitCache:
    return GitCache(
        tmp_path / "repos",
        proxy_domain=domain,
        token=token,
        user="jobrunner-test",
        fetch_waits=(0, 0, 0, 0),
        **options,
    )


def of_proxy(tmp_path: Path, proxy: GitServer, token: str = TOKEN) -> GitCache:
    return new_cache(tmp_path, domain=proxy.url.removeprefix("https://"), token=token)


async def test_everything_works_over_http(
    tmp_path: Path, study: StudyRepo, server: GitServer
) -> None:
    commits = study.commits(14)
    study.git("tag", "--annotate", "--message=x", "v1", commits[0])
    url, cache = f"{server.url}/org/repo", new_cache(tmp_path)
    assert await cache.resolve(url, "main") == commits[-1]
    assert await cache.resolve(url, "v1") == commits[0]
    assert await cache.read_file(url, commits[3], "counter") == b"3"
    assert await cache.commit_is_on_branch(url, "main", commits[0])
    target = tmp_path / "target"
    target.mkdir()
    await cache.checkout(url, commits[7], target)
    assert (target / "counter").read_text() == "7"
    with pytest.raises(UnknownRef):
        await cache.resolve(url, "nope")


@pytest.mark.spec("agent:70", "controller:193")
async def test_what_was_fetched_is_not_asked_for_again(
    tmp_path: Path, study: StudyRepo, server: GitServer
) -> None:
    commit = study.commit({"a": "1"})
    url, cache = f"{server.url}/org/repo", new_cache(tmp_path)
    target = tmp_path / "target"
    target.mkdir()
    await cache.checkout(url, commit, target)
    server.requests.clear()
    await cache.read_file(url, commit, "a")
    await cache.checkout(url, commit, target)
    assert server.requests == []


@pytest.mark.spec("controller:192")
async def test_a_repository_that_is_not_there_cannot_be_read(
    tmp_path: Path, server: GitServer
) -> None:
    url = f"{server.url}/org/nope"
    with pytest.raises(RepositoryRefused) as caught:
        await new_cache(tmp_path).resolve(url, "main")
    assert str(caught.value) == f"Could not read from {url}"


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_a_remote_that_answers_no_has_refused(
    tmp_path: Path, study: StudyRepo, server: GitServer, status: int
) -> None:
    commit, url = study.commit(), f"{server.url}/org/repo"
    server.fault = status
    with pytest.raises(RepositoryRefused) as caught:
        await new_cache(tmp_path).resolve(url, "main")
    assert str(caught.value) == f"Could not read from {url}"
    server.requests.clear()
    with pytest.raises(RepositoryRefused) as caught:
        await new_cache(tmp_path).fetch(url, commit)
    assert str(caught.value) == f"Error fetching commit {commit} from {url}"
    assert len(server.requests) == 1, "an answer is not asked for again"


@pytest.mark.spec("controller:195", "agent:72")
async def test_a_commit_that_the_remote_does_not_have_is_refused_at_once(
    tmp_path: Path, study: StudyRepo, server: GitServer
) -> None:
    study.commit()
    url, commit = f"{server.url}/org/repo", "1" * 40
    with pytest.raises(GitError) as caught:
        await new_cache(tmp_path).fetch(url, commit)
    assert type(caught.value) is GitError
    assert str(caught.value) == f"Error fetching commit {commit} from {url}"


@pytest.mark.parametrize("fault", [429, 500, 502, 503, 504, Fault.RESET, Fault.CUT_OFF])
async def test_what_passes_is_never_taken_for_an_answer(
    tmp_path: Path, study: StudyRepo, server: GitServer, fault: Fault | int
) -> None:
    commit, url = study.commit(), f"{server.url}/org/repo"
    server.fault = fault
    with pytest.raises(RemoteAway) as caught:
        await new_cache(tmp_path).resolve(url, "main")
    assert str(caught.value).startswith(f"No answer from the repository {url}. ")
    with pytest.raises(RemoteAway):
        await new_cache(tmp_path).fetch(url, commit)
    server.fault = None
    await new_cache(tmp_path).fetch(url, commit)


@pytest.mark.spec("controller:194", "agent:71")
@pytest.mark.parametrize("fault", [503, Fault.RESET, Fault.CUT_OFF])
async def test_four_failures_that_pass_are_survived_and_the_fifth_is_told(
    tmp_path: Path, study: StudyRepo, server: GitServer, fault: Fault | int
) -> None:
    commit, url = study.commit({"a": "1"}), f"{server.url}/org/repo"
    server.next_faults = [fault] * 4
    assert await new_cache(tmp_path).read_file(url, commit, "a") == b"1"
    later = study.commit()
    server.next_faults, server.requests = [], []
    server.fault = fault
    with pytest.raises(RemoteAway):
        await new_cache(tmp_path).fetch(url, later)
    assert len(server.requests) >= 5


@pytest.mark.parametrize("status", [404, 503])
async def test_a_fetch_that_fails_at_its_second_request_is_judged_by_that(
    tmp_path: Path, study: StudyRepo, server: GitServer, status: int
) -> None:
    commit, url = study.commit(), f"{server.url}/org/repo"
    server.next_faults = [None, status] * 5
    with pytest.raises(RepositoryRefused if status == 404 else RemoteAway):
        await new_cache(tmp_path).fetch(url, commit)


async def test_no_wait_goes_beyond_the_time_limit(
    tmp_path: Path, study: StudyRepo, server: GitServer
) -> None:
    commit, url = study.commit(), f"{server.url}/org/repo"
    server.fault = 503
    cache = GitCache(
        tmp_path / "repos",
        proxy_domain="proxy.invalid",
        token="",
        user="u",
        fetch_waits=(3600,),
        limits=TimeLimits(fetch=30),
    )
    with pytest.raises(RemoteAway):
        await cache.fetch(url, commit)


@pytest.mark.parametrize("place", ["http://127.0.0.1:1", "http://nowhere.invalid"])
async def test_a_host_that_cannot_be_reached_passes(tmp_path: Path, place: str) -> None:
    cache = new_cache(tmp_path)
    with pytest.raises(RemoteAway):
        await cache.resolve(f"{place}/org/repo", "main")
    with pytest.raises(RemoteAway):
        await cache.fetch(f"{place}/org/repo", "0" * 40)


async def test_a_certificate_that_is_not_trusted_passes(
    tmp_path: Path, study: StudyRepo, folder: Path, certificate: Path
) -> None:
    study.commit()
    with serve_git(folder, certificate) as server, pytest.raises(RemoteAway):
        await new_cache(tmp_path).resolve(f"{server.url}/org/repo", "main")


@pytest.mark.parametrize("status", [403, 404, 407, 502])
async def test_what_a_proxy_on_the_way_answers_is_not_the_remotes_answer(
    tmp_path: Path, server: GitServer, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setenv("https_proxy", server.url)
    server.fault = status
    with pytest.raises(RemoteAway):
        await new_cache(tmp_path).resolve("https://repositories.invalid/org/repo", "main")
    assert server.requests


async def test_a_server_that_hangs_is_given_up(
    tmp_path: Path, study: StudyRepo, server: GitServer
) -> None:
    commit = study.commit()
    url = f"{server.url}/org/repo"
    cache = new_cache(tmp_path, limits=TimeLimits(resolve=0.5, fetch=0.5))
    server.hangs.set()
    with pytest.raises(RemoteAway):
        await cache.resolve(url, "main")
    with pytest.raises(RemoteAway):
        await cache.fetch(url, commit)
    server.hangs.clear()
    server.released.set()
    await new_cache(tmp_path).fetch(url, commit)


@pytest.mark.spec("agent:68", "controller:196")
async def test_the_proxy_gets_the_token_and_nobody_learns_of_it(
    tmp_path: Path, study: StudyRepo, proxy: GitServer
) -> None:
    commit = study.commit({"a": "1"})
    cache = of_proxy(tmp_path, proxy)
    url = "https://github.com/org/repo"
    assert await cache.read_file(url, commit, "a") == b"1"
    assert proxy.requests[-1][1] == basic("jobrunner-test", TOKEN)
    stored = [path.read_bytes() for path in (tmp_path / "repos").rglob("*") if path.is_file()]
    assert not any(TOKEN.encode() in text for text in stored)


@pytest.mark.spec("controller:197")
async def test_a_refused_token_shows_nowhere(
    tmp_path: Path, study: StudyRepo, proxy: GitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in the errors, the log, or the arguments of any process."""
    commit = study.commit({"a": "1"})
    study.git("config", "http.x", "y")
    cache = of_proxy(tmp_path, proxy, token=f"wrong-{TOKEN}")
    journal = tmp_path / "journal"
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text(
        f'#!/bin/sh\necho "$*" >> {journal}\necho "seen: $RAP_GIT_PASSWORD" >&2\n'
        'PATH="${PATH#*:}" exec git "$@"\n'
    )
    program.chmod(0o755)
    with monkeypatch.context() as patched:
        patched.setenv("PATH", f"{program.parent}:/usr/local/bin:/usr/bin:/bin")
        with capture_logs() as logs:
            with pytest.raises(RepositoryRefused) as reading:
                await cache.resolve("https://github.com/org/repo", "main")
            with pytest.raises(GitError) as fetching:
                await cache.fetch("https://github.com/org/repo", commit)
    assert str(reading.value) == "Could not read from https://github.com/org/repo"
    assert str(fetching.value).endswith("from https://github.com/org/repo")
    assert "seen: ********" in str(logs)
    for text in (str(logs), str(reading.value), str(fetching.value), journal.read_text()):
        assert TOKEN not in text


async def test_without_a_token_git_fails_instead_of_asking(
    tmp_path: Path, study: StudyRepo, proxy: GitServer
) -> None:
    study.commit()
    with pytest.raises(RepositoryRefused):
        await of_proxy(tmp_path, proxy, token="").resolve("https://github.com/org/repo", "main")


async def test_a_redirect_elsewhere_does_not_carry_the_token(
    tmp_path: Path, study: StudyRepo, proxy: GitServer, certificate: Path, folder: Path
) -> None:
    study.commit()
    with serve_git(folder, certificate) as other:
        other.required_authorization = basic("x", "y")
        proxy.redirect_to = other.url
        with pytest.raises(RepositoryRefused):
            await of_proxy(tmp_path, proxy).resolve("https://github.com/org/repo", "main")
        assert other.requests
        assert all(authorization is None for _, authorization in other.requests)


async def test_plain_http_never_gets_the_token(
    tmp_path: Path, study: StudyRepo, server: GitServer
) -> None:
    study.commit()
    server.required_authorization = basic("jobrunner-test", TOKEN)
    cache = new_cache(tmp_path, domain=server.url.removeprefix("http://"), token=TOKEN)
    with pytest.raises(RepositoryRefused):
        await cache.resolve("http://github.com/org/repo", "main")
    assert [authorization for _, authorization in server.requests] == [None]


async def test_credentials_in_the_url_are_used_and_kept_out_of_arguments(
    tmp_path: Path, study: StudyRepo, server: GitServer
) -> None:
    commit = study.commit()
    server.required_authorization = basic("me", "my/pass")
    url = server.url.replace("://", "://me:my%2Fpass@") + "/org/repo"
    assert await new_cache(tmp_path).resolve(url, "main") == commit
