"""What the Web UI shows of each workflow, whatever texts others put into it."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rap import ids
from rap.egress import AgentReport, Ending, Fault, JobOutcome, JobProgress, Stage
from rap.messages import (
    AttemptResult,
    BackendLimits,
    DatabaseCheck,
    JobAttempt,
    KnownJob,
    KnownRap,
    StopReason,
    Window,
)
from rap.models import CreateRequest, JobLimits, JobSpec, Study
from rap.rows import (
    BackendRow,
    HoldUp,
    MaintenanceType,
    OrderEntry,
    OrderKind,
    QueueEntry,
    SlotEntry,
    WindowKind,
)
from rap.status import State, StatusCode
from rap.temporal import LONGEST_VALUE, MOST_BYTES, search_attributes
from workflows.definition import job_definition
from workflows.describe import (
    MOST_ROWS,
    JobLine,
    check_details,
    clean_up_texts,
    ended_details,
    job_texts,
    rap_code,
    rap_details,
    rap_texts,
    running_details,
    window_details,
    window_texts,
    workspace_details,
    workspace_texts,
)
from workflows.describe_backend import MOST_WAITING, backend_details, backend_texts
from workflows.markdown import (
    LONGEST_DETAILS,
    LONGEST_SUMMARY,
    brief,
    code,
    details,
    plain,
    summary,
    workflow_link,
)
from workflows.results import conclude

pytestmark = pytest.mark.unit

NOON = 1_700_000_000.0  # 2023-11-14 22:13:20Z
NS = "default"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
EVIL = "a|b <img src=x onerror=y> [c](javascript:d) `e` *f*\n# g ![h](http://i) &amp; \\|"
anything = st.one_of(st.text(max_size=300), st.just(EVIL), st.text("|`\\\n<>[]()*_&#", max_size=40))


def spec(**changes: object) -> JobSpec:
    given: dict[str, object] = {
        "id": "jobjobjobjobjobj",
        "rap_id": "raprapraprapraps",
        "action": "fit_model",
        "backend": "tpp",
        "workspace": "asthma",
        "study": Study(
            git_repo_url="https://github.com/opensafely/asthma", commit=COMMIT, branch="main"
        ),
        "run_command": "python:v2 fit.py",
        "requires_db": False,
        "outputs": {},
        "user": "grace",
        "project": "breath",
        "created_at": 1,
    }
    return JobSpec.model_validate(given | changes)


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
def test_a_text_of_others_is_one_line_that_means_nothing_to_markdown(text):
    shown = plain(text)
    assert not re.search(r"[\n|<>`*_\[\]()!\\~$\"]", shown)
    assert "&" not in re.sub(r"&#\d+;", "", shown)
    assert not re.search(r"https?:", shown)


def test_a_text_of_others_reads_as_it_was_written():
    def unescape(found: "re.Match[str]") -> str:
        return chr(int(found[1]))

    assert re.sub(r"&#(\d+);", unescape, plain("a|b <c> *d*\n e é")) == "a|b <c> *d* e é"


@given(anything)
def test_code_ends_where_it_began(text):
    shown = code(text)
    assert shown.count("`") in (0, 2)
    assert "|" not in shown
    assert "\n" not in shown
    if "`" in shown:
        assert shown[0] == shown[-1] == "`"


def test_a_command_is_shown_as_it_is_and_a_long_one_is_cut():
    assert code("r:v1 x.R --config '{\"a\": 1}'") == "`r:v1 x.R --config '{\"a\": 1}'`"
    assert code("x" * 200) == f"`{'x' * 119}…`"
    assert code("") == ""


@given(st.text(), st.sampled_from(["é", "😀", "\n", '"', "x"]))
def test_summaries_and_details_are_never_larger_than_temporal_takes(text, letter):
    for made, size in ((summary, LONGEST_SUMMARY), (details, LONGEST_DETAILS)):
        for one in (text, letter * size, text + letter * 30_000):
            shown = made(one)
            assert len(json.dumps(shown)) <= size
            assert len(shown.encode()) <= size
    assert "\n" not in summary(f"a{text}\nb")


@given(st.text(), st.sampled_from(["é", "😀", "x"]))
def test_search_attributes_are_never_larger_than_temporal_takes(text, letter):
    for value in (f"x{text}", letter * 5000):
        (pair,) = search_attributes(action=value)
        assert len(pair.value) <= LONGEST_VALUE
        assert len(json.dumps(pair.value)) <= MOST_BYTES < 2048
    assert [pair.value for pair in search_attributes(action="fit_model")] == ["fit_model"]


def test_a_link_is_relative_and_quotes_what_it_leads_to():
    assert workflow_link("a]b", "job/x y", "tpp") == (
        "[a&#93;b](namespaces/tpp/workflows/job%2Fx%20y)"
    )


# --- jobs ---


def test_a_job_tells_what_it_is_for_whom_and_links_its_commit():
    job = spec(requires_db=True)
    texts = job_texts(job, attempt(job), namespace=NS)
    assert texts.summary == "fit_model of asthma, attempt 2"
    assert f"[0123456789](https://github.com/opensafely/asthma/tree/{COMMIT}) on `main`" in (
        texts.details
    )
    assert "requested by grace for project breath" in texts.details
    assert "attempt 2 on host `h1` of `tpp`" in texts.details
    assert "(namespaces/default/workflows/rap%2Fraprapraprapraps)" in texts.details
    assert "database: yes, `default`" in texts.details
    assert "command `python:v2 fit.py`" in texts.details


@pytest.mark.parametrize(
    "url", ["/srv/study", "https://x.org/a) [b](javascript:c", "javascript:alert(1)"]
)
def test_a_repository_that_is_no_plain_address_is_not_linked(url):
    job = spec(study=Study(git_repo_url=url, commit=COMMIT, branch="main"))
    shown = job_texts(job, attempt(job), namespace=NS).details
    assert "/tree/" not in shown
    assert "](javascript" not in outside_code(shown)


def test_a_reusable_action_is_linked_beside_the_study():
    action = {"action_repo_url": "https://github.com/opensafely-actions/plot", "action_commit": "f"}
    job = spec(**action)
    shown = job_texts(job, attempt(job), namespace=NS).details
    assert "reusable action [f](https://github.com/opensafely-actions/plot/tree/f)" in shown


def test_a_running_attempt_says_where_to_look_and_a_lost_one_what_is_left():
    running = attempt(spec())
    assert "Attempt 2 is with host `h1`" in running_details(running)
    texts = clean_up_texts(running, namespace=NS)
    assert "fit_model on h1" in texts.summary
    assert "declared lost" in texts.details


def end_of(result: AttemptResult) -> str:
    conclusion = conclude(result, requires_db=False, faults=0)
    return ended_details(attempt(spec()), result, conclusion)


def test_an_attempt_that_ended_tells_how_and_what_each_stage_took():
    outcome = JobOutcome(
        task_id="t",
        ending=Ending.COMPLETED,
        exit_code=3,
        memory_peak_bytes=3 * 2**20,
        memory_limit_bytes=2**30,
        stages={Stage.EXECUTING: NOON + 2, Stage.PREPARING: NOON, Stage.EXECUTED: NOON + 62.5},
    )
    shown = end_of(AttemptResult(outcome=outcome))
    assert "ended: **nonzero_exit**" in shown
    assert "Exit code 3, at most 3 of 1024 MiB of memory at once" in shown
    assert cells(shown, "preparing") == ["preparing", "2023-11-14 22:13:20Z", "2.0"]
    assert cells(shown, "executing")[2] == "60.5"
    assert cells(shown, "executed ")[2] == ""


def test_an_attempt_without_an_outcome_says_so_and_one_that_failed_names_its_fault():
    assert "did not tell" in end_of(AttemptResult(stopped=StopReason.HOST_LOST))
    failed = JobOutcome(task_id="t", ending=Ending.FAILED, fault=Fault.DISK_FULL)
    assert "Fault: disk_full" in end_of(AttemptResult(outcome=failed))


# --- RAPs and workspaces ---


def line(number: int = 0, **changes: object) -> JobLine:
    given: dict[str, object] = {
        "job_id": f"job{number}",
        "action": f"action{number}",
        "code": StatusCode.SUCCEEDED,
        "message": StatusCode.SUCCEEDED.message,
        "attempt": 1,
        "host": "h1",
        "has_page": True,
    }
    return JobLine(**(given | changes))  # type: ignore[arg-type]


def test_a_rap_tells_what_was_asked_for_and_by_whom():
    request = CreateRequest(
        rap_id="r",
        backend="tpp",
        workspace="asthma",
        repo_url="https://github.com/opensafely/asthma.git",
        branch="main",
        commit=COMMIT,
        requested_actions=("fit_model", "a`b"),
        created_by="grace",
        force_run_dependencies=True,
    )
    texts = rap_texts(request, (spec(),), namespace=NS)
    assert texts.summary == "1 job of asthma for grace"
    assert f"(https://github.com/opensafely/asthma/tree/{COMMIT})" in texts.details
    assert "`fit_model`, a&#96;b" in texts.details
    assert "run again as well" in texts.details


def test_a_rap_has_a_table_of_its_jobs():
    failed = line(1, code=StatusCode.NONZERO_EXIT, message=f"Job exited with an error: {EVIL}")
    never = line(2, code=StatusCode.DEPENDENCY_FAILED, message="", host="", has_page=False)
    shown = rap_details("tpp", [line(), failed, never], namespace=NS)
    assert "**3 jobs:** 1 succeeded, 1 nonzero_exit, 1 dependency_failed" in shown
    assert cells(shown, "[action0]") == [
        "[action0](namespaces/default/workflows/job%2Fjob0)", "succeeded", "1", "`h1`", "",
    ]  # fmt: skip
    assert cells(shown, "[action1]")[4].startswith("Job exited with an error&#58; a&#124;b")
    assert cells(shown, "action2")[:2] == ["action2", "dependency_failed"]
    assert "<img" not in shown


def test_a_large_rap_shows_its_failed_and_unfinished_jobs_first():
    jobs = [line(number) for number in range(400)]
    jobs += [line(401, code=StatusCode.EXECUTING), line(402, code=StatusCode.JOB_ERROR)]
    shown = rap_details("tpp", jobs, namespace=NS)
    table = [text for text in shown.splitlines() if text.startswith("| [")]
    assert len(table) == MOST_ROWS
    assert [text[3:12] for text in table[:2]] == ["action402", "action401"]
    assert f"… and {402 - MOST_ROWS} more" in shown


@pytest.mark.parametrize(
    ("codes", "told"),
    [
        ("succeeded succeeded", "succeeded"),
        ("succeeded dependency_failed nonzero_exit cancelled_by_user", "nonzero_exit"),
        ("dependency_failed succeeded", "dependency_failed"),
        ("cancelled_by_user cancelled_by_user", "cancelled_by_user"),
    ],
)
def test_a_rap_that_ended_tells_why_its_first_failed_job_did(codes, told):
    assert rap_code(StatusCode(one) for one in codes.split()) == told


def test_a_workspace_tells_its_raps_and_current_jobs():
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


def test_a_check_tells_what_it_found():
    check = DatabaseCheck(backend="tpp", image="x/tpp-database-utils:latest")
    assert "is being made" in check_details(check, namespace=NS)
    assert "found `db-maintenance`" in check_details(check, namespace=NS, answer="db-maintenance")
    assert "found nothing" in check_details(check, namespace=NS, answer="")


def test_a_window_tells_until_when_it_is_open_and_who_made_it():
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


def test_a_backend_tells_its_switches_and_whose_limits_are_in_force():
    shown = backend_details(
        row(
            paused=True,
            paused_since=NOON - 100,
            maintenance=True,
            maintenance_type=MaintenanceType.SCHEDULED,
            maintenance_since=NOON - 50,
            windows={"patch": WindowKind.REBOOT},
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


def test_a_backend_lists_what_runs_with_its_stage_and_what_waits_with_its_priority():
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
            queue=(QueueEntry(**entry(action=EVIL, requires_db=True, weight=2)),),
            priorities={"raprapraprapraps": 1},
            agents=(AgentReport(backend="tpp", host="h1", at=NOON, jobs=(progress,)),),
        )
    )
    assert cells(shown, "[fit") == [
        "[fit&#95;model](namespaces/default/workflows/job%2Fjobjobjobjobjobj)",
        "`asthma`", "preparing, trouble: git_unreachable", "`h1`", "22:12:20", "no",
    ]  # fmt: skip
    assert cells(shown, "[other]")[2:5] == ["handed over", "`h2`", "2023-11-13 22:13:20"]
    waiting = cells(shown, "1 ")
    assert waiting[0] == "1"
    assert waiting[5:] == ["yes, weight 2", "1"]
    assert "<img" not in shown


def test_a_backend_tells_of_each_agent_and_which_is_out_of_contact():
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


def test_a_backend_without_agents_says_that_nothing_starts():
    shown = backend_details(row(hold_up=HoldUp.NO_AGENT, last_seen=NOON - 600))
    assert "**No agent is in contact** since 2023-11-14 22:03:20Z: nothing starts" in shown


def test_the_last_orders_tell_who_when_and_why_in_bounds():
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
def test_whatever_a_backend_is_told_its_tables_keep_their_columns(name, why):
    shown = backend_details(
        row(
            slots=(SlotEntry(**entry(action=name, workspace=why, rap_id=name), host=why),),
            queue=(QueueEntry(**entry(action=name, workspace=why, rap_id=name)),),
            agents=(AgentReport(backend="tpp", host=name, at=NOON, version=why, engine=name),),
            orders=(OrderEntry(at=NOON, kind=OrderKind.LIMITS, detail=name, by=why, why=why),),
            priorities={name: 1},
            windows={name: WindowKind.PAUSE},
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


def test_a_page_is_small_however_much_there_is():
    many = tuple(QueueEntry(**entry(job_id=f"j{n}", workspace="w" * 99)) for n in range(10_000))
    slots = tuple(
        SlotEntry(**entry(job_id=f"j{n}", action="a" * 99), host="h1") for n in range(900)
    )
    agents = tuple(AgentReport(backend="tpp", host=f"h{n}", at=NOON) for n in range(500))
    shown = backend_details(row(queue=many, slots=slots, agents=agents))
    assert "**10000 waiting**" in shown
    assert f"… and {10_000 - MOST_WAITING} more" in shown
    # A proxy in front of the Web UI takes it in a request line of 64 KiB.
    assert len(shown) < 24_000


def test_a_time_of_today_goes_without_its_date():
    assert brief(NOON, NOON) == "22:13:20"
    assert brief(NOON - 86400, NOON) == "2023-11-13 22:13:20"
    assert brief(None, NOON) == "never"


def test_ids_lead_to_pages():
    assert workflow_link("x", ids.backend_workflow_id("tpp"), NS).endswith("/backend%2Ftpp)")
