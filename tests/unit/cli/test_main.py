"""The ``rap`` command where no server is needed: usage, settings, errors, what is shown."""

import fcntl
import json
import os
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli import environment
from cli.main import run_app
from cli.operations.requests import request_of
from rap import ids
from rap.errors import ConfigurationError, RequestRefused
from rap.git import GitCache
from rap.records import Records
from rap.records.migrations import upgrade
from rap.rows import Intent, JobChange, JobChanges, JobRow, RapRows
from rap.sentences import CODE_SENTENCES
from rap.status import StatusCode
from tests.support.git_server import StudyRepo

pytestmark = pytest.mark.unit

RAP = ids.random_rap_id()
NOBODY = "127.0.0.1:1"


@pytest.fixture(autouse=True)
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An environment and a folder of the test's own; logs stay as the test run has them."""
    before = dict(os.environ)
    for name in [name for name in before if name.startswith(("TEMPORAL_", "RAP_"))]:
        del os.environ[name]
    for name in ("BACKEND", "BACKENDS", "WORKDIR"):
        os.environ.pop(name, None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rap.telemetry.logs.configure", lambda *_: None)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    """The read model that commands find in this environment."""
    url = f"sqlite:///{tmp_path / 'records.sqlite'}"
    os.environ["RAP_DATABASE_URL"] = url
    upgrade(url)
    records = Records.connect(url)
    yield records
    records.close()


def add_rap(
    records: Records, rap_id: str, *actions: str, at: int = 1_700_000_000, backend: str = "test"
) -> None:
    jobs = tuple(
        JobRow(
            id=ids.job_id(rap_id, action),
            rap_id=rap_id,
            position=position,
            backend=backend,
            workspace="ws",
            repo_url="/study",
            commit="0" * 40,
            action=action,
            run_command=f"python:v2 {action}.py",
            requires_db=False,
            created_at=at,
        )
        for position, action in enumerate(actions)
    )
    records.record_jobs(JobChanges(created=RapRows(rap_id=rap_id, jobs=jobs)))


def end(
    records: Records, rap_id: str, action: str, code: StatusCode = StatusCode.SUCCEEDED
) -> None:
    change = JobChange(
        job_id=ids.job_id(rap_id, action),
        attempt=1,
        code=code,
        message=CODE_SENTENCES[code],
        at=1.8e9,
    )
    records.record_jobs(JobChanges(changes=(change,)))


# --- usage ---


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["run", "/study"],
        ["cancel"],
        ["dev", "--port", "99999"],
        ["agent", "jobs", "--watch", "--json"],
    ],
)
def test_wrong_usage_is_told_on_standard_error_with_exit_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app(arguments) == 2
    shown = capsys.readouterr()
    assert "Usage: rap" in shown.err
    assert shown.out == ""


@pytest.mark.spec("controller:184")
@pytest.mark.parametrize(
    "arguments",
    [
        ["dev", "--backend", "foo"],
        ["run", "/study", "run_all", "--backend", "foo"],
        ["status", "--backend", "foo"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_an_unknown_backend_is_a_usage_error_that_lists_the_known_ones(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    os.environ["BACKENDS"] = "test,tpp"
    assert run_app(arguments) == 2
    assert capsys.readouterr().err == "Invalid backend 'foo', allowed are: test, tpp\n"


def test_a_backend_may_be_written_in_capitals(records: Records) -> None:
    assert run_app(["status", "--backend", "TPP"]) == 0


def test_the_installed_command_ends_with_the_exit_code_of_what_was_called(tmp_path: Path) -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "rap", "status", "--data", "nowhere"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("nowhere/env.json was not found")


# --- what cannot work ---


def test_without_a_read_model_a_sentence_says_so_and_none_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_app(["status"]) == 1
    assert "There is no read model at" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_read_model_without_tables_is_told_with_the_command_that_makes_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty.sqlite").touch()
    os.environ["RAP_DATABASE_URL"] = f"sqlite:///{tmp_path}/empty.sqlite"
    assert run_app(["status"]) == 1
    assert "rap records upgrade" in capsys.readouterr().err
    assert run_app(["records", "upgrade"]) == 0
    assert "Brought the tables" in capsys.readouterr().out
    assert run_app(["records", "upgrade"]) == 0
    assert "are up to date" in capsys.readouterr().out
    assert run_app(["status"]) == 0


def test_a_wrong_database_url_is_a_configuration_error_that_does_not_show_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    os.environ["RAP_DATABASE_URL"] = "nonsense://user:secret@host/rap"
    assert run_app(["status"]) == 2
    shown = capsys.readouterr().err
    assert "RAP_DATABASE_URL" in shown
    assert "secret" not in shown


def test_without_temporal_a_sentence_says_where_it_was_looked_for(
    records: Records, capsys: pytest.CaptureFixture[str]
) -> None:
    os.environ["TEMPORAL_ADDRESS"] = NOBODY
    assert run_app(["run", "/study", "run_all"]) == 1
    add_rap(records, RAP, "a")
    assert run_app(["cancel", RAP]) == 1
    shown = capsys.readouterr().err
    assert shown.count(f"Temporal does not answer at {NOBODY}") == 2
    assert "Traceback" not in shown


def test_rap_dev_refuses_a_temporal_server_that_does_not_answer(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.images.build.connect", lambda: _Closed())
    os.environ["TEMPORAL_ADDRESS"] = NOBODY
    assert run_app(["dev"]) == 2
    assert f"TEMPORAL_ADDRESS is {NOBODY}, and no Temporal" in capsys.readouterr().err


def test_rap_dev_without_docker_says_so_before_it_starts_anything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    os.environ["DOCKER_HOST"] = f"unix://{tmp_path}/no-docker.sock"
    assert run_app(["dev"]) == 1
    assert "Docker does not answer" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


class _Closed:
    """Stands for an engine that answered; what is tested comes before its use."""

    def close(self) -> None:
        pass


# --- the request of `rap run` (docs/spec/controller.md 15.4) ---


@pytest.fixture
def git(tmp_path: Path) -> GitCache:
    return GitCache(tmp_path / "repos", proxy_domain="example.org", token="", user="test")


async def test_a_path_becomes_absolute_and_the_head_of_the_branch_is_taken(
    tmp_path: Path, git: GitCache
) -> None:
    study = StudyRepo(tmp_path / "study")
    study.commit({"a": "1"})
    head = study.commit({"a": "2"})
    request = await request_of(
        git, "x/../study", ["a", "b"], backend="test", force_run_dependencies=True
    )
    assert (request.repo_url, request.commit, request.branch) == (study.url, head, "main")
    assert request.requested_actions == ("a", "b")
    assert (request.workspace, request.backend) == ("test", "test")
    assert (request.created_by, request.project, request.orgs) == ("controller", "unknown", ())
    assert request.codelists_ok
    assert request.force_run_dependencies
    assert request.analysis_scope == {}
    assert len(request.rap_id) == 16


async def test_each_request_is_a_rap_of_its_own(tmp_path: Path, git: GitCache) -> None:
    study = StudyRepo(tmp_path / "study")
    commit = study.commit()
    first, second = [
        await request_of(git, study.url, ["a"], backend="test", commit=commit) for _ in range(2)
    ]
    assert first.rap_id != second.rap_id


async def test_a_given_commit_is_sent_as_it_is_without_asking_the_repository(
    git: GitCache,
) -> None:
    url = "https://github.com/opensafely/nowhere"
    request = await request_of(git, url, ["a"], backend="tpp", commit="abc", branch="dev")
    assert (request.repo_url, request.commit, request.branch) == (url, "abc", "dev")


async def test_a_branch_that_is_not_there_is_named(tmp_path: Path, git: GitCache) -> None:
    study = StudyRepo(tmp_path / "study")
    study.commit()
    with pytest.raises(RequestRefused, match=f"Could not find branch 'dev' in {study.url}"):
        await request_of(git, study.url, ["a"], backend="test", branch="dev")


async def test_a_folder_that_is_no_repository_is_told_with_the_remedy(
    tmp_path: Path, git: GitCache
) -> None:
    (tmp_path / "plain").mkdir()
    with pytest.raises(RequestRefused, match=r"plain is not a git repository.*git init"):
        await request_of(git, "plain", ["a"], backend="test")
    with pytest.raises(RequestRefused, match=r"There is no folder .*/missing"):
        await request_of(git, "missing", ["a"], backend="test")


# --- what `rap dev` leaves for the other commands ---


def test_settings_of_rap_dev_fill_in_what_the_environment_leaves_open(
    records: Records, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    add_rap(records, RAP, "make_table")
    url = os.environ.pop("RAP_DATABASE_URL")
    folder = tmp_path / "var" / "dev"
    folder.mkdir(parents=True)
    environment.write(folder, {"RAP_DATABASE_URL": url, "BACKENDS": "test"})
    assert run_app(["status"]) == 0
    assert "make_table" in capsys.readouterr().out


def test_the_environment_wins_and_settings_of_two_servers_do_not_mix(tmp_path: Path) -> None:
    environment.write(
        tmp_path,
        {"WORKDIR": "/dev", "TEMPORAL_ADDRESS": "dev:1", "TEMPORAL_NAMESPACE": "dev"},
    )
    os.environ["WORKDIR"] = str(tmp_path / "mine")
    os.environ["TEMPORAL_ADDRESS"] = "mine:1"
    settings = environment.enter(tmp_path)
    assert settings.workdir == tmp_path / "mine"
    assert os.environ["TEMPORAL_ADDRESS"] == "mine:1"
    assert "TEMPORAL_NAMESPACE" not in os.environ


def test_the_file_with_the_token_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = environment.write(tmp_path, {"TEST_CLIENT_TOKENS": "secret"})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert environment.read(tmp_path) == {"TEST_CLIENT_TOKENS": "secret"}


def test_a_damaged_settings_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "env.json").write_text("{")
    with pytest.raises(ConfigurationError, match="start `rap dev` again"):
        environment.enter(tmp_path)


# --- `rap status` ---


def test_status_shows_every_job_of_a_rap_without_escape_codes_in_a_pipe(
    records: Records, capsys: pytest.CaptureFixture[str]
) -> None:
    add_rap(records, RAP, "good", "bad")
    end(records, RAP, "good")
    end(records, RAP, "bad", StatusCode.NONZERO_EXIT)
    assert run_app(["status", RAP]) == 0
    text = capsys.readouterr().out
    assert f"RAP {RAP}  ws on test" in text
    assert "2 of 2 jobs ended, 1 failed" in text
    lines = {line.split()[0]: line for line in text.splitlines()[2:]}
    assert "succeeded" in lines["good"]
    assert "Completed successfully" in lines["good"]
    assert "nonzero_exit" in lines["bad"]
    assert "\x1b" not in text


def test_an_unknown_rap_is_told_beside_the_known_ones(
    records: Records, capsys: pytest.CaptureFixture[str]
) -> None:
    add_rap(records, RAP, "a")
    assert run_app(["status", RAP, "nothing"]) == 1
    shown = capsys.readouterr()
    assert f"RAP {RAP}" in shown.out
    assert shown.err == "There is no RAP nothing; `rap status` lists the latest ones.\n"


def test_a_rap_that_is_being_decided_is_not_called_unknown(
    records: Records, capsys: pytest.CaptureFixture[str]
) -> None:
    records.announce(
        Intent(rap_id=RAP, backend="test", workspace="w", repo_url="/s", commit="0", created_at=1.0)
    )
    assert run_app(["status", RAP]) == 1
    assert "is being decided" in capsys.readouterr().err


def test_status_as_json_has_the_members_of_the_api(
    records: Records, capsys: pytest.CaptureFixture[str]
) -> None:
    add_rap(records, RAP, "a")
    assert run_app(["status", RAP, "nothing", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["unrecognised_rap_ids"] == ["nothing"]
    (job,) = document["jobs"]
    assert (job["identifier"], job["status"]) == (ids.job_id(RAP, "a"), "pending")
    assert job["created_at"] == "2023-11-14T22:13:20Z"


def test_without_ids_the_ten_latest_raps_are_shown_unfinished_ones_first(
    records: Records, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"rap{number:02}" for number in range(12)]
    for number, name in enumerate(names):
        add_rap(records, name, "a", at=1_700_000_000 + number)
        if name != "rap01":
            end(records, name, "a")
    add_rap(records, "elsewhere", "a", backend="tpp")

    def shown(*options: str) -> list[str]:
        assert run_app(["status", "--backend", "test", "--json", *options]) == 0
        return [job["rap_id"] for job in json.loads(capsys.readouterr().out)["jobs"]]

    assert shown() == ["rap01", *names[:2:-1]]
    assert shown("--all") == ["rap01", *names[:1:-1], "rap00"]
    assert run_app(["status", "--json"]) == 0
    assert "elsewhere" in capsys.readouterr().out


def test_watching_prints_a_line_for_every_change_until_all_have_ended(
    records: Records, capsys: pytest.CaptureFixture[str]
) -> None:
    add_rap(records, RAP, "a")
    timer = threading.Timer(0.5, end, (records, RAP, "a"))
    timer.start()
    assert run_app(["status", RAP, "--watch"]) == 0
    timer.join()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[3] for line in lines[:2]] == ["created", "succeeded"]
    assert lines[2].endswith("1 of 1 jobs ended")
    assert len(lines) == 3


# --- `rap cancel` ---


def test_cancelling_what_is_not_there_changes_nothing(
    records: Records, capsys: pytest.CaptureFixture[str]
) -> None:
    add_rap(records, RAP, "a", "b")
    assert run_app(["cancel", "nothing"]) == 1
    assert run_app(["cancel", RAP, "c", "a"]) == 1
    shown = capsys.readouterr()
    assert "There is no RAP nothing" in shown.err
    assert f"RAP {RAP} has no action c; it has a, b. Nothing was cancelled." in shown.err
    assert shown.out == ""


def test_cancelling_a_rap_that_has_ended_says_so(
    records: Records, capsys: pytest.CaptureFixture[str]
) -> None:
    add_rap(records, RAP, "a")
    end(records, RAP, "a")
    assert run_app(["cancel", RAP]) == 0
    assert "have ended already" in capsys.readouterr().out


# --- `rap dev` before it starts anything ---


def test_rap_dev_names_a_port_that_is_taken_and_the_option_for_another(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.images.build.connect", lambda: _Closed())
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert run_app(["dev", "--port", "0", "--temporal-port", str(port)]) == 2
    shown = capsys.readouterr()
    assert f"Port {port} for Temporal cannot be used" in shown.err
    assert "--temporal-port" in shown.err
    assert shown.out == ""


def test_a_second_rap_dev_in_the_same_folder_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.images.build.connect", lambda: _Closed())
    with (tmp_path / "dev.lock").open("w") as first:
        fcntl.flock(first, fcntl.LOCK_EX)
        assert run_app(["dev", "--data", str(tmp_path), "--port", "0"]) == 2
    assert f"Another `rap dev` runs in {tmp_path}" in capsys.readouterr().err
