"""Mending a manifest from the records of jobs: ``rap agent manifest …`` on real folders."""

import asyncio
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from cli.main import run_app
from rap.safe_names import safe_name
from rap.settings import AgentSettings
from tests.support.workspace import HIGH, MODERATE, PROJECT, Backend, container
from worker_agent.operations import manifest as operations
from worker_agent.operations.place import Place

pytestmark = pytest.mark.unit

Finish = Callable[..., dict[str, Any]]
TABLE = "age,count\n1,2\n3,4\n"
PATIENTS = "patient_id,age\n1,2\n"


@pytest.fixture
def backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Backend:
    backend = Backend(tmp_path)
    for name, value in {
        "BACKEND": "test",
        "WORKDIR": str(backend.settings.workdir),
        "HIGH_PRIVACY_STORAGE_BASE": str(backend.settings.high_privacy),
        "MEDIUM_PRIVACY_STORAGE_BASE": str(backend.settings.medium_privacy),
        "ALLOW_LOCAL_GIT_REPOS": "true",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("rap.telemetry.logs.configure", lambda *_: None)
    monkeypatch.chdir(tmp_path)
    return backend


@pytest.fixture
def finish(backend: Backend) -> Finish:
    """Files a job as the agent does; the manifest afterwards."""

    def run(
        job_id: str, outputs: dict[str, Any], *, action: str = "make", workspace: str = "ws"
    ) -> dict[str, Any]:
        definition = backend.job(
            id=job_id,
            task_id=f"{job_id}-001",
            action=action,
            workspace=workspace,
            output_spec={name: level for name, (level, _) in outputs.items()},
        )
        inspection = {"Config": {"Labels": {"workspace": workspace, "action": safe_name(action)}}}
        files = {name: content for name, (_, content) in outputs.items()}
        with capture_logs():
            asyncio.run(
                backend.finish(definition, files, container=container(0, inspection=inspection))
            )
        return backend.manifest() if workspace == "ws" else {}

    return run


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def give(*lines: str) -> None:
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))

    return give


def forget(backend: Backend, *names: str) -> dict[str, Any]:
    """Take entries out of the manifest."""
    document = backend.manifest()
    for name in names:
        del document["outputs"][name]
    backend.manifest_path.write_text(json.dumps(document, indent=2))
    return document


def repair(*arguments: str) -> int:
    return run_app(["agent", "manifest", "repair", "ws", *arguments])


@pytest.mark.spec("agent:162")
def test_outputs_of_an_earlier_job_are_added_as_out_of_date_and_nothing_else_changes(
    backend: Backend, finish: Finish, answers: Callable[..., None], capsys: Any
) -> None:
    made = finish(
        "old1",
        {"a.csv": (MODERATE, TABLE), "b.csv": (MODERATE, TABLE), "secret.csv": (HIGH, PATIENTS)},
    )
    before = forget(backend, "a.csv", "secret.csv")
    answers("")
    assert repair("--job", "old") == 0
    text = capsys.readouterr().out
    assert "b.csv exists in manifest.json, skipping\n" in text
    assert "Updating manifest output metadata for a.csv\n" in text
    after = backend.manifest()["outputs"]
    assert list(after) == ["b.csv", "a.csv", "secret.csv"]
    assert after["b.csv"] == before["outputs"]["b.csv"]
    flags = {"out_of_date_action": False, "out_of_date_output": True}
    # At level 4 lies a copy of its own, with a time of its own.
    moment = {"timestamp": (backend.medium / "a.csv").stat().st_mtime}
    assert after["a.csv"] == made["outputs"]["a.csv"] | flags | moment
    assert after["a.csv"]["row_count"] == 2
    assert after["secret.csv"] == made["outputs"]["secret.csv"] | flags
    (kept,) = (backend.settings.workdir / "state" / "manifests" / "ws").iterdir()
    assert json.loads(kept.read_bytes()) == before
    assert sorted(path.name for path in (backend.medium / "metadata").iterdir()) == [
        "make.log",
        "manifest.json",
    ]
    assert list(backend.medium.parent.glob(".incoming/*")) == []


def test_an_entry_names_its_action_where_the_label_cannot(backend: Backend, finish: Finish) -> None:
    finish("old1", {"a.csv": (MODERATE, TABLE)}, action="models/fit")
    finish("new1", {"b.csv": (MODERATE, TABLE)})
    forget(backend, "a.csv")
    assert repair("--job", "old1", "--yes") == 0
    assert backend.manifest()["outputs"]["a.csv"]["action"] == "models/fit"


@pytest.mark.spec("agent:162")
def test_of_an_action_that_is_gone_the_flags_are_the_other_way_round(
    backend: Backend, finish: Finish
) -> None:
    finish("old1", {"a.csv": (MODERATE, TABLE)}, action="gone")
    finish("new1", {"b.csv": (MODERATE, TABLE)})
    forget(backend, "a.csv")
    assert repair("--job", "old1", "--yes") == 0
    entry = backend.manifest()["outputs"]["a.csv"]
    assert (entry["out_of_date_action"], entry["out_of_date_output"]) == (True, False)


@pytest.mark.spec("agent:162")
def test_an_excluded_output_is_described_by_its_message_file_and_keeps_its_message(
    backend: Backend, finish: Finish
) -> None:
    made = finish("old1", {"a.csv": (MODERATE, PATIENTS), "b.csv": (MODERATE, TABLE)})
    forget(backend, "a.csv")
    assert repair("--job", "old1", "--yes") == 0
    entry, was = backend.manifest()["outputs"]["a.csv"], made["outputs"]["a.csv"]
    assert entry["excluded"] is True
    assert entry["message"] == was["message"] == "File has patient_id column"
    assert (entry["row_count"], entry["col_count"]) == (1, 2)
    assert entry["size"] == (backend.medium / "a.csv.txt").stat().st_size


@pytest.mark.spec("agent:162")
def test_an_unknown_id_changes_nothing_and_among_several_one_is_chosen(
    backend: Backend, finish: Finish, answers: Callable[..., None], capsys: Any
) -> None:
    for job_id in ("ab2", "ab1"):
        finish(job_id, {f"{job_id}.csv": (MODERATE, TABLE)}, action=job_id)
    finish("xab", {"x.csv": (MODERATE, TABLE)})
    forget(backend, "ab1.csv", "ab2.csv")
    untouched = backend.manifest_path.read_bytes()
    assert repair("--job", "b1", "--yes") == 1
    assert capsys.readouterr().err == "No match found for job id b1\n"
    assert backend.manifest_path.read_bytes() == untouched
    answers("3", "1", "")
    assert repair("--job", "ab") == 0
    assert capsys.readouterr().out.startswith(
        "Multiple matches found for 'ab':\n  1: ab1\n  2: ab2\n\nEnter number: "
    )
    assert list(backend.manifest()["outputs"]) == ["x.csv", "ab1.csv"]


def test_a_job_of_another_workspace_is_refused(
    backend: Backend, finish: Finish, capsys: Any
) -> None:
    finish("here", {"a.csv": (MODERATE, TABLE)})
    finish("there", {"b.csv": (MODERATE, TABLE)}, workspace="other")
    assert repair("--job", "there", "--yes") == 1
    assert capsys.readouterr().err == (
        "Metadata for job there does not match workspace provided. Expected ws, found other\n"
    )


@pytest.mark.spec("agent:162")
def test_no_flag_and_no_entry_that_is_there_is_overwritten(
    backend: Backend, finish: Finish
) -> None:
    finish("old1", {"a.csv": (MODERATE, TABLE), "b.csv": (MODERATE, TABLE)})
    document = forget(backend, "b.csv")
    document["outputs"]["a.csv"] |= {"out_of_date_output": True, "note": "by hand"}
    backend.manifest_path.write_text(json.dumps(document))
    assert repair("--yes") == 0
    assert backend.manifest()["outputs"]["a.csv"] == document["outputs"]["a.csv"]


def test_a_lost_manifest_is_made_again_from_all_records(
    backend: Backend, finish: Finish, capsys: Any
) -> None:
    finish("j1", {"a.csv": (MODERATE, TABLE), "b.csv": (MODERATE, TABLE)})
    finish("j2", {"a.csv": (MODERATE, "x,y\n1,2\n")})
    made = finish("j3", {"c.csv": (HIGH, PATIENTS)}, action="gone")["outputs"]
    backend.manifest_path.unlink()
    assert repair("--yes") == 1
    assert capsys.readouterr().err.startswith(
        "Could not find existing manifest file for workspace ws\n"
    )
    assert repair("--yes", "--repo", str(backend.study.url)) == 0
    again = backend.manifest()["outputs"]
    same = ("level", "job_id", "action", "user", "repo", "commit", "size", "content_hash")
    assert set(again) == set(made) == {"a.csv", "b.csv", "c.csv"}
    for name, entry in again.items():
        assert {key: entry[key] for key in same} == {key: made[name][key] for key in same}
    assert (again["a.csv"]["job_id"], again["b.csv"]["job_id"]) == ("j2", "j1")
    assert "out_of_date_output" not in again["a.csv"]
    assert again["b.csv"]["out_of_date_output"] is True
    assert again["c.csv"]["out_of_date_action"] is True


def test_a_dry_run_shows_everything_and_changes_nothing(
    backend: Backend, finish: Finish, capsys: Any
) -> None:
    finish("j1", {"a.csv": (MODERATE, TABLE), "b.csv": (MODERATE, TABLE)})
    forget(backend, "b.csv")
    untouched = backend.manifest_path.read_bytes()
    assert repair("--dry-run", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["written"] is False
    assert {each["name"]: each["verdict"] for each in shown["outputs"]} == {
        "a.csv": "present",
        "b.csv": "added",
    }
    assert backend.manifest_path.read_bytes() == untouched


def test_without_an_agreement_nothing_changes(
    backend: Backend, finish: Finish, answers: Callable[..., None], capsys: Any
) -> None:
    finish("j1", {"a.csv": (MODERATE, TABLE), "b.csv": (MODERATE, TABLE)})
    forget(backend, "a.csv")
    for lines, sentence in ((("no",), "Nothing was changed."), ((), "No answer came")):
        answers(*lines)
        assert repair() == 1
        assert sentence in capsys.readouterr().err
    assert list(backend.manifest()["outputs"]) == ["b.csv"]


def test_files_that_are_gone_linked_or_not_fit_to_be_shown_get_no_entry(
    backend: Backend, finish: Finish, capsys: Any
) -> None:
    names = ("gone.csv", "linked.csv", "changed.csv", "good.csv")
    finish("j1", dict.fromkeys(names, (MODERATE, TABLE)))
    forget(backend, *names)
    (backend.medium / "gone.csv").unlink()
    (backend.medium / "linked.csv").unlink()
    (backend.medium / "linked.csv").symlink_to(backend.medium / "good.csv")
    (backend.medium / "changed.csv").write_text(PATIENTS)
    assert repair("--yes") == 1
    assert "does not say which repository the study has" in capsys.readouterr().err
    assert repair("--yes", "--repo", str(backend.study.url)) == 0
    text = capsys.readouterr().out
    assert "gone.csv is not in the workspace any more" in text
    assert "changed.csv would not be shown at level 4 today (File has patient_id column)" in text
    assert list(backend.manifest()["outputs"]) == ["good.csv"]


def test_what_a_job_files_while_a_repair_is_agreed_to_wins(
    backend: Backend, finish: Finish
) -> None:
    finish("j1", {"a.csv": (MODERATE, TABLE), "b.csv": (MODERATE, TABLE)})
    document = forget(backend, "a.csv", "b.csv")
    place = Place.of(AgentSettings())
    plan = operations.plan(
        place, "ws", document, repo=backend.study.url, actions=frozenset({"make"})
    )
    assert list(plan.entries) == ["a.csv", "b.csv"]
    finish("j2", {"a.csv": (MODERATE, "x,y\n1,2\n")})
    _, added = operations.apply(place, plan)
    assert added == ["b.csv"]
    assert backend.manifest()["outputs"]["a.csv"]["job_id"] == "j2"


def test_a_damaged_manifest_is_left_as_it_is_and_the_way_out_is_told(
    backend: Backend, finish: Finish, capsys: Any
) -> None:
    finish("j1", {"a.csv": (MODERATE, TABLE)})
    backend.manifest_path.write_text('{"outputs": ')
    assert repair("--yes") == 1
    assert "Move it away, and run this again with --repo" in capsys.readouterr().err
    assert backend.manifest_path.read_text() == '{"outputs": '


def test_another_users_work_directory_is_refused_with_the_command_to_use(
    backend: Backend, finish: Finish, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish("j1", {"a.csv": (MODERATE, TABLE)})
    owner = backend.settings.workdir.stat().st_uid
    monkeypatch.setattr("os.geteuid", lambda: owner + 1)
    assert repair("--yes") == 2
    text = capsys.readouterr().err
    assert text.startswith(f"WORKDIR: {backend.settings.workdir} belongs to user")
    assert f"--user '#{owner}' rap agent" in text


# --- update-actions (docs/spec/agent.md 15.5) ---


@pytest.mark.spec("agent:163")
def test_update_actions_says_of_each_output_whether_its_action_is_in_the_commit(
    backend: Backend, finish: Finish, capsys: Any
) -> None:
    finish("j1", {"a.csv": (MODERATE, TABLE)})
    before = finish("j2", {"b.csv": (MODERATE, TABLE)}, action="other")["outputs"]
    renamed = backend.study.commit({"project.yaml": PROJECT.format("other")})
    url = str(backend.study.url)
    command = ["agent", "manifest", "update-actions", "ws", url]
    assert run_app([*command, renamed, "--yes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "workspace": "ws",
        "written": True,
        "out_of_date_action": {"a.csv": True, "b.csv": False},
    }
    after = backend.manifest()["outputs"]
    assert after == {
        "a.csv": before["a.csv"] | {"out_of_date_action": True},
        "b.csv": before["b.csv"] | {"out_of_date_action": False},
    }
    assert run_app([*command, renamed]) == 0
    assert capsys.readouterr().out == "Nothing to change.\n"
    assert run_app([*command, backend.commit, "--yes"]) == 0
    flags = {n: e["out_of_date_action"] for n, e in backend.manifest()["outputs"].items()}
    assert flags == {"a.csv": False, "b.csv": True}


def test_update_actions_of_an_unknown_commit_or_a_foreign_repository_is_refused(
    backend: Backend, finish: Finish, capsys: Any
) -> None:
    finish("j1", {"a.csv": (MODERATE, TABLE)})
    command = ["agent", "manifest", "update-actions", "ws"]
    assert run_app([*command, str(backend.study.url), "0" * 40, "--yes"]) == 1
    assert "Error fetching commit" in capsys.readouterr().err
    assert run_app([*command, "https://github.com/evil/study", "0" * 40, "--yes"]) == 1
    assert "does not belong to one of the following" in capsys.readouterr().err
