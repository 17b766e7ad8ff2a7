import shlex
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rap import ids
from rap.messages.workspaces import JobsFinished, KnownJob, KnownRap, WorkspaceStart
from rap.models import (
    RUN_ALL,
    CreateRequest,
    JobDefinition,
    JobLimits,
    JobSpec,
    PrivacyLevel,
    Project,
    ProjectAction,
    RefusalKind,
)
from rap.status import State
from tests.support.factories import create_request
from workflows.job.definition import image_and_tag, job_definition
from workflows.workspace.jobs import KEEP_RAPS, WorkspaceJobs
from workflows.workspace.planning import (
    MOST_UNFINISHED,
    Plan,
    check_codelists,
    check_room,
    plan_jobs,
    uses_reusable_action,
)

pytestmark = pytest.mark.unit

PENDING, RUNNING, FAILED, SUCCEEDED = State.PENDING, State.RUNNING, State.FAILED, State.SUCCEEDED
RAP = "a1b2c3d4e5f6g7h8"
EVENT_LEVEL = "echo-evaluation-of-covid-19-vaccine-histories-using-opensafely"


def action(name: str, *needs: str, db: bool = False, run: str | None = None) -> ProjectAction:
    return ProjectAction(
        name=name,
        run_command=run or f"python:v2 {name}.py",
        needs=needs,
        outputs={PrivacyLevel.MODERATELY_SENSITIVE: {"out": f"{name}.csv"}},
        requires_db=db,
    )


# generate_dataset -> prepare -> analyse -> report, and measure on its own
STUDY = (
    action("generate_dataset", db=True),
    action("prepare", "generate_dataset"),
    action("analyse", "prepare"),
    action("report", "analyse", "prepare"),
    action("measure", db=True),
)


def request(*requested: str, **changes: Any) -> CreateRequest:
    facts = {"rap_id": RAP, "workspace": "my-workspace", "commit": "c" * 40}
    return create_request(*requested, **(facts | changes))


def known(**states: Any) -> dict[str, Any]:
    return {
        name: KnownJob(job_id=f"old-{name}", rap_id="old", state=state)
        for name, state in states.items()
    }


def plan(
    *requested: str,
    current: Mapping[str, KnownJob] | None = None,
    actions: list[ProjectAction] | tuple[Any, ...] = STUDY,
    **changes: Any,
) -> Plan:
    return plan_jobs(actions, current or {}, request(*requested, **changes), created_at=1000)


def planned(*requested: str, **kwargs: Any) -> dict[str, JobSpec]:
    """The planned jobs by action, in their order."""
    result = plan(*requested, **kwargs)
    assert result.refusal is None
    return {job.action: job for job in result.jobs}


def new(name: str) -> str:
    return ids.job_id(RAP, name)


# --- what a job holds ---


@pytest.mark.spec("controller:37", "controller:1")
def test_the_fields_of_the_request_are_on_the_job() -> None:
    job = planned(
        "measure", created_by="jo", project="a-project", orgs=("one", "two"), branch="dev"
    )["measure"]
    assert job.id == new("measure")
    assert (job.rap_id, job.action, job.backend, job.workspace) == (
        RAP,
        "measure",
        "test",
        "my-workspace",
    )
    assert job.study.model_dump() == {
        "git_repo_url": "https://github.com/opensafely/study",
        "commit": "c" * 40,
        "branch": "dev",
    }
    assert (job.user, job.project, job.orgs) == ("jo", "a-project", ("one", "two"))
    assert (job.database_name, job.created_at, job.requires_db) == ("default", 1000, True)
    assert (job.action_repo_url, job.action_commit, job.weight) == (None, None, 1.0)


# --- which jobs are made ---


@pytest.mark.spec("controller:42", "controller:43")
def test_a_leaf_in_a_fresh_workspace_brings_all_it_needs() -> None:
    jobs = planned("report")
    assert list(jobs) == ["generate_dataset", "prepare", "analyse", "report"]
    assert jobs["generate_dataset"].wait_for_job_ids == ()
    assert jobs["prepare"].wait_for_job_ids == (new("generate_dataset"),)
    assert jobs["report"].wait_for_job_ids == (new("analyse"), new("prepare"))
    assert jobs["report"].input_job_ids == (new("analyse"), new("prepare"))


@pytest.mark.spec("controller:44")
@pytest.mark.parametrize("state", [PENDING, RUNNING])
def test_active_jobs_of_other_raps_are_waited_for(state: State) -> None:
    jobs = planned("analyse", current=known(prepare=state))
    assert list(jobs) == ["analyse"]
    assert jobs["analyse"].wait_for_job_ids == ("old-prepare",)
    assert jobs["analyse"].input_job_ids == ("old-prepare",)


@pytest.mark.spec("controller:45")
def test_succeeded_needs_are_reused() -> None:
    jobs = planned("report", current=known(prepare=SUCCEEDED, analyse=RUNNING))
    assert list(jobs) == ["report"]
    assert jobs["report"].requires_outputs_from == ("analyse", "prepare")
    assert jobs["report"].wait_for_job_ids == ("old-analyse",)
    assert jobs["report"].input_job_ids == ("old-analyse", "old-prepare")


@pytest.mark.spec("controller:46")
def test_failed_needs_are_run_again() -> None:
    jobs = planned("analyse", current=known(generate_dataset=SUCCEEDED, prepare=FAILED))
    assert list(jobs) == ["prepare", "analyse"]
    assert jobs["analyse"].wait_for_job_ids == (new("prepare"),)


@pytest.mark.spec("controller:47")
def test_what_is_asked_for_by_name_is_run_again_and_its_needs_are_not() -> None:
    current = known(generate_dataset=SUCCEEDED, prepare=SUCCEEDED, analyse=SUCCEEDED)
    assert list(planned("analyse", current=current)) == ["analyse"]


@pytest.mark.spec("controller:48")
def test_force_runs_succeeded_needs_again() -> None:
    current = known(generate_dataset=SUCCEEDED, prepare=SUCCEEDED)
    jobs = planned("analyse", current=current, force_run_dependencies=True)
    assert list(jobs) == ["generate_dataset", "prepare", "analyse"]


@pytest.mark.spec("controller:49")
def test_force_does_not_double_active_jobs() -> None:
    current = known(generate_dataset=SUCCEEDED, prepare=RUNNING)
    jobs = planned("analyse", current=current, force_run_dependencies=True)
    assert list(jobs) == ["analyse"]
    assert jobs["analyse"].wait_for_job_ids == ("old-prepare",)


@pytest.mark.spec("controller:50")
def test_a_succeeded_need_hides_a_failed_one_above_it() -> None:
    current = known(generate_dataset=FAILED, prepare=SUCCEEDED)
    assert list(planned("analyse", current=current)) == ["analyse"]


@pytest.mark.spec("controller:54")
def test_an_action_listed_twice_makes_one_job() -> None:
    assert list(planned("measure", "measure")) == ["measure"]


@pytest.mark.spec("controller:55")
def test_the_order_of_the_request_makes_no_difference() -> None:
    current = known(generate_dataset=SUCCEEDED, analyse=FAILED)
    one = planned("report", "prepare", "measure", current=current)
    other = planned("measure", "prepare", "report", current=current)
    assert one == other


@pytest.mark.spec("controller:56")
def test_run_all_makes_what_never_ran_or_failed() -> None:
    current = known(generate_dataset=SUCCEEDED, prepare=FAILED, analyse=SUCCEEDED)
    assert list(planned(RUN_ALL, current=current)) == ["prepare", "report", "measure"]


@pytest.mark.spec("controller:57")
def test_run_all_and_a_name_runs_that_one_again() -> None:
    current = known(**{item.name: SUCCEEDED for item in STUDY})
    assert list(planned(RUN_ALL, "analyse", current=current)) == ["analyse"]


@pytest.mark.spec("controller:58")
def test_run_all_with_force_runs_all_that_is_not_active() -> None:
    current = known(generate_dataset=SUCCEEDED, prepare=RUNNING, analyse=SUCCEEDED, report=FAILED)
    jobs = planned(RUN_ALL, current=current, force_run_dependencies=True)
    assert set(jobs) == {"generate_dataset", "analyse", "report", "measure"}


@pytest.mark.spec("controller:59")
def test_jobs_of_actions_that_are_gone_play_no_part() -> None:
    current = known(gone=FAILED, **{item.name: SUCCEEDED for item in STUDY})
    assert plan(RUN_ALL, current=current).nothing_to_do is not None
    refusal = plan("gone", current=known(gone=RUNNING)).refusal
    assert refusal is not None
    assert refusal.message == "Action 'gone' not found in project.yaml"


@pytest.mark.spec("controller:30")
def test_an_action_called_run_all_is_ignored() -> None:
    actions = (action("run_all", "measure"), action("measure"))
    assert list(planned(RUN_ALL, actions=actions)) == ["measure"]


@pytest.mark.spec("controller:60")
def test_the_latest_job_of_an_action_decides() -> None:
    workspace = WorkspaceJobs(WorkspaceStart(backend="test", workspace="my-workspace"))
    for rap_id, state in (("r1", FAILED), ("r2", SUCCEEDED)):
        jobs = plan_jobs(
            STUDY[:1],
            workspace.current(),
            request("generate_dataset", rap_id=rap_id),
            created_at=1,
        ).jobs
        rap = KnownRap(rap_id=rap_id, repo_url="", commit="", count=1, created_at=1)
        workspace.add(rap, jobs)
        workspace.finish(JobsFinished(rap_id=rap_id, states={jobs[0].id: state}))
    (job,) = plan("prepare", current=workspace.current()).jobs
    assert job.input_job_ids == (ids.job_id("r2", "generate_dataset"),)


def test_a_workspace_forgets_the_rap_that_finished_longest_ago() -> None:
    workspace = WorkspaceJobs(WorkspaceStart(backend="test", workspace="my-workspace"))
    names = [f"rap{number}" for number in range(KEEP_RAPS + 1)]
    for name in (*names, "unfinished"):
        workspace.add(KnownRap(rap_id=name, repo_url="", commit="", count=0, created_at=1), ())
    for name in reversed(names):
        workspace.finish(JobsFinished(rap_id=name, states={}, rap_done=True))
    kept = {rap.rap_id for rap in workspace.carried_over().raps}
    assert kept == {*names[:-1], "unfinished"}


def test_a_new_job_replaces_a_failed_one_for_all_who_need_it() -> None:
    actions = (action("a"), action("b", "a"), action("c", "a"))
    jobs = planned("b", "c", actions=actions, current=known(a=FAILED))
    assert list(jobs) == ["a", "b", "c"]
    assert jobs["b"].wait_for_job_ids == jobs["c"].wait_for_job_ids == (new("a"),)


# --- nothing to do, and refusals ---


@pytest.mark.spec("controller:61", "controller:62")
@pytest.mark.parametrize("state", [SUCCEEDED, RUNNING, PENDING])
def test_run_all_with_nothing_left(state: State) -> None:
    result = plan(RUN_ALL, current=known(**{item.name: state for item in STUDY}))
    assert result.nothing_to_do == "All actions have already completed successfully"
    assert result.jobs == ()


@pytest.mark.spec("controller:63")
def test_requested_actions_that_are_all_active() -> None:
    result = plan("analyse", "measure", current=known(analyse=PENDING, measure=RUNNING))
    assert result.nothing_to_do == "All requested actions were already scheduled to run"
    assert result.jobs == ()


@pytest.mark.spec("controller:25")
@pytest.mark.parametrize("requested", [("nope",), ("measure", "nope"), ("nope", "measure")])
def test_an_unknown_action_refuses_the_whole_request(requested: tuple[Any, ...]) -> None:
    result = plan(*requested)
    assert result.jobs == ()
    assert result.refusal is not None
    assert result.refusal.kind is RefusalKind.PROJECT
    assert result.refusal.message == "Action 'nope' not found in project.yaml"


@pytest.mark.spec("controller:33")
def test_needs_in_a_circle_are_named() -> None:
    actions = (action("a", "b"), action("b", "c"), action("c", "b"), action("ok"))
    refusal = plan("a", actions=actions).refusal
    assert refusal is not None
    assert refusal.message == (
        "Invalid project: \nThe `needs` of these actions form a circle: `b` -> `c` -> `b`"
    )
    assert list(planned("ok", actions=actions)) == ["ok"]
    assert plan("a", actions=(action("a", "a"),)).refusal is not None


def test_jobs_that_their_backend_could_not_hold_are_refused_with_the_figure() -> None:
    jobs = plan_jobs(STUDY, {}, request("analyse"), created_at=1).jobs
    project = Project(actions=STUDY, unfinished=MOST_UNFINISHED - len(jobs))
    assert check_room(project, jobs, "tpp") is None
    refusal = check_room(project.model_copy(update={"unfinished": 99_999}), jobs, "tpp")
    assert refusal is not None
    assert refusal.kind is RefusalKind.REQUEST
    assert refusal.message == (
        f"Backend 'tpp' has 99,999 unfinished jobs; with the {len(jobs)} of this request they "
        "would be more than the 100,000 that it can hold. Please try again when some have ended."
    )


@pytest.mark.spec("controller:64")
def test_stale_codelists_refuse_new_database_jobs() -> None:
    asked = request("analyse", codelists_ok=False)
    jobs = plan_jobs(STUDY, {}, asked, created_at=1).jobs
    refusal = check_codelists(jobs, asked)
    assert refusal is not None
    assert refusal.kind is RefusalKind.CODELISTS
    assert refusal.message == "Codelists are out of date (required by action generate_dataset)"


@pytest.mark.spec("controller:65")
@pytest.mark.parametrize("state", [SUCCEEDED, RUNNING])
def test_stale_codelists_do_not_matter_without_new_database_jobs(state: State) -> None:
    asked = request("prepare", codelists_ok=False)
    jobs = plan_jobs(STUDY, known(generate_dataset=state), asked, created_at=1).jobs
    assert [job.action for job in jobs] == ["prepare"]
    assert check_codelists(jobs, asked) is None


def test_good_codelists_let_database_jobs_pass() -> None:
    assert check_codelists(plan("measure").jobs, request("measure")) is None


@pytest.mark.spec("controller:66")
def test_nothing_to_do_is_found_out_without_the_codelists() -> None:
    result = plan("measure", current=known(measure=RUNNING), codelists_ok=False)
    assert result.nothing_to_do is not None
    assert check_codelists(result.jobs, request("measure", codelists_ok=False)) is None


@pytest.mark.parametrize(
    ("run", "expected"),
    [("python:v2 a.py", False), ("ehrql:v1", False), ("matching:v1 x", True), ("cat:v1", True)],
)
def test_reusable_actions_are_known_by_their_image(run: str, expected: bool) -> None:
    (job,) = plan("a", actions=(action("a", run=run),)).jobs
    assert uses_reusable_action(job) is expected


def test_a_chain_of_five_thousand_actions() -> None:
    count = 5000
    actions = tuple(
        action(f"a{number}", *([f"a{number - 1}"] if number else [])) for number in range(count)
    )
    jobs = plan(f"a{count - 1}", actions=actions).jobs
    assert [job.action for job in jobs] == [f"a{number}" for number in range(count)]


# --- permissions ---


@pytest.mark.spec("controller:77", "controller:78", "controller:79", "controller:80")
@pytest.mark.parametrize(
    ("sent", "project", "scope"),
    [
        ({}, "p", {"dataset_permissions": []}),
        ({"dataset_permissions": None}, "p", {"dataset_permissions": []}),
        (
            {"dataset_permissions": ["table3", "table1", "table2"]},
            "p",
            {"dataset_permissions": ["table1", "table2", "table3"]},
        ),
        ({}, EVENT_LEVEL, {"dataset_permissions": [], "component_access": ["event_level_data"]}),
        (
            {"component_access": ["some_other_component"]},
            EVENT_LEVEL,
            {
                "dataset_permissions": [],
                "component_access": ["event_level_data", "some_other_component"],
            },
        ),
        (
            {"component_access": ["event_level_data"], "unknown": ["kept"]},
            "p",
            {
                "dataset_permissions": [],
                "component_access": ["event_level_data"],
                "unknown": ["kept"],
            },
        ),
    ],
)
def test_database_jobs_carry_the_scope_and_others_do_not(
    sent: dict[str, Any], project: str, scope: dict[str, Any]
) -> None:
    jobs = planned("prepare", analysis_scope=sent, project=project)
    assert jobs["generate_dataset"].analysis_scope == scope
    assert jobs["prepare"].analysis_scope == {}


# --- the definition for the agent ---


def definition(
    job: JobSpec, *, attempt: int = 1, job_env: dict[str, str] | None = None, limits: Any = None
) -> JobDefinition:
    return job_definition(
        job,
        attempt=attempt,
        limits=limits or JobLimits(),
        image_registry="ghcr.io/opensafely-core",
        image_sha=None,
        job_env=job_env or {},
    )


@pytest.mark.spec("controller:102", "controller:103", "controller:3", "controller:107")
def test_a_definition_is_complete() -> None:
    (job,) = plan("a", actions=(action("a", run="python:v2 myscript.py 'x y'"),)).jobs
    expected = JobDefinition(
        id=new("a"),
        rap_id=RAP,
        task_id=f"{new('a')}-002",
        repo_url="https://github.com/opensafely/study",
        commit="c" * 40,
        study=job.study,
        workspace="my-workspace",
        action="a",
        created_at=1000,
        image="ghcr.io/opensafely-core/python:v2",
        image_sha=None,
        args=("myscript.py", "x y"),
        env={"OPENSAFELY_BACKEND": "test"},
        inputs=(),
        input_job_ids=(),
        output_spec={"a.csv": PrivacyLevel.MODERATELY_SENSITIVE},
        allow_database_access=False,
        database_name=None,
        cpu_count=2.0,
        memory_limit="4G",
        level4_max_filesize=16777216,
        level4_max_csv_rows=5000,
        level4_file_types=JobLimits().level4_file_types,
        user="",
        backend="test",
    )
    assert definition(job, attempt=2) == expected


@pytest.mark.spec("controller:105")
def test_only_database_jobs_get_the_database() -> None:
    jobs = planned("prepare")
    dataset, prepare = definition(jobs["generate_dataset"]), definition(jobs["prepare"])
    assert (dataset.allow_database_access, dataset.database_name) == (True, "default")
    assert (prepare.allow_database_access, prepare.database_name) == (False, None)


@pytest.mark.spec("controller:81")
@pytest.mark.parametrize(
    ("scope", "project", "text"),
    [
        ({}, "p", "[]"),
        ({}, EVENT_LEVEL, '["event_level_data"]'),
        ({"dataset_permissions": ["table2", "table1"]}, "p", '["table1", "table2"]'),
        ({"text": "abc", "dataset_permissions": ["a"]}, "p", '["a"]'),
    ],
)
def test_permissions_reach_database_jobs_as_one_list(
    scope: dict[str, Any], project: str, text: str
) -> None:
    jobs = planned("prepare", analysis_scope=scope, project=project)
    assert definition(jobs["generate_dataset"]).env["EHRQL_PERMISSIONS"] == text
    assert "EHRQL_PERMISSIONS" not in definition(jobs["prepare"]).env


def test_further_variables_are_for_database_jobs() -> None:
    jobs = planned("prepare")
    env = {"EHRQL_MAX_JOIN_COUNT": "10"}
    assert definition(jobs["generate_dataset"], job_env=env).env["EHRQL_MAX_JOIN_COUNT"] == "10"
    assert definition(jobs["prepare"], job_env=env).env == {"OPENSAFELY_BACKEND": "test"}


@pytest.mark.spec("controller:69")
def test_a_reusable_action_brings_its_own_code() -> None:
    (job,) = plan("measure").jobs
    resolved = job.model_copy(
        update={"action_repo_url": "https://github.com/o/action", "action_commit": "d" * 40}
    )
    result = definition(resolved)
    assert (result.repo_url, result.commit) == ("https://github.com/o/action", "d" * 40)
    assert (result.study.git_repo_url, result.study.commit) == (
        "https://github.com/opensafely/study",
        "c" * 40,
    )


@pytest.mark.spec("controller:110")
def test_a_definition_survives_json() -> None:
    (job,) = plan("measure", analysis_scope={"b": ["x"], "a": ["y"]}).jobs
    result = definition(job)
    assert JobDefinition.model_validate_json(result.model_dump_json()) == result


# --- against a second, naive reading of docs/spec/controller.md 5.5 and 5.6 ---

NAMES = [f"a{number}" for number in range(8)]


@st.composite
def situations(draw: Callable[..., Any]) -> tuple[Any, ...]:
    actions = []
    for number, name in enumerate(NAMES[: draw(st.integers(1, len(NAMES)))]):
        needs = draw(st.lists(st.sampled_from(NAMES[:number]), unique=True)) if number else []
        actions.append(action(name, *needs, db=draw(st.booleans())))
    actions = draw(st.permutations(actions))
    states = draw(st.dictionaries(st.sampled_from([*NAMES, "gone"]), st.sampled_from(list(State))))
    asked = draw(st.lists(st.sampled_from([*NAMES, RUN_ALL, "nope"]), min_size=1, max_size=5))
    return actions, states, asked, draw(st.booleans())


def naive(
    actions: list[ProjectAction], states: dict[str, Any], asked: list[str], force: bool
) -> tuple[Any, ...]:
    """What the tables say, done as literally as possible.

    Returns the actions to run with what each waits for, and the action that is unknown.
    """
    project = {item.name: item for item in actions}
    state_now = {name: state for name, state in states.items() if name in project}
    made = {}

    def ensure(name: str) -> None:
        state = state_now.get(name)
        if state is not None:
            rerun = {
                PENDING: False,
                RUNNING: False,
                SUCCEEDED: name in asked or force,
                FAILED: True,
            }[state]
            if not rerun:
                return
        if name not in project:
            raise LookupError(name)
        waits = set()
        for need in project[name].needs:
            ensure(need)
            if state_now[need] in (PENDING, RUNNING):
                waits.add(need)
        state_now[name] = PENDING
        made[name] = waits

    for target in [item.name for item in actions] if RUN_ALL in asked else asked:
        try:
            ensure(target)
        except LookupError as error:
            return {}, str(error)
    return made, None


@given(situations())
def test_plans_agree_with_a_literal_reading_of_the_rules(situation: tuple[Any, ...]) -> None:
    actions, states, asked, force = situation
    current = known(**states)
    result = plan(*asked, actions=actions, current=current, force_run_dependencies=force)
    expected, unknown = naive(actions, states, asked, force)
    if unknown is not None:
        assert result.refusal is not None
        assert result.refusal.message == f"Action '{unknown}' not found in project.yaml"
        return
    assert result.refusal is None

    def names(job_ids: tuple[Any, ...]) -> list[Any]:
        known_as = {new(name): name for name in NAMES} | {f"old-{n}": n for n in NAMES}
        return [known_as[job_id] for job_id in job_ids]

    jobs = {job.action: job for job in result.jobs}
    assert {name: set(names(job.wait_for_job_ids)) for name, job in jobs.items()} == expected
    assert bool(result.nothing_to_do) is (not jobs)
    seen = set()
    for name, job in jobs.items():
        needs = next(item.needs for item in actions if item.name == name)
        assert tuple(names(job.input_job_ids)) == needs == job.requires_outputs_from
        for need, job_id in zip(needs, job.input_job_ids, strict=True):
            # Met by a job of this plan that comes earlier, or by one that will do as it is.
            if need in jobs:
                assert job_id == new(need)
                assert need in seen
            else:
                assert states[need] is not FAILED
        seen.add(name)


@given(situations())
def test_planning_again_after_a_plan_finds_nothing_more_to_do(situation: tuple[Any, ...]) -> None:
    actions, states, asked, force = situation
    current = known(**states)
    first = plan(*asked, actions=actions, current=current, force_run_dependencies=force)
    after = current | {
        job.action: KnownJob(job_id=job.id, rap_id=RAP, state=PENDING) for job in first.jobs
    }
    if first.jobs:
        assert plan(*asked, actions=actions, current=after).nothing_to_do


def test_the_words_of_a_command_are_split_as_a_shell_would() -> None:
    (job,) = plan("a", actions=(action("a", run=shlex.join(["r:v1", "a b", "--x='y'"])),)).jobs
    assert definition(job).args == ("a b", "--x='y'")


@pytest.mark.parametrize(
    ("command", "first"),
    [
        ("python:v2 a.py", "python:v2"),
        ("python:v2", "python:v2"),
        ("'an odd name:v1' a.py", "an odd name:v1"),
        ("#odd:v1 a.py", "#odd:v1"),
        ("a/b,c;d:v1 a.py", "a/b,c;d:v1"),
        ("", ""),
    ],
)
def test_the_image_is_the_first_word_of_the_command(command: str, first: str) -> None:
    assert image_and_tag(command) == first


def test_the_name_of_an_image_ends_at_its_first_colon() -> None:
    job = plan("a", actions=(action("a"),)).jobs[0]
    for command, reusable in (("python:v2:x a", False), ("x:python:v2 a", True)):
        assert uses_reusable_action(job.model_copy(update={"run_command": command})) is reusable
