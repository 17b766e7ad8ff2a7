"""The log of a job: the program's lines, the summary, and what is said about how it went."""

import os

import pytest

from rap.egress import ExitNote
from tests.support.workspace import CREATED_AT, HIGH, MODERATE, Backend, container
from worker_agent.workspace import job_log
from worker_agent.workspace.job_message import exit_note, hint, status_message
from worker_agent.workspace.metadata import JobRecord

pytestmark = pytest.mark.unit

LINE = "2026-01-02T03:04:05.678901234Z hello\n"


@pytest.fixture
def backend(tmp_path):
    return Backend(tmp_path)


@pytest.mark.spec("agent:116")
def test_the_summary_has_the_layout_that_the_release_tool_knows():
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
def test_all_keys_are_in_their_order_and_empty_ones_are_skipped():
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


def test_refused_outputs_are_told_with_the_reason():
    summary = job_log.summary(JobRecord(refused_outputs={"a.csv": "it is a symbolic link"}))
    assert summary.endswith("\nRefused outputs:\n  a.csv  - it is a symbolic link\n")


@pytest.mark.spec("agent:117", "agent:126")
async def test_the_log_is_the_programs_lines_and_the_summary_in_all_three_places(backend):
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


async def test_the_heading_stands_on_a_line_of_its_own_whatever_the_program_wrote(backend):
    await backend.finish(backend.job(), {}, raw_log=backend.raw_log("no end of line"))
    log = (backend.log_dir(backend.job()) / "logs.txt").read_text()
    assert log.startswith("no end of line\n\n=============JOB SUMMARY=============\n")


@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("chunk", [7, 1024])
async def test_only_the_last_lines_are_kept(backend, monkeypatch, end, chunk):
    monkeypatch.setattr(job_log, "MOST_LINES", 3)
    monkeypatch.setattr(job_log, "_CHUNK", chunk)
    for count in range(1, 9):
        lines = [f"line {number}" for number in range(count)]
        raw_log = backend.raw_log("\n".join(lines) + end)
        job = backend.job(id=f"job{count}")
        await backend.finish(job, {}, raw_log=raw_log)
        log = (backend.log_dir(job) / "logs.txt").read_text()
        assert log.split("\n\n====")[0].splitlines() == lines[-3:]


def test_a_hundred_thousand_lines_are_kept():
    assert job_log.MOST_LINES == 100_000


async def test_bytes_that_are_no_text_are_kept_as_they_are(backend):
    raw_log = backend.raw_log()
    raw_log.write_bytes(b"\xff\x00\x1b[31m\n")
    await backend.finish(backend.job(), {}, raw_log=raw_log)
    log = (backend.high / "metadata/make.log").read_bytes()
    assert log.startswith(b"\xff\x00\x1b[31m\n\n===")


async def test_missing_copies_are_made_again_but_never_over_a_later_run(backend):
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


async def test_the_next_run_of_an_action_replaces_its_log(backend):
    await backend.finish(backend.job(), {}, raw_log=backend.raw_log("first\n"))
    await backend.finish(
        backend.job(id="job2", task_id="job2-001"), {}, raw_log=backend.raw_log("second\n")
    )
    assert (backend.high / "metadata/make.log").read_text().startswith("second\n")


# --- what is said ---


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
def test_how_it_went_is_told_by_the_first_sentence_that_fits(facts, situation, message):
    assert status_message(container(**facts), **situation) == message


@pytest.mark.spec("agent:102")
def test_unmatched_patterns_are_listed_in_the_known_layout():
    message = status_message(
        container(0), outputs=["a"], unmatched_patterns=["output/output.*", "output/summary.*"]
    )
    assert message == (
        "\n  No outputs found matching patterns:\n - output/output.*\n   - output/summary.*"
    )


@pytest.mark.spec("agent:103")
def test_new_files_are_offered_in_the_known_layout():
    unmatched = {"unmatched_patterns": ["x"], "unmatched_outputs": ["a.csv", "b.csv"]}
    assert hint(container(0), **unmatched) == (
        "\n  Did you mean to match one of these files instead?\n - a.csv\n   - b.csv"
    )
    assert hint(container(1), **unmatched) is None
    assert hint(container(0), **unmatched | {"unmatched_patterns": []}) is None
    assert hint(container(0), **unmatched | {"unmatched_outputs": []}) is None
    assert hint(None, **unmatched) is None


@pytest.mark.parametrize(
    ("facts", "cancelled", "note"),
    [
        ({"exit_code": 137, "oom_killed": True}, False, ExitNote.OUT_OF_MEMORY),
        ({"exit_code": 137}, False, ExitNote.KILLED),
        ({"exit_code": 137, "oom_killed": True}, True, None),
        ({"exit_code": 0, "oom_killed": True}, False, None),
    ],
)
def test_memory_is_blamed_only_for_a_kill_that_nobody_ordered(facts, cancelled, note):
    assert exit_note(container(**facts), cancelled=cancelled) is note


@pytest.mark.spec("agent:102", "agent:103")
async def test_the_author_reads_about_unmatched_patterns_in_the_log(backend):
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


def test_a_log_of_a_few_endless_lines_is_kept_from_its_end(backend, monkeypatch):
    monkeypatch.setattr(job_log, "MOST_BYTES", 100)
    job = backend.job()
    raw = backend.raw_log("a" * 150 + "\n" + "b" * 60 + "\n")
    job_log.write(backend.storage, job, JobRecord(), raw)
    log = (backend.log_dir(job) / "logs.txt").read_text()
    said = "[the log is too long: 112 bytes were left out here]\n"
    assert log.startswith(f"{said}{'a' * 38}\n{'b' * 60}\n\n{job_log.HEADING}\n")


def test_a_log_that_just_fits_is_kept_whole(backend, monkeypatch):
    monkeypatch.setattr(job_log, "MOST_BYTES", len(LINE))
    job = backend.job()
    job_log.write(backend.storage, job, JobRecord(), backend.raw_log(LINE))
    assert (backend.log_dir(job) / "logs.txt").read_text().startswith(f"{LINE}\n{job_log.HEADING}")
