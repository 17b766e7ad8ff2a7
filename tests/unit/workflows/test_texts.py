"""What the Web UI shows of each workflow, whatever texts others put into it."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rap import ids
from rap.egress import AgentReport, Ending, Fault, Interruption, JobOutcome, JobProgress, Stage
from rap.messages.backends import BackendLimits
from rap.messages.checks import DatabaseCheck
from rap.messages.jobs import AttemptResult, JobAttempt, StopReason
from rap.messages.orders import Window
from rap.messages.workspaces import KnownJob, KnownRap
from rap.models import JobLimits, JobSpec, Study
from rap.rows import (
    BackendRow,
    HoldUp,
    MaintenanceType,
    OpenWindow,
    OrderEntry,
    OrderKind,
    QueueEntry,
    SlotEntry,
)
from rap.sentences import CODE_SENTENCES, OTHER_STORAGE_REMEDY, interrupted_sentence
from rap.status import State, StatusCode
from rap.temporal.search_attributes import LONGEST_VALUE, MOST_BYTES, search_attributes
from rap.windows import WindowKind
from tests.support.factories import COMMIT, create_request, job_spec, study
from workflows.backend.state import MOST_WAITING
from workflows.backend.texts import backend_details, backend_texts
from workflows.job.conclusion import conclude
from workflows.job.definition import job_definition
from workflows.job.texts import clean_up_texts, ended_details, job_texts, running_details
from workflows.markdown import (
    LONGEST_DETAILS,
    LONGEST_SUMMARY,
    brief,
    code,
    details,
    moment,
    plain,
    summary,
    workflow_link,
)
from workflows.rap.progress import Progress
from workflows.rap.texts import rap_details, rap_texts
from workflows.texts import (
    MOST_ROWS,
    check_details,
    window_details,
    window_texts,
    workspace_details,
    workspace_texts,
)

pytestmark = pytest.mark.unit

NOON = 1_700_000_000.0  # 2023-11-14 22:13:20Z
NS = "default"
EVIL = "a|b <img src=x onerror=y> [c](javascript:d) `e` *f*\n# g ![h](http://i) &amp; \\|"
anything = st.one_of(st.text(max_size=300), st.just(EVIL), st.text("|`\\\n<>[]()*_&#", max_size=40))


def spec(**changes: Any) -> JobSpec:
    given: dict[str, Any] = {
        "backend": "tpp",
        "workspace": "asthma",
        "study": study(git_repo_url="https://github.com/opensafely/asthma"),
        "run_command": "python:v2 fit.py",
        "user": "grace",
        "project": "breath",
    }
    return job_spec(**({"action": "fit_model"} | given | changes))


def attempt(job: JobSpec, host: str = "h1", number: int = 2) -> JobAttempt:
    definition = job_definition(
        job,
        attempt=number,
        limits=JobLimits(),
        image_registry="ghcr.io/opensafely-core",
        image_sha=None,
        job_env={},
    )
    return JobAttempt(definition=definition, attempt=number, host=host)


def row(**changes: object) -> BackendRow:
    given: dict[str, object] = {"slug": "tpp", "version": 1, "updated_at": NOON}
    return BackendRow.model_validate(given | changes)


def entry(**changes: object) -> dict[str, object]:
    return {
        "job_id": "jobjobjobjobjobj",
        "rap_id": "raprapraprapraps",
        "workspace": "asthma",
        "requires_db": False,
        "since": NOON - 60,
        "action": "fit_model",
        **changes,
    }


def cells(shown: str, start: str) -> list[str]:
    """The cells of the row of a table that starts with this."""
    (line,) = [line for line in shown.splitlines() if line.startswith(f"| {start}")]
    return [cell.strip() for cell in line.strip("|").split(" | ")]


def outside_code(shown: str) -> str:
    """Without what is in the type of code, where nothing but its end means anything."""
    return re.sub("`[^`]*`", "", shown)


# --- texts of others ---


@given(anything)
def test_a_text_of_others_is_one_line_that_means_nothing_to_markdown(text: str) -> None:
    shown = plain(text)
    assert not re.search(r"[\n|<>`*_\[\]()!\\~$\"]", shown)
    assert "&" not in re.sub(r"&#\d+;", "", shown)
    assert not re.search(r"https?:", shown)


def test_a_text_of_others_reads_as_it_was_written() -> None:
    def unescape(found: "re.Match[str]") -> str:
        return chr(int(found[1]))

    assert re.sub(r"&#(\d+);", unescape, plain("a|b <c> *d*\n e é")) == "a|b <c> *d* e é"


@given(anything)
def test_code_ends_where_it_began(text: str) -> None:
    shown = code(text)
    assert shown.count("`") in (0, 2)
    assert "|" not in shown
    assert "\n" not in shown
    if "`" in shown:
        assert shown[0] == shown[-1] == "`"


def test_a_command_is_shown_as_it_is_and_a_long_one_is_cut() -> None:
    assert code("r:v1 x.R --config '{\"a\": 1}'") == "`r:v1 x.R --config '{\"a\": 1}'`"
    assert code("x" * 200) == f"`{'x' * 119}…`"
    assert code("") == ""


@given(st.text(), st.sampled_from(["é", "😀", "\n", '"', "x"]))
def test_summaries_and_details_are_never_larger_than_temporal_takes(text: str, letter: str) -> None:
    for made, size in ((summary, LONGEST_SUMMARY), (details, LONGEST_DETAILS)):
        for one in (text, letter * size, text + letter * 30_000):
            shown = made(one)
            assert len(json.dumps(shown)) <= size
            assert len(shown.encode()) <= size
    assert "\n" not in summary(f"a{text}\nb")


@given(st.text(), st.sampled_from(["é", "😀", "x"]))
def test_search_attributes_are_never_larger_than_temporal_takes(text: str, letter: str) -> None:
    for value in (f"x{text}", letter * 5000):
        (pair,) = search_attributes(action=value)
        assert len(pair.value) <= LONGEST_VALUE
        assert len(json.dumps(pair.value)) <= MOST_BYTES < 2048
    assert [pair.value for pair in search_attributes(action="fit_model")] == ["fit_model"]


def test_a_link_is_relative_and_quotes_what_it_leads_to() -> None:
    assert workflow_link("a]b", "job/x y", "tpp") == (
        "[a&#93;b](namespaces/tpp/workflows/job%2Fx%20y)"
    )


# --- jobs ---


def test_a_job_tells_what_it_is_for_whom_and_links_its_commit() -> None:
    job = spec(requires_db=True)
    texts = job_texts(job, attempt(job), namespace=NS)
    assert texts.summary == "fit_model of asthma, attempt 2"
    assert f"[0123456789](https://github.com/opensafely/asthma/tree/{COMMIT}) on `main`" in (
        texts.details
    )
    assert "requested by grace for project breath" in texts.details
    assert "attempt 2 on host `h1` of `tpp`" in texts.details
    assert "(namespaces/default/workflows/rap%2Fasthma%2Fraprapraprapraps)" in texts.details
    assert "database: yes, `default`" in texts.details
    assert "command `python:v2 fit.py`" in texts.details


@pytest.mark.parametrize(
    "url", ["/srv/study", "https://x.org/a) [b](javascript:c", "javascript:alert(1)"]
)
def test_a_repository_that_is_no_plain_address_is_not_linked(url: str) -> None:
    job = spec(study=Study(git_repo_url=url, commit=COMMIT, branch="main"))
    shown = job_texts(job, attempt(job), namespace=NS).details
    assert "/tree/" not in shown
    assert "](javascript" not in outside_code(shown)


def test_a_reusable_action_is_linked_beside_the_study() -> None:
    action = {"action_repo_url": "https://github.com/opensafely-actions/plot", "action_commit": "f"}
    job = spec(**action)
    shown = job_texts(job, attempt(job), namespace=NS).details
    assert "reusable action [f](https://github.com/opensafely-actions/plot/tree/f)" in shown


def test_a_running_attempt_says_where_to_look_and_a_lost_one_what_is_left() -> None:
    running = attempt(spec())
    assert "Attempt 2 is with host `h1`" in running_details(running)
    texts = clean_up_texts(running, namespace=NS)
    assert "fit_model on h1" in texts.summary
    assert "declared lost" in texts.details


def end_of(result: AttemptResult) -> str:
    conclusion = conclude(result, requires_db=False, faults=0)
    return ended_details(attempt(spec()), result, conclusion)


def test_an_attempt_that_ended_tells_how_and_what_each_stage_took() -> None:
    outcome = JobOutcome(
        task_id="t",
        ending=Ending.COMPLETED,
        exit_code=3,
        image_id="sha256:" + "a" * 64,
        memory_peak_bytes=3 * 2**20,
        memory_limit_bytes=2**30,
        stages={Stage.EXECUTING: NOON + 2, Stage.PREPARING: NOON, Stage.EXECUTED: NOON + 62.5},
    )
    shown = end_of(AttemptResult(outcome=outcome))
    assert "ended: **nonzero_exit**" in shown
    assert "Image `sha256:aaa" in shown
    assert "Exit code 3, at most 3 of 1024 MiB of memory at once" in shown
    assert cells(shown, "preparing") == ["preparing", "2023-11-14 22:13:20Z", "2.0"]
    assert cells(shown, "executing")[2] == "60.5"
    assert cells(shown, "executed ")[2] == ""


def test_an_attempt_without_an_outcome_says_so_and_one_that_failed_names_its_fault() -> None:
    assert "did not tell" in end_of(AttemptResult(stopped=StopReason.HOST_LOST))
    failed = JobOutcome(task_id="t", ending=Ending.FAILED, fault=Fault.DISK_FULL)
    assert "Fault: disk_full" in end_of(AttemptResult(outcome=failed))


def test_an_attempt_that_was_interrupted_names_what_interrupted_it() -> None:
    lost = JobOutcome(
        task_id="t", ending=Ending.INTERRUPTED, interruption=Interruption.HOST_REBOOTED
    )
    assert f"Interrupted: {Interruption.HOST_REBOOTED.value}" in end_of(AttemptResult(outcome=lost))


# --- RAPs and workspaces ---


def line(number: int = 0, code: StatusCode = StatusCode.SUCCEEDED, **changes: Any) -> Progress:
    job = spec(id=f"job{number}", action=f"action{number}")
    given = {"code": code, "message": CODE_SENTENCES[code], "host": "h1"}
    return Progress(number, job, **(given | changes))


def test_a_rap_tells_what_was_asked_for_and_by_whom() -> None:
    request = create_request(
        "fit_model",
        "a`b",
        workspace="asthma",
        repo_url="https://github.com/opensafely/asthma.git",
        created_by="grace",
        force_run_dependencies=True,
    )
    texts = rap_texts(request, (spec(),), namespace=NS)
    assert texts.summary == "1 job of asthma for grace"
    assert f"(https://github.com/opensafely/asthma/tree/{COMMIT})" in texts.details
    assert "`fit_model`, a&#96;b" in texts.details
    assert "run again as well" in texts.details


def test_a_job_that_waits_for_its_next_attempt_says_which_and_why() -> None:
    reason = interrupted_sentence(Interruption.ENGINE_RESTARTED, 1)
    waiting = line(code=StatusCode.WAITING_ON_NEW_TASK, message=reason, attempt=2)
    shown = rap_details("tpp", [waiting], namespace=NS)
    *told, why = cells(shown, "[action0]")[1:]
    assert told == ["waiting_on_new_task", "2", "`h1`"]
    assert why.startswith("The container engine of the backend was restarted while the job ran")


def test_a_rap_has_a_table_of_its_jobs() -> None:
    failed = line(1, code=StatusCode.NONZERO_EXIT, message=f"Job exited with an error: {EVIL}")
    never = line(2, code=StatusCode.DEPENDENCY_FAILED, message="", host="")
    shown = rap_details("tpp", [line(), failed, never], namespace=NS)
    assert "**3 jobs:** 1 succeeded, 1 nonzero_exit, 1 dependency_failed" in shown
    assert cells(shown, "[action0]") == [
        "[action0](namespaces/default/workflows/job%2Fasthma%2Faction0%2Fjob0)",
        "succeeded", "1", "`h1`", "",
    ]  # fmt: skip
    assert cells(shown, "[action1]")[4].startswith("Job exited with an error&#58; a&#124;b")
    assert cells(shown, "action2")[:2] == ["action2", "dependency_failed"]
    assert "<img" not in shown


def test_a_large_rap_shows_its_failed_and_unfinished_jobs_first() -> None:
    jobs = [line(number) for number in range(400)]
    jobs += [line(401, code=StatusCode.EXECUTING), line(402, code=StatusCode.JOB_ERROR)]
    shown = rap_details("tpp", jobs, namespace=NS)
    table = [text for text in shown.splitlines() if text.startswith("| [")]
    assert len(table) == MOST_ROWS
    assert [text[3:12] for text in table[:2]] == ["action402", "action401"]
    assert f"… and {402 - MOST_ROWS} more" in shown


def test_a_workspace_tells_its_raps_and_current_jobs() -> None:
    rap = KnownRap(rap_id="r1", repo_url="u", commit=COMMIT, count=3, created_at=NOON)
    jobs = {
        name: KnownJob(job_id=f"j{name}", rap_id="r1", state=state)
        for name, state in (("a", State.SUCCEEDED), ("b", State.RUNNING))
    }
    shown = workspace_details("tpp", "asthma", raps=[rap], jobs=jobs, namespace=NS)
    assert "**1 active RAP**" in shown
    assert cells(shown, "[r1]")[1:] == ["3", "`0123456789`", "2023-11-14 22:13:20Z"]
    assert shown.index("[b]") < shown.index("[a]")
    idle = workspace_details("tpp", "asthma", raps=[], jobs={}, namespace=NS)
    assert "no active RAPs" in idle
    assert workspace_texts("tpp", "asthma").summary == "Workspace asthma on tpp"


# --- checks and windows ---


def test_a_check_tells_what_it_found() -> None:
    check = DatabaseCheck(backend="tpp", image="x/tpp-database-utils:latest")
    assert "is being made" in check_details(check, namespace=NS)
    assert "found `db-maintenance`" in check_details(check, namespace=NS, answer="db-maintenance")
    assert "found nothing" in check_details(check, namespace=NS, answer="")


def test_a_window_tells_until_when_it_is_open_and_who_made_it() -> None:
    window = Window(
        backend="tpp", name="patch", kind=WindowKind.REBOOT, seconds=3600, by="ada", why=EVIL
    )
    texts = window_texts(window)
    assert texts.summary == "Window patch of tpp: reboot"
    assert "**reboot** of `tpp` for 60 minutes, made by ada: a&#124;b" in texts.details
    assert "<img" not in texts.details
    assert "Open until 2023-11-14 22:13:20Z" in window_details(window, until=NOON, namespace=NS)
    assert "Closed" in window_details(window, until=None, namespace=NS)


# --- backends ---


def test_a_window_without_its_workflow_says_when_it_ends_and_how_to_end_it_now() -> None:
    lost = OpenWindow(kind=WindowKind.PAUSE, until=NOON, workflow_id="window/x", missing=True)
    shown = backend_details(row(paused=True, windows={"patch": lost, "hand": lost}))
    assert "`patch` (pause) until" in shown
    assert "**its workflow is missing**" in shown
    assert "`rap backend unpause" in shown


def test_a_backend_tells_its_switches_and_whose_limits_are_in_force() -> None:
    shown = backend_details(
        row(
            paused=True,
            paused_since=NOON - 100,
            maintenance=True,
            maintenance_type=MaintenanceType.SCHEDULED,
            maintenance_since=NOON - 50,
            windows={"patch": OpenWindow(kind=WindowKind.REBOOT)},
            max_workers=3,
            max_db_workers=4,
            limits_ordered=True,
            slots=(SlotEntry(**entry(), host="h1"), SlotEntry(**entry(weight=1.5), host="h1")),
        ),
        configured=BackendLimits(max_workers=10, max_db_workers=4),
    )
    assert "Paused: **yes** since 2023-11-14 22:11:40Z" in shown
    assert "Database maintenance: **yes** (scheduled) since 2023-11-14 22:12:30Z" in shown
    assert "Open maintenance windows: `patch` (reboot)" in shown
    assert "Workers: 2.5 of 3 in use, **ordered** (configured 10)" in shown
    assert "Database workers: 0 of 4 in use\n" in shown
    assert backend_texts("tpp").summary.startswith("Backend tpp")


def test_a_backend_lists_what_runs_with_its_stage_and_what_waits_with_its_priority() -> None:
    progress = JobProgress(
        job_id="jobjobjobjobjobj", rap_id="r", attempt=1, stage=Stage.PREPARING, since=NOON,
        trouble=Fault.GIT_UNREACHABLE,
    )  # fmt: skip
    shown = backend_details(
        row(
            slots=(
                SlotEntry(**entry(), host="h1"),
                SlotEntry(**entry(job_id="other", action="", since=NOON - 86400), host="h2"),
            ),
            waiting=1,
            queue=(QueueEntry(**entry(action=EVIL, requires_db=True, weight=2)),),
            priorities={"raprapraprapraps": 1},
            agents=(AgentReport(backend="tpp", host="h1", at=NOON, jobs=(progress,)),),
        )
    )
    assert cells(shown, "[fit") == [
        "[fit&#95;model](namespaces/default/workflows/job%2Fasthma%2Ffit_model%2Fjobjobjobjobjobj)",
        "`asthma`", "preparing, trouble: git_unreachable", "`h1`", "22:12:20", "no",
    ]  # fmt: skip
    assert cells(shown, "[other]")[2:5] == ["handed over", "`h2`", "2023-11-13 22:13:20"]
    waiting = cells(shown, "1 ")
    assert waiting[0] == "1"
    assert waiting[5:] == ["yes, weight 2", "1"]
    assert "<img" not in shown


def test_a_backend_tells_of_each_agent_and_which_is_out_of_contact() -> None:
    executing = JobProgress(
        job_id="jobjobjobjobjobj", rap_id="r", attempt=1, stage=Stage.EXECUTING, since=NOON
    )
    agents = (
        AgentReport(
            backend="tpp", host="h1", at=NOON - 30, version="1.4.0", engine="28.2.2",
            free_disk_bytes=5 * 2**30, room=7,
        ),
        AgentReport(backend="tpp", host="h2", at=NOON - 90, jobs=(executing,)),
    )  # fmt: skip
    shown = backend_details(row(agents=agents, slots=(SlotEntry(**entry(), host="h2"),)))
    assert "**2 agents**" in shown
    assert cells(shown, "`h1`") == [
        "`h1`", "22:12:50", "1&#46;4&#46;0", "28&#46;2&#46;2", "5.0 GiB", "0", "0", "7 more",
    ]  # fmt: skip
    assert cells(shown, "`h2`")[1:] == [
        "**out of contact** since 22:11:50", "unknown", "**does not answer**", "unknown",
        "1", "1", "0 more",
    ]  # fmt: skip
    assert cells(shown, "[fit")[2] == "executing (out of contact)"


def test_a_backend_without_agents_says_that_nothing_starts() -> None:
    shown = backend_details(row(hold_up=HoldUp.NO_AGENT, last_seen=NOON - 600))
    assert "**No agent is in contact** since 2023-11-14 22:03:20Z: nothing starts" in shown


def test_a_host_with_a_storage_of_its_own_is_told_with_the_remedy() -> None:
    report = AgentReport(backend="b", host="h", at=NOON)
    refused = report.model_copy(update={"closed": (Fault.OTHER_STORAGE,)})
    assert OTHER_STORAGE_REMEDY in backend_details(row(agents=(refused,), last_seen=NOON))
    assert OTHER_STORAGE_REMEDY not in backend_details(row(agents=(report,), last_seen=NOON))


def test_a_host_in_trouble_says_what_it_does_not_take() -> None:
    faults, images = (Fault.DATABASE_NETWORK_MISSING, Fault.DISK_FULL), ("0123456789ab",)
    report = AgentReport(backend="b", host="h", at=NOON, closed=faults, missing_images=images)
    shown = backend_details(row(hold_up=HoldUp.CLOSED, agents=(report,), last_seen=NOON))
    assert "**No host can start jobs**" in shown
    assert cells(shown, "`h`")[-1] == (
        "0 more, **database_network_missing, disk_full, 1 images missing**"
    )


def test_the_last_orders_tell_who_when_and_why_in_bounds() -> None:
    orders = [
        OrderEntry(at=NOON + n, kind=OrderKind.PAUSE, by=EVIL, why="w" * 5000) for n in range(50)
    ]
    last = OrderEntry(at=NOON + 99, kind=OrderKind.LIMITS, detail="workers 3", by="ada", why="disk")
    shown = backend_details(row(orders=(*orders, last)))
    table = shown[shown.index("**Last orders**") :].splitlines()[4:14]
    assert table[0] == "| 22:14:59 | limits workers 3 | ada | disk |"
    assert all(len(text.strip("|").split(" | ")) == 4 for text in table)
    assert max(map(len, table)) < 400


@given(anything, anything)
def test_whatever_a_backend_is_told_its_tables_keep_their_columns(name: str, why: str) -> None:
    shown = backend_details(
        row(
            slots=(SlotEntry(**entry(action=name, workspace=why, rap_id=name), host=why),),
            waiting=1,
            queue=(QueueEntry(**entry(action=name, workspace=why, rap_id=name)),),
            agents=(AgentReport(backend="tpp", host=name, at=NOON, version=why, engine=name),),
            orders=(OrderEntry(at=NOON, kind=OrderKind.LIMITS, detail=name, by=why, why=why),),
            priorities={name: 1},
            windows={name: OpenWindow(kind=WindowKind.PAUSE)},
        )
    )
    columns = 0
    for text in shown.split("\n"):
        if text.startswith("| "):
            found = text.count("|") - 1
            columns = columns or found
            assert found == columns, text
        else:
            columns = 0
    assert "<" not in outside_code(shown)


def test_a_page_is_small_however_much_there_is() -> None:
    many = tuple(QueueEntry(**entry(job_id=f"j{n}", workspace="w" * 99)) for n in range(10_000))
    slots = tuple(
        SlotEntry(**entry(job_id=f"j{n}", action="a" * 99), host="h1") for n in range(900)
    )
    agents = tuple(AgentReport(backend="tpp", host=f"h{n}", at=NOON) for n in range(500))
    shown = backend_details(
        row(waiting=len(many), queue=many[:MOST_WAITING], slots=slots, agents=agents)
    )
    assert "**10000 waiting**" in shown
    assert f"… and {10_000 - MOST_WAITING} more" in shown
    # A proxy in front of the Web UI takes it in a request line of 64 KiB.
    assert len(shown) < 24_000


def test_a_time_of_today_goes_without_its_date() -> None:
    assert brief(NOON, NOON) == "22:13:20"
    assert brief(NOON - 86400, NOON) == "2023-11-13 22:13:20"
    assert brief(None, NOON) == "never"


def test_ids_lead_to_pages() -> None:
    assert workflow_link("x", ids.backend_workflow_id("tpp"), NS).endswith("/backend%2Ftpp)")


@given(st.floats() | st.integers())
def test_any_number_can_be_shown_as_a_time(at: float) -> None:
    shown = moment(at)
    assert shown.endswith("Z") or shown == "at no time"
    assert brief(at, NOON)
