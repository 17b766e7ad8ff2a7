"""The read model on real databases: SQLite files and PostgreSQL."""

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from rap.egress import Metrics
from rap.errors import ConfigurationError, Unavailable
from rap.records import Records, UnknownJob
from rap.records.migrations import is_current, upgrade
from rap.records.store import engine_of
from rap.records.tables import metadata
from rap.rows import (
    BackendUpdate,
    IntentSettlement,
    IntentState,
    JobChanges,
    QueueEntry,
    SlotEntry,
)
from rap.status import StatusCode, version
from tests.support.postgres import Cluster, postgres
from tests.support.records import (
    COMMIT,
    CREATED_AT,
    backend_row,
    change,
    changed,
    created,
    intent,
    rap_id,
    rap_rows,
)

pytestmark = pytest.mark.unit

__all__ = ["postgres"]  # a fixture

T = CREATED_AT
ONE, TWO, THREE = rap_id(1), rap_id(2), rap_id(3)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'new folder' / 'records.sqlite'}"
    cluster: Cluster = request.getfixturevalue("postgres")
    return cluster.new_database()


@pytest.fixture
def records(url: str) -> Iterator[Records]:
    upgrade(url)
    opened = Records.connect(url)
    yield opened
    opened.close()


# --- the jobs of a RAP ---


def test_a_new_rap_is_read_back_whole_and_in_its_order(records: Records):
    trace = {"traceparent": "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"}
    records.record_jobs(created(ONE, "zebra", "ant", "mole", trace_context=trace, weight=1.5))
    jobs = records.rap(ONE)
    assert [job.action for job in jobs] == ["zebra", "ant", "mole"]
    first = jobs[0]
    assert (first.commit, first.workspace, first.weight) == (COMMIT, "workspace", 1.5)
    assert (first.requires_db, first.created_at) == (False, T)
    assert first.trace_context == trace
    assert (first.status_code, first.metrics) == (StatusCode.CREATED, {})


def test_creating_a_rap_again_changes_nothing_of_its_jobs(records: Records):
    records.record_jobs(created(ONE, "a", "b"))
    records.record_jobs(changed(ONE, "a", StatusCode.SUCCEEDED, T + 5))
    before = records.rap(ONE)
    records.record_jobs(created(ONE, "a", "b"))
    assert records.rap(ONE) == before


@pytest.mark.spec("controller:35")
def test_all_jobs_of_a_rap_appear_or_none(records: Records):
    unknown = change(TWO, "a", StatusCode.INITIATED, T + 1)
    with pytest.raises(UnknownJob, match=unknown.job_id):
        records.record_jobs(JobChanges(created=rap_rows(ONE, "a", "b"), changes=(unknown,)))
    assert records.rap(ONE) == []


def test_jobs_may_be_created_and_changed_in_one_write(records: Records):
    records.record_jobs(
        JobChanges(
            created=rap_rows(ONE, "a", "b"),
            changes=(
                change(ONE, "a", StatusCode.INITIATED, T + 1),
                change(ONE, "b", StatusCode.WAITING_ON_DEPENDENCIES, T + 1),
                change(ONE, "a", StatusCode.PREPARING, T + 2),
            ),
        )
    )
    codes = {job.action: (job.status_code.value, job.started_at) for job in records.rap(ONE)}
    assert codes == {"a": ("preparing", T + 1), "b": ("waiting_on_dependencies", None)}


def test_a_stale_write_is_passed_over(records: Records):
    records.record_jobs(created(ONE, "a"))
    records.record_jobs(changed(ONE, "a", StatusCode.EXECUTING, T + 3))
    records.record_jobs(changed(ONE, "a", StatusCode.PREPARING, T + 4))
    assert records.rap(ONE)[0].status_code is StatusCode.EXECUTING


def test_the_measurements_of_a_job_are_kept(records: Records):
    records.record_jobs(created(ONE, "a"))
    metrics = Metrics(cpu_peak=180.5, mem_mb_peak=512.0)
    records.record_jobs(changed(ONE, "a", StatusCode.SUCCEEDED, T + 3, metrics=metrics))
    assert records.rap(ONE)[0].metrics == metrics.model_dump()


def test_writers_at_the_same_time_leave_one_set_of_jobs_in_their_last_state(records: Records):
    codes = [StatusCode.INITIATED, StatusCode.PREPARING, StatusCode.EXECUTING, StatusCode.SUCCEEDED]

    def write(writer: int) -> None:
        for code in codes[writer % 4 :]:
            changes = tuple(change(ONE, action, code, T + 10) for action in ("a", "b", "c"))
            records.record_jobs(
                JobChanges(
                    created=rap_rows(ONE, "a", "b", "c"), changes=changes[:: 1 - writer % 2 * 2]
                )
            )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(16)))
    assert [(job.action, job.status_code.value) for job in records.rap(ONE)] == [
        ("a", "succeeded"),
        ("b", "succeeded"),
        ("c", "succeeded"),
    ]


def test_a_writer_waits_for_another_and_then_sees_what_it_wrote(postgres: Cluster):
    url = postgres.new_database()
    upgrade(url)
    records = Records.connect(url)
    records.record_jobs(created(ONE, "a"))
    later = version(1, StatusCode.SUCCEEDED)
    with psycopg.connect(url) as other, psycopg.connect(url, autocommit=True) as observer:
        other.execute("UPDATE job SET status_code = 'succeeded', version = %s", [later])
        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(
                records.record_jobs, changed(ONE, "a", StatusCode.EXECUTING, T + 1)
            )
            waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            while observer.execute(waiting).fetchone() is None:
                assert not writing.done()
            other.commit()
            writing.result()
    assert records.rap(ONE)[0].status_code is StatusCode.SUCCEEDED
    records.close()


# --- reading jobs ---


def test_jobs_are_read_by_rap_then_place_and_only_on_the_given_backends(records: Records):
    records.record_jobs(created(TWO, "b", "a"))
    records.record_jobs(created(THREE, "c", backend="tpp"))
    records.record_jobs(created(ONE, "y", "x"))

    def read(*backends: str) -> list[str]:
        return [job.action for job in records.jobs_of([THREE, TWO, ONE, rap_id(9)], backends)]

    assert read("test") == ["y", "x", "b", "a"]
    assert read("tpp") == ["c"]
    assert read("test", "tpp") == ["y", "x", "b", "a", "c"]
    assert read() == []
    assert records.jobs_of([], ["test"]) == []


def test_a_hundred_thousand_raps_can_be_asked_for_at_once(records: Records):
    records.record_jobs(created(ONE, "a"))
    ids = [rap_id(number) for number in range(100_000)]
    assert [job.rap_id for job in records.jobs_of(ids, ["test"])] == [ONE]
    assert records.intents(ids) == {}


def test_names_with_quotes_are_only_names(records: Records):
    rap = 'it\'s "so" % {} ü'
    records.record_jobs(created(rap, "a'); drop table job; --"))
    assert [job.action for job in records.jobs_of([rap], ["test"])] == ["a'); drop table job; --"]


# --- backends ---


def test_a_backend_is_read_back_whole(records: Records):
    entry = {"job_id": "j", "rap_id": ONE, "workspace": "w", "requires_db": True, "since": 1.5}
    row = backend_row(
        paused=True,
        paused_since=T + 0.25,
        queue=(QueueEntry(**entry),),
        slots=(SlotEntry(**entry, host="main"),),
    )
    records.record_backend(BackendUpdate(row=row))
    assert records.backends(["test", "tpp"]) == {"test": row}


def test_only_a_later_row_of_a_backend_replaces_it(records: Records):
    for number in (2, 1, 2):
        row = backend_row(version=number, last_seen=float(number))
        records.record_backend(BackendUpdate(row=row))
        assert records.backends(["test"])["test"].last_seen == 2.0
    records.record_backend(BackendUpdate(row=backend_row(version=3, last_seen=3.0)))
    assert records.backends(["test"])["test"].last_seen == 3.0


def test_a_report_changes_the_jobs_it_knows_and_passes_over_others(records: Records):
    records.record_jobs(created(ONE, "a"))
    known = change(ONE, "a", StatusCode.EXECUTING, T + 2)
    unknown = change(TWO, "a", StatusCode.EXECUTING, T + 2)
    records.record_backend(BackendUpdate(row=backend_row(), changes=(unknown, known)))
    assert records.rap(ONE)[0].status_code is StatusCode.EXECUTING
    assert records.rap(TWO) == []
    assert set(records.backends(["test"])) == {"test"}


# --- intents ---


def test_an_announced_create_is_pending_until_its_jobs_appear(records: Records):
    announced = intent(ONE)
    assert records.announce(announced) == announced
    assert records.intents([ONE, TWO]) == {ONE: announced}
    records.record_jobs(created(ONE, "a"))
    assert records.intents([ONE])[ONE].state is IntentState.ACCEPTED


def test_a_refused_rap_may_be_announced_again(records: Records):
    records.announce(intent(ONE))
    records.settle(IntentSettlement(rap_id=ONE, state=IntentState.REFUSED))
    assert records.intents([ONE])[ONE].state is IntentState.REFUSED
    again = intent(ONE, workspace="another", created_at=T + 9.5)
    assert records.announce(again) == again


def test_an_accepted_rap_stays_accepted(records: Records):
    records.announce(intent(ONE))
    records.settle(IntentSettlement(rap_id=ONE, state=IntentState.ACCEPTED))
    records.settle(IntentSettlement(rap_id=ONE, state=IntentState.REFUSED))
    assert records.announce(intent(ONE, created_at=T + 5.0)).state is IntentState.ACCEPTED


def test_an_undecided_create_is_not_replaced_by_one_of_another_workspace(records: Records):
    first = intent(ONE)
    records.announce(first)
    assert records.announce(intent(ONE, workspace="another", created_at=T + 1.0)) == first
    repeated = intent(ONE, created_at=T + 2.0)
    assert records.announce(repeated) == repeated


def test_a_settlement_leaves_a_later_announcement_alone(records: Records):
    records.announce(intent(ONE, created_at=T + 5.125))
    refused = IntentState.REFUSED
    records.settle(IntentSettlement(rap_id=ONE, state=refused, asked_at=T + 5.0))
    assert records.intents([ONE])[ONE].state is IntentState.PENDING
    records.settle(IntentSettlement(rap_id=ONE, state=refused, asked_at=T + 5.125))
    assert records.intents([ONE])[ONE].state is refused


def test_undecided_creates_are_found_by_their_age(records: Records):
    for number in (3, 1, 2):
        records.announce(intent(rap_id(number), created_at=float(T + number)))
    records.settle(IntentSettlement(rap_id=ONE, state=IntentState.REFUSED))
    assert [found.rap_id for found in records.unsettled(T + 3.0)] == [TWO]
    assert [found.rap_id for found in records.unsettled(T + 3.5)] == [TWO, THREE]


# --- the database ---


def test_the_tables_are_made_once_however_many_processes_start(url: str):
    assert not is_current(url)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(upgrade, [url] * 4))
    assert is_current(url)
    engine = engine_of(url)
    with engine.begin() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    assert differences == []


def test_tables_of_a_later_version_are_left_alone(url: str):
    upgrade(url)
    engine = engine_of(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    assert not is_current(url)
    with pytest.raises(ConfigurationError, match="later version"):
        upgrade(url)


def test_without_tables_the_remedy_is_named(url: str):
    records = Records.connect(url)
    with pytest.raises(Unavailable, match="rap records upgrade"):
        records.rap(ONE)
    records.close()


def test_rows_outlive_the_process(url: str):
    upgrade(url)
    first = Records.connect(url)
    first.record_jobs(created(ONE, "a"))
    before = first.rap(ONE)
    first.close()
    second = Records.connect(url)
    assert second.rap(ONE) == before
    second.close()


def test_a_database_that_was_away_is_used_again(postgres: Cluster):
    url = postgres.new_database()
    upgrade(url)
    records = Records.connect(url)
    records.record_jobs(created(ONE, "a"))
    postgres.stop()
    postgres.start()
    assert len(records.rap(ONE)) == 1, "although its connections are dead"
    postgres.stop()
    try:
        with pytest.raises(Unavailable, match="does not answer"):
            records.rap(ONE)
        with pytest.raises(Unavailable, match="does not answer"):
            is_current(url)
    finally:
        postgres.start()
    assert len(records.rap(ONE)) == 1
    records.close()


def test_a_reader_does_not_wait_for_a_writer_of_the_sqlite_file(tmp_path: Path):
    file = tmp_path / "records.sqlite"
    upgrade(f"sqlite:///{file}")
    records = Records.connect(f"sqlite:///{file}")
    records.record_jobs(created(ONE, "a"))
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("DELETE FROM job")
    assert len(records.rap(ONE)) == 1
    other.execute("ROLLBACK")
    other.close()
    records.close()
