"""The log of a job: the program's lines, the summary, and what is said about how it went."""

import io
import os
from pathlib import Path
from typing import Any

import pytest

from rap.egress import ExitNote
from rap.safe_names import safe_name
from tests.support.workspace import CREATED_AT, HIGH, MODERATE, Backend, container
from worker_agent.workspace import job_log
from worker_agent.workspace.attempt_end import AttemptEnd
from worker_agent.workspace.job_log import start_of_last_lines
from worker_agent.workspace.job_texts import exit_note, hint, status_message
from worker_agent.workspace.limits import LIMITS, Limits
from worker_agent.workspace.metadata import JobRecord
from worker_agent.workspace.outputs import NOTHING, Matched

pytestmark = pytest.mark.unit

LINE = "2026-01-02T03:04:05.678901234Z hello\n"


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    return Backend(tmp_path)


@pytest.mark.spec("agent:116")
def test_the_summary_has_the_layout_that_the_release_tool_knows() -> None:
    record = JobRecord(
        job_definition_id="j1",
        exit_code="0",
        status_message="Completed successfully",
        outputs={"output/b.csv": "moderately_sensitive", "a.csv": "highly_sensitive"},
        level4_excluded_files={"output/b.csv": "File has patient_id column"},
    )
    assert job_log.summary(record) == (
        "\n"
        "=============JOB SUMMARY=============\n"
        "job_definition_id: j1\n"
        "exit_code: 0\n"
        "status_message: Completed successfully\n"
        "\n"
        "outputs:\n"
        "  a.csv         - highly_sensitive    \n"
        "  output/b.csv  - moderately_sensitive\n"
        "\n"
        "Invalid moderately_sensitive outputs:\n"
        "  output/b.csv  - File has patient_id column\n"
    )


@pytest.mark.spec("agent:116")
def test_all_keys_are_in_their_order_and_empty_ones_are_skipped() -> None:
    record = JobRecord(
        hint="h",
        status_message="s",
        database_name="d",
        completed_at=2,
        created_at=1,
        exit_code="1",
        docker_image_id="i",
        commit="c",
        job_definition_rap_id="r",
        job_definition_id="j",
    )
    assert job_log.summary(record).splitlines()[2:] == [
        "job_definition_id: j",
        "job_definition_rap_id: r",
        "commit: c",
        "docker_image_id: i",
        "exit_code: 1",
        "created_at: 1",
        "completed_at: 2",
        "database_name: d",
        "status_message: s",
        "hint: h",
        "",
        "outputs:",
        "  (no outputs)",
    ]


def test_refused_outputs_are_told_with_the_reason() -> None:
    summary = job_log.summary(JobRecord(refused_outputs={"a.csv": "it is a symbolic link"}))
    assert summary.endswith("\nRefused outputs:\n  a.csv  - it is a symbolic link\n")


@pytest.mark.spec("agent:117", "agent:126")
async def test_the_log_is_the_programs_lines_and_the_summary_in_all_three_places(
    backend: Backend,
) -> None:
    job = backend.job(output_spec={"out.csv": MODERATE})
    await backend.finish(job, {"out.csv": "patient_id\n1\n"}, raw_log=backend.raw_log(LINE))
    log = (backend.log_dir(job) / "logs.txt").read_text()
    assert log.startswith(
        f"{LINE}\n=============JOB SUMMARY=============\njob_definition_id: job1\n"
    )
    assert f"\ncreated_at: {CREATED_AT}\n" in log
    assert log.endswith(
        "\noutputs:\n  out.csv  - moderately_sensitive\n\n"
        "Invalid moderately_sensitive outputs:\n  out.csv  - File has patient_id column\n"
    )
    assert (backend.high / "metadata/make.log").read_text() == log
    assert (backend.medium / "metadata/make.log").read_text() == log


async def test_the_heading_stands_on_a_line_of_its_own_whatever_the_program_wrote(
    backend: Backend,
) -> None:
    await backend.finish(backend.job(), {}, raw_log=backend.raw_log("no end of line"))
    log = (backend.log_dir(backend.job()) / "logs.txt").read_text()
    assert log.startswith("no end of line\n\n=============JOB SUMMARY=============\n")


@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("chunk", [7, 1024])
def test_the_last_lines_are_found_however_a_log_is_cut_into_pieces(end: str, chunk: int) -> None:
    for count in range(1, 9):
        lines = [f"line {number}" for number in range(count)]
        file = io.BytesIO(("\n".join(lines) + end).encode())
        file.seek(start_of_last_lines(file, 3, chunk))
        assert file.read().decode().splitlines() == lines[-3:]


async def test_only_the_last_lines_are_kept(backend: Backend) -> None:
    raw_log = backend.raw_log("one\ntwo\nthree\nfour\n")
    await backend.finish(backend.job(), {}, raw_log=raw_log, limits=Limits(log_lines=3))
    log = (backend.log_dir(backend.job()) / "logs.txt").read_text()
    assert log.startswith("two\nthree\nfour\n\n====")


def test_a_hundred_thousand_lines_are_kept() -> None:
    assert LIMITS.log_lines == 100_000


async def test_bytes_that_are_no_text_are_kept_as_they_are(backend: Backend) -> None:
    raw_log = backend.raw_log()
    raw_log.write_bytes(b"\xff\x00\x1b[31m\n")
    await backend.finish(backend.job(), {}, raw_log=raw_log)
    log = (backend.high / "metadata/make.log").read_bytes()
    assert log.startswith(b"\xff\x00\x1b[31m\n\n===")


async def test_missing_copies_are_made_again_but_never_over_a_later_run(backend: Backend) -> None:
    job = backend.job()
    await backend.finish(job, {"out.csv": "x\n"})
    copy = backend.medium / "metadata/make.log"
    log = copy.read_text()
    copy.unlink()
    await backend.finish(job)
    assert copy.read_text() == log
    copy.write_text("of a later run")
    await backend.finish(job)
    assert copy.read_text() == "of a later run"
    os.utime(copy, ns=(1, 1))
    await backend.finish(job)
    assert copy.read_text() == log


async def test_the_next_run_of_an_action_replaces_its_log(backend: Backend) -> None:
    await backend.finish(backend.job(), {}, raw_log=backend.raw_log("first\n"))
    await backend.finish(
        backend.job(id="job2", task_id="job2-001"), {}, raw_log=backend.raw_log("second\n")
    )
    assert (backend.high / "metadata/make.log").read_text().startswith("second\n")


@pytest.mark.parametrize(
    ("action", "name"),
    [
        ("describe/tables", "describe/tables.log"),
        ("a/b/c", "a/b/c.log"),
        (".hidden", ".hidden.log"),
        ("a" * 210, "a" * 210 + ".log"),
        ("größe", "größe.log"),
        ("my action", "my action.log"),
        ("a.b", "a.b.log"),
        (".", "..log"),
    ],
)
async def test_a_log_keeps_the_name_of_its_action(backend: Backend, action: str, name: str) -> None:
    await backend.finish(backend.job(action=action), {}, raw_log=backend.raw_log("hello\n"))
    for workspace in (backend.high, backend.medium):
        assert (workspace / "metadata" / name).read_text().startswith("hello\n")


@pytest.mark.parametrize(
    "action",
    [
        "../x",
        "/x",
        "a//b",
        "a/../../b",
        "a/./b",
        "",
        "a\nb",
        "fit\u202etxt",
        "a" * 247,
        "é" * 130,
        "/".join("a" * 100 for _ in range(20)),
        "make.log/x",
        "manifest.json/x",
    ],
)
async def test_a_name_that_is_no_good_path_is_not_followed(backend: Backend, action: str) -> None:
    await backend.finish(backend.job(action=action), {}, raw_log=backend.raw_log("hello\n"))
    for workspace in (backend.high, backend.medium):
        (log,) = workspace.rglob("*.log")
        assert log == workspace / "metadata" / f"{safe_name(action)}.log"
        assert log.name != f"{action}.log"


# --- what is said ---


def matched(**found: Any) -> Matched:
    known = {name: value for name, value in found.items() if name in Matched._fields}
    return NOTHING._replace(**known)


@pytest.mark.parametrize(
    ("facts", "situation", "message"),
    [
        ({"exit_code": 0}, {"outputs": ["a"]}, "Completed successfully"),
        ({"exit_code": 0}, {}, None),
        ({"exit_code": 1}, {"outputs": ["a"]}, None),
        ({"exit_code": 1}, {"unmatched_patterns": ["a"]}, None),
        ({"exit_code": 137}, {"cancelled": True}, "Job cancelled by system"),
        (
            {"exit_code": 137, "oom_killed": True},
            {"cancelled": True},
            "Job cancelled by system",
        ),
        ({"exit_code": 1}, {"cancelled": True}, None),
        ({"exit_code": 137, "oom_killed": True}, {}, "Job ran out of memory"),
        (
            {"exit_code": 137, "oom_killed": True, "memory_limit_bytes": 6 * 1024 * 1024},
            {},
            "Job ran out of memory (limit was 0.01GB)",
        ),
        ({"exit_code": 137}, {}, "Job killed by OpenSAFELY admin or memory limits"),
        ({"exit_code": 1, "oom_killed": True}, {}, "Job ran out of memory"),
    ],
)
@pytest.mark.spec("agent:108")
def test_how_it_went_is_told_by_the_first_sentence_that_fits(
    facts: dict[str, int], situation: dict[str, Any], message: str | None
) -> None:
    end = AttemptEnd(container=container(**facts), cancelled="cancelled" in situation)
    assert status_message(end, matched(**situation)) == message


@pytest.mark.spec("agent:102")
def test_unmatched_patterns_are_listed_in_the_known_layout() -> None:
    unmatched = ("output/output.*", "output/summary.*")
    found = matched(outputs=["a"], unmatched_patterns=unmatched)
    message = status_message(AttemptEnd(container=container(0)), found)
    assert message == (
        "\n  No outputs found matching patterns:\n - output/output.*\n   - output/summary.*"
    )


@pytest.mark.spec("agent:103")
def test_new_files_are_offered_in_the_known_layout() -> None:
    ended = AttemptEnd(container=container(0))
    unmatched = matched(unmatched_patterns=["x"], unmatched_outputs=["a.csv", "b.csv"])
    assert hint(ended, unmatched) == (
        "\n  Did you mean to match one of these files instead?\n - a.csv\n   - b.csv"
    )
    assert hint(AttemptEnd(container=container(1)), unmatched) is None
    assert hint(ended, unmatched._replace(unmatched_patterns=())) is None
    assert hint(ended, unmatched._replace(unmatched_outputs=())) is None
    assert hint(AttemptEnd(), unmatched) is None


@pytest.mark.parametrize(
    ("facts", "cancelled", "note"),
    [
        ({"exit_code": 137, "oom_killed": True}, False, ExitNote.OUT_OF_MEMORY),
        ({"exit_code": 137}, False, ExitNote.KILLED),
        ({"exit_code": 137, "run_time_limit_s": 60.0}, False, ExitNote.OUT_OF_TIME),
        ({"exit_code": 137, "oom_killed": True}, True, None),
        ({"exit_code": 0, "oom_killed": True}, False, None),
    ],
)
def test_memory_is_blamed_only_for_a_kill_that_nobody_ordered(
    facts: dict[str, Any], cancelled: bool, note: ExitNote | None
) -> None:
    assert exit_note(AttemptEnd(container=container(**facts), cancelled=cancelled)) is note


@pytest.mark.spec("agent:102", "agent:103")
async def test_the_author_reads_about_unmatched_patterns_in_the_log(backend: Backend) -> None:
    job = backend.job(output_spec={"out.csv": HIGH, "wrong.*": HIGH})
    await backend.finish(job, {"out.csv": "x", "right.csv": "y"})
    record = backend.metadata(job)
    assert record["unmatched_patterns"] == ["wrong.*"]
    assert record["unmatched_outputs"] == ["right.csv"]
    log = (backend.medium / "metadata/make.log").read_text()
    assert (
        "\nstatus_message: \n  No outputs found matching patterns:\n - wrong.*\n"
        "hint: \n  Did you mean to match one of these files instead?\n - right.csv\n"
    ) in log


def test_a_log_of_a_few_endless_lines_is_kept_from_its_end(backend: Backend) -> None:
    job = backend.job()
    raw = backend.raw_log("a" * 150 + "\n" + "b" * 60 + "\n")
    job_log.write(backend.storage, job, JobRecord(), raw, Limits(log_bytes=100))
    log = (backend.log_dir(job) / "logs.txt").read_text()
    said = "[the log is too long: 112 bytes were left out here]\n"
    assert log.startswith(f"{said}{'a' * 38}\n{'b' * 60}\n\n{job_log.HEADING}\n")


def test_a_log_that_just_fits_is_kept_whole(backend: Backend) -> None:
    job, limits = backend.job(), Limits(log_bytes=len(LINE))
    job_log.write(backend.storage, job, JobRecord(), backend.raw_log(LINE), limits)
    assert (backend.log_dir(job) / "logs.txt").read_text().startswith(f"{LINE}\n{job_log.HEADING}")
