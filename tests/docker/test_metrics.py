"""Measuring running jobs on a real engine: the samples, their file, and their spans."""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import structlog
from docker import DockerClient
from docker.models.containers import Container
from opentelemetry.sdk.trace import ReadableSpan

from activities.agent.control import Control
from activities.agent.run_job import RunJob
from rap.egress import Ending
from rap.messages.jobs import TerminateOrder
from rap.models import JobDefinition
from rap.settings import AgentSettings
from tests.docker.conftest import IMPATIENT, eventually
from tests.docker.engines import engine_with
from tests.support.spans import Spans
from tests.support.spans import spans as collecting
from worker_agent.egress_guard import AgentRestart
from worker_agent.engine.facts import ContainerFacts
from worker_agent.host import Host
from worker_agent.usage.sampler import Sampler

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("image")]

WRITES = "mkdir output; echo a,b > output/one.csv"
BUSY = "while ! [ -e /workspace/go ]; do :; done; " + WRITES
KEYS = {
    "cpu_sample", "cpu_peak", "cpu_mean", "cpu_cumsum",
    "mem_mb_sample", "mem_mb_peak", "mem_mb_mean", "mem_mb_cumsum",
}  # fmt: skip


@pytest.fixture
def spans() -> Iterator[Spans]:
    with collecting() as collected:
        yield collected


@pytest.fixture
def sampler(host: Host) -> Sampler:
    return Sampler(host.engine, host.jobs, host.usage, 10, "test")


@pytest.fixture
def run(host: Host, activity_environment: Callable[..., Any]) -> Callable[..., Any]:
    def start(definition: JobDefinition, at: Host = host) -> asyncio.Task[Any]:
        environment = activity_environment()
        task = asyncio.ensure_future(environment.run(RunJob(at).run_job, definition))
        task.environment = environment
        return task

    return start


@pytest.fixture
def stranger(docker_client: DockerClient, image: str) -> Iterator[Callable[..., Any]]:
    """Starts containers that are no job of this agent."""
    started = []

    def start(name: str) -> Container:
        container = docker_client.containers.run(image, ["sleep", "60"], name=name, detach=True)
        started.append(container)
        return container

    yield start
    for container in started:
        container.remove(force=True)


async def runs(host: Host, definition: JobDefinition) -> ContainerFacts:
    def container() -> list[Any] | ContainerFacts | None:
        found = [job for job in host.jobs.reported() if job.definition.id == definition.id]
        return found and found[0].container

    return await eventually(container, "a running container")


def let_go_on(host: Host, definition: JobDefinition) -> None:
    (host.storage.volume(definition.id) / "go").touch()


def kept(host: Host, definition: JobDefinition) -> tuple[Any, ...]:
    folder = host.storage.log_dir(definition)
    metadata = json.loads((folder / "metadata.json").read_text())
    samples = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return metadata["job_metrics"], samples


def number(span: ReadableSpan, attribute: str) -> float:
    value = span.attributes[attribute]
    assert isinstance(value, int | float)
    return value


def of(spans: Spans, name: str, definition: JobDefinition) -> list[ReadableSpan]:
    return [s for s in spans.named(name) if s.attributes.get("job") == definition.id]


@pytest.mark.spec("agent:150", "agent:157")
async def test_the_first_tick_tells_nothing_and_the_second_what_each_job_used(
    run: Callable[..., Any], job: Callable[..., Any], host: Host, sampler: Sampler, spans: Spans
) -> None:
    definition = job(BUSY, user="alice", project="asthma", orgs=("a", "b"), cpu_count=0.5)
    task = run(definition)
    container = await runs(host, definition)
    spans.clear()
    await sampler.tick()
    assert spans.all == ()
    await asyncio.sleep(0.2)
    await sampler.tick()
    tick, (metrics,) = spans.one("METRICS_TICK"), of(spans, "METRICS", definition)
    asked = spans.one("get_job_stats")
    assert spans.names[0] == "get_job_stats"
    assert spans.names[-1] == "METRICS_TICK"
    assert (metrics.start_time, metrics.end_time) == (tick.start_time, tick.end_time)
    assert {each.parent.span_id for each in (metrics, asked)} == {tick.context.span_id}
    assert tick.parent is None
    assert dict(tick.attributes) == {"backend": "test"}
    assert number(asked, "container_cache_size") >= 1
    usage = host.usage.read(definition.id)
    assert {name: metrics.attributes[name] for name in KEYS} == usage.metrics.model_dump()
    assert set(usage.metrics.model_dump()) == KEYS
    facts = {
        "user": "alice",
        "project": "asthma",
        "orgs": "a,b",
        "task": definition.task_id,
        "task_type": "RUNJOB",
        "job": definition.id,
        "workspace": "wksp",
        "backend": "test",
        "container_id": container.id,
        "cpu_percentage": usage.metrics.cpu_sample,
    }
    assert {name: metrics.attributes[name] for name in facts} == facts
    assert number(metrics, "memory_used") > 0
    assert abs(number(metrics, "started_at") - container.started_at_ns / 1e9) < 5
    let_go_on(host, definition)
    await task


async def test_metrics_and_samples_are_kept_when_the_job_ends(
    run: Callable[..., Any], job: Callable[..., Any], host: Host, sampler: Sampler
) -> None:
    definition = job(BUSY, cpu_count=0.5)
    task = run(definition)
    await runs(host, definition)
    for _ in range(3):
        await asyncio.sleep(0.1)
        await sampler.sample()
    reported = host.jobs.reported()[0].progress.metrics
    let_go_on(host, definition)
    outcome = await task
    metrics, samples = kept(host, definition)
    assert metrics == outcome.metrics.model_dump() == reported.model_dump()
    assert metrics["cpu_peak"] > 0
    assert len(samples) == 3
    assert [each["time"] for each in samples] == sorted(each["time"] for each in samples)
    assert samples[-1]["cpu"] == pytest.approx(metrics["cpu_sample"], abs=0.01)
    assert max(each["cpu_peak"] for each in samples) == pytest.approx(metrics["cpu_peak"], abs=0.01)
    assert sum(each["seconds"] * each["cpu"] for each in samples) == pytest.approx(
        metrics["cpu_cumsum"], rel=0.01
    )
    assert list((host.storage.state_dir / "usage").iterdir()) == []


async def test_samples_are_kept_when_the_job_is_stopped_or_fails(
    run: Callable[..., Any],
    job: Callable[..., Any],
    host: Host,
    sampler: Sampler,
    activity_environment: Callable[..., Any],
) -> None:
    stopped, fails = job(BUSY), job(f"{BUSY}; exit 3")
    tasks = [run(stopped), run(fails)]
    for each in (stopped, fails):
        await runs(host, each)
    await sampler.sample()
    order = TerminateOrder(job_id=stopped.id, task_id=stopped.task_id)
    await activity_environment().run(Control(host).terminate_job, order)
    let_go_on(host, fails)
    assert [(await task).ending for task in tasks] == [Ending.CANCELLED, Ending.COMPLETED]
    for each in (stopped, fails):
        metrics, samples = kept(host, each)
        assert len(samples) == 1
        assert samples[0]["memory_mb_peak"] == pytest.approx(metrics["mem_mb_peak"], abs=0.01)


async def test_a_job_too_short_to_be_measured_has_an_empty_file_and_no_figures(
    run: Callable[..., Any], job: Callable[..., Any], host: Host
) -> None:
    definition = job(WRITES)
    assert (await run(definition)).metrics is None
    assert kept(host, definition) == ({}, [])


@pytest.mark.spec("agent:152")
async def test_the_next_agent_goes_on_where_the_last_one_left_off(
    run: Callable[..., Any],
    job: Callable[..., Any],
    host: Host,
    settings: AgentSettings,
    sampler: Sampler,
) -> None:
    definition = job(BUSY, cpu_count=0.5)
    task = run(definition)
    await runs(host, definition)
    await sampler.sample()
    task.environment.worker_shutdown()
    with pytest.raises(AgentRestart):
        await task
    after = Host.of(settings, IMPATIENT)
    task = run(definition, after)
    await runs(after, definition)
    await Sampler(after.engine, after.jobs, after.usage, 10, "test").sample()
    let_go_on(after, definition)
    outcome = await task
    metrics, samples = kept(after, definition)
    assert len(samples) == 2
    lived = sum(each["seconds"] for each in samples)
    assert metrics["cpu_cumsum"] == pytest.approx(metrics["cpu_mean"] * lived, rel=0.01)
    assert metrics == outcome.metrics.model_dump()


class SilentEngine:
    """An engine that takes connections and never answers."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"tcp://127.0.0.1:{self.socket.getsockname()[1]}"
        self.connections: list[socket.socket] = []
        threading.Thread(target=self._take, daemon=True).start()

    def _take(self) -> None:
        try:
            while True:
                self.connections.append(self.socket.accept()[0])
        except OSError:
            return

    def close(self) -> None:
        self.socket.close()
        for each in self.connections:
            each.close()


@pytest.fixture
def silent() -> Iterator[SilentEngine]:
    engine = SilentEngine()
    yield engine
    engine.close()


@pytest.mark.spec("agent:153")
async def test_an_engine_that_does_not_answer_in_time_sets_a_flag_and_yields_no_samples(
    host: Host, silent: SilentEngine, spans: Spans
) -> None:
    engine = engine_with(base_url=silent.url, stats_limit=0.2)
    sampler = Sampler(engine, host.jobs, host.usage, 10, "test")
    await sampler.tick()
    with structlog.testing.capture_logs() as logs:
        await sampler.tick()
        await sampler.tick()
    assert spans.named("METRICS") == []
    for tick in spans.named("METRICS_TICK"):
        assert dict(tick.attributes) == {"backend": "test", "stats_timeout": True}
    warnings = [line["event"] for line in logs if line["log_level"] == "warning"]
    assert warnings == ["Docker does not answer: jobs are not measured"]


@pytest.mark.spec("agent:153")
async def test_an_engine_that_fails_sets_another_flag_with_the_reason_and_yields_no_samples(
    host: Host, spans: Spans, tmp_path: Path
) -> None:
    engine = engine_with(base_url=f"unix://{tmp_path}/no.sock")
    sampler = Sampler(engine, host.jobs, host.usage, 10, "test")
    await sampler.tick()
    await sampler.tick()
    assert spans.named("METRICS") == []
    tick, asked = spans.one("METRICS_TICK"), spans.one("get_job_stats")
    assert dict(tick.attributes) == {"backend": "test", "stats_error": True}
    assert [(event.name, dict(event.attributes)) for event in asked.events] == [
        ("stats_error", {"fault": "engine_unavailable"})
    ]


@pytest.mark.spec("agent:154")
async def test_a_container_that_nobody_works_on_is_measured_as_unknown(
    host: Host, sampler: Sampler, spans: Spans, stranger: Callable[..., Any]
) -> None:
    job_id = f"t{uuid4().hex[:15]}"
    container = stranger(f"os-job-{job_id}")
    await sampler.tick()
    await sampler.tick()
    await sampler.tick()
    found = [span for span in spans.named("METRICS") if span.attributes["job"] == job_id]
    assert [span.attributes["task"] for span in found] == ["unknown", "unknown"]
    assert found[0].attributes["backend"] == "test"
    assert found[0].attributes["container_id"] == container.id
    assert number(found[1], "mem_mb_peak") > 0
    # Nothing is kept about it: nobody would ever clear it away.
    assert list((host.storage.state_dir / "usage").iterdir()) == []


@pytest.mark.spec("agent:155")
async def test_only_containers_named_as_jobs_are_measured_under_the_ids_of_their_jobs(
    host: Host, stranger: Callable[..., Any]
) -> None:
    tail = uuid4().hex[:12]
    ids = [f"{first}{tail}" for first in ("o", "s", "j", "b", "os-job-")]
    for job_id in ids:
        stranger(f"os-job-{job_id}")
    stranger(f"not-os-job-{tail}")
    stranger(f"database-{tail}")
    found = [each.job_id for each in await host.engine.containers.running()]
    assert sorted(each for each in found if tail in each) == sorted(ids)


@pytest.mark.spec("agent:33", "agent:62")
async def test_an_attempt_is_told_step_by_step_in_its_jobs_trace(
    run: Callable[..., Any], job: Callable[..., Any], spans: Spans
) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    definition = job(WRITES, trace_context={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    outcome = await run(definition)
    names = ("initial_job_status", "final_job_status", "complete")
    steps = spans.named("LOOP_TASK")
    assert [tuple(step.attributes[name] for name in names) for step in steps] == [
        ("UNKNOWN", "PREPARED", False),
        ("PREPARED", "EXECUTING", False),
        ("EXECUTING", "EXECUTED", False),
        ("EXECUTED", "FINALIZED", True),
    ]
    assert {f"{step.context.trace_id:032x}" for step in steps} == {trace}
    results = steps[-1].attributes
    assert (results["exit_code"], results["image_id"]) == (0, outcome.image_id)
    assert results["action_version"] == "v1.2.3"
    told = "".join(step.to_json() for step in steps if step is not None)
    # The command is the study's own; what was matched, and by which pattern, is not told.
    assert "*.csv" not in told
    assert "moderately_sensitive" not in told


@pytest.mark.spec("agent:158")
async def test_a_job_runs_as_ever_while_its_spans_cannot_be_sent(
    run: Callable[..., Any], job: Callable[..., Any], host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        def start_span(self, *_args: str, **_more: Any) -> None:
            raise RuntimeError("no spans today")

    with collecting(), structlog.testing.capture_logs() as logs:
        monkeypatch.setattr("rap.telemetry.traces.tracer", lambda _name: Broken())
        outcome = await run(job(WRITES))
        sampler = Sampler(host.engine, host.jobs, host.usage, 10, "test")
        await sampler.tick()
        await sampler.tick()
    assert outcome.ending is Ending.COMPLETED
    said = {line["event"] for line in logs if line["log_level"] == "error"}
    assert said == {f"failed to make the span {name}" for name in (
        "LOOP_TASK", "get_job_stats", "METRICS_TICK"
    )} | (said & {"failed to make the span METRICS"})  # fmt: skip
