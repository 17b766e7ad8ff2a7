"""The read model on real databases: SQLite files and PostgreSQL."""

import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from rap.egress import Metrics
from rap.errors import ConfigurationError, Unavailable
from rap.records import Records, UnknownJob
from rap.records.engine import engine_of
from rap.records.migrations import is_current, upgrade
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
from rap.status_answers import BackendView, present, whole_seconds
from tests.support.factories import COMMIT, queued, slot
from tests.support.postgres import Cluster, postgres
from tests.support.records import (
    CREATED_AT,
    backend_row,
    backend_update,
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


def test_a_new_rap_is_read_back_whole_and_in_its_order(records: Records) -> None:
    trace = {"traceparent": "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"}
    records.record_jobs(created(ONE, "zebra", "ant", "mole", trace_context=trace, weight=1.5))
    jobs = records.rap(ONE)
    assert [job.action for job in jobs] == ["zebra", "ant", "mole"]
    first = jobs[0]
    assert (first.commit, first.workspace, first.weight) == (COMMIT, "workspace", 1.5)
    assert (first.requires_db, first.created_at) == (False, T)
    assert first.trace_context == trace
    assert (first.status_code, first.metrics) == (StatusCode.CREATED, {})


def test_creating_a_rap_again_changes_nothing_of_its_jobs(records: Records) -> None:
    records.record_jobs(created(ONE, "a", "b"))
    records.record_jobs(changed(ONE, "a", StatusCode.SUCCEEDED, T + 5))
    before = records.rap(ONE)
    records.record_jobs(created(ONE, "a", "b"))
    assert records.rap(ONE) == before


@pytest.mark.spec("controller:35")
def test_all_jobs_of_a_rap_appear_or_none(records: Records) -> None:
    unknown = change(TWO, "a", StatusCode.INITIATED, T + 1)
    with pytest.raises(UnknownJob, match=unknown.job_id):
        records.record_jobs(JobChanges(created=rap_rows(ONE, "a", "b"), changes=(unknown,)))
    assert records.rap(ONE) == []


def test_jobs_may_be_created_and_changed_in_one_write(records: Records) -> None:
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


def test_a_stale_write_is_passed_over(records: Records) -> None:
    records.record_jobs(created(ONE, "a"))
    records.record_jobs(changed(ONE, "a", StatusCode.EXECUTING, T + 3))
    records.record_jobs(changed(ONE, "a", StatusCode.PREPARING, T + 4))
    assert records.rap(ONE)[0].status_code is StatusCode.EXECUTING


def test_the_measurements_of_a_job_are_kept(records: Records) -> None:
    records.record_jobs(created(ONE, "a"))
    metrics = Metrics(cpu_peak=180.5, mem_mb_peak=512.0)
    records.record_jobs(changed(ONE, "a", StatusCode.SUCCEEDED, T + 3, metrics=metrics))
    assert records.rap(ONE)[0].metrics == metrics.model_dump()


def test_writers_at_the_same_time_leave_one_set_of_jobs_in_their_last_state(
    records: Records,
) -> None:
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


def test_a_writer_waits_for_another_and_then_sees_what_it_wrote(postgres: Cluster) -> None:
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


def test_jobs_are_read_by_rap_then_place_and_only_on_the_given_backends(records: Records) -> None:
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


def test_a_hundred_thousand_raps_can_be_asked_for_at_once(records: Records) -> None:
    records.record_jobs(created(ONE, "a"))
    ids = [rap_id(number) for number in range(100_000)]
    assert [job.rap_id for job in records.jobs_of(ids, ["test"])] == [ONE]
    assert records.intents(ids) == {}


def test_names_with_quotes_are_only_names(records: Records) -> None:
    rap = 'it\'s "so" % {} ü'
    records.record_jobs(created(rap, "a'); drop table job; --"))
    assert [job.action for job in records.jobs_of([rap], ["test"])] == ["a'); drop table job; --"]


# --- backends ---


def test_a_backend_is_read_back_whole(records: Records) -> None:
    entry = {"job_id": "j", "rap_id": ONE, "workspace": "w", "requires_db": True, "since": 1.5}
    row = backend_row(
        paused=True,
        paused_since=T + 0.25,
        queue=(QueueEntry(**entry),),
        slots=(SlotEntry(**entry, host="main"),),
    )
    records.record_backend(backend_update(row))
    assert records.backends(["test", "tpp"]) == {"test": row}
    assert records.backend_flags(["test"]) == {"test": row.model_copy(update={"queue": ()})}


def test_a_queue_is_written_as_changes_and_read_in_its_order(records: Records) -> None:
    def write(version: int, **queue: Any) -> list[str]:
        row = backend_row(version=version, priorities={"urgent": 1}, slots=(slot("r"),))
        records.record_backend(BackendUpdate(row=row, **queue))
        return [entry.job_id for entry in records.backends(["test"])["test"].queue]

    a, b, c = (queued(name, workspace=f"w{name}", created_at=age) for age, name in enumerate("abc"))
    urgent = queued("z", rap_id="urgent", created_at=9)
    assert write(1, queued=(b, a)) == ["a", "b"]
    assert write(2, queued=(c, urgent)) == ["z", "a", "b", "c"]
    again = b.model_copy(update={"requires_db": True, "weight": 2.5})
    assert write(3, queued=(again,), unqueued=("a", "unknown")) == ["z", "b", "c"]
    assert records.backends(["test"])["test"].queue[1] == again
    # A write that comes late or twice changes nothing.
    assert write(3, queued=(a,), unqueued=("b",)) == ["z", "b", "c"]
    assert write(4, queued=(c,), whole_queue=True) == ["c"]
    other = backend_row("tpp", queue=(a,))
    records.record_backend(backend_update(other))
    assert write(5, whole_queue=True) == []
    assert records.backends(["tpp"])["tpp"].queue == (a,)


def test_only_a_later_row_of_a_backend_replaces_it(records: Records) -> None:
    for number in (2, 1, 2):
        row = backend_row(version=number, last_seen=float(number))
        records.record_backend(BackendUpdate(row=row))
        assert records.backends(["test"])["test"].last_seen == 2.0
    records.record_backend(BackendUpdate(row=backend_row(version=3, last_seen=3.0)))
    assert records.backends(["test"])["test"].last_seen == 3.0


def test_a_report_changes_the_jobs_it_knows_and_passes_over_others(records: Records) -> None:
    records.record_jobs(created(ONE, "a"))
    known = change(ONE, "a", StatusCode.EXECUTING, T + 2)
    unknown = change(TWO, "a", StatusCode.EXECUTING, T + 2)
    records.record_backend(BackendUpdate(row=backend_row(), changes=(unknown, known)))
    assert records.rap(ONE)[0].status_code is StatusCode.EXECUTING
    assert records.rap(TWO) == []
    assert set(records.backends(["test"])) == {"test"}


# --- intents ---


def test_an_announced_create_is_pending_until_its_jobs_appear(records: Records) -> None:
    announced = records.announce(intent(ONE, request="{}"))
    assert announced == intent(ONE, request="{}", number=1, offered_at=float(T))
    assert records.intents([ONE, TWO]) == {ONE: announced}
    records.record_jobs(created(ONE, "a"))
    assert records.intents([ONE])[ONE].state is IntentState.ACCEPTED


def test_a_rap_belongs_to_the_workspace_that_claims_it_first(records: Records) -> None:
    first = intent(ONE, offered_at=float(T))
    other = first.model_copy(update={"workspace": "other"})
    assert records.claim(first) == first
    assert records.claim(first) == first
    assert records.claim(other) == first
    records.settle(IntentSettlement(rap_id=ONE, state=IntentState.REFUSED))
    assert records.claim(other).state is IntentState.REFUSED


def test_a_refused_rap_may_be_announced_again(records: Records) -> None:
    records.announce(intent(ONE))
    records.settle(IntentSettlement(rap_id=ONE, state=IntentState.REFUSED))
    assert records.intents([ONE])[ONE].state is IntentState.REFUSED
    again = records.announce(intent(ONE, workspace="another", created_at=T + 9.5))
    assert (again.state, again.workspace, again.number) == (IntentState.PENDING, "another", 2)


def test_an_accepted_rap_stays_accepted(records: Records) -> None:
    records.announce(intent(ONE))
    records.settle(IntentSettlement(rap_id=ONE, state=IntentState.ACCEPTED))
    records.settle(IntentSettlement(rap_id=ONE, state=IntentState.REFUSED))
    assert records.announce(intent(ONE, created_at=T + 5.0)).state is IntentState.ACCEPTED


def test_an_undecided_create_is_not_replaced_by_one_of_another_workspace(records: Records) -> None:
    first = records.announce(intent(ONE))
    assert (first.workspace, first.number, first.offered_at) == ("workspace", 1, T)
    assert records.announce(intent(ONE, workspace="another", created_at=T + 1.0)) == first
    repeated = records.announce(intent(ONE, created_at=T + 2.0))
    assert (repeated.number, repeated.created_at) == (2, T + 2.0)


def test_a_settlement_leaves_a_later_announcement_alone(records: Records) -> None:
    records.announce(intent(ONE))
    records.announce(intent(ONE))
    refused = IntentState.REFUSED
    records.settle(IntentSettlement(rap_id=ONE, state=refused, number=1))
    assert records.intents([ONE])[ONE].state is IntentState.PENDING
    records.settle(IntentSettlement(rap_id=ONE, state=refused, number=2))
    assert records.intents([ONE])[ONE].state is refused
    assert records.announce(intent(ONE)).number == 3


def test_a_create_is_claimed_by_one_caller_alone_and_announced_by_the_databases_clock(
    records: Records,
) -> None:
    announced = records.announce(intent(ONE, created_at=0.0))
    with ThreadPoolExecutor(4) as pool:
        claims = list(pool.map(records.take_offer, [announced] * 4))
    assert sorted(claims) == [False, False, False, True]
    ((found,), now) = records.undecided()
    assert found.offers == 1
    assert announced.created_at <= found.offered_at <= now
    records.settle(IntentSettlement(rap_id=ONE, state=IntentState.REFUSED))
    assert not records.take_offer(found)


def test_undecided_creates_are_found_oldest_first(records: Records) -> None:
    for number in (3, 1, 2):
        records.announce(intent(rap_id(number), created_at=float(T + number)))
    records.settle(IntentSettlement(rap_id=ONE, state=IntentState.REFUSED))
    undecided, now = records.undecided()
    assert [found.rap_id for found in undecided] == [TWO, THREE]
    assert abs(now - time.time()) < 3600


# --- the database ---


def test_the_tables_are_made_once_however_many_processes_start(url: str) -> None:
    assert not is_current(url)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(upgrade, [url] * 4))
    assert is_current(url)
    engine = engine_of(url)
    with engine.begin() as connection:
        differences = compare_metadata(MigrationContext.configure(connection), metadata)
    engine.dispose()
    assert differences == []


def test_tables_of_a_later_version_are_left_alone(url: str) -> None:
    upgrade(url)
    engine = engine_of(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    engine.dispose()
    assert not is_current(url)
    with pytest.raises(ConfigurationError, match="later version"):
        upgrade(url)


def test_without_tables_the_remedy_is_named(url: str) -> None:
    records = Records.connect(url)
    with pytest.raises(Unavailable, match="rap records upgrade"):
        records.rap(ONE)
    records.close()


def test_how_long_ago_something_was_is_told_without_comparing_two_clocks(
    records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    records.record_jobs(created(ONE, "a"))
    ours = 5000.0
    monkeypatch.setattr("rap.records.reads.monotonic", lambda: ours)

    def moment() -> float:
        return records.read_status([ONE], ("test",)).moments["test"]

    records.record_backend(BackendUpdate(row=backend_row(updated_at=T + 1.0)))
    assert moment() == T + 1
    ours += 200
    assert moment() == T + 201, "the controller is away, and with it the agents' reports"
    records.record_backend(BackendUpdate(row=backend_row(version=2, updated_at=T + 190.0)))
    assert moment() == T + 190


@pytest.mark.parametrize("late", [1, 15, 3600])
def test_a_time_that_was_shown_is_never_taken_back_when_a_job_ends(
    records: Records, late: int
) -> None:
    records.record_jobs(created(ONE, "a"))
    records.record_jobs(changed(ONE, "a", StatusCode.FINALIZING, T + 10.0))
    # The end is written late: the read model, or the controller, was away meanwhile.
    records.record_backend(BackendUpdate(row=backend_row(updated_at=T + 20.9 + late)))

    def shown() -> str:
        seen = records.read_status([ONE], ("test",))
        (job,) = seen.jobs
        return str(present(job, BackendView(seen.backends["test"]), T)["updated_at"])

    before = shown()
    records.record_jobs(changed(ONE, "a", StatusCode.SUCCEEDED, T + 20.0))
    (job,) = records.rap(ONE)
    assert shown() == before == whole_seconds(int(T + 20.9 + late))
    assert job.completed_at == T + 20
    records.record_backend(BackendUpdate(row=backend_row(version=2, updated_at=T + 9999.0)))
    assert shown() == before


def test_rows_outlive_the_process(url: str) -> None:
    upgrade(url)
    first = Records.connect(url)
    first.record_jobs(created(ONE, "a"))
    before = first.rap(ONE)
    first.close()
    second = Records.connect(url)
    assert second.rap(ONE) == before
    second.close()


def test_a_database_that_was_away_is_used_again(postgres: Cluster) -> None:
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


def test_a_reader_does_not_wait_for_a_writer_of_the_sqlite_file(tmp_path: Path) -> None:
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
