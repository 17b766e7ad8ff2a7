"""``rap agent stale``: what it prints and how it ends, on real folders and a real repository."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from cli.main import run_app
from tests.support.provenance import MODERATE, filed, record
from tests.support.workspace import Backend, container
from worker_agent.workspace import provenance

pytestmark = pytest.mark.unit

PROJECT = """
version: "4.0"
actions:
  make:
    run: python:v2 python a.py
    outputs:
      moderately_sensitive:
        data: out.csv
"""


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Backend:
    """With one job, of the commit that the study has."""
    backend = Backend(tmp_path)
    # No engine: images are not compared.
    nowhere = {"DOCKER_HOST": f"unix://{tmp_path}/nowhere.sock"}
    for name, value in (backend.environment | nowhere).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("rap.telemetry.logs.configure", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    commit = backend.study.commit({"project.yaml": PROJECT, "a.py": "pass", "lib.py": "pass"})
    made = record(
        "job1",
        "make",
        filed("out.csv"),
        repo=str(backend.study.url),
        action_repo=str(backend.study.url),
        commit=commit,
        action_commit=commit,
        args=("python", "a.py"),
        patterns={"out.csv": MODERATE},
    )
    path = provenance.path_of(backend.storage, "ws", "job1")
    path.parent.mkdir(parents=True)
    path.write_bytes(provenance.encoded(made))
    (backend.high / "out.csv").write_text("out.csv")
    return backend


def look(capsys: Any, *more: str) -> tuple[int, dict[str, Any], str]:
    code = run_app(["agent", "stale", "ws", "--json", *more])
    out, err = capsys.readouterr()
    return code, json.loads(out) if out else {}, err


def test_outputs_of_the_newest_commit_are_current(backend: Backend, capsys: Any) -> None:
    code, found, err = look(capsys)
    assert (code, found["stale"], found["branch"]) == (0, False, "main")
    assert [(each["action"], each["verdict"]) for each in found["actions"]] == [("make", "current")]
    assert err.endswith("Docker does not answer: images are not compared.\n")
    assert run_app(["agent", "stale", "ws"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"ws: compared with main of {backend.study.url} at ")
    assert lines[2].split() == ["make", "current", "1", "file", "job1"]


def test_outputs_that_are_stale_are_told_with_the_reason_and_a_code(
    backend: Backend, capsys: Any
) -> None:
    backend.study.commit({"a.py": "print()", "lib.py": "print()"})
    code, found, _ = look(capsys)
    assert (code, found["stale"]) == (3, True)
    assert [reason["why"] for reason in found["actions"][0]["reasons"]] == [
        "code_changed",
        "code_elsewhere_changed",
    ]
    assert run_app(["agent", "stale", "ws"]) == 3
    why = "its code changed: a.py; other code changed, which it may use: lib.py"
    assert why in capsys.readouterr().out


def test_what_may_be_stale_is_told_and_is_no_failure(backend: Backend, capsys: Any) -> None:
    backend.study.commit({"lib.py": "print()"})
    code, found, _ = look(capsys)
    assert (code, found["actions"][0]["verdict"]) == (0, "perhaps")


async def test_a_job_without_a_record_is_told_and_the_rest_answered(
    backend: Backend, capsys: Any
) -> None:
    labels = {"Config": {"Labels": {"workspace": "ws", "action": "old"}}}
    old = backend.job(
        id="old1", task_id="old1-001", action="old", output_spec={"old.csv": MODERATE}
    )
    await backend.finish(old, {"old.csv": "x"}, container=container(inspection=labels))
    provenance.path_of(backend.storage, "ws", "old1").unlink(missing_ok=True)
    capsys.readouterr()
    # The command has a loop of its own.
    code, found, _ = await asyncio.to_thread(look, capsys)
    assert code == 0
    assert [(each["action"], each["verdict"]) for each in found["actions"]] == [
        ("make", "current"),
        ("old", "unknown"),
    ]


def test_what_is_not_known_gets_a_sentence(backend: Backend, capsys: Any) -> None:
    assert run_app(["agent", "stale", "nowhere"]) == 1
    assert capsys.readouterr().err == "There is no workspace nowhere on this host.\n"
    backend.storage.high("empty").mkdir()
    assert run_app(["agent", "stale", "empty"]) == 1
    assert capsys.readouterr().err.startswith("No job is on record that filed outputs in workspace")
    code, _, err = look(capsys, "--branch", "nowhere")
    assert code == 1
    assert "Could not find ref 'refs/heads/nowhere'" in err
    assert run_app(["agent", "stale", "ws", "--repo", "https://github.com/evil/study"]) == 1
    assert "does not belong to one of the following" in capsys.readouterr().err


def test_results_that_stay_half_filed_are_told(
    backend: Backend, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker_agent.operations.stale.filing_is_over", lambda *_: False)
    code, found, err = look(capsys)
    assert (code, found["actions"][0]["verdict"]) == (0, "current")
    assert "The results of a job are half filed in this workspace" in err


def test_another_user_than_the_agents_is_refused_because_of_its_cache_of_repositories(
    backend: Backend, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = backend.settings.workdir.stat().st_uid
    monkeypatch.setattr("os.geteuid", lambda: owner + 1)
    assert run_app(["agent", "stale", "ws"]) == 2
    assert f"--user '#{owner}' rap agent" in capsys.readouterr().err
