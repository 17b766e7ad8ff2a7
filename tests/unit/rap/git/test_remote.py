from pathlib import Path

import pytest

from rap.git import git_cache
from rap.git.process import redact
from rap.git.remote import Credentials, Remote, git_user, remote_of
from rap.settings import CommonSettings

pytestmark = pytest.mark.unit

PROXY = "https://proxy.com"


def remote(url: str, *, token: str = "token", backend: str = "") -> Remote:
    return remote_of(url, proxy_domain="proxy.com", token=token, user=git_user(backend))


@pytest.mark.spec("controller:196", "agent:68", "agent:69")
@pytest.mark.parametrize(
    ("url", "token", "backend", "expected"),
    [
        (
            "https://github.com/org/repo",
            "token",
            "test",
            Remote(f"{PROXY}/org/repo", Credentials(PROXY, "jobrunner-test", "token")),
        ),
        (
            "https://github.com/org/repo",
            "token",
            "",
            Remote(f"{PROXY}/org/repo", Credentials(PROXY, "jobrunner-ctrl", "token")),
        ),
        ("https://github.com/org/repo", "", "test", Remote(f"{PROXY}/org/repo")),
        ("http://github.com/org/repo", "token", "test", Remote("http://proxy.com/org/repo")),
        (
            "https://user:pass@github.com/org/repo",
            "token",
            "test",
            Remote(f"{PROXY}/org/repo", Credentials(PROXY, "user", "pass")),
        ),
    ],
)
def test_github_is_reached_through_the_proxy_with_the_right_credentials(
    url: str, token: str, backend: str, expected: Remote
) -> None:
    assert remote(url, token=token, backend=backend) == expected


@pytest.mark.parametrize(
    "url",
    [
        "https://gitlab.com/org/repo",
        "https://proxy.com.evil.org/org/repo",
        "https://evil.org/github.com/repo",
        "https://github.com.evil.org/org/repo",
        "https://proxy.com:8443/org/repo",
        "/srv/github.com/repo",
    ],
)
def test_other_places_stay_as_they_are_and_never_get_our_token(url: str) -> None:
    assert remote(url) == Remote(url)


def test_the_proxy_itself_gets_our_token() -> None:
    assert remote("https://proxy.com/org/repo").credentials == Credentials(
        PROXY, "jobrunner-ctrl", "token"
    )


@pytest.mark.parametrize("url", ["https://[broken/org/repo", "https://github.com:port/org/repo"])
def test_a_url_that_makes_no_sense_is_left_for_git_to_refuse(url: str) -> None:
    assert remote(url) == Remote(url)


@pytest.mark.spec("agent:61")
@pytest.mark.parametrize(
    "shown",
    [
        "fatal: https://user:s3cr%2Fet@proxy.com/: no",
        b"fatal: s3cr/et was refused",
        ["git", "fetch", "https://user:s3cr/et@proxy.com"],
        "Authorization: Basic dXNlcjpzM2NyL2V0",
    ],
)
def test_a_password_is_masked_in_whatever_is_logged(shown: bytes | list[str] | str) -> None:
    text = redact(shown, Credentials(PROXY, "user", "s3cr/et"))
    assert "********" in text
    assert "s3cr" not in text
    assert "dXNlcjpzM2NyL2V0" not in text


def test_a_password_does_not_show_in_a_representation() -> None:
    assert "token" not in repr(remote("https://github.com/org/repo"))


def test_the_cache_of_a_process_is_below_its_work_directory(tmp_path: Path) -> None:
    cache = git_cache(CommonSettings(workdir=tmp_path), backend="tpp")
    assert cache is not None
    assert not (tmp_path / "repos").exists()
